"""
Whatever leaves the process shows no secret: one list of all ways out, and secrets planted wherever others write.
"""

import ast
import asyncio
import io
import json
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import obskit
from obskit import ai, health
from obskit.redaction.text_truncation import LOOKAHEAD
from obskit.testing import isolated_runtime

PACKAGE = Path(obskit.__file__).parent
# What puts something out, and where: each module here is gone through by the test below, or says why it need not be.
CALLS = frozenset(
    [
        *(
            "write",
            "writelines",
            "write_text",
            "write_bytes",
            "write_new_file",
            "print",
            "sendall",
            "Reply",
            "handle",
            "warn",
        ),
        *("set_attributes", "set_attribute", "update_name", "start_span", "record_exception"),
    ]
)
WAYS_OUT = {
    "lines": {"logs/writer.py", "logs/stream.py", "logs/queued.py", "logs/log_file.py", "logs/json_handler.py"},
    "lines of a second output": {"logs/outputs.py"},
    "spans": {
        *(f"sinks/spans_by_kind/{kind}.py" for kind in ("requests", "functions", "queries", "ai_calls")),
        "sinks/genai_attributes.py",
    },
    "health": {"web/health.py"},
    "metrics": {"web/metrics.py"},
}
EXCUSED = {
    **dict.fromkeys(
        ("integrations/_uncaught.py", "integrations/_flask_routes.py", "integrations/logging.py"),
        "hands a record on to its loggers, whose handlers write the lines",
    ),
    "metrics/directory.py": "writes figures, and pages' labels",
    **dict.fromkeys(("history/series_slot.py", "history/roll_up.py"), "writes figures, and their labels"),
    "history/record_writer.py": "writes records, whose secrets are gone by then: `test_kept_records.py` proves it",
    "history/record_users.py": "writes a key of its own",
    "history/last_version.py": "writes the setting `version`",
    **dict.fromkeys(("workers/instance_folders.py", "workers/private_folder.py"), "writes which server it is of"),
    **dict.fromkeys(("metrics/declare.py", "fields.py"), "warns of what the application's own code names"),
    **dict.fromkeys(
        ("ai/budget_book.py", "ai/ledger.py"), "writes figures under the names of budgets, and ids and labels of calls"
    ),
    **dict.fromkeys(
        ("web/replies.py", "web/routes.py", "web/gate.py"),
        "refuses and fails in words of its own, and passes on what handlers answer",
    ),
    **dict.fromkeys(
        ("_contracts/trials.py", "_contracts/state_engine.py"), "tries what somebody else has made, in his tests"
    ),
    "integrations/django/hooks.py": "hands an exception on to the view that handles it",
    "outbound.py": "sends what it is given to whom the application has named",
    **dict.fromkeys(
        ("cli/export.py", "cli/front.py", "cli/history.py", "cli/usage.py"),
        "prints on the command line what its user asked of his own application",
    ),
    **dict.fromkeys(
        ("export/directory.py", "export/for_prometheus.py"), "writes files of names, labels and help of metrics"
    ),
    **dict.fromkeys(
        tuple(f"history/{part}.py" for part in ("instance_mark", "roll_up", "sampling", "series_slot")),
        "writes figures under the label sets of the page",
    ),
    "sqlite_doctor/cli.py": "prints on the command line what its user asked of his own file",
    **dict.fromkeys(
        ("event_exchange.py", "storage/appended_records.py"),
        "writes events for other processes, whose secrets are gone by then: `test_subscribers.py` proves it",
    ),
    "health/system_checks.py": "writes and removes a file of its own, to see whether it can",
}


def _ways_out() -> set[str]:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
        if CALLS & {getattr(call, "attr", getattr(call, "id", "")) for call in calls}:
            found.add(path.relative_to(PACKAGE).as_posix())
    return found


def test_every_way_out_is_in_the_list():
    """
    A module that writes, answers or describes a span is one of the ways out, or says why it shows nothing of others'.
    """
    assert _ways_out() == {*EXCUSED, *(module for modules in WAYS_OUT.values() for module in modules)}


