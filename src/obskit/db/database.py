"""
The databases that queries go to, and the labels of their statements.
"""

from __future__ import annotations

from typing import Any

from obskit.db.sql_masking import without_comment
from obskit.db.statement import UNKNOWN_STATEMENT, BatchStatement, Statement, statement_cache
from obskit.rows.queries import DATABASE

# Each statement with literals is a new key; evicted entries are read from the larger cache again.
MAX_ENTRIES = 1024
MAX_KEY_LENGTH = 4096
_SYSTEM, _ALIAS, _NAMESPACE, _HOST, _PORT = (
    DATABASE[name].span for name in ("system", "alias", "namespace", "server_address", "server_port")
)
# What controls a transaction is not a query: nobody can make fewer of them.
TRANSACTION_CONTROL = frozenset({"abort", "begin", "commit", "end", "release", "rollback", "savepoint", "start"})


class QueryLabels:
    """
    The labels of queries, and the statement that they are read from. All queries of one text share the object.

    Attributes:
        system: The OpenTelemetry `db.system.name`.
        table: The main table; an empty string is unknown.
        operation: The verb in lower case; an empty string is unknown.
        statement: The statement without its values.
        fingerprint: Of the statement; batches are counted apart from what is asked one by one.
        is_transaction_control: Whether it begins or ends a transaction or savepoint, and is not a query.
        given: Whether the application has said table and operation itself.
        cell_owner: The cells that `cell` is one of, so that the sink that counts queries needs no look-up.
        cell: Set by that sink.
    """

    __slots__ = (
        "cell",
        "cell_owner",
        "fingerprint",
        "given",
        "is_transaction_control",
        "operation",
        "statement",
        "system",
        "table",
    )

    def __init__(
        self, system: str, table: str, operation: str, statement: Statement = UNKNOWN_STATEMENT, *, given: bool = False
    ) -> None:
        self.system = system
        self.table = table
        self.operation = operation
        self.statement = statement
        self.fingerprint = statement.fingerprint + "+" if statement.is_batch else statement.fingerprint
        self.is_transaction_control = statement.operation in TRANSACTION_CONTROL
        self.given = given
        self.cell_owner: Any = None
        self.cell: Any = None


class LabelsCache(dict[object, QueryLabels]):
    """
    The labels of one system's recent statements by their text: `[sql]` reads a statement that is missing.

    Args:
        is_batch: Whether each is executed for many rows at once.
    """

    def __init__(self, system: str, is_batch: bool = False) -> None:
        super().__init__()
        self.system = system
        self.is_batch = is_batch
        self._cache = statement_cache(system)

    def __missing__(self, sql: object) -> QueryLabels:
        """
        Read a statement. Never raises; unhashable keys never come here.
        """
        if type(sql) is str and len(sql) <= MAX_KEY_LENGTH:
            sql = without_comment(sql)
            if sql in self:
                return self[sql]
        statement = self._cache[sql]
        if self.is_batch:
            statement = BatchStatement(*statement)
        labels = QueryLabels(self.system, statement.table, statement.operation, statement)
        if type(sql) is str and len(sql) <= MAX_KEY_LENGTH:
            if len(self) >= MAX_ENTRIES:
                self.clear()
            self[sql] = labels
        return labels


_caches: dict[str, LabelsCache] = {}
_batch_caches: dict[str, LabelsCache] = {}


class Database:
    """
    The database behind a connection or an engine, which all of its queries share.

    Attributes:
        labels: The labels of its system's statements.
        batch_labels: The labels of statements that are executed for many rows at once.
        unknown_labels: The labels of what is no statement.
        attributes: The span attributes beside the query's own: `db.system.name`, and where known `db.namespace`,
            `server.address`, `server.port` and the application's own name for it, `database`. Never a user or a
            password.
        name: The name in slow queries: the application's own, else the server's; None where neither is known.
    """

    __slots__ = ("attributes", "batch_labels", "labels", "name", "unknown_labels")

    def __init__(
        self,
        system: str,
        *,
        database: str | None = None,
        host: str | None = None,
        port: int | str | None = None,
        alias: str | None = None,
    ) -> None:
        self.labels = _caches.get(system) or _caches.setdefault(system, LabelsCache(system))
        self.batch_labels = _batch_caches.get(system) or _batch_caches.setdefault(
            system, LabelsCache(system, is_batch=True)
        )
        self.unknown_labels = QueryLabels(system, "", "")
        self.attributes: dict[str, str | int] = {_SYSTEM: system}
        self.name = alias or database or None
        if alias:
            self.attributes[_ALIAS] = alias
        if database:
            self.attributes[_NAMESPACE] = database
        if host:
            self.attributes[_HOST] = host
            if str(port).isdecimal():  # several servers have several
                self.attributes[_PORT] = int(str(port))
