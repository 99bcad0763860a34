"""
Clients of obskit's own routes, and what they may do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Role: TypeAlias = Literal["viewer", "operator"]
ROLES: tuple[Role, ...] = ("viewer", "operator")


@dataclass(frozen=True, slots=True)
class Visitor:
    """
    Who a client is, as a function of the application says.

    Attributes:
        name: The name that acts are recorded under; None where it is not known, as of a client with a token.
        role: A `viewer` looks; an `operator` acts, too.

    Raises:
        ValueError: There is no such role, or the name is not a text.
    """

    name: str | None
    role: Role

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"role={self.role!r} of a visitor: expected 'viewer' or 'operator'")
        if self.name is not None and not isinstance(self.name, str):
            raise ValueError(f"name={self.name!r} of a visitor: expected a text, or None")

    def may(self, role: Role) -> bool:
        """
        Return whether this visitor may do what a role may.
        """
        return ROLES.index(self.role) >= ROLES.index(role)
