"""
No value starts a line or forges a field, and no id from outside comes back unless it is well formed.
"""

import io
import json
import logging

import orjson
import pytest

import obskit
from obskit.logs import JsonHandler
from obskit.testing import isolated_runtime

log = obskit.get_logger("shop.injected")

# Asked for as they are; a server refuses some of them before the application sees them.
BAD_IDS = (
    "-" * 60_000,
    "a" * 65,
    "",
    " ",
    "abc def",
    "abc\r\nSet-Cookie: a=b",
    "abc\n",
    "\nabc",
    "abc\r",
    "abc\x00",
    "\x1b[2J",
    "abc\x7f",
    "abc\x9b31m",
    "abc\u2028",
    "\u0661\u0662\u0663",
    "\uff41\uff42\uff43",
    "\xe9",
    '"',
    'abc","level":"DEBUG',
    "{abc}",
    "<abc>",
    "../abc",
    "-abc",
    ".abc",
    "_abc",
    "{550e8400-e29b-41d4-a716-446655440000}",
    "+1",
    "1_000;",
    "%0d%0a",
    "${jndi:ldap://x}",
    "\ud800",
)
HEADERS = ("HTTP_X_CORRELATION_ID", "HTTP_X_REQUEST_ID", "HTTP_TRACEPARENT")
FORGERIES = (
    '","level":"CRITICAL","message":"forged',
    '"}\n{"level":"CRITICAL","message":"forged"}\n',
    "a\nb\rc\x0bd\x0ce\x1cf\x1dg\x1eh\x85i\u2028j\u2029k",
    "\x1b]0;forged\x07\x9b2J",
    "\u202eforged\u2066",
    "\\",
    '\\"',
)


class Lines:
    """
    Lines as they were written.
    """

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


def wsgi(environ, start_response):
    log.info("handled")
    logging.getLogger("shop.injected.foreign").warning("handled")
    obskit.bind(step="after")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def answer(environ):
    """
    Serve one request; give its reply's headers and everything that was written.
    """
    lines, headers = Lines(), []
    foreign = logging.getLogger("shop.injected.foreign")
    foreign.handlers, foreign.propagate = [JsonHandler()], False
    with isolated_runtime(log_stream=lines):
        app = obskit.instrument(wsgi)
        body = app(
            {"REQUEST_METHOD": "GET", "PATH_INFO": "/", **environ},
            lambda status, given, exc_info=None: headers.extend(given),
        )
        assert b"ok" == b"".join(body)
    foreign.handlers = []
    return dict(headers), lines.text


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("bad", BAD_IDS, ids=lambda bad: ascii(bad)[:30])
def test_a_bad_id_never_comes_back(bad, header):
    """
    An id that is not well formed is in no header and on no line; the request gets a fresh one, on all of its lines.
    """
    headers, text = answer({header: bad})
    lines = [json.loads(line) for line in text.splitlines()]
    fresh = headers["X-Correlation-ID"]

    assert 32 == len(fresh)
    assert int(fresh, 16) >= 0
    assert {fresh} == {line["correlation_id"] for line in lines if line["logger"] != "obskit.runtime"}
    assert 4 == len(lines)
    if len(bad.strip()) > 2:
        assert bad not in text
        assert json.dumps(bad)[1:-1] not in text


@pytest.mark.parametrize("good", ["checkout-42", "urn:uuid:550e8400-e29b-41d4-a716-446655440000"])
def test_a_good_id_comes_back(good):
    """
    The corpus proves something: a well-formed id is taken, and is on each line.
    """
    headers, text = answer({"HTTP_X_CORRELATION_ID": good})
    lines = [json.loads(line) for line in text.splitlines()]

    assert good == headers["X-Correlation-ID"]
    assert [good] * 3 == [line["correlation_id"] for line in lines[1:]]


def say_everywhere(forged):
    """
    Put a text wherever an application can put one.
    """
    log.info(forged)
    log.info("x", **{forged: forged}, deep={forged: [forged]}, error=ValueError(forged))
    log.bind(field=forged).info("%s", forged)
    obskit.get_logger(forged).info("x")
    foreign = logging.getLogger("shop.injected.foreign")
    foreign.warning(forged)
    foreign.warning("%s", forged, extra={forged: forged})
    try:
        raise type(forged, (Exception,), {})(forged) if "\x00" not in forged else ValueError(forged)
    except Exception:
        log.exception("x", stack_info=forged)
        foreign.exception("x")


@pytest.mark.parametrize("schema", ["obskit", "ecs", "otel"])
@pytest.mark.parametrize("forged", FORGERIES, ids=range(len(FORGERIES)))
def test_nothing_forges_a_line_or_a_field(forged, schema):
    """
    Each call gives one line for any reader of lines; the contract's fields are ours, and no name is there twice.
    """
    lines = Lines()
    foreign = logging.getLogger("shop.injected.foreign")
    foreign.handlers, foreign.propagate = [JsonHandler()], False
    with isolated_runtime(service="shop", log_stream=lines, log_schema=schema):
        say_everywhere(forged)
    foreign.handlers = []
    written = lines.text.splitlines()
    level = {"obskit": "level", "ecs": "log.level", "otel": "SeverityText"}[schema]

    assert 8 == len(written)
    for line in written:
        pairs = json.loads(line, object_pairs_hook=list)
        assert len(pairs) == len(dict(pairs))
        assert dict(pairs)[level] in ("INFO", "WARNING", "ERROR")
        assert orjson.loads(line)[level] == dict(pairs)[level]
        assert line.isprintable() or line.isascii()


@pytest.mark.parametrize("forged", FORGERIES, ids=range(len(FORGERIES)))
def test_nothing_forges_an_access_line(forged):
    """
    A path, a query and a user agent from outside stay what they are: values.
    """
    lines = io.StringIO()
    environ = {"PATH_INFO": "/" + forged, "QUERY_STRING": forged, "HTTP_USER_AGENT": forged, "REMOTE_ADDR": forged}
    with isolated_runtime(log_stream=lines, log_query_string=True, log_client="full"):
        app = obskit.instrument(wsgi)
        app({"REQUEST_METHOD": "GET", **environ}, lambda status, headers, exc_info=None: None)
    written = lines.getvalue().splitlines()
    line = json.loads(written[-1], object_pairs_hook=list)

    assert 3 == len(written)
    assert len(line) == len(dict(line))
    assert ("INFO", "request") == (dict(line)["level"], dict(line)["message"])
