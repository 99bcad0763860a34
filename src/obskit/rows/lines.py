"""
What lines have whatever they are about, beside the fields of requests.
"""

from __future__ import annotations

from obskit.rows.field import Field

LINE = (
    Field(
        "timestamp", "", str, "When the line was made: RFC 3339, UTC, microseconds, `Z`.", line="timestamp", on="every"
    ),
    Field("level", "", str, "`DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`.", line="level", on="every"),
    Field("logger", "", str, "Which logger wrote it: `obskit.access` for access lines.", line="logger", on="every"),
    Field("message", "", str, "What happened; `request` on access lines.", secret=True, line="message", on="every"),
    Field("service", "", str, "The setting `service`.", line="service", on="every"),
    Field("version", "", str, "The setting `version`.", line="version", on="every, where set"),
    Field("environment", "", str, "The setting `environment`.", line="environment", on="every, where set"),
)
LEFT_OUT = Field(
    "left_out",
    "",
    int,
    "How many like it were left out since the last one.",
    line="left_out",
    on="where sampling is on",
)
