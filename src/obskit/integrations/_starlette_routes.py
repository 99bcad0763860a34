"""
Starlette's and FastAPI's matched routes, behind any middleware between their router and ours.
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
from obskit.integrations._patches import Patches
from obskit.integrations._route_conflicts import warn_of_taken
from obskit.integrations._served_request import (
    Scope,
    ServedOperation,
    TemplateCache,
    capture_exception,
    current_request,
)
from obskit.recorder import recorder

_current = current.get
_INDEX = "_obskit_templates"
# What led to the innermost router, in the scope that it routes: where that is its endpoint still, nothing has matched.
_ROUTED_BY = "obskit.led_by"
_REST = "/{path}"  # as `Mount.path_format` ends: a mount without routes is no `Route` of the same path
_NOT_INDEXED: Any = object()
_MAX_UNINDEXED = 100
_MAX_HOPS = 16
_MAX_FRAMES = 4


class RouteNode(NamedTuple):
    """
    A node of the route table where routing can end.

    Attributes:
        key: What routing leaves in the scope: the `endpoint` of a route, the `app` of a mount or host.
        route: The route itself.
        parts: The paths from the outermost mount to the route; joined they are the template.
        is_mount: True for a mount or host: anything may follow.
        has_routes: True where routes follow, so that ending here means that none of them matched.
        mount_depth: How many of the parts, from the first on, are mounts'.
    """

    key: Any
    route: BaseRoute
    parts: tuple[str, ...]
    is_mount: bool = False
    has_routes: bool = False
    mount_depth: int = 0

    @property
    def path(self) -> str:
        return "".join(self.parts) or ("" if self.is_mount else "/")

    @property
    def template(self) -> str | None:
        """
        Return the template of a request that ends here; None where it ends here because no route matched.
        """
        if self.has_routes:
            return None
        return self.path + _REST if self.is_mount else self.path


class AmbiguousRoute(NamedTuple):
    """
    Several nodes of one endpoint: the first that matches in the order of routing is taken, as routing did.
    """

    nodes: list[tuple[Callable[[str], Any], frozenset[str], str | None]]

    def choose(self, scope: Scope) -> str | None:
        """
        Return the template that the path matches; a node that refuses the method (405) comes second.
        """
        path, method, refused = _path_of(scope), scope["method"], None
        for matches, methods, template in self.nodes:
            if matches(path):
                if not methods or method in methods:
                    return template
                refused = refused or template
        return refused


# The template, None where a mount's own routes did not match, or the choice between several.
TemplateEntry: TypeAlias = str | AmbiguousRoute | None


class RouteTemplates(TemplateCache):
    """
    The template of every endpoint under one router, by the endpoint's identity.

    Routes define `__eq__` and are unhashable, so the key is `id()`; what it was taken of is kept alive here.

    Args:
        warned: Where obskit is in front of the router, the hidden routes that have been warned of: each new one is.
    """

    def __init__(self, router: Router, warned: set[str] | None = None) -> None:
        super().__init__()
        self._router = router
        self._unindexed: dict[int, Any] = {}
        self.warned = warned
        self._index_table()

    def _index_table(self) -> None:
        """
        Walk the route table, through mounts, hosts and included routers.
        """
        self.table = self._router.routes
        self.length = len(self.table)
        self._nodes = list(route_nodes(self._router))
        found: dict[int, list[RouteNode]] = {}
        for node in self._nodes:
            for key in (node.key, node.route):
                found.setdefault(id(key), []).append(node)
        self.entries: dict[int, TemplateEntry] = {key: _template_entry(nodes) for key, nodes in found.items()}
        # Behind what hides its routes may be such as the table shows elsewhere: then each has to be looked at.
        hides = any(node.is_mount and not node.has_routes for node in self._nodes)
        self._mounted = {key: nodes for key, nodes in found.items() if hides and any(it.mount_depth for it in nodes)}
        self.by_id = {
            key: entry
            for key, entry in self.entries.items()
            # Behind a mount of an application that hides its own may be a router that matches nothing.
            if isinstance(entry, str) and key not in self._mounted and not found[key][0].is_mount
        }
        if self.warned is not None:
            warn_of_taken((node.path for node in self._nodes if not node.has_routes), self.warned)

    def find(self, scope: Scope) -> str | None:
        """
        Return the template that routing chose; None where no route matched, or routing is not over yet.
        """
        if len(self._router.routes) != self.length:
            self._index_table()
        if _ROUTED_BY in scope and scope[_ROUTED_BY] is scope.get("endpoint") and not _is_of_frontend(scope):
            return None
        if self._mounted and not self._is_below(scope):
            return self._guess(scope)
        entry = self.entries.get(id(scope.get("route")), _NOT_INDEXED)
        return entry if type(entry) is str else self._find(scope, entry)

    def _is_below(self, scope: Scope) -> bool:
        """
        Return whether a request came to its node through the mounts that lead there, as far as nodes are known.
        """
        nodes = self._mounted_nodes(scope)
        if not nodes:
            return True
        mounted = scope.get("root_path", "").removeprefix(scope.get("app_root_path", ""))
        return any(_regex(node.parts[: node.mount_depth]).fullmatch(mounted) for node in nodes)

    def _mounted_nodes(self, scope: Scope) -> list[RouteNode]:
        found = self._mounted.get(id(scope.get("route")))
        return found or self._mounted.get(id(scope.get("endpoint"))) or []

    def _find(self, scope: Scope, entry: TemplateEntry) -> str | None:
        key = scope.get("route")
        if key is None or entry is None:
            # FastAPI leaves the endpoint alone of routes that are not its own; so did Starlette before 1.7 of all.
            key = scope.get("endpoint")
            entry = self.entries.get(id(key), _NOT_INDEXED)
        if entry is _NOT_INDEXED and key is not None:
            entry = self._reindex(key)
            if entry is _NOT_INDEXED:
                return self._guess(scope)
        if isinstance(entry, AmbiguousRoute):
            return entry.choose(scope)
        return entry if isinstance(entry, str) else self._frontend(scope)

    def _reindex(self, key: Any) -> TemplateEntry:
        """
        Read the route table again for what was added to it: once for each unknown key, at most `_MAX_UNINDEXED` times.
        """
        if id(key) in self._unindexed or len(self._unindexed) >= _MAX_UNINDEXED:
            return _NOT_INDEXED  # type: ignore[no-any-return]
        self._index_table()
        if id(key) not in self.entries:
            self._unindexed[id(key)] = key
        return self.entries.get(id(key), _NOT_INDEXED)

    def _guess(self, scope: Scope) -> str | None:
        """
        Return the template of a route that the table does not have, such as one behind middleware that hides its app.
        """
        endpoint = scope.get("endpoint")
        node = next(iter(self._mounted_nodes(scope)), None)
        if node is not None and "app_root_path" in scope:
            return self._mount_of(scope, "".join(node.parts[node.mount_depth :]))
        asked = (scope.get("fastapi", {}).get("effective_route_context"), scope.get("route"))
        own: str | None = next((it.path for it in asked if it and getattr(it, "endpoint", None) is endpoint), None)
        if "app_root_path" not in scope:
            return own
        return self._mount_of(scope, own)

    def _mount_of(self, scope: Scope, own: str | None) -> str | None:
        """
        Return the path of the mount that a request came through, and what follows.
        """
        mounted = scope["root_path"].removeprefix(scope["app_root_path"])
        for mount in self._mounts():
            if own is not None and _regex(mount.parts).fullmatch(mounted):
                return mount.path + own
        return next((mount.path + _REST for mount in self._mounts() if _matcher(mount)(_path_of(scope))), None)

    def _mounts(self) -> Iterator[RouteNode]:
        return (node for node in self._nodes if node.is_mount)

    def _frontend(self, scope: Scope) -> str | None:
        """
        Return the template of a frontend of FastAPI, which leaves nothing but how much of the path was its own.
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


