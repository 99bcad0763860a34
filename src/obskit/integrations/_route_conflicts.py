"""
Routes that the application and obskit both have.
"""

from __future__ import annotations

from collections.abc import Iterable

from obskit.catalogue import events
from obskit.errors import RouteTakenError
from obskit.recorder import recorder
from obskit.runtime import Runtime, current_runtime


def refuse_taken(runtime: Runtime, routes: Iterable[str]) -> None:
    """
    Refuse to hide a route of the application.

    Raises:
        RouteTakenError: It names the path, and the setting that moves obskit's.
    """
    for message in _taken_routes(runtime, routes).values():
        raise RouteTakenError(message)


def warn_of_taken(routes: Iterable[str], warned: set[str], below: str = "") -> None:
    """
    Warn of each route that the application and obskit have both, where it is too late to refuse.

    A server would go on after an error here, and without the application.

    Args:
        routes: The application's, without `below`.
        warned: The routes that have been warned of; once is enough.
        below: Where obskit's own routes are, without a slash at its end.
    """
    runtime = current_runtime()
    if runtime is None:
        return
    try:
        taken = _taken_routes(runtime, routes, below)
    except Exception as error:  # of a route that is none of the framework's own
        recorder.failed("route", error)
        return
    for route in taken.keys() - warned:
        warned.add(route)
        recorder.emit(events.ROUTE_TAKEN.event(f"{taken[route]}; until then one of the two is hidden"))


def _taken_routes(runtime: Runtime, routes: Iterable[str], below: str = "") -> dict[str, str]:
    """
    Return, for each route that the application and obskit both have, a message that says how to move obskit's.
    """
    messages = {}
    paths = runtime.routes.paths
    for route in sorted({route for route in routes if route in paths}):
        setting = paths[route].setting
        place = getattr(runtime.settings, setting, None) or route
        messages[route] = (
            f"the application has a route {below}{route} itself: give obskit another place with "
            f"{setting}='/obskit{place}', or {setting}=None to mount none"
        )
    return messages
