"""
What others write is worked on in linear time: each pattern, and each function that goes through a text by hand.

This is the one test that compares times: processor times of one thread, as ratios in one run.
"""

import inspect
import io
import ipaddress
import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import CodeType
from typing import Any

import pytest

from linear_work import Driven, modules_of, patterns_of, slow, slow_pattern
from obskit import correlation_ids
from obskit.ai.provider_hosts import CLOUDS, provider_of, region_of
from obskit.ai.rate_limit_headers import LatestRateLimits
from obskit.db import fingerprint, sql_masking, sql_summary, statement
from obskit.health import safe_details
from obskit.integrations import _client_address, _inbound_correlation, _middleware, _route_conflicts, _served_request
from obskit.logs import clients, console, line_truncation, rendering, server_access
from obskit.logs.writer import Writer
from obskit.operation import HttpOperation
from obskit.propagation import trace_headers
from obskit.recorder import Recorder
from obskit.redaction import driver_errors, keys, redactor, signs, text_truncation, values
from obskit.settings import Settings
from obskit.sinks import log_sink
from obskit.sinks.spans_by_kind import requests as request_spans
from obskit.web import access, bodies, replies, request, router

DIALECTS = ("postgresql", "mysql", "sqlite", "standard")
LEXICONS = [sql_masking.lexicon(dialect) for dialect in DIALECTS]  # made with the first statement
MODULES = modules_of("obskit")
PATTERNS = patterns_of(MODULES, "obskit")

# As they were: each of them was found in this package, or nearly got into it.
PLANTED = {
    "a token after a letter that is no ASCII": r"(?<![A-Za-z0-9_-])eyJ[\w-]{5,}(?:\.{1,2}[\w-]+){1,4}",
    "the last quote of a text": r"([Ii]ncorrect [^:\n]{1,60} value: )'(?s:.)*?(?:'(?= for | at |\W*\Z)|\Z)",
    "the last brace of a text": r"(\bdup key: )\{(?s:.)*?(?:\}(?=\W*(?:\n|\Z)|, full error)|\Z)",
    "a frame of a traceback": r'(?m)^([ |+]*)File "[^\n]*", line \d+[^\n]*\n(?:\1  [^\n]*\n?)*',
    "a URL with a user": r"(?i)\b[a-z][a-z0-9+.-]{0,30}://[^\s'\"<>]*@[^\s'\"<>]*",
    "a bracket that is not closed": r"\[[^\]]*+\]",
    "blanks before a mark": r"\s*(\.+)\s*",
}


@pytest.mark.parametrize("pattern", PLANTED.values(), ids=PLANTED)
def test_a_pattern_of_quadratic_work_is_found(pattern):
    """
    The search for slow patterns finds those that were slow.
    """
    assert slow_pattern(re.compile(pattern)) is not None


def test_patterns_are_reached_wherever_they_are_kept():
    """
    Globals, classes, tuples, closures, methods that are bound to a pattern, and the caches of functions.
    """
    found = {pattern.pattern for pattern in PATTERNS.values()}

    assert redactor._frame.pattern in found
    assert _client_address._with_port.__self__.pattern in found
    assert {pattern.pattern for pattern in LEXICONS[0][:3]} <= found
    assert {cut.pattern.pattern for cut in driver_errors._TEXT_RULES} <= found
    assert {pattern.pattern for _, pattern in values._WITH_DASH} <= found
    assert len(found) > 90


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=[str(pattern)[:60] for pattern, _ in PATTERNS])
def test_every_pattern_takes_linear_time(pattern):
    """
    Searched and replaced in repetitions of what it is made of, each pattern takes about sixteen times as long for
    sixteen times the text.
    """
    assert slow_pattern(pattern) is None


# Functions

_redactor = redactor.Redactor()
_writer = Writer(Settings(log_stream=io.StringIO()), Recorder())
_on_console = console.console_renderer(coloured=False)


def _record(name: str, message: str, *args: Any) -> dict[str, Any]:
    record = logging.LogRecord(name, logging.INFO, "f.py", 1, message, args, None)
    said = server_access.parse_access_record(record)
    return server_access.access_fields(said, _writer.settings, _redactor) if said is not None else {}


