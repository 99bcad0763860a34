"""
Whether alerts have the label that monitoring guides of products route by beside their own: `service="shop-ai"`.
"""

from __future__ import annotations

from collections.abc import Mapping

SERVICE = "service"
# What each alert has, or Prometheus gives it. `component` is the metric's where that has one.
_OWN = ("severity", "area", "app", "alertname", "alertstate")
# What the active runtime was told by its setting `alert_labels`.
in_force: list[str] = ["obskit"]


def of_guides(service: str, area: str) -> dict[str, str]:
    """
    Return the further labels of an alert.
    """
    return {SERVICE: f"{service}-{area}"} if in_force[-1] == "guides" else {}


def moved_aside(names: Mapping[str, str]) -> dict[str, str]:
    """
    Return the names of a signal's labels where one that the alert's would hide is called as Prometheus calls it then.
    """
    hiding = {*_OWN, *of_guides("", "")}
    taken, moved = {*names.values(), *hiding}, dict(names)
    for label, name in names.items():
        if name in hiding:
            while moved[label] in taken:
                moved[label] = f"exported_{moved[label]}"
    return moved
