"""
The operation of one database query.
"""

from __future__ import annotations

from typing import Any

from obskit.db.database import Database, QueryLabels
from obskit.db.statement import Statement
from obskit.operation import Operation, RequestTotals
from obskit.sparse_field import SparseField


class DbOperation(Operation):
    """
    One database query, or one function that makes a known one.

    Attributes:
        labels: Its labels, and its statement; other queries share the object.
        database: The database that it went to; None where no hook saw it.
        rows: Rows that it changed, or that were fetched of it; None where the driver does not tell.
        totals: What it is added to; None outside of a request.
        began_in: Where the span sink found it beginning.
        explain: Called with its `SlowQuery` to have the database explain it; None where plans are not asked for.
    """

    __slots__ = ("database", "labels", "rows", "totals")

    began_in = SparseField[Any](None)
    explain = SparseField[Any](None)

    def __init__(self, system: str, table: str, operation: str) -> None:
        super().__init__()
        self.labels = QueryLabels(system, table, operation, given=True)
        self.database: Database | None = None
        self.rows: int | None = None
        self.totals: RequestTotals | None = None
        self.nest()

    @property
    def system(self) -> str:
        """
        The OpenTelemetry `db.system.name` (`sqlite`, `postgresql`, ...), or `unknown`.
        """
        return self.labels.system

    @property
    def table(self) -> str:
        """
        The main table, or an empty string where it is not known.
        """
        return self.labels.table

    @property
    def operation(self) -> str:
        """
        The statement's verb in lower case (`select`), or an empty string.
        """
        return self.labels.operation

    @property
    def statement(self) -> Statement:
        """
        The statement without its values; `UNKNOWN_STATEMENT` where no hook saw one.
        """
        return self.labels.statement
