"""
Read a statement's verb and main table, to label its timing.

Only identifiers come out. Where it is in doubt whether a literal has ended, reading stops: what follows might be the
literal's own text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from threading import Lock
from typing import NamedTuple

# Statements with their literals inlined are each a new key: these two bound the cache to 10 MB of ASCII.
MAX_KEY_LENGTH = 10_000
MAX_KEYS = 1024
# What one statement may cost: a table that is named later than this is not known.
MAX_READ_LENGTH = 16_384

_next_token = re.compile(
    r"""
      (?P<skip> \s+ | --[^\n]* | /\*.*?\*/ )
    | (?P<text> [eE]'(?:[^'\\]|\\.|'')*+' | '(?:[^']|'')*+' | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$ )
    | (?P<quoted> "(?:[^"]|"")*+" | `(?:[^`]|``)*+` | \[[^\]]*\] )
    | (?P<word> [^\W\d][\w$]* )
    | (?P<doubt> ['"`;] | /\* | \$(?:[^\W\d]\w*)?\$ | \#(?![>-]) )
    | (?P<mark> . )
    """,
    re.VERBOSE | re.DOTALL,
).finditer
_VERBS = {
    *("alter", "analyze", "attach", "begin", "call", "commit", "copy", "create", "deallocate", "declare", "delete"),
    *("detach", "drop", "end", "execute", "explain", "fetch", "grant", "insert", "listen", "lock", "merge", "notify"),
    *("pragma", "prepare", "refresh", "reindex", "release", "replace", "reset", "revoke", "rollback", "savepoint"),
    *("select", "set", "show", "start", "truncate", "update", "use", "vacuum", "values"),
}
_QUERIES = ("select", "with", "values")
# What may stand between a verb and the name of its table.
_ASIDE = {
    "delete": ("from", "only"),
    "insert": ("or", "rollback", "abort", "replace", "fail", "ignore", "into"),
    "merge": ("into",),
    "replace": ("into",),
    "truncate": ("table", "only"),
    "update": ("or", "rollback", "abort", "replace", "fail", "ignore", "only"),
}
_ADJECTIVES = ("or", "replace", "temp", "temporary", "unlogged", "unique", "virtual", "materialized")
_CLAUSES = ("if", "not", "exists", "only", "concurrently")


class Summary(NamedTuple):
    """
    Name what a statement does, and to what; an empty string is unknown.

    Attributes:
        operation: The verb in lower case.
        table: The main table as it is written, without quotes and without its schema.
    """

    operation: str
    table: str


UNKNOWN = Summary("", "")
_lock = Lock()


class _Token(NamedTuple):
    kind: str
    text: str
    keyword: str


_END = _Token("end", "", "")


def _tokens(sql: str) -> Iterator[_Token]:
    for match in _next_token(sql, 0, MAX_READ_LENGTH):
        kind, text = match.lastgroup or "mark", match[0]
        if kind == "doubt" or _is_doubtful(text):
            return
        if kind == "word":
            yield _Token(kind, text, text.lower())
        elif kind != "skip":
            yield _Token(kind, text, text if kind == "mark" else "")


def _is_doubtful(text: str) -> bool:
    """
    Tell what ends elsewhere in another dialect: a quote after a backslash (MySQL), a nested comment (PostgreSQL).
    """
    return (text[0] in "'\"" and f"\\{text[0]}" in text) or "/*" in text[2:]


class _Reader:
    """
    Take tokens one by one, with the next one in sight.
    """

    def __init__(self, sql: str) -> None:
        self._tokens = _tokens(sql)
        self.next = next(self._tokens, _END)

    def take(self) -> _Token:
        token, self.next = self.next, next(self._tokens, _END)
        return token

    def skip(self, *keywords: str) -> None:
        while self.next.keyword in keywords:
            self.take()

    def name(self) -> str:
        """
        Take a name with its schema, if one comes next, and give its last part.
        """
        token = self.next
        while self.next.kind in ("word", "quoted"):
            token = self.take()
            if self.next.text != ".":
                return _identifier(token)
            self.take()
        return ""


def _identifier(token: _Token) -> str:
    name = token.text
    if token.kind == "quoted":
        name = name[1:-1].replace(name[-1] * 2, name[-1])
    return name if name.isprintable() else ""  # a lone surrogate would break the metrics page


# The statements of late and their summaries; look here first.
known: dict[object, Summary] = {}


def summarize(sql: object) -> Summary:
    """
    Read verb and main table of the first statement; anything that is no statement is unknown.
    """
    if isinstance(sql, bytes):
        sql = sql[:MAX_READ_LENGTH].decode("utf-8", "replace")
    if not isinstance(sql, str):
        return UNKNOWN
    text = str.__str__(sql)  # a subclass may bring a hash of its own
    summary = known.get(text)
    if summary is None:
        summary = _read(text)
        if len(text) <= MAX_KEY_LENGTH:
            _keep(text, summary)
    return summary


def _keep(text: str, summary: Summary) -> None:
    with _lock:
        if len(known) >= MAX_KEYS:
            for oldest in list(known)[: MAX_KEYS // 2]:
                del known[oldest]
        known[text] = summary


def _read(sql: str) -> Summary:
    reader = _Reader(sql)
    reader.skip("(")
    inner, ctes = _past_ctes(reader) if reader.next.keyword == "with" else ("", set())
    verb = reader.take().keyword
    if verb not in _VERBS:
        return UNKNOWN
    if verb == "select":
        return Summary(verb, _source(reader, ctes) or inner)
    return Summary(verb, _target(reader, verb))


def _past_ctes(reader: _Reader) -> tuple[str, set[str]]:
    """
    Pass the common table expressions; give the first table that one of them reads, and their names.
    """
    inner = ""
    ctes: set[str] = set()
    reader.take()
    reader.skip("recursive")
    while True:
        ctes.add(reader.name().lower())
        if reader.next.text == "(":
            reader.take()
            _source(reader, ctes, whole=True)  # the names of the columns
        reader.skip("as", "not", "materialized")
        if reader.take().text == "(":
            found = _source(reader, ctes, whole=True)
            inner = inner or found
        if reader.next.text != ",":
            return inner, ctes
        reader.take()


def _source(reader: _Reader, ctes: set[str], whole: bool = False) -> str:
    """
    Find the first table after a FROM: the query's own, else that of the query it selects from.

    Args:
        whole: Read to the parenthesis that closes the query, in place of to the table.
    """
    found, nested = "", ""
    queries = [True]  # the open parentheses: whether each holds a query, or arguments such as extract(year FROM x)
    own = 1  # how deep the query stands whose table is the main one
    before = ""
    while reader.next is not _END and queries:
        word = reader.take().keyword
        if word == "(":
            queries.append(reader.next.keyword in _QUERIES)
        elif word == ")":
            queries.pop()
        elif word == "from" and queries[-1] and before != "distinct":
            is_own = len(queries) == own
            table = _table(reader, queries)
            is_cte = table.lower() in ctes
            if is_own:
                if not whole and table:
                    return "" if is_cte else table
                found = found or ("" if is_cte else table)
                own = len(queries)
            nested = nested or ("" if is_cte else table)
        before = word
    return found or nested


def _table(reader: _Reader, queries: list[bool]) -> str:
    """
    Take the name after a FROM; a function's result is no table.
    """
    reader.skip("lateral", "only")
    while reader.next.text == "(":
        reader.take()
        queries.append(True)
    if reader.next.keyword in _QUERIES:
        return ""
    name = reader.name()
    return "" if reader.next.text == "(" else name


def _target(reader: _Reader, verb: str) -> str:
    """
    Take the name of the table that a statement changes.
    """
    if verb in _ASIDE:
        reader.skip(*_ASIDE[verb])
        return reader.name()
    if verb not in ("create", "alter", "drop"):
        return ""
    reader.skip(*_ADJECTIVES)
    kind = reader.take().keyword
    if kind not in ("table", "view", "index", "trigger"):
        return ""
    if kind in ("index", "trigger"):
        while reader.next is not _END and reader.take().keyword != "on":
            pass
    reader.skip(*_CLAUSES)
    return reader.name()