def _request(**headers: str) -> HttpOperation:
    own = {"header": lambda self, name: headers.get(name), "trusts_traces": True}
    return type("Request", (HttpOperation,), own)("GET", "/")


def _masked(text: str) -> None:
    for dialect, lexicon in zip(DIALECTS, LEXICONS, strict=True):
        sql_masking.mask(text, lexicon)
        statement.summarize(text, dialect)


def _read(text: str) -> None:
    for dialect in DIALECTS:
        tokens = sql_summary.scan(text, dialect)
        fingerprint.shape(tokens, sql_summary.read(tokens, dialect).operation)


_ROUTE = router.Route("a_path", {})


def _checked(reply: replies.Reply) -> None:
    with suppress(ValueError):
        replies.checked(reply)


def _with_content_length(text: str) -> None:
    for length in (text, "1" * len(text)):
        bodies.read_body({"CONTENT_LENGTH": length})


def _below(text: str) -> object:
    paths = router.PathsBelow({}, "/a", _ROUTE)
    return [paths[path] for path in (text, f"/a/{text}") if path in paths]


_NETWORKS = (ipaddress.ip_network("10.0.0.0/8"),)
_MOMENT = "2026-11-30T00:00:00.000000Z"
# By what a text is: what works on it.
ENTRIES: dict[str, Callable[[str], object]] = {
    "a message": _redactor.text,
    "source code": _redactor._redact_source,
    "a traceback": _redactor.traceback,
    "a driver's message": driver_errors.redact_exception_text,
    "a query string": _redactor.query,
    "a split URL's place": lambda text: _redactor.contextual_field("netloc", text, {}),
    "a field's name": lambda text: _redactor.fields({text: text}),
    "a secret name": lambda text: keys.SecretKeys().rule(text),
    "a value deep inside": lambda text: _redactor.value([{"a": [text]}, (text, text), ValueError(text)]),
    "arguments": lambda text: _redactor.arguments(text.replace("pass", ""), (text,)),
    "a text to cut": lambda text: (_redactor.short(text, 100), _redactor.short_query(text, 100)),
    "a word to cut": text_truncation._length_of_last_word,
    "a long traceback": lambda text: text_truncation.redact_with_mark(text, 100, _redactor.traceback_of_any_length),
    "a text without a look": redactor.Redactor(values=False).text,
    "a marker": lambda text: (values.is_marker(text), values.rule_in(text)),
    "a health check's reason": safe_details.redacted,
    "a health check's details": lambda text: safe_details.without_secrets({text: [text]}),
    "a statement": _masked,
    "a masked statement": _read,
    "the end of a statement": lambda text: statement._without_long_list(statement._without_partial_word(text)),
    "a line to cut": lambda text: line_truncation.truncate_line(
        rendering.render({"a": text, "b": {"c": [text]}}), 10_000
    ),
    "a line for the console to cut": lambda text: line_truncation.truncate_line(text.encode("utf-8", "replace"), 1_000),
    "a string to cut": lambda text: line_truncation.truncate_text(text, 1_000),
    "a traceback to cut": lambda text: line_truncation.truncate_traceback(text, 1_000),
    "a line": lambda text: rendering.render({"a": text, "b": [{text: text}], "c": {1: 2**70}}),
    "a line on the console": lambda text: _on_console(
        {"level": "INFO", "message": text, "timestamp": _MOMENT, "logger": "x", "stack": text, "a": text}
    ),
    "an access record": lambda text: (
        _record("uvicorn.access", "", f"10.0.0.1:{text}", "GET", text, "1.1", 200),
        _record("werkzeug", f"{text} - - [", f"GET {text} HTTP/1.1", "200", "-"),
    ),
    "an address": lambda text: (clients.mask_client(text), access.is_in(text, _NETWORKS)),
    "what a server says": server_access.one_line,
    "a path in disguise": _served_request.text_of,
    "where an application is mounted": _served_request.prefix_label,
    "X-Forwarded-For": lambda text: _client_address.client_address("10.0.0.1", text, _NETWORKS),
    "a correlation id": lambda text: _inbound_correlation.assign_correlation_id(
        _request(**{"x-request-id": text}), trust=True
    ),
    "traceparent": lambda text: (correlation_ids.trace_id_of(text), trace_headers(_request(traceparent=text))),
    "Authorization": lambda text: access.has_token(
        request.Request("GET", "/", "", lambda name: text.encode("latin-1", "replace").decode("latin-1"), None), "t"
    ),
    "a path of obskit's": lambda text: (router.is_plain(text), _below(text)),
    "a method": _ROUTE.handler,
    "Content-Length": _with_content_length,
    "a header of a reply": lambda text: _checked(replies.Reply(200, [(text, text)])),
    "Host": lambda text: request_spans._server(text, "http"),
    "User-Agent": lambda text: log_sink._clients(lambda client: client, {}, _redactor)["10.0.0.1", text],
    "a path": lambda text: log_sink._escaped(server_access.loggable_path(text, text, _redactor)),
    "an AI client's host": lambda text: (provider_of(text, CLOUDS), region_of(f"{text}.googleapis.com")),
    "a rate limit's header": lambda text: LatestRateLimits().read(
        "openai", "m", [(b"x-ratelimit-reset-requests", text.encode("utf-8", "replace"))]
    ),
}  # fmt: skip

