"""
Summarise statements, and cache the summaries.
"""

from __future__ import annotations

import re
from sys import getsizeof
from threading import Lock
from typing import NamedTuple

from obskit.db.fingerprint import MAX_ITEMS, has_generated_name, shape
from obskit.db.sql_masking import lexicon, mask, without_comment
from obskit.db.sql_summary import read, scan
from obskit.forks import at_fork
from obskit.recorder import recorder

# Bounds the cost of one statement: 16 384 characters take one or two milliseconds. TPC-DS's longest has 14 353.
MAX_READ_LENGTH = 16_384
# Memory of one dialect's summaries: some thousands of statements of an ORM.
MAX_CACHE_BYTES = 4 * 1024 * 1024
TRUNCATED = "..."
# Of dictionary slot, tuple and fingerprint, beside the strings.
_ENTRY_BYTES = 400

_word = re.compile(r"[\w$]*+").match

# `db.system.name` of OpenTelemetry, and the names of SQLAlchemy and Django -> dialect; any other is `standard`.
DIALECTS = {
    **dict.fromkeys(("postgresql", "cockroachdb", "redshift", "aws.redshift"), "postgresql"),
    **dict.fromkeys(("mysql", "mariadb"), "mysql"),
    "sqlite": "sqlite",
}


class Statement(NamedTuple):
    """
    What a statement does, without any of its values. What is not known is empty.

    Attributes:
        operation: The verb of the first statement in lower case: `select`, also behind a WITH.
        table: The main table without schema and quotes, for a label.
        tables: Every table in its order, once, as written: `('app.devices', 'orders')`.
        summary: Operations and targets as written, by the rules of OpenTelemetry's `db.query.summary`, at most 255
            characters: `SELECT app.devices orders`.
        text: The statement with `?` for each literal and without comments, by the rules of `db.query.text`. One that
            was cut ends in `...`.
        fingerprint: 16 hexadecimal digits, the same for statements that differ in values, the lengths of lists, case
            and white space; the same in every process.
    """

    operation: str
    table: str
    tables: tuple[str, ...]
    summary: str
    text: str
    fingerprint: str

    @property
    def is_batch(self) -> bool:
        """
        Whether it reads or writes many rows at once: by a list of more than 20 items, several rows of VALUES, or a list
        that is one parameter.
        """
        return False


class BatchStatement(Statement):
    """
    A statement that does the work of many.
    """

    __slots__ = ()

    @property
    def is_batch(self) -> bool:
        return True


UNKNOWN_STATEMENT = Statement("", "", (), "", "", shape((), "").fingerprint)