def route_nodes(
    router: Router | BaseRoute, parts: tuple[str, ...] = (), above: tuple[Any, ...] = (), mount_depth: int = 0
) -> Iterator[RouteNode]:
    """
    Yield every node under a router where routing can end, in the order of routing. A route may stand for a router.
    """
    if any(router is one for one in above):
        return  # an application that is mounted in itself
    above = (*above, router)
    for route in router.routes if isinstance(router, Router) else [router]:
        if isinstance(route, Mount | Host):
            here = (*parts, route.path) if isinstance(route, Mount) else parts
            deep = len(here) if isinstance(route, Mount) else mount_depth
            inner, passed = _unwrap(route.app)
            if inner is not None:
                yield from route_nodes(inner, here, above, deep)
            for app in passed:
                yield RouteNode(app, route, here, is_mount=True, has_routes=inner is not None, mount_depth=deep)
        elif isinstance(included := getattr(route, "original_router", None), Router):
            # FastAPI from 0.137 on keeps an included router as one route, and its routes without the prefix.
            prefix = getattr(getattr(route, "include_context", None), "prefix", "")
            yield from route_nodes(included, (*parts, prefix), above, mount_depth)
        elif isinstance(path := getattr(route, "path", None), str) and not isinstance(route, WebSocketRoute):
            yield RouteNode(getattr(route, "endpoint", route), route, (*parts, path), mount_depth=mount_depth)


