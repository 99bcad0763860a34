"""
Declare the fields of operations and events: their names on lines, on spans and in stored rows, written once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ALWAYS: Any = object()  # the `unset` of a field that is never left out


@dataclass(frozen=True, slots=True)
class Field:
    """
    One field of a kind.

    Attributes:
        name: Of its column in rows: lower case, with its unit.
        source: The operation's attribute, by dots and indices; empty where whoever tells it finds it elsewhere.
        type: Of its values, which may be None as well where `unset` is.
        meaning: A sentence for the reference.
        secret: Whether it may hold what a client or the application wrote: then it leaves through redaction alone.
        line: Its name on the kind's line; empty where that has none.
        on: Which lines have it, for the reference.
        span: Its name on spans.
        form: How lines and spans write it where not as it is; whoever makes a function has one of that name.
        unset: The value of those that have none: lines and spans leave the field out.
        where: The source of another field, which decides in its place whether it is left out.
        line_null: True where its line has it as null, and does not leave it out.
        at_begin: Whether a span has it from its begin on, so that samplers see it.
    """

    name: str
    source: str
    type: type
    meaning: str
    secret: bool = False
    line: str = ""
    on: str = ""
    span: str = ""
    form: str = ""
    unset: Any = ALWAYS
    where: str = ""
    line_null: bool = False
    at_begin: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """
    The fields of one kind of operation.

    Attributes:
        kind: What one is called in the reference.
        fields: In the order of lines and of rows.
        untold: Its other attributes, and why they are not told.
    """

    kind: str
    fields: tuple[Field, ...]
    untold: Mapping[str, str]

    def __getitem__(self, name: str) -> Field:
        return next(field for field in self.fields if field.name == name)

    def on_lines(self) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if field.line)

    def on_spans(self, *, at_begin: bool) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if field.span and field.at_begin is at_begin)

    def in_rows(self) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if field.source)

    def without(self, *names: str) -> Rows:
        """
        Return the rows without some fields: whoever renders them has their own way with those.
        """
        return Rows(self.kind, tuple(field for field in self.fields if field.name not in names), self.untold)
