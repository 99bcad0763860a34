"""
Describe one database query.
"""

from __future__ import annotations

from obskit.operation import Operation


class DbOperation(Operation):
    """
    Describe one database query, or one function that makes a known one.

    Attributes:
        system: The OpenTelemetry `db.system.name` (`sqlite`, `postgresql`, ...), or `unknown`.
        table: The main table, or an empty string where it is not known.
        operation: The statement's verb in lower case (`select`), or an empty string.
    """

    __slots__ = ("operation", "system", "table")

    def __init__(self, system: str, table: str, operation: str) -> None:
        super().__init__()
        self.system = system
        self.table = table
        self.operation = operation
        self.nest()