SECRET = "Tr0ub4dor-X9zQ"
GITHUB = "ghp" + "_" + "16C7e42F292c6912E7710c838347Ae178B4a"
JWT = ".".join(["eyJ" + "hbGciOiJIUzI1NiJ9", "eyJ" + "zdWIiOiI0MiJ9", "abc_DEF-123"])
CARD = "4111 1111 1111 1111"
# What is planted, and what must not be seen of it.
PLANTED = {
    "a token": (GITHUB, GITHUB),
    "a JWT": (JWT, JWT),
    "a password": (f"?password={SECRET}", SECRET),
    "a URL": (f"redis://u:{SECRET}@cache:6379/0", SECRET),
    "a header": (f"Authorization: Bearer {SECRET}", SECRET),
    "a card": (CARD, CARD),
    "a driver's detail": (f"duplicate key\nDETAIL:  Key (a)=({SECRET}) already exists.", SECRET),
}


class Lines(io.StringIO):
    """
    Lines that are not cut for a pipe.
    """


def _use(planted: str) -> None:
    """
    Pass a secret wherever an application can pass a text.
    """
    log = obskit.get_logger("shop.ways")
    obskit.set_route(f"/a/{planted}")
    obskit.bind(bound=planted, inside=[{"a": (planted,)}], **{planted: 1})
    log.warning(planted, text=planted, error=ValueError(planted), headers=[("a", planted)], **{planted: 2})
    log.warning("%s and %s", planted, {"a": planted})
    try:
        raise ValueError(planted)
    except ValueError:
        log.exception("failed", stack_info=True)
    with obskit.observe(f"job {planted}") as op:
        op.fail(planted)
    with obskit.observe_db(table=planted, operation=planted, system=planted) as query:
        query.fail(planted)
    with obskit.observe_ai(planted, provider=planted, model=planted) as call:
        call.fail(planted)
    obskit.counter("planted", "A figure.", ["name"]).inc(name=planted)


# What makes an application of each kind, which uses `_use()`; those of frameworks raise the secret at the end.


def _wsgi(planted):
    def serve(environ, start_response):
        _use(planted)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    return serve


def _asgi(planted):
    async def serve(scope, receive, send):
        _use(planted)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    return serve


def _flask(planted):
    from flask import Flask

    app = Flask("ways")

    @app.before_request  # whatever the method
    def use():
        _use(planted)
        raise ValueError(planted)

    return app


def _starlette(planted):
    from starlette.applications import Starlette

    return _failing(Starlette(), planted)


def _fastapi(planted):
    from fastapi import FastAPI

    return _failing(FastAPI(), planted)


def _failing(app, planted):
    async def use(scope, receive, send):
        _use(planted)
        raise ValueError(planted)

    app.router.default = use  # whatever the method and the path
    return app


def _ask_wsgi(app, planted: str, path: str | None) -> str:
    in_header = planted.replace("\n", "\\n")
    environ = {
        "REQUEST_METHOD": in_header if path is None else "GET",
        "PATH_INFO": f"/a/{planted}" if path is None else path,
        "QUERY_STRING": f"page=2&a={in_header.replace(' ', '+')}",
        "HTTP_USER_AGENT": in_header,
        "HTTP_HOST": in_header,
        "HTTP_X_FORWARDED_FOR": in_header,
        "HTTP_X_REQUEST_ID": in_header,
        "HTTP_TRACEPARENT": in_header,
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_NAME": "shop",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.errors": io.StringIO(),
        "wsgi.input": io.BytesIO(),
    }
    reply = app(environ, lambda status, headers, exc_info=None: None)
    body = b"".join(reply).decode()
    getattr(reply, "close", lambda: None)()
    return body


def _ask_asgi(app, planted: str, path: str | None) -> str:
    in_header = planted.replace("\n", "\\n").encode()
    names = (b"user-agent", b"host", b"x-forwarded-for", b"x-request-id", b"traceparent")
    asked = f"/a/{planted}" if path is None else path
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": in_header.decode() if path is None else "GET",
        "scheme": "http",
        "path": asked,
        "raw_path": asked.encode(),
        "root_path": "",
        "query_string": b"page=2&a=" + in_header.replace(b" ", b"+"),
        "headers": [(name, in_header) for name in names],
        "client": ("127.0.0.1", 1),
        "server": ("shop", 80),
    }
    body = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        body.append(message.get("body", b""))

    with suppress(ValueError):  # Starlette raises it once more, for the server
        asyncio.run(app(scope, receive, send))
    return b"".join(body).decode()


