"""
Keep what few objects have out of the way of the others.
"""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class HasRare(Protocol):
    """
    Be an object with room for a dict of what few have.
    """

    rare: dict[str, Any] | None


class Rarely(Generic[T]):
    """
    Be a field that lies in the object's `rare` dict once it is set, and costs nothing where it never is.

    Hot code asks `rare is None` once, in place of each such field. A mutable default would be shared: give None.
    """

    def __init__(self, default: T) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, op: HasRare | None, owner: type) -> T:
        return self._default if op is None or op.rare is None else op.rare.get(self._name, self._default)

    def __set__(self, op: HasRare, value: T) -> None:
        if op.rare is None:
            if value is self._default:
                return
            empty: dict[str, Any] = {}
            if op.rare is None:  # a finaliser may have come while it was made
                op.rare = empty
        op.rare[self._name] = value
