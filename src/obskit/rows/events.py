"""
The fields of events.
"""

from __future__ import annotations

from obskit.rows.field import Field, Rows

EVENT = Rows(
    "event",
    (
        Field("name", "name", str, "Lower case with dots; its first word is the logger's."),
        Field("severity", "severity", str, "`INFO`, `WARNING`, `ERROR` or `CRITICAL`.", line="level"),
        Field("message", "message", str, "One line for people.", secret=True, line="message"),
        Field("fields", "fields", dict, "Figures and names, by the event's kind.", secret=True),
    ),
    {},
)