UNITS = (
    *("password=", "code=", "key:", "[redacted:cookie=eyJ", "cookie: ", "secret=[", "secret:{", 'password=\\"'),
    *("eyJ", "eyJé", "eyJa.", "://", "a://", "://a:", "://a:b@", "a://a@", "--token ", "--token", "bearer ", "basic "),
    *("-----BEGIN ", "-----END PRIVATE KEY", "AKIA", "ghp_", "sk-", "SG.a", "hooks.slack.com/services/", "1//0"),
    *("'", '"', "''", "}", "{", "(", ")", "[", "]", "`", "\\", "\\'", "=", ":", "=:", "@", "&", "&a=", "%3D", "%", ";"),
    *("\n", "\r\n", " ", "\t", "a ", "a\n", "é", "\x00", "\u2028", ",", ", ", "-", "--", "_", ".", "/", "1", "4111 "),
    *('  File "a", line 1\n', 'File "a", line ', "DETAIL:", "\nDETAIL: ", "\n\nDuring handling of the above", "    a"),
    *("Traceback (most recent call last):\n", "\n\nThe above exception was the direct cause\n\n", "input_value=", " ("),
    *("\\nDETAIL:  ", "\\nLINE 1: ", "\nLINE 1: a\n ", "Duplicate entry '", "key value is ("),
    *('invalid input value for a: "', '\nSQL statement "', '\\nSQL statement "', "CONTEXT:  COPY a: "),
    *("CONTEXT: portal ", 'invalid input value for a: \\"', "incorrect a value: '", "to use near '", "dup key: {"),
    *("/*", "*/", "--\n", "$$", "$a$", "?, ", "in (", "(?, ", "values (", "select ", "union ", "with a as (", "::"),
    *("a.", '"a".', "[a", "e'", "1e", "from a, ", "0x", "d", "10.0.0.1,", "[::1]:1,", "a.b.c ", "A", "Aa", "password_"),
)  # fmt: skip
PREFIXES = ("", "password=", "SELECT 1 FROM a WHERE b IN (", 'Traceback (most recent call last):\n  File "a", line ')


def _texts() -> Iterator[Driven]:
    for prefix in PREFIXES:
        for unit in UNITS:
            yield Driven(prefix, unit, "" if not prefix else "a")


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_every_way_in_takes_linear_time(entry):
    """
    Whatever goes through a text takes about sixteen times as long for sixteen times the text.
    """
    assert slow("", entry, _texts()) is None


def test_work_that_is_quadratic_is_found():
    """
    The way that names were once looked for is found: what followed each was gone through, and given up.
    """

    def old(text: str) -> None:
        for found in re.finditer("code=", text):
            re.compile(r"[^\s,;]*").match(text, found.end())

    assert slow("", old, _texts()) is not None


