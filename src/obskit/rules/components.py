"""
What a runtime tells rules: which of those that are shipped are in force.
"""

from __future__ import annotations

from obskit.components import Assembly, Component
from obskit.rules.settings import RuleSettings
from obskit.time.clock import Deadline


class ChosenRules(Component):
    """
    The rules that this runtime chose.
    """

    name = "rules"

    def __init__(self, names: tuple[str, ...]) -> None:
        # Late, since few choose, and the table is no part of a start.
        from obskit.rules.in_force import chosen, wanted

        self._chosen, self._names = chosen, names
        wanted(names)  # a name that is not shipped is an error now

    def start(self) -> None:
        """
        Put the names in force.
        """
        self._chosen[:] = self._names

    def stop(self, deadline: Deadline) -> None:
        """
        Return to the default.
        """
        self._chosen[:] = ["default"]


def chosen_rules(assembly: Assembly) -> ChosenRules | None:
    """
    Return the choice where it is not the default.
    """
    names = assembly.settings.of(RuleSettings).alerts
    return ChosenRules(names) if names != ("default",) else None
