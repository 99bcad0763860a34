"""
Make the functions that read the fields of operations, as `rows` declares them.

They are compiled once, at configure time, as if each had been written by hand: a request reads attributes and nothing
of the declaration. Names and sources are those of `rows`, and checked to be no more than attributes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any, Literal, TypeAlias

from obskit.rows.field import ALWAYS, Field
from obskit.sparse_field import SparseField

Forms: TypeAlias = Mapping[str, Callable[[Any], Any]]
Render: TypeAlias = Callable[[Any, dict[str, Any]], None]

_is_source = re.compile(r"[a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*(?:\(\)\[\d\])?)?", re.ASCII).fullmatch
_NOTHING: Mapping[str, Any] = {}


def renderer(place: Literal["line", "span"], kind: type, fields: Iterable[Field], forms: Forms) -> Render:
    """
    Return a function that adds the fields of an operation to a line's or a span's, in their order.

    Args:
        place: Whose names the fields are to have.
        kind: The class of the operations; its sparse fields are looked for only where an operation has any.
        fields: What is added, without those that have no source.
        forms: The functions by which values are written, by the name that fields have them by.
    """
    code, shown = _Code(kind), [field for field in fields if field.source]
    for (is_sparse, head), group in groupby(shown, lambda field: (code.is_sparse(field), _head(field))):
        indent = code.open(is_sparse, head)
        for field in group:
            code.add(indent, field, getattr(field, place), forms, is_line=place == "line")
    return code.function(["op", "found"], [*code.lines, "    return None"])


def is_sparse(kind: type, field: Field) -> bool:
    """
    Return whether few operations of a class have the field.
    """
    return _Code(kind).is_sparse(field)


def row_maker(kind: type, fields: Iterable[Field]) -> Callable[[Any], tuple[Any, ...]]:
    """
    Return a function that makes a row of an operation: a tuple of its values, without the operation.
    """
    code = _Code(kind)
    values = "".join(code.value(field) + ", " for field in fields)
    return code.function(["op"], ["    sparse = op.sparse or NOTHING", f"    return ({values})"])


def _head(field: Field) -> str:
    return field.source.partition(".")[0] if "." in field.source else ""


class _Code:
    """
    The code of one function, and the constants that it names.
    """

    def __init__(self, kind: type) -> None:
        self._kind = kind
        self._constants: dict[str, Any] = {"NOTHING": _NOTHING}
        self.lines: list[str] = []

    def is_sparse(self, field: Field) -> bool:
        return isinstance(self._declared(field), SparseField)

    def _declared(self, field: Field) -> Any:
        name = field.source.partition(".")[0]
        return next((vars(cls)[name] for cls in self._kind.__mro__ if name in vars(cls)), None)

    def open(self, is_sparse: bool, head: str) -> str:
        """
        Begin what is read of the sparse fields, or of one object; return the indent of what stands in it.
        """
        indent = "    "
        if is_sparse:
            self.lines += [f"{indent}sparse = op.sparse", f"{indent}if sparse is not None:"]
            indent += "    "
        if head:
            read = f"sparse.get({head!r})" if is_sparse else f"op.{head}"
            self.lines += [f"{indent}part = {read}", f"{indent}if part is not None:"]
            indent += "    "
        return indent

    def add(self, indent: str, field: Field, name: str, forms: Forms, *, is_line: bool) -> None:
        """
        Add one field, to where `open()` has led.
        """
        read = self._read(field, "part" if _head(field) else None)
        if field.where:
            self.lines.append(f"{indent}if part.{field.where.partition('.')[2]}:")
            indent, test = indent + "    ", ""
        elif field.unset is ALWAYS or (is_line and field.line_null):
            test = ""
        elif field.unset is None and field.form and not is_line:
            form = self._constant(forms[field.form])
            self.lines.append(f"{indent}if (value := {read}) is not None and (value := {form}(value)) is not None:")
            self.lines.append(f"{indent}    found[{name!r}] = value")
            return
        elif field.unset is None:
            test = f"if (value := {read}) is not None"
        elif not field.unset:
            test = f"if value := {read}"
        else:
            test = f"if (value := {read}) != {self._constant(field.unset)}"
        if test:
            self.lines.append(f"{indent}{test}:")
            indent, read = indent + "    ", "value"
        written = f"{self._constant(forms[field.form])}({read})" if field.form else read
        self.lines.append(f"{indent}found[{name!r}] = {written}")

    def value(self, field: Field) -> str:
        """
        Return the expression of a field in a row.
        """
        head = _head(field)
        if not head:
            return self._read(field)
        unset = self._constant(None if field.unset is ALWAYS else field.unset)
        part = f"sparse.get({head!r})" if self.is_sparse(field) else f"op.{head}"
        return f"({unset} if (part := {part}) is None else {self._read(field, 'part')})"

    def _read(self, field: Field, part: str | None = None) -> str:
        source = field.source
        if not _is_source(source):
            raise ValueError(f"{source!r} is no source of a field")
        if part is not None:
            return f"{part}.{source.partition('.')[2]}"
        declared = self._declared(field)
        if isinstance(declared, SparseField):
            return f"sparse.get({source!r}, {self._constant(declared.default)})"
        return f"op.{source}"

    def _constant(self, value: Any) -> str:
        if value is None or type(value) in (bool, int, float, str):
            return repr(value)
        name = f"constant_{len(self._constants)}"
        self._constants[name] = value
        return name

    def function(self, parameters: Iterable[str], lines: Iterable[str]) -> Callable[..., Any]:
        """
        Compile what was added.
        """
        source = "\n".join([f"def function({', '.join(parameters)}):", *lines])
        exec(compile(source, "<obskit.rows>", "exec"), self._constants)
        made: Callable[..., Any] = self._constants["function"]
        return made