# Of these modules every function that takes a text is reached from ENTRIES, or stands here with a reason.
SCANNERS = (
    *(
        text_truncation,
        driver_errors,
        keys,
        redactor,
        signs,
        values,
        safe_details,
        statement,
        sql_masking,
        sql_summary,
        fingerprint,
        line_truncation,
        rendering,
        console,
    ),
    *(_client_address, _inbound_correlation, _middleware, _route_conflicts, _served_request, correlation_ids),
    *(server_access, clients, access, bodies, replies, request, router, request_spans, log_sink),
)
EXCUSED = {
    **dict.fromkeys(
        ("driver_errors._rule", "keys._table", "sql_masking._lexicon", "sql_masking.lexicon", "sql_summary._scanner"),
        "makes patterns and tables of our own texts, once",
    ),
    **dict.fromkeys(
        ("driver_errors._quoted_value", "driver_errors._bracketed_value"),
        "makes a pattern's part of our own texts, once",
    ),
    **dict.fromkeys(
        (
            "statement.StatementCache.__init__",
            "statement.statement_cache",
            "console.wants_colour",
            "clients.client_formatter",
        ),
        "is given a setting",
    ),
    **dict.fromkeys(
        (
            "_served_request.set_route",
            "_route_conflicts.warn_of_taken",
            "_route_conflicts._taken_routes",
            "access.Access.__init__",
            "bodies._RefusedError.__init__",
            "replies.text",
            "request.Request.__init__",
            "router.PathsBelow.__init__",
            "router.Router.add",
            "router.Router.add_below",
            "replies.Reply.__init__",
            "replies.status_line",
        ),
        "is given what the application's code says, and goes through none of it",
    ),
    **dict.fromkeys(("redactor._unchanged", "_middleware._everything"), "looks at none of it"),
    "router.Route.__init__": "is given what obskit's own code says",
    **dict.fromkeys(("bodies.receive_body", "bodies._whole"), "goes through the header alone, as `_declared()` does"),
    "_served_request.ServedOperation.mount_prefix": "is left to its classes",
    "log_sink.LogSink._with_sparse": "puts two lines together",
}


def _takes_a_text(function: Any) -> bool:
    given = [str(kind) for name, kind in function.__annotations__.items() if name != "return"]
    return any(re.search(r"^(str|bytes|re\.Match\[str\])( \||$)", kind) for kind in given)


def _functions(module: Any) -> Iterator[tuple[str, Any]]:
    for name, thing in vars(module).items():
        if getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(thing):
            inside = [getattr(inner, "__func__", inner) for inner in vars(thing).values()]
            yield from ((inner.__qualname__, inner) for inner in inside if inspect.isfunction(inner))
        elif inspect.isfunction(inspect.unwrap(thing)):
            yield name, inspect.unwrap(thing)


def _reached() -> set[CodeType]:
    reached: set[CodeType] = set()

    def note(frame: Any, event: str, arg: object) -> None:
        reached.add(frame.f_code)

    samples = [driven.of(200) for driven in _texts()]
    # What few texts get to.
    samples += [
        "Basic YTpi" + "YTpi" * 4,
        "4111 1111 1111 1111",
        "--token abc",
        "[('password', 'abcd')]",
        "<password>abcd</password>",
        "Traceback (most recent call last):\n" + '  File "a", line 1\n    b\n' * 100,
        "postgresql://a:b@c",
        'select a.b, "c" from a join b on 1 = 1 where a in (1, 2) /* c */ and "x y z!" = $$a$$',
        *(f"{verb} table a (b) from c using d on e to f set g" for verb in sql_summary._VERBS),
        *("insert into a values (1, 2), (3, 4)", "select * from a union select * from lateral (b), c order by 1"),
        *("fetch a", "alter table a rename to b", "create table a (b int references c (d))", "select a into b from c"),
        *(
            "lateral view a",
            "with a as (select 1) select * from a",
            "select 1; select 2",
            "values (1)",
            "rollback to a",
        ),
    ]
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        for entry in ENTRIES.values():
            for sample in samples:
                entry(sample)
    finally:
        sys.setprofile(before)
    return reached


def test_every_function_that_takes_a_text_is_driven():
    """
    A function of the redaction, of statements, of cutting or of headers that takes a text is reached by what is driven
    above, or is excused; nothing is excused that is not there.
    """
    reached = _reached()
    known = {
        f"{module.__name__.rpartition('.')[2]}.{name}": function
        for module in SCANNERS
        for name, function in _functions(module)
    }
    missed = {
        name
        for name, function in known.items()
        if _takes_a_text(function) and function.__code__ not in reached and name not in EXCUSED
    }

    assert set() == missed
    assert set() == {name for name in EXCUSED if name not in known}
