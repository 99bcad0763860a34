"""
Fields that few objects have, kept out of the slots of the others.
"""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class HasSparseFields(Protocol):
    """
    An object with one slot for the dict of its sparse fields.
    """

    sparse: dict[str, Any] | None


class SparseField(Generic[T]):
    """
    A descriptor whose value is in the object's `sparse` dict once it is set, and costs nothing until then.

    Hot code checks `sparse is None` once instead of reading each field. The default is shared: never a mutable one.
    """

    def __init__(self, default: T) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, op: HasSparseFields | None, owner: type) -> T:
        return self.default if op is None or op.sparse is None else op.sparse.get(self._name, self.default)

    def __set__(self, op: HasSparseFields, value: T) -> None:
        if op.sparse is None:
            if value is self.default:
                return
            empty: dict[str, Any] = {}
            if op.sparse is None:  # a finaliser may have set it while this was made
                op.sparse = empty
        op.sparse[self._name] = value