STACKS = {
    "wsgi": (_wsgi, _ask_wsgi),
    "asgi": (_asgi, _ask_asgi),
    "flask": (_flask, _ask_wsgi),
    "starlette": (_starlette, _ask_asgi),
    "fastapi": (_fastapi, _ask_asgi),
}
INSTALLED = [stack for stack in STACKS if stack in ("wsgi", "asgi") or find_spec(stack)]


def _seen(planted: str, stack: str = "wsgi", **settings: object) -> dict[str, str]:
    """
    Plant a secret in every field that a client, a driver or the application controls; give what is seen of it by ways.
    """
    exporter, lines = InMemorySpanExporter(), Lines()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    make, ask = STACKS[stack]

    def check() -> None:
        raise ConnectionError(planted)

    given = {"tracing": provider, "log_stream": lines, "log_query_string": True, "slow_query_ms": 0, **settings}
    with isolated_runtime(expose_details="always", **given):
        health.add("planted", check, background=False)
        app = obskit.instrument(make(planted))
        for path in (None, "/health/detailed", "/metrics"):
            body = ask(app, planted, path)
            if path is not None:
                lines.write(f"\n{path}\n{body}")
        report = str(ai.report())
    provider.shutdown()
    text = lines.getvalue()
    logged, _, rest = text.partition("\n/health/detailed\n")
    body, _, page = rest.partition("\n/metrics\n")
    described = [[span.name, *span.attributes.items()] for span in exporter.get_finished_spans()]
    return {"lines": logged, "spans": json.dumps(described), "health": body, "metrics": page, "report": report}


def _shows(text: str, secret: str) -> bool:
    plain = text.replace("\\n", "\n")
    return any(secret[start : start + 6] in plain for start in range(len(secret) - 5))


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("stack", INSTALLED)
@pytest.mark.parametrize(("planted", "secret"), PLANTED.values(), ids=PLANTED)
def test_no_way_out_shows_a_secret(planted, secret, stack, log_format):
    """
    No six characters of a secret are in a line, a span, a health check, on the metrics page or in a report, whatever
    serves the application; and the application was reached.
    """
    seen = _seen(planted, stack, log_format=log_format)

    assert "\nplanted_total{" in seen["metrics"]
    assert [] == [way for way, text in seen.items() if _shows(text, secret)]
    assert [] == [way for way, text in seen.items() if not text]


@pytest.mark.parametrize(("planted", "secret"), PLANTED.values(), ids=PLANTED)
def test_no_second_output_shows_a_secret(planted, secret):
    """
    What has a form of its own, beside the first, has no part of a secret either.
    """
    others = {schema: io.StringIO() for schema in ("obskit", "ecs", "otel")}
    outputs = [{"stream": stream, "schema": schema} for schema, stream in others.items()]
    _seen(planted, log_format="console", log_outputs=[{**output, "format": "json"} for output in outputs])

    assert [] == [schema for schema, stream in others.items() if _shows(stream.getvalue(), secret)]
    assert [] == [schema for schema, stream in others.items() if not stream.getvalue()]


@pytest.mark.parametrize("limit", [64, 256, 500, 2048])
@pytest.mark.parametrize("beyond", [0, LOOKAHEAD])
def test_no_cut_of_any_way_out_shows_a_secret(limit, beyond):
    """
    Wherever a cut goes through a secret, none of the ways out shows its beginning.
    """
    planted, secret = f"redis://u:{SECRET}@cache:6379/0", SECRET
    for offset in range(10, len(planted), 12):
        text = f"{'x' * (limit + beyond - offset - 1)} {planted} {'and more ' * 1_000}"
        seen = _seen(text)

        assert [] == [way for way, text in seen.items() if _shows(text, secret)]
