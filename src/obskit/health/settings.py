"""
Where health is reported, and to whom how much of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from obskit.fields import (
    Network,
    Section,
    items,
    matching,
    networks,
    number,
    one_of,
    section,
    setting,
    text,
    url_path,
    when,
)

_GROUPS = "names of further groups of checks, such as ('deep',): letters, digits, '_', '.' and '-'"
_groups = items(matching(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", _GROUPS), _GROUPS)
_expose = when(
    lambda value: value in ("never", "authorised", "always") or callable(value),
    "'never', 'authorised', 'always', or a function that takes the request and answers True for who may see",
)


@section
class HealthSettings(Section, subject="Health"):
    """
    Where health is reported, and to whom how much of it.
    """

    health_path: str | None = setting("/health", url_path, "Prefix of the health routes. None: nowhere.", optional=True)
    health_groups: tuple[str, ...] = setting(
        (), _groups, "Groups of checks beside `live`, `ready` and `startup`; each has a route below `health_path`."
    )
    health_fail_status: int = setting(
        503,
        number(400, 599, "a status from 400 to 599", int),
        "What a health route answers when something critical fails.",
    )
    health_schema: str = setting(
        "obskit",
        one_of("obskit", "guides"),
        "What bodies of health routes say: `pass`, `warn` and `fail`, or with `guides`, for monitors that look for "
        "words, `healthy` and `unhealthy`, under `status` and `overall_status`; a warning is healthy there.",
    )
    expose_details: str | Callable[[Any], bool] = setting(
        "authorised",
        _expose,
        "Who sees more of the health routes than one word: `never` nobody, `authorised` whom `details_token` or "
        "`details_networks` lets, `always` everyone; or a function that takes an `obskit.Request` and "
        "returns True.",
    )
    details_token: str | None = setting(
        None, text, "Bearer token that shows health details; probes need none.", secret=True
    )
    details_networks: tuple[Network, ...] = setting(
        (), networks, "Networks that see health details without a token. With neither token nor network nobody does."
    )
