"""
What a runtime tells rules: which of those that are shipped are in force, and what labels alerts have.
"""

from __future__ import annotations

from obskit.components import Assembly, Component
from obskit.rules.settings import RuleSettings
from obskit.time.clock import Deadline


class ChosenRules(Component):
    """
    The rules that this runtime chose, and their labels.
    """

    name = "rules"

    def __init__(self, names: tuple[str, ...], labels: str) -> None:
        # Late, since few choose, and the table is no part of a start.
        from obskit.rules import alert_labels
        from obskit.rules.in_force import chosen, wanted

        self._chosen, self._names = chosen, names
        self._labelled, self._labels = alert_labels.in_force, labels
        wanted(names)  # a name that is not shipped is an error now

    def start(self) -> None:
        """
        Put the names in force.
        """
        self._chosen[:] = self._names
        self._labelled[:] = [self._labels]

    def stop(self, deadline: Deadline) -> None:
        """
        Return to the default.
        """
        self._chosen[:] = ["default"]
        self._labelled[:] = ["obskit"]


def chosen_rules(assembly: Assembly) -> ChosenRules | None:
    """
    Return the choice where it is not the default.
    """
    settings = assembly.settings.of(RuleSettings)
    is_usual = settings.alerts == ("default",) and settings.alert_labels == "obskit"
    return None if is_usual else ChosenRules(settings.alerts, settings.alert_labels)
