"""
Which paths are obskit's, what answers there, and to whom.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from obskit.bounded_calls import Lane
from obskit.errors import ConfigurationError
from obskit.web.access import Access
from obskit.web.replies import Reply, text
from obskit.web.request import Request
from obskit.web.visitor import Role

Handler: TypeAlias = Callable[[Request], Reply]


@dataclass(frozen=True, slots=True)
class Route:
    """
    What answers at a path.

    Attributes:
        setting: Which one moves the path.
        handlers: By method: `GET`, which answers HEAD as well, and `POST`, whose body is read.
        access: Who may; None: everybody.
        role: Which role it takes, by method; a GET takes a viewer and a POST an operator where it is left out.
        seconds: How long a handler may take on an event loop, and each piece of its reply.
        lane: Whose turns its handlers take; None: that of slow ones, which run one at a time in a worker.
    """

    setting: str
    handlers: Mapping[str, Handler]
    access: Access | None = None
    role: Mapping[str, Role] | None = None
    seconds: float = 10.0
    lane: Lane | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """
        Return the methods that are answered, as `Allow` has them.
        """
        return tuple(sorted({*self.handlers, *(("HEAD",) if "GET" in self.handlers else ())}))

    def handler(self, method: str) -> Handler | None:
        """
        Return what answers a method.
        """
        return self.handlers.get("GET" if method == "HEAD" else method)

    def refusal(self, request: Request) -> Reply | None:
        """
        Return the reply to a request that the handler does not answer; None for all others.
        """
        if self.handler(request.method) is None:
            return text(405, "method not allowed\n", ("Allow", ", ".join(self.methods)))
        if self.access is None:
            return None
        needed: Role = "operator" if request.method == "POST" else "viewer"
        if self.role is not None:
            needed = self.role.get(request.method, needed)
        return self.access.refusal(request, needed)


class PathsBelow(dict[str, Route]):
    """
    Paths and everything below one prefix: a look-up costs a call more than in a plain dict.
    """

    def __init__(self, paths: Mapping[str, Route], prefix: str, route: Route) -> None:
        super().__init__(paths)
        self._below, self._route = f"{prefix}/", route

    def __contains__(self, path: object) -> bool:
        return super().__contains__(path) or (isinstance(path, str) and path.startswith(self._below))

    def __missing__(self, path: str) -> Route:
        if path.startswith(self._below):
            return self._route
        raise KeyError(path)


# What a handler that takes a path for a file's name might be led astray by: empty parts but the last, `.` and `..`,
# what Windows takes for a slash, what no name has.
_is_ambiguous = re.compile(r"//|/\.\.?(?:/|\Z)|[\\\x00-\x1f\x7f]").search


def is_plain(path: str) -> bool:
    """
    Return whether a path is read in the same way by every server and proxy.
    """
    return _is_ambiguous(path) is None


class Router:
    """
    The routes of a runtime.

    Attributes:
        paths: What an adapter looks a request's path up in: all that every other request pays.
    """

    def __init__(self) -> None:
        self.paths: dict[str, Route] = {}

    def add(self, path: str, route: Route) -> None:
        """
        Answer at a path.

        Raises:
            ConfigurationError: Something else answers there.
        """
        taken = dict.get(self.paths, path)
        if taken is not None:
            raise ConfigurationError(
                f"{route.setting}={path!r} is a route of {taken.setting} too: give them different paths, or None to "
                "mount one of them nowhere"
            )
        self.paths[path] = route

    def add_below(self, prefix: str, route: Route) -> None:
        """
        Answer at every path below a prefix that has no route of its own. Before applications are instrumented: they
        keep `paths`.

        Raises:
            ConfigurationError: There is such a prefix already.
        """
        if isinstance(self.paths, PathsBelow):
            raise ConfigurationError(f"{route.setting}={prefix!r}: obskit has one prefix, and another setting took it")
        self.paths = PathsBelow(self.paths, prefix, route)
