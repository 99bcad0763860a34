"""
How the requests that an application serves are observed, and those that it makes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from obskit.fields import Network, Section, flag, items, matching, networks, one_of, section, setting, when

_HOSTS = "host names such as ('stock.internal', '*.shop.example', 'localhost:8080'), without a scheme or a path"
_hosts = items(
    lambda host: matching(r"(\*\.)?([^\s/:*@?#]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?", _HOSTS)(host).lower(), _HOSTS
)
_exclude = items(
    when(lambda item: item.startswith("/") if isinstance(item, str) else isinstance(item.pattern, str), ""),
    "path prefixes with a leading slash, or compiled patterns, such as ('/static', re.compile('^/probe'))",
)
_gates = items(
    when(lambda gate: callable(getattr(gate, "admit", None)) and not isinstance(gate, type), ""),
    "objects with a method admit(request), as obskit.Gate has it",
)
_hook = when(callable, "a function that takes the finished HttpOperation")


@section
class RequestSettings(Section, subject="Requests"):
    """
    How requests are observed: those that the application serves, and those that it makes.
    """

    correlation: bool = setting(True, flag, "Take, make and answer with correlation ids.")
    trust_inbound_ids: bool = setting(
        True, flag, "Take a well-formed correlation id from the request. False: always make one."
    )
    trust_inbound_traces: bool = setting(
        True,
        flag,
        "Continue the trace of a request's `traceparent`, and take its `baggage`. False: each request begins a trace "
        "of its own, as a server may want that strangers call.",
    )
    trusted_proxies: tuple[Network, ...] = setting(
        (), networks, "Networks of proxies whose `X-Forwarded-For` is believed. Empty: the header is ignored."
    )
    propagate_to: tuple[str, ...] = setting(
        (),
        _hosts,
        "Hosts that outgoing calls carry the ids to, such as `stock.internal`, `*.shop.example` (what is below it) or "
        "`localhost:8080`. Empty: none.",
    )
    exclude: tuple[str | re.Pattern[str], ...] = setting(
        (),
        _exclude,
        "Path prefixes (`/static`), or compiled patterns that are searched in the path, that are not observed at all.",
    )
    endpoint_style: str = setting(
        "template",
        one_of("template", "name"),
        "What `endpoint` says of a Flask application's routes: the URL template (`/plants/<int:plant_id>`), or the "
        "`name` of the endpoint (`plants.show`). Other frameworks' are templates.",
    )
    request_hook: Callable[[Any], None] | None = setting(
        None,
        _hook,
        "Called with each finished `HttpOperation` before the sinks; what it puts into `extra` reaches lines and "
        "spans.",
        env=None,
    )
    gates: tuple[Any, ...] = setting(
        (),
        _gates,
        "Asked in this order about each request before the application sees it: whatever has `admit(request)`, which "
        "gives None, or the reply that refuses. obskit's own routes are never refused.",
        env=None,
    )
    server_timing: bool = setting(
        False,
        flag,
        "Answer with a `Server-Timing` header: the milliseconds and the number of the request's queries and AI calls, "
        "for the browser's developer tools. Every client sees it.",
    )
