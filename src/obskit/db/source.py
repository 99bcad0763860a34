"""
Say where queries go, and what is known of their statements there.
"""

from __future__ import annotations

from typing import Any

from obskit.db.statement import UNKNOWN, Statement, statements

# Statements with literals of their own are each a new key; what is dropped is read from the larger cache again.
MAX_KEYS = 1024
MAX_KEY_LENGTH = 4096


class Labels:
    """
    Hold the labels of queries, and the statement that they are read from. One object serves every query of a text.

    Attributes:
        system: The OpenTelemetry `db.system.name`.
        table: The main table; an empty string is unknown.
        operation: The verb in lower case; an empty string is unknown.
        statement: What is known without the values.
        fingerprint: Of the statement.
        given: Whether the application has said table and operation itself.
        owner: Whose figures are kept here, so that the sink that counts queries finds them without a look-up.
        figures: Kept for `owner`.
    """

    __slots__ = ("figures", "fingerprint", "given", "operation", "owner", "statement", "system", "table")

    def __init__(
        self, system: str, table: str, operation: str, statement: Statement = UNKNOWN, *, given: bool = False
    ) -> None:
        self.system = system
        self.table = table
        self.operation = operation
        self.statement = statement
        self.fingerprint = statement.fingerprint
        self.given = given
        self.owner: Any = None
        self.figures: Any = None


class Known(dict[object, Labels]):
    """
    Keep the labels of one system's statements of late by their text: `[sql]` reads those that are not kept.
    """

    def __init__(self, system: str) -> None:
        super().__init__()
        self.system = system
        self._statements = statements(system)

    def __missing__(self, sql: object) -> Labels:
        """
        Read a statement; never raises. What cannot be hashed is the dictionary's to refuse.
        """
        statement = self._statements[sql]
        labels = Labels(self.system, statement.table, statement.operation, statement)
        if type(sql) is str and len(sql) <= MAX_KEY_LENGTH:
            if len(self) >= MAX_KEYS:
                self.clear()
            self[sql] = labels
        return labels


_known: dict[str, Known] = {}


class Source:
    """
    Describe the database behind a connection or an engine, which all of its queries share.

    Attributes:
        known: The labels of its system's statements.
        unknown: Those of what is no statement.
        attributes: What spans tell beside the query's own: `db.system.name`, and where they are known `db.namespace`,
            `server.address` and `server.port`. Never a user or a password.
    """

    __slots__ = ("attributes", "known", "unknown")

    def __init__(
        self, system: str, *, database: str | None = None, host: str | None = None, port: int | str | None = None
    ) -> None:
        self.known = _known.get(system) or _known.setdefault(system, Known(system))
        self.unknown = Labels(system, "", "")
        self.attributes: dict[str, str | int] = {"db.system.name": system}
        if database:
            self.attributes["db.namespace"] = database
        if host:
            self.attributes["server.address"] = host
            if port:
                self.attributes["server.port"] = int(port)
