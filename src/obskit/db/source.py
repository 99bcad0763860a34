"""
Say where queries go, and what is known of their statements there.
"""

from __future__ import annotations

from typing import Any

from obskit.db.sql_masking import without_comment
from obskit.db.statement import UNKNOWN, Batch, Statement, statements

# Statements with literals of their own are each a new key; what is dropped is read from the larger cache again.
MAX_KEYS = 1024
MAX_KEY_LENGTH = 4096
# What marks places in transactions is no query: nobody can make fewer of them.
MARKS = frozenset({"abort", "begin", "commit", "end", "release", "rollback", "savepoint", "start"})


class Labels:
    """
    Hold the labels of queries, and the statement that they are read from. One object serves every query of a text.

    Attributes:
        system: The OpenTelemetry `db.system.name`.
        table: The main table; an empty string is unknown.
        operation: The verb in lower case; an empty string is unknown.
        statement: What is known without the values.
        fingerprint: Of the statement; batches are counted apart from what is asked one by one.
        is_mark: Whether it marks a place in a transaction, and is no query.
        given: Whether the application has said table and operation itself.
        owner: Whose figures are kept here, so that the sink that counts queries finds them without a look-up.
        figures: Kept for `owner`.
    """

    __slots__ = ("figures", "fingerprint", "given", "is_mark", "operation", "owner", "statement", "system", "table")

    def __init__(
        self, system: str, table: str, operation: str, statement: Statement = UNKNOWN, *, given: bool = False
    ) -> None:
        self.system = system
        self.table = table
        self.operation = operation
        self.statement = statement
        self.fingerprint = statement.fingerprint + "+" if statement.is_batch else statement.fingerprint
        self.is_mark = statement.operation in MARKS
        self.given = given
        self.owner: Any = None
        self.figures: Any = None


class Known(dict[object, Labels]):
    """
    Keep the labels of one system's statements of late by their text: `[sql]` reads those that are not kept.

    Args:
        is_many: Whether each is carried out for many rows at once.
    """

    def __init__(self, system: str, is_many: bool = False) -> None:
        super().__init__()
        self.system = system
        self.is_many = is_many
        self._statements = statements(system)

    def __missing__(self, sql: object) -> Labels:
        """
        Read a statement; never raises. What cannot be hashed is the dictionary's to refuse.
        """
        if type(sql) is str and len(sql) <= MAX_KEY_LENGTH:
            sql = without_comment(sql)
            if sql in self:
                return self[sql]
        statement = self._statements[sql]
        if self.is_many:
            statement = Batch(*statement)
        labels = Labels(self.system, statement.table, statement.operation, statement)
        if type(sql) is str and len(sql) <= MAX_KEY_LENGTH:
            if len(self) >= MAX_KEYS:
                self.clear()
            self[sql] = labels
        return labels


_known: dict[str, Known] = {}
_many: dict[str, Known] = {}


class Source:
    """
    Describe the database behind a connection or an engine, which all of its queries share.

    Attributes:
        known: The labels of its system's statements.
        many: Those of statements that are carried out for many rows at once.
        unknown: Those of what is no statement.
        attributes: What spans tell beside the query's own: `db.system.name`, and where they are known `db.namespace`,
            `server.address`, `server.port` and the application's own name for it, `database`. Never a user or a
            password.
        database: What slow queries tell: the application's own name, else the server's; None where neither is known.
    """

    __slots__ = ("attributes", "database", "known", "many", "unknown")

    def __init__(
        self,
        system: str,
        *,
        database: str | None = None,
        host: str | None = None,
        port: int | str | None = None,
        alias: str | None = None,
    ) -> None:
        self.known = _known.get(system) or _known.setdefault(system, Known(system))
        self.many = _many.get(system) or _many.setdefault(system, Known(system, is_many=True))
        self.unknown = Labels(system, "", "")
        self.attributes: dict[str, str | int] = {"db.system.name": system}
        self.database = alias or database or None
        if alias:
            self.attributes["database"] = alias
        if database:
            self.attributes["db.namespace"] = database
        if host:
            self.attributes["server.address"] = host
            if str(port).isdecimal():  # several servers have several
                self.attributes["server.port"] = int(str(port))
