"""
No operation outlives its request, which it holds: whatever is on, environ and scope are let go with the reply.
"""

import asyncio
import gc
import re
import sqlite3
import weakref
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields
from io import StringIO

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import obskit
from contract.drivers import Request, environ_of
from obskit.ai.ai_operation import AiOperation
from obskit.ai.token_kinds import Usage
from obskit.deferred_endings import drain
from obskit.operation import Event
from obskit.recorder import recorder
from obskit.settings import Settings
from obskit.testing import isolated_runtime

REQUESTS = 2


@pytest.fixture(autouse=True)
def frozen():
    """
    Leave what is there already out of collections, which are quick then.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Held:
    """
    What a server puts into an environ or a scope, and nobody else has.
    """


def work() -> None:
    """
    Do some of everything that an operation is made for, well and not.
    """
    obskit.bind(user="ann", feature="search")
    with closing(sqlite3.connect(":memory:")) as connection:
        for number in range(3):
            connection.execute("SELECT ?", (number,)).fetchall()
    with obskit.observe("bake") as block:
        block.fail("too hot")
    with obskit.observe_db(table="devices", operation="select"):
        pass
    with obskit.job("nightly"):
        obskit.get_logger().warning("inside", shelf=7)
    plan, op = recorder.plan(AiOperation), AiOperation("labels", "acme", "house-model")
    plan.begin(op)
    op.tokens, op.cost_usd, op.estimated = Usage(input=1, output=2), 0.5, True
    plan.end(op)
    recorder.emit(Event("shop.closed", "ERROR", "closed", {"shelf": 7}))


def wsgi_app(environ, start_response):
    work()
    if environ["PATH_INFO"] == "/fails":
        raise KeyError("shelf")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (piece for piece in (b"a", b"b"))


async def asgi_app(scope, receive, send):
    work()
    if scope["path"] == "/fails":
        raise KeyError("shelf")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    await send({"type": "http.response.body", "body": b"b"})


def serve_wsgi(app: Callable, path: str, held: Held) -> None:
    environ = {**environ_of(Request(path)), "shop.held": held}
    try:
        body = app(environ, lambda status, headers, exc_info=None: None)
        list(body)
        body.close()
    except KeyError:
        pass


def serve_asgi(app: Callable, path: str, held: Held) -> None:
    scope = {
        **{"type": "http", "http_version": "1.1", "method": "GET", "path": path, "raw_path": path.encode()},
        **{"query_string": b"", "headers": [(b"host", b"shop")], "client": ("203.0.113.7", 5), "shop.held": held},
    }

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        return None

    try:
        asyncio.run(app(scope, receive, send))
    except KeyError:
        pass


SERVED = {"wsgi": (wsgi_app, serve_wsgi), "asgi": (asgi_app, serve_asgi)}


def hook(op: object) -> None:
    """
    Take a finished request, as an application's `request_hook` does.
    """


# Values of settings that have no other one that can be told by their type.
OTHERS = {
    "access_log_sample": {"<unmatched>": 2},
    "db_buckets": (0.1,),
    "exclude": ("/never",),
    "log_client": "full",
    "log_format": "console",
    "log_names": {"path": "where"},
    "log_outputs": ({"format": "console", "stream": "stderr"},),
    "log_queue": 100,
    "log_sample_first": 2,
    "log_schema": "ecs",
    "n_plus_one": 2,
    "metric_names": {"http_requests_total": None},
    "request_hook": hook,
    "slow_query_ms": 0.0,
    "slow_request_ms": 0.0,
}
# What decides that nothing is observed, that threads of other tests are, or what a test of its own has to bring about.
APART = re.compile(r"enabled|auto|serving|log_rotate_daily|history|dashboard|alerts")


def variations() -> dict[str, dict[str, object]]:
    """
    Turn each switch over, one at a time, and give each other setting a value that is not its default.
    """
    known = {field.name: field.default for field in fields(Settings)}
    switches = {
        name: not default for name, default in known.items() if type(default) is bool and not APART.fullmatch(name)
    }
    turned = {name: {name: value} for name, value in {**switches, **OTHERS}.items() if name in known}
    turned["log_format"]["log_stream"] = StringIO()  # lines that are no JSON
    return {"nothing": {}, "tracing": {"tracing": None}, **turned}


def served(protocol: str) -> list[weakref.ref]:
    """
    Serve requests of a protocol; give references to what each held.
    """
    app, serve = SERVED[protocol]
    wrapped, references = obskit.instrument(app), []
    for path in ("/", "/fails") * REQUESTS:
        held = Held()
        references.append(weakref.ref(held))
        serve(wrapped, path, held)
        del held
    return references


def holders(thing: object) -> str:
    """
    Name who holds a thing, and who holds those, for the message.
    """
    named = []
    for one in gc.get_referrers(thing):
        for two in gc.get_referrers(one):
            named.append(f"{type(two).__name__} > {type(one).__name__}")
    return ", ".join(sorted(set(named)))


def still_held(references: list[weakref.ref]) -> list[str]:
    drain()
    gc.collect()
    return [holders(found) for reference in references if (found := reference()) is not None]


@pytest.mark.parametrize("varied", variations())
def test_no_sink_holds_a_request(varied):
    """
    After its reply nothing holds an environ or a scope, with any setting, after failures too.
    """
    given = dict(variations()[varied])
    if "tracing" in given:  # spans wait for their export
        given["tracing"] = provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    obskit.instrument_sqlite3()
    try:
        with isolated_runtime(**{"service": "shop", "n_plus_one": 1, "slow_query_ms": 0.0, **given}):
            references = [reference for protocol in SERVED for reference in served(protocol)]

            assert [] == still_held(references)
    finally:
        obskit.uninstrument_sqlite3()


def test_who_holds_one_is_found():
    """
    A sink that keeps operations keeps requests, which is found, and who it is.
    """
    kept = []
    with isolated_runtime(service="shop", request_hook=kept.append):
        references = served("wsgi")
        found = still_held(references)

        assert (2 * REQUESTS, True) == (len(found), "WsgiOperation > dict" in found[0])
