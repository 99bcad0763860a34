"""
Django's routes: the one that matched, and all that there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from django.urls import get_resolver

from obskit.integrations._route_conflicts import warn_of_taken
from obskit.integrations._served_request import current_request
from obskit.recorder import recorder

# The one route of `urls.py`.
ROUTE_PATTERN = "<obskit:route>"


@lru_cache(maxsize=4096)
def template(route: str) -> str:
    """
    Return a route as an endpoint for labels; regular expressions lose their anchors.
    """
    route = route.removeprefix("^").removesuffix(r"\Z")
    return "/" + (route[:-1] if route.endswith("$") and not route.endswith(r"\$") else route)


def record_route(request: Any) -> None:
    """
    Set the endpoint of the request that is observed here, before its view runs, unless the application has set it.
    """
    root, match = current_request(), request.resolver_match
    if root is None or match is None:
        return
    try:
        if root.is_same_request(getattr(request, "scope", None) or request.META):
            root.record_route((template(match.route), request.META.get("SCRIPT_NAME", "")))
    except Exception as error:
        recorder.failed("route", error)


def templates() -> Iterator[str]:
    """
    Walk the routes of `ROOT_URLCONF`; what is wrong with it is raised.
    """
    return _walk(get_resolver().url_patterns, "")


def _walk(patterns: Iterable[Any], prefix: str) -> Iterator[str]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern).removeprefix("^")
        included = getattr(pattern, "url_patterns", None)
        if included is None:
            yield template(route)
        else:
            yield from _walk(included, route)


def internal_prefixes() -> tuple[str, ...]:
    """
    Return the prefixes under which the URLconf includes `obskit.integrations.django.urls`: `/`, or `/ops/`.
    """
    return tuple(found.removesuffix(ROUTE_PATTERN) for found in templates() if found.endswith(ROUTE_PATTERN))


def warn_of_taken_prefixes(prefixes: Iterable[str]) -> None:
    """
    Warn of routes that the application and obskit both have: only the first in the URLconf is answered.
    """
    for prefix in prefixes:
        beside = (found[len(prefix) - 1 :] for found in templates() if found.startswith(prefix))
        warn_of_taken(beside, set(), prefix.removesuffix("/"))
