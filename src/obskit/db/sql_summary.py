"""
Read what a statement does, and to which tables, from its masked text.

The summary is that of "Generating a summary of the query" in the OpenTelemetry semantic conventions of 2026-08-20:
operations and their targets, as written and in their order. Of a definition (CREATE, ALTER, DROP) it has the object's
kind and name alone, and the parts of a UNION are one operation: so say the conventions' further test cases (their pull
request 2959).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from obskit.db import sql_keywords

MAX_SUMMARY_LENGTH = 255
# Later tokens are not read; the longest statement of TPC-DS has 1 483.
MAX_READ_TOKENS = 4096
# How many tokens ahead a keyword is looked for.
_NEAR = 64

_NAME = r'(?:"(?:[^"]|"")*+"|`(?:[^`]|``)*+`|{brackets}[^\W\d][\w$]*+)'
_MARK = r"::|%s|%\(\w+\)s|[?$:]\w++|@@?\w++|[^\w\s]|\w++"


def _scanner(brackets: str) -> Callable[[str], list[str]]:
    name = _NAME.format(brackets=brackets)
    return re.compile(rf"{name}(?:\s*+\.{{1,2}}+\s*+(?:{name}|\*))*+|{_MARK}").findall


_scan = _scanner("")
_scan_sqlite = _scanner(r"\[[^\[\]]*+\]|")
_scan_standard = _scanner(r"\[[^\W\d][\w ]*+\]|")
_scanners = {"sqlite": _scan_sqlite, "standard": _scan_standard}
_parts = re.compile(_NAME.format(brackets=r"\[[^\[\]]*+\]|")).findall
_quote = re.compile(r'["`\[]').search
_around_dots = re.compile(r"(?<!\s)\s*+(\.++)\s*+").sub


class Reading(NamedTuple):
    """
    What a statement does; an empty string is unknown.

    Attributes:
        operation: The verb of the first statement in lower case.
        table: The main table, without its schema and its quotes.
        tables: The tables in their order, each once, as written.
        summary: Operations and targets, as written.
    """

    operation: str
    table: str
    tables: tuple[str, ...]
    summary: str


class _Frame:
    """
    The state of one level of parentheses.

    Attributes:
        start: The index of the token that may be a verb.
        is_main: Whether the main table is one of those that are read here.
        is_query: Whether FROM names tables here; in `extract(year FROM x)` it does not.
        is_from_first: Whether it began with FROM, and a SELECT that follows is the same one.
        expects: Whether the next name is that of a table.
        lists: Whether the name behind a comma is too.
        names: Whether the next name is that of a common table expression.
        has_with: Whether the name behind a comma is too.
        body: The common table expression that was named last.
        cte: The one whose query this is.
        first: The first table that is read here.
        verb: The verb that writes, where there is one.
    """

    __slots__ = (
        *("body", "cte", "expects", "first", "has_with", "is_from_first", "is_main", "is_query", "is_recursive"),
        *("joins", "lists", "names", "start", "verb"),
    )

    def __init__(self, start: int, is_main: bool, expects: bool = False, cte: str = "") -> None:
        self.start, self.is_main, self.cte = start, is_main, cte
        self.expects = self.lists = self.is_query = expects
        self.names = self.has_with = self.is_recursive = self.joins = self.is_from_first = False
        self.body = self.first = self.verb = ""


def _is_name(token: str) -> bool:
    return token[0].isalpha() or token[0] == "_" or (len(token) > 1 and token[0] in '"`[')


def _plain(name: str) -> str:
    """
    Return the last part of a name, without its quotes.
    """
    if name[-1] not in '"`]':
        return name.rpartition(".")[2]
    part: str = _parts(name)[-1]
    return part[1:-1] if name[-1] == "]" else part[1:-1].replace(name[-1] * 2, name[-1])


class _Reader:
    """
    A single pass over the tokens, with a frame for each open parenthesis.
    """

    def __init__(self, tokens: list[str], dialect: str) -> None:
        self.tokens = tokens
        self.keys = [token.lower() for token in tokens]
        self.keys += ["", "", ""]
        self.with_is_non_recursive = dialect in sql_keywords.NON_RECURSIVE_WITH
        self.at = self.resume = 0
        self.frame = _Frame(0, is_main=True)
        self.stack: list[_Frame] = []
        self.ctes: dict[str, str] = {}
        self.tables: dict[str, None] = {}
        self.parts: list[str] = []
        self.operation = ""
        self.main: str | None = None
        self.is_closed = False  # the summary of this statement is complete
        self.is_done = False

    def read(self) -> Reading:
        handler_of = _HANDLERS.get
        for at, key in enumerate(self.keys):
            handler = handler_of(key)
            if handler is not None:
                if at >= self.resume:
                    self.at = at
                    handler(self, key)
                    if self.is_done:
                        break
            elif (self.frame.expects or self.frame.names) and at >= self.resume and key:
                self.at = at
                self._name(key)
        while self.stack:
            self._close("")
        main = self.main or self.frame.first or next(iter(self.tables), "")
        return Reading(self.operation, _plain(main) if main else "", tuple(self.tables), self._summary())

    def _summary(self) -> str:
        summary = " ".join(self.parts)
        if len(summary) > MAX_SUMMARY_LENGTH:
            length, kept = -1, []
            for part in self.parts:
                length += len(part) + 1
                if length > MAX_SUMMARY_LENGTH:
                    break
                kept.append(part)
            summary = " ".join(kept)
        return summary

    # Names.

    def _name(self, key: str) -> None:
        frame, token = self.frame, self.tokens[self.at]
        following = self.keys[self.at + 1]
        if frame.names:
            if key == "recursive":
                frame.is_recursive = True
            else:
                frame.names = False
                frame.body = _plain(token).lower() if _is_name(token) else ""
                if frame.is_recursive or not self.with_is_non_recursive:
                    self.ctes.setdefault(frame.body, "")
        elif key in ("only", "lateral") and (following == "(" or _is_name(following or "?")):
            pass
        else:
            frame.expects = False
            is_function = following == "(" and self.keys[self.at + 2] not in sql_keywords.TABLE_HINTS
            if _is_name(token) and not is_function and not (key == "rows" and following == "from"):
                self._table(token)

    def _table(self, token: str) -> None:
        frame = self.frame
        name = _around_dots(r"\1", token) if "." in token and not _quote(token) else token
        plain = _plain(name)
        cte = self.ctes.get(plain.lower()) if "." not in name and self.ctes else None
        if cte is None:
            if not plain or not name.isprintable():
                return
            self.tables[name] = None
            self._part(name)
        else:
            name = cte
        frame.first = frame.first or name
        if frame.is_main and self.main is None:
            self.main = name

    def _part(self, part: str) -> None:
        if not self.is_closed:
            self.parts.append(part)

    def _begin(self, key: str) -> None:
        frame = self.frame
        frame.has_with = frame.names = False
        if frame.is_main and not self.operation:
            self.operation = key
        self._part(self.tokens[self.at])

    def _near(self, word: str, start: int) -> int:
        """
        Return the index of a keyword ahead in this statement, else 0.
        """
        for at in range(start, min(start + _NEAR, len(self.tokens))):
            if self.keys[at] == word:
                return at
            if self.keys[at] == ";":
                break
        return 0

    def _past(self, at: int, words: frozenset[str] | tuple[str, ...]) -> int:
        while self.keys[at] in words and self.keys[at]:
            at += 1
        return at

    def _target(self, at: int) -> None:
        """
        Record the name at this index as a table.
        """
        self.resume = at + 1
        if at < len(self.tokens) and _is_name(self.tokens[at]):
            self._table(self.tokens[at])

    def _word(self, key: str) -> None:
        """
        Read a keyword as a name, where a name is expected.
        """
        if self.frame.expects or self.frame.names:
            self._name(key)

    # Marks.

    def _escape(self, _: str) -> None:
        """
        Skip the brace of `{call p(?)}` and `{? = call p(?)}`, as ODBC and JDBC have it.
        """
        if self.frame.start == self.at:
            is_assigned = self.keys[self.at + 2] == "=" if self.at + 2 < len(self.keys) else False
            self.frame.start = self.at + (3 if is_assigned else 1)

    def _open(self, _: str) -> None:
        frame, at = self.frame, self.at
        if frame.expects:
            inner = _Frame(at + 1, frame.is_main, expects=True)
            frame.expects = False
        elif frame.body and self.keys[at - 1] in ("as", "materialized"):
            inner = _Frame(at + 1, is_main=False, cte=frame.body)
            frame.body = ""
        else:
            inner = _Frame(
                at + 1, is_main=frame.is_main and (frame.start == at or self.keys[at - 1] in sql_keywords.SET_OPERATORS)
            )
        inner.is_query = frame.is_query and inner.expects
        self.stack.append(frame)
        self.frame = inner

    def _close(self, _: str) -> None:
        if not self.stack:
            return
        inner, outer = self.frame, self.stack.pop()
        outer.first = outer.first or inner.first
        if inner.cte:
            self.ctes[inner.cte] = inner.first
            outer.start = self.at + 1
        elif self.operation == "explain" and outer.start == -1:
            outer.start = self.at + 1
        self.frame = outer

    def _comma(self, _: str) -> None:
        self.frame.expects = self.frame.lists
        self.frame.names = self.frame.has_with

    def _end(self, _: str) -> None:
        while self.stack:
            self._close("")
        first = self.frame.first
        self.frame = _Frame(self.at + 1, is_main=self.frame.is_main and self.frame.start == self.at)
        self.frame.first = first
        self.ctes.clear()
        self.is_closed = False

    # Clauses.

    def _select(self, key: str) -> None:
        frame, before = self.frame, self.at - 1
        if self.operation in ("grant", "revoke") or (frame.expects and frame.start != self.at):
            return
        while before >= 0 and self.keys[before] == "(":
            before -= 1
        is_part = before >= 0 and self.keys[before] in sql_keywords.SET_OPERATORS
        parts = len(self.parts)
        self._begin(key)
        if is_part or frame.is_from_first:
            del self.parts[parts:]
        frame.is_query = True
        frame.expects = frame.lists = frame.joins = False
        frame.verb = "select"

    def _from(self, key: str) -> None:
        frame, keys, at = self.frame, self.keys, self.at
        is_other = (keys[at - 1] == "distinct" and keys[at - 2] in ("is", "not")) or keys[at - 2] == "for"
        if frame.start == at and keys[at - 2] != "trim":
            self._from_first()
        if frame.is_query and not is_other:
            frame.expects = frame.lists = True

    def _from_first(self) -> None:
        """
        Begin a SELECT that says where it reads before it says what, or reads all: `FROM devices` of DuckDB.
        """
        frame, before = self.frame, self.keys[self.at - 1]
        frame.has_with = frame.names = False
        if frame.is_main and not self.operation:
            self.operation = "select"
        if before not in sql_keywords.SET_OPERATORS:
            self._part("SELECT")
        frame.is_query = frame.is_from_first = True
        frame.verb = "select"

    def _table_command(self, key: str) -> None:
        """
        Read `TABLE devices`, which is short for a SELECT of all of it.
        """
        is_part = self.keys[self.at - 1] in sql_keywords.SET_OPERATORS and self.at > 0
        if self.frame.start != self.at and not is_part:
            self._word(key)
            return
        if not is_part:
            self._begin(key)
        self._target(self._past(self.at + 1, ("only",)))

    def _join(self, key: str) -> None:
        frame = self.frame
        if frame.is_query and (frame.lists or frame.first) and self.keys[self.at - 1] != "for":
            frame.expects = frame.joins = True

    def _using(self, key: str) -> None:
        frame = self.frame
        if frame.verb in ("delete", "merge") and not frame.joins:
            frame.expects = frame.lists = True

    def _into(self, key: str) -> None:
        at = self._past(self.at + 1, ("table", "temp", "temporary", "unlogged"))
        is_clause = self.frame.verb == "select" and self.keys[self.at - 1] != "as"
        if is_clause and self.keys[at] not in ("outfile", "dumpfile"):
            self._target(at)

    def _stop(self, key: str) -> None:
        self.frame.expects = self.frame.lists = False

    def _stop_or_verb(self, key: str) -> None:
        if self.frame.start == self.at:
            self._begin(key)
        self._stop(key)

    def _rename(self, key: str) -> None:
        if self.operation == "alter" and self.tables and self.keys[self.at + 1] == "to":
            self._target(self.at + 2)
        else:
            self._verb(key)

    def _lateral(self, key: str) -> None:
        if self.keys[self.at + 1] == "view":
            self.frame.lists = False
        else:
            self._word(key)

    def _references(self, key: str) -> None:
        if self.operation in ("create", "alter"):
            self._target(self.at + 1)

    def _with(self, key: str) -> None:
        frame, keys = self.frame, self.keys
        name = self._past(self.at + 1, ("recursive",))
        if frame.start == self.at or keys[self.at - 1] == "as" or (keys[name + 1] == "as" and keys[name + 2] == "("):
            frame.names = frame.has_with = True
            frame.is_recursive = name > self.at + 1
            self.resume = name

    # Verbs.

    def _verb(self, key: str) -> None:
        is_function = self.keys[self.at + 1] == "(" and key in sql_keywords.VERBS_AND_FUNCTIONS
        if self.frame.start != self.at or is_function or (self.stack and key not in sql_keywords.CTE_VERBS):
            self._word(key)
            return
        self._begin(key)
        self.frame.verb = key
        self.frame.expects = self.frame.lists = False
        _VERBS[key](self, key)

    def _insert(self, _: str) -> None:
        at = self._past(self.at + 1, sql_keywords.WRITE_MODIFIERS)
        if self.keys[at] == "table" and self.keys[at + 1] not in ("values", "select", "(", "set", "default", "with"):
            at += 1
        if self.keys[at] != "directory":
            self._target(at)

    def _update(self, _: str) -> None:
        frame = self.frame
        frame.is_query = frame.expects = frame.lists = True
        self.resume = self._past(self.at + 1, sql_keywords.WRITE_MODIFIERS)

    def _delete(self, _: str) -> None:
        self.frame.is_query = True
        if not self._near("from", self.at + 1):
            self._target(self._past(self.at + 1, sql_keywords.WRITE_MODIFIERS))

    def _merge(self, _: str) -> None:
        self.frame.is_query = True
        self._target(self._past(self.at + 1, ("into", "only")))

    def _define(self, key: str) -> None:
        keys, at = self.keys, self.at + 1
        while (
            keys[at] not in sql_keywords.OBJECT_KINDS and keys[at] not in ("", "(", ";", "as") and at < self.at + _NEAR
        ):
            at += 1
        kind = keys[at]
        if kind not in sql_keywords.OBJECT_KINDS:
            return
        self._part(self.tokens[at])
        at = self._past(at + 1, sql_keywords.BEFORE_OBJECT_NAME)
        if kind in sql_keywords.TABLE_KINDS:
            self._target(at)
            if keys[at + 1] in ("like", "clone"):
                self._target(at + 2)
            elif keys[at + 1] == "partition" and keys[at + 2] == "of":
                self._target(at + 3)
            self.frame.lists = key == "drop"
        elif at < len(self.tokens) and _is_name(self.tokens[at]) and keys[at] != "on" and self.tokens[at].isprintable():
            self._part(self.tokens[at])
        self.is_closed = True
        if kind in ("index", "trigger") and (on := self._near("on", at)):
            self._target(self._past(on + 1, ("only",)))
        self.is_done = kind in sql_keywords.KINDS_WITH_BODY

    def _about(self, key: str) -> None:
        at = self._past(self.at + 1, sql_keywords.MODIFIERS_BEFORE_TABLE[key])
        if key in sql_keywords.VERBS_WITH_OPTIONS and self.keys[at] == "(" and (close := self._near(")", at)):
            at = close + 1
        if key in sql_keywords.EXPLAIN_VERBS and (self.keys[at] == "(" or self.keys[at] in _HANDLERS):
            self.frame.start = at if self.keys[at] != "(" else -1
        elif self.keys[at] != "(":
            self._target(at)
            self.frame.lists = key not in sql_keywords.EXPLAIN_VERBS

    def _on(self, _: str) -> None:
        """
        Find the table of GRANT, REVOKE and COMMENT.
        """
        on = self._near("on", self.at + 1)
        on += bool(on) and self.keys[on + 1] == "materialized"
        kind = self.keys[on + 1] if on else ""
        if kind in sql_keywords.TABLE_KINDS:
            self._target(on + 2)
        elif kind and kind not in sql_keywords.OBJECT_KINDS and self.keys[on + 2] in ("to", "from"):
            self._target(on + 1)

    def _load(self, _: str) -> None:
        if into := self._near("into", self.at + 1):
            self._target(self._past(into + 1, ("table",)))

    def _named(self, _: str) -> None:
        token = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else "?"
        if _is_name(token) and token.isprintable():
            self._part(token)

    def _nothing(self, _: str) -> None:
        pass


_Handler = Callable[[_Reader, str], None]
_VERBS: dict[str, _Handler] = {
    **dict.fromkeys(("insert", "replace", "upsert"), _Reader._insert),
    "update": _Reader._update,
    "delete": _Reader._delete,
    "merge": _Reader._merge,
    **dict.fromkeys(("create", "alter", "drop"), _Reader._define),
    **dict.fromkeys(sql_keywords.MODIFIERS_BEFORE_TABLE, _Reader._about),
    **dict.fromkeys(("comment", "grant", "revoke"), _Reader._on),
    "load": _Reader._load,
    **dict.fromkeys(sql_keywords.VERBS_WITH_NAME, _Reader._named),
    **dict.fromkeys(sql_keywords.VERBS_WITHOUT_TARGET, _Reader._nothing),
}
_HANDLERS: dict[str, _Handler] = {
    **dict.fromkeys(_VERBS, _Reader._verb),
    **dict.fromkeys(sql_keywords.CLAUSE_KEYWORDS, _Reader._stop),
    "{": _Reader._escape,
    "(": _Reader._open,
    ")": _Reader._close,
    ",": _Reader._comma,
    ";": _Reader._end,
    "select": _Reader._select,
    "from": _Reader._from,
    **dict.fromkeys(("join", "straight_join", "apply"), _Reader._join),
    "using": _Reader._using,
    "into": _Reader._into,
    **dict.fromkeys(("fetch", "set", "values"), _Reader._stop_or_verb),
    "rename": _Reader._rename,
    "table": _Reader._table_command,
    "lateral": _Reader._lateral,
    "references": _Reader._references,
    "with": _Reader._with,
}


def scan(text: str, dialect: str) -> list[str]:
    """
    Cut a masked statement into names with their schemas, words, parameters and marks.
    """
    return _scanners.get(dialect, _scan)(text)


def read(tokens: list[str], dialect: str) -> Reading:
    """
    Read the tokens of a masked statement; of several, the operation is the first one's. Linear in their number.
    """
    return _Reader(tokens[:MAX_READ_TOKENS], dialect).read()
