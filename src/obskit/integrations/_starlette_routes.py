"""
Find the route that Starlette or FastAPI has matched, whatever stands between the router and the middleware.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from types import FrameType
from typing import Any, NamedTuple, TypeAlias

from starlette import _exception_handler
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Host, Mount, Router, WebSocketRoute, compile_path

from obskit.context import current
from obskit.integrations import _http
from obskit.integrations._http import Scope, TemplateCache
from obskit.integrations._patches import Patches
from obskit.recorder import recorder

_current = current.get
_INDEX = "_obskit_templates"
# What led to the innermost router, in the scope that it routes: where that is its endpoint still, nothing has matched.
_LED_BY = "obskit.led_by"
_REST = "/{path}"  # as `Mount.path_format` ends: a mount without routes is no `Route` of the same path
_UNKNOWN: Any = object()
_MOST_STRANGERS = 100
_MOST_HOPS = 16
_MOST_FRAMES = 4


class Place(NamedTuple):
    """
    Be one place in the route table where routing can end.

    Attributes:
        key: What routing leaves in the scope: the `endpoint` of a route, the `app` of a mount or host.
        route: The route itself.
        parts: The paths from the outermost mount to the route; joined they are the template.
        opens: True for a mount or host: anything may follow.
        known: True where routes follow, so that ending here means that none of them matched.
        mounts: How many of the parts, from the first on, are mounts'.
    """

    key: Any
    route: BaseRoute
    parts: tuple[str, ...]
    opens: bool = False
    known: bool = False
    mounts: int = 0

    @property
    def path(self) -> str:
        """
        Join the path that leads here.
        """
        return "".join(self.parts) or ("" if self.opens else "/")

    @property
    def template(self) -> str | None:
        """
        Write the template of a request that ends here; None where it ends here because no route matched.
        """
        if self.known:
            return None
        return self.path + _REST if self.opens else self.path


class Choice(NamedTuple):
    """
    Tell apart places of one endpoint: the first that matches in the order of routing, as routing did.
    """

    places: list[tuple[Callable[[str], Any], frozenset[str], str | None]]

    def choose(self, scope: Scope) -> str | None:
        """
        Find the template by the path; a place that refuses the method (405) comes second.
        """
        path, method, refused = _path_of(scope), scope["method"], None
        for matches, methods, template in self.places:
            if matches(path):
                if not methods or method in methods:
                    return template
                refused = refused or template
        return refused


# The template, None where a mount's own routes did not match, or the choice between several.
Entry: TypeAlias = str | Choice | None


class RouteTemplates(TemplateCache):
    """
    Know the template of every endpoint under one router, looked up by identity.

    Routes define `__eq__` and are unhashable, so the key is `id()`; what it was taken of is kept alive here.

    Args:
        hidden: Where obskit stands in front of the router, the hidden routes that have been told of: each new one is.
    """

    def __init__(self, router: Router, hidden: set[str] | None = None) -> None:
        super().__init__()
        self._router = router
        self._strangers: dict[int, Any] = {}
        self.hidden = hidden
        self._read()

    def _read(self) -> None:
        """
        Walk the route table, through mounts, hosts and included routers.
        """
        self.table = self._router.routes
        self.length = len(self.table)
        self._places = list(places_in(self._router))
        found: dict[int, list[Place]] = {}
        for place in self._places:
            for key in (place.key, place.route):
                found.setdefault(id(key), []).append(place)
        self.entries: dict[int, Entry] = {key: _entry(places) for key, places in found.items()}
        # Behind what hides its routes may be such as the table shows elsewhere: then each has to be looked at.
        hides = any(place.opens and not place.known for place in self._places)
        self._mounted = {key: places for key, places in found.items() if hides and any(it.mounts for it in places)}
        self.by_id = {
            key: entry
            for key, entry in self.entries.items()
            # Behind a mount of an application that hides its own may be a router that matches nothing.
            if isinstance(entry, str) and key not in self._mounted and not found[key][0].opens
        }
        if self.hidden is not None:
            _http.warn_of_taken((place.path for place in self._places if not place.known), self.hidden)

    def find(self, scope: Scope) -> str | None:
        """
        Tell the template that routing chose; None where no route matched, or routing has not come that far.
        """
        if len(self._router.routes) != self.length:
            self._read()
        if _LED_BY in scope and scope[_LED_BY] is scope.get("endpoint") and not _is_of_frontend(scope):
            return None
        if self._mounted and not self._is_below(scope):
            return self._guess(scope)
        entry = self.entries.get(id(scope.get("route")), _UNKNOWN)
        return entry if type(entry) is str else self._find(scope, entry)

    def _is_below(self, scope: Scope) -> bool:
        """
        Tell whether a request came to its place through the mounts that lead there, as far as places are known.
        """
        places = self._mounted_places(scope)
        if not places:
            return True
        mounted = scope.get("root_path", "").removeprefix(scope.get("app_root_path", ""))
        return any(_regex(place.parts[: place.mounts]).fullmatch(mounted) for place in places)

    def _mounted_places(self, scope: Scope) -> list[Place]:
        found = self._mounted.get(id(scope.get("route")))
        return found or self._mounted.get(id(scope.get("endpoint"))) or []

    def _find(self, scope: Scope, entry: Entry) -> str | None:
        key = scope.get("route")
        if key is None or entry is None:
            # FastAPI leaves the endpoint alone of routes that are not its own; so did Starlette before 1.7 of all.
            key = scope.get("endpoint")
            entry = self.entries.get(id(key), _UNKNOWN)
        if entry is _UNKNOWN and key is not None:
            entry = self._meet(key)
            if entry is _UNKNOWN:
                return self._guess(scope)
        if isinstance(entry, Choice):
            return entry.choose(scope)
        return entry if isinstance(entry, str) else self._frontend(scope)

    def _meet(self, key: Any) -> Entry:
        """
        Read the route table again for what was added to it; once for each stranger, and not for ever.
        """
        if id(key) in self._strangers or len(self._strangers) >= _MOST_STRANGERS:
            return _UNKNOWN  # type: ignore[no-any-return]
        self._read()
        if id(key) not in self.entries:
            self._strangers[id(key)] = key
        return self.entries.get(id(key), _UNKNOWN)

    def _guess(self, scope: Scope) -> str | None:
        """
        Name a route that the table does not show, such as one behind middleware that hides its application.
        """
        endpoint = scope.get("endpoint")
        place = next(iter(self._mounted_places(scope)), None)
        if place is not None and "app_root_path" in scope:
            return self._mount_of(scope, "".join(place.parts[place.mounts :]))
        asked = (scope.get("fastapi", {}).get("effective_route_context"), scope.get("route"))
        own: str | None = next((it.path for it in asked if it and getattr(it, "endpoint", None) is endpoint), None)
        if "app_root_path" not in scope:
            return own
        return self._mount_of(scope, own)

    def _mount_of(self, scope: Scope, own: str | None) -> str | None:
        """
        Find the mount that a request came through, and put its path in front of what follows.
        """
        mounted = scope["root_path"].removeprefix(scope["app_root_path"])
        for mount in self._mounts():
            if own is not None and _regex(mount.parts).fullmatch(mounted):
                return mount.path + own
        return next((mount.path + _REST for mount in self._mounts() if _matcher(mount)(_path_of(scope))), None)

    def _mounts(self) -> Iterator[Place]:
        return (place for place in self._places if place.opens)

    def _frontend(self, scope: Scope) -> str | None:
        """
        Name a frontend of FastAPI, which leaves nothing but how much of the path was its own.
        """
        rest = scope.get("fastapi", {}).get("frontend_path")
        if rest is None:
            return None
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        own = path[: len(path) - len(rest)].rstrip("/") + _REST
        if "app_root_path" not in scope:
            return str(own)
        mount = next((mount.path for mount in self._mounts() if _matcher(mount)(_path_of(scope))), None)
        return None if mount is None else mount + own


def places_in(
    router: Router | BaseRoute, parts: tuple[str, ...] = (), above: tuple[Any, ...] = (), mounts: int = 0
) -> Iterator[Place]:
    """
    Yield every place under a router where routing can end, in the order of routing. A route may stand for a router.
    """
    if any(router is one for one in above):
        return  # an application that is mounted in itself
    above = (*above, router)
    for route in router.routes if isinstance(router, Router) else [router]:
        if isinstance(route, Mount | Host):
            here = (*parts, route.path) if isinstance(route, Mount) else parts
            deep = len(here) if isinstance(route, Mount) else mounts
            inner, passed = _routes_in(route.app)
            if inner is not None:
                yield from places_in(inner, here, above, deep)
            for app in passed:
                yield Place(app, route, here, opens=True, known=inner is not None, mounts=deep)
        elif isinstance(included := getattr(route, "original_router", None), Router):
            # FastAPI from 0.137 on keeps an included router as one route, and its routes without the prefix.
            prefix = getattr(getattr(route, "include_context", None), "prefix", "")
            yield from places_in(included, (*parts, prefix), above, mounts)
        elif isinstance(path := getattr(route, "path", None), str) and not isinstance(route, WebSocketRoute):
            yield Place(getattr(route, "endpoint", route), route, (*parts, path), mounts=mounts)


def _routes_in(app: Any) -> tuple[Router | BaseRoute | None, list[Any]]:
    """
    Find the router, or the route, of a mounted application, through middleware that keeps what it wraps as `app`.

    Returns:
        It, and whatever was passed on the way: with each of them routing may end.
    """
    passed: list[Any] = []
    for _ in range(_MOST_HOPS):
        if app is None:
            break
        passed.append(app)
        if isinstance(app, Router | BaseRoute):
            return app, passed
        app = app.router if isinstance(app, Starlette) else getattr(app, "app", None)
    return None, passed[:1]


def _router_in(app: Any) -> Router | None:
    found, _ = _routes_in(app)
    return found if isinstance(found, Router) else None


def _entry(places: list[Place]) -> Entry:
    templates = {place.template for place in places}
    if len(templates) == 1:
        return templates.pop()
    return Choice(
        [(_matcher(place), frozenset(getattr(place.route, "methods", None) or ()), place.template) for place in places]
    )


def _is_of_frontend(scope: Scope) -> bool:
    """
    Tell whether one of FastAPI's frontends answers, which are no endpoints.
    """
    return "frontend_path" in scope.get("fastapi", {})


def _matcher(place: Place) -> Callable[[str], Any]:
    return _regex(place.parts, "/.*" if place.opens else "").fullmatch


@lru_cache(maxsize=4096)
def _regex(parts: tuple[str, ...], rest: str = "") -> re.Pattern[str]:
    """
    Compile paths of routes as Starlette does, without the groups' names: nested mounts may repeat them.
    """
    whole = "".join(compile_path(part)[0].pattern[1:-1] for part in parts)
    return re.compile(re.sub(r"\(\?P<\w+>", "(?:", whole) + rest)


def _path_of(scope: Scope) -> str:
    """
    Read the path without the deployment's prefix, and with all mounts.
    """
    path: str = scope["path"]
    root: str = scope.get("app_root_path", scope.get("root_path", ""))
    rest = path.removeprefix(root)
    return rest if not rest or rest.startswith("/") else path


def route_of(scope: Scope) -> str | None:
    """
    Tell the template that routing chose, in full; None where no route matched.

    It may be asked at any time after routing, by the handler too. Costs about one dict lookup.
    """
    # The outermost one, also behind other ASGI middleware and in mounted applications.
    router: Any = scope.get("router")
    return _templates_of(router).find(scope) if isinstance(router, Router) else None


def _templates_of(router: Router) -> RouteTemplates:
    templates: RouteTemplates | None = getattr(router, _INDEX, None)
    if templates is None:
        templates = RouteTemplates(router)
        setattr(router, _INDEX, templates)
    return templates


patches = Patches()


def watch() -> None:
    """
    Note, in each router, the scope that it routes, and the exceptions that leave it or that are about to be answered.
    """
    if Router.__call__.__code__.co_names == ("middleware_stack",):  # as it is since 0.15; there it costs no call more
        patches.put(Router, "__call__", _recording)
    if hasattr(_exception_handler, "_lookup_exception_handler"):
        patches.put(_exception_handler, "_lookup_exception_handler", _recording_handled)


def _recording(call: Any) -> Any:
    async def __call__(self: Router, scope: Scope, receive: Any, send: Any) -> None:
        op: Any = _current()
        if op is not None:
            try:
                is_recorded = op.routed_scope is scope
            except AttributeError:  # no request of ASGI's
                is_recorded = False
            if not is_recorded:
                _record_scope(op.root, scope)
            if "router" in scope:
                scope[_LED_BY] = scope.get("endpoint")
        try:
            await self.middleware_stack(scope, receive, send)
        except BaseException as error:
            _record_error(scope, error)
            raise

    return __call__


def _record_scope(root: Any, scope: Scope) -> None:
    """
    Note a scope that is not the request's own, if it was made from it.
    """
    try:
        if scope["type"] == "http" and isinstance(root, _http.ServedOperation) and root.is_same_request(scope):
            root.enter_router(scope)
    except Exception as error:  # of a scope that is none
        recorder.failed("route", error)


def _record_error(scope: Scope, error: BaseException) -> None:
    """
    Note an exception that leaves a router: a middleware around it may answer it.
    """
    if isinstance(error, HTTPException):
        return
    root = _http.current_request()
    if root is not None and root.is_same_request(scope):
        _http.record_exception(error)


def _recording_handled(look_up: Any) -> Any:
    """
    Note an exception that has a handler: should that answer with a 500, it has a name.
    """

    def look_up_recording(exc_handlers: Any, exc: Exception) -> Any:
        if not isinstance(exc, HTTPException):
            _record_handled(exc, sys._getframe(1))
        return look_up(exc_handlers, exc)

    return look_up_recording


def _record_handled(error: Exception, frame: FrameType | None) -> None:
    """
    Note it with the request that is answered here, unless it is another's: an application may ask one inside of it.

    The scope lies with who looks up, next to ours or behind what stands in between.
    """
    root = _http.current_request()
    for _ in range(_MOST_FRAMES):
        if frame is None or root is None:
            break
        scope = getattr(frame.f_locals.get("conn"), "scope", None)
        if scope is not None:
            if not root.is_same_request(scope):
                return
            break
        frame = frame.f_back
    _http.record_exception(error)


def index_routes(app: Any) -> TemplateCache:
    """
    Warn of the routes of a Starlette or FastAPI application that obskit hides: now, and of others when they are added.

    For an application without their router, behind whatever middleware, it does nothing.
    """
    router = _router_in(app)
    if router is None:
        return TemplateCache()
    known: RouteTemplates | None = getattr(router, _INDEX, None)
    hidden = known.hidden if known is not None else None
    try:
        known = RouteTemplates(router, set() if hidden is None else hidden)
        setattr(router, _INDEX, known)
    except Exception as error:  # of a route that is none of the framework's own
        recorder.failed("route", error)
    return known or TemplateCache()