def _unwrap(app: Any) -> tuple[Router | BaseRoute | None, list[Any]]:
    """
    Return the router, or the route, of a mounted application, through middleware that keeps what it wraps as `app`.

    Returns:
        It, and the applications that were passed on the way: routing may end with each of them.
    """
    passed: list[Any] = []
    for _ in range(_MAX_HOPS):
        if app is None:
            break
        passed.append(app)
        if isinstance(app, Router | BaseRoute):
            return app, passed
        app = app.router if isinstance(app, Starlette) else getattr(app, "app", None)
    return None, passed[:1]


def _router_in(app: Any) -> Router | None:
    found, _ = _unwrap(app)
    return found if isinstance(found, Router) else None


def _template_entry(nodes: list[RouteNode]) -> TemplateEntry:
    templates = {node.template for node in nodes}
    if len(templates) == 1:
        return templates.pop()
    return AmbiguousRoute(
        [(_matcher(node), frozenset(getattr(node.route, "methods", None) or ()), node.template) for node in nodes]
    )


def _is_of_frontend(scope: Scope) -> bool:
    """
    Return whether one of FastAPI's frontends answers, which are not endpoints.
    """
    return "frontend_path" in scope.get("fastapi", {})


def _matcher(node: RouteNode) -> Callable[[str], Any]:
    return _regex(node.parts, "/.*" if node.is_mount else "").fullmatch


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
    Return the template that routing chose, in full; None where no route matched.

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


def hook() -> None:
    """
    Record, in each router, the scope that it routes, and the exceptions that leave it or that are about to be answered.
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
                if op.routed_scope is not scope:
                    _record_scope(op.root, scope)
            except AttributeError:  # no request of ASGI's
                _record_scope(op.root, scope)
            if "router" in scope:
                scope[_ROUTED_BY] = scope.get("endpoint")
        try:
            await self.middleware_stack(scope, receive, send)
        except BaseException as error:
            _record_error(scope, error)
            raise

    return __call__


def _record_scope(root: Any, scope: Scope) -> None:
    """
    Record a scope that is not the request's own, if it was made from it.
    """
    try:
        if scope["type"] == "http" and isinstance(root, ServedOperation) and root.is_same_request(scope):
            root.enter_router(scope)
    except Exception as error:  # of a scope that is none
        recorder.failed("route", error)


def _record_error(scope: Scope, error: BaseException) -> None:
    """
    Record an exception that leaves a router: a middleware around it may answer it.
    """
    if isinstance(error, HTTPException):
        return
    root = current_request()
    if root is not None and root.is_same_request(scope):
        capture_exception(error)


def _recording_handled(look_up: Any) -> Any:
    """
    Record an exception that has a handler, so that a 500 has a name.
    """

    def look_up_recording(exc_handlers: Any, exc: Exception) -> Any:
        if not isinstance(exc, HTTPException):
            _record_handled(exc, sys._getframe(1))
        return look_up(exc_handlers, exc)

    return look_up_recording


def _record_handled(error: Exception, frame: FrameType | None) -> None:
    """
    Record it on the request that is answered here, unless it is another's: an application may call one inside of it.

    The scope is in the frame that looks up, directly outside of ours or a few frames further.
    """
    root = current_request()
    for _ in range(_MAX_FRAMES):
        if frame is None or root is None:
            break
        scope = getattr(frame.f_locals.get("conn"), "scope", None)
        if scope is not None:
            if not root.is_same_request(scope):
                return
            break
        frame = frame.f_back
    capture_exception(error)


def index_routes(app: Any) -> TemplateCache:
    """
    Warn of the routes of a Starlette or FastAPI application that obskit hides: now, and of others when they are added.

    For an application without their router it does nothing.
    """
    router = _router_in(app)
    if router is None:
        return TemplateCache()
    known: RouteTemplates | None = getattr(router, _INDEX, None)
    warned = known.warned if known is not None else None
    try:
        known = RouteTemplates(router, set() if warned is None else warned)
        setattr(router, _INDEX, known)
    except Exception as error:  # of a route that is none of the framework's own
        recorder.failed("route", error)
    return known or TemplateCache()