class StatementCache(dict[object, Statement]):
    """
    The summaries of one dialect's statements by their text: `[sql]` looks one up, and makes it where it is missing.

    Made by `statement_cache()`. Anything but `str` and `bytes` is `UNKNOWN_STATEMENT`; an unhashable key raises
    `TypeError`, as in every dictionary. Safe in threads and across forks. Its size in bytes is bounded: when full, it
    evicts statements with literals first, since they are the least likely to recur, and then the oldest.

    Attributes:
        dialect: `postgresql`, `sqlite`, `mysql` or `standard`.
        max_bytes: The bound of `size_bytes`.
        size_bytes: About what keys and statements take in memory.
    """

    def __init__(self, dialect: str, max_bytes: int = MAX_CACHE_BYTES) -> None:
        super().__init__()
        self.dialect = dialect
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._lexicon = lexicon(dialect)
        self.start_over()

    def start_over(self) -> None:
        """
        Replace the lock, in a forked child: the parent may have held the old one.
        """
        self._lock = Lock()

    def __missing__(self, sql: object) -> Statement:
        """
        Summarise a statement that is not cached, and cache it. Never raises.
        """
        try:
            if isinstance(sql, (bytes, bytearray)):
                sql = bytes(sql[: MAX_READ_LENGTH + 1]).decode("utf-8", "replace")
            if not isinstance(sql, str):
                return UNKNOWN_STATEMENT
            # A subclass may bring methods of its own. Of a long text the part that is read is the key.
            is_cut = str.__len__(sql) > MAX_READ_LENGTH
            text = str.__getitem__(sql, slice(MAX_READ_LENGTH + 1)) if is_cut else str.__str__(sql)
            text = text if is_cut else without_comment(text)
            return self.get(text) or self._summarize(text, is_cut)
        except Exception as error:
            recorder.failed("summary", error)
            return UNKNOWN_STATEMENT

    def _summarize(self, sql: str, is_cut: bool) -> Statement:
        items: list[int] = []  # of each list of literals, of which the masked text shows one
        if is_cut:
            masked = mask(_without_partial_word(sql[:MAX_READ_LENGTH]), self._lexicon, items)
            text = _without_long_list(masked)
            items.append((len(masked) - len(text)) // len("?, "))
        else:
            text = mask(sql, self._lexicon, items)
            if text != sql and (kept := self.get(text)) is not None:
                kept = _as_batch_if_long(kept, items)
                self._keep(sql, kept)
                return kept
        tokens = scan(text, self.dialect)
        reading = read(tokens, self.dialect)
        # A lone surrogate could be sent nowhere.
        shown = text if text.isascii() else text.encode("utf-8", "replace").decode()
        shown = shown + TRUNCATED if is_cut else sql if shown == sql else shown
        digest, is_batch = shape(tokens, reading.operation)
        statement = (BatchStatement if is_batch else Statement)(*reading, shown, digest)
        if not has_generated_name(tokens, reading.operation):
            if shown == text != sql:
                self._keep(text, statement)
            self._keep(sql, _as_batch_if_long(statement, items))
        return _as_batch_if_long(statement, items)

    def _keep(self, sql: str, statement: Statement) -> None:
        size = _size_bytes(sql, statement)
        if size > self.max_bytes // 4 or not self._lock.acquire(blocking=False):
            return  # it is made again when it comes again
        try:
            if self.size_bytes + size > self.max_bytes:
                self._make_room()
            if sql not in self:
                self[sql] = statement
                self.size_bytes += size
        finally:
            self._lock.release()

    def _make_room(self) -> None:
        with_literals = [sql for sql, statement in self.items() if statement.text is not sql]
        for sql in with_literals:
            self._drop(sql)
        for sql in list(self):
            if self.size_bytes <= self.max_bytes // 2:
                break
            self._drop(sql)

    def _drop(self, sql: object) -> None:
        self.size_bytes -= _size_bytes(sql, self.pop(sql))


def _as_batch_if_long(statement: Statement, items: list[int]) -> Statement:
    return BatchStatement(*statement) if items and max(items) > MAX_ITEMS else statement


def _size_bytes(sql: object, statement: Statement) -> int:
    size = _ENTRY_BYTES + getsizeof(sql) + getsizeof(statement.summary) + 2 * sum(map(getsizeof, statement.tables))
    return size if statement.text is sql else size + getsizeof(statement.text)


def _without_partial_word(sql: str) -> str:
    # From the end: a search for a word at the end would read each word once for each of its letters.
    found = _word(sql[::-1])
    return sql[: len(sql) - found.end()] if found else sql


def _without_long_list(text: str) -> str:
    """
    Remove the `?, ?, ?` of a list that truncation has left open.
    """
    rest = text.rstrip("?, \t\r\n")
    if len(text) - len(rest) < 10:
        return text
    return rest + ("?" if rest.endswith("(") else " ?")


_caches: dict[str, StatementCache] = {}


def statement_cache(dialect: str) -> StatementCache:
    """
    Return the cache of a dialect, for hooks that look up many statements: `statement_cache("sqlite")[sql].table`.

    Args:
        dialect: As for `summarize()`.
    """
    kept = _caches.get(dialect)
    if kept is None:
        own = DIALECTS.get(dialect, "standard")
        kept = _caches.setdefault(own, StatementCache(own))
        if dialect in DIALECTS:
            _caches[dialect] = kept
    return kept


def summarize(sql: object, dialect: str = "postgresql") -> Statement:
    """
    Return what a statement does, and to which tables, without any of its values: operation, tables, summary, text.

    Never raises, whatever it is given, and takes time linear in the length. The first 16 384 characters are read. The
    summaries are cached, up to 4 MiB for each dialect, so a repeated statement costs a look-up. Safe in threads.

    Args:
        sql: The statement as `str` or `bytes`. Anything else, such as a driver's own composed object, is unknown: make
            it a string by the driver's means first.
        dialect: `postgresql`, `sqlite` or `mysql`, or the `db.system.name` of a relative of theirs; any other is read
            by the rules that most databases share. What is a literal depends on it.
    """
    try:
        return _caches[dialect][sql]
    except Exception:  # the first of its dialect, or an object that cannot be hashed
        try:
            return statement_cache(dialect).__missing__(sql)
        except Exception as error:  # a dialect that cannot be hashed
            recorder.failed("summary", error)
            return UNKNOWN_STATEMENT


def _start_over_in_child() -> None:
    for kept in _caches.values():
        kept.start_over()


at_fork(after_in_child=_start_over_in_child)
