"""
A metric's row in the catalogue, checked by Prometheus' naming rules.

Source: https://prometheus.io/docs/practices/naming/ and the data model page beside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from obskit.errors import MetricNameError

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Workers: TypeAlias = Literal["sum", "min", "max", "latest"]

_valid_name = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*").fullmatch
_valid_label = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*").fullmatch
_RESERVED = frozenset({"le", "quantile", "worker"})


@dataclass(frozen=True, slots=True)
class Metric:
    """
    A metric's name, type, labels and meaning.

    Attributes:
        name: Without the namespace; counters end in `_total`, units are the base units (seconds, bytes).
        kind: `counter`, `gauge` or `histogram`.
        help: One sentence for the page and the reference.
        labels: Names of the labels, each a bounded set.
        buckets: Upper bounds of a histogram without `+Inf`; empty where a setting gives them.
        workers: How the gauges of several workers add up.
        prefixed: False for obskit's own metrics, which never take the namespace.
        note: When it is recorded at all, where that is not always.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    workers: Workers = "sum"
    prefixed: bool = True
    note: str = ""

    def __post_init__(self) -> None:
        # `worker` is obskit's to give: to its own processes' figures, and to what several workers cannot add up.
        check_names(self.name, () if self.labels == ("worker",) and not self.prefixed else self.labels)


def check_names(name: str, labels: tuple[str, ...]) -> None:
    """
    Refuse names that a Prometheus server would refuse.

    Raises:
        MetricNameError: It says which name, and what one may consist of.
    """
    if not _valid_name(name):
        raise MetricNameError(f"{name!r} is no metric name: use letters, digits and underscores, and no digit first")
    for label in labels:
        if not _valid_label(label) or label.startswith("__") or label in _RESERVED:
            raise MetricNameError(
                f"{label!r} is no label name for {name}: use letters, digits and underscores, no digit and no "
                f"double underscore first, and none of {', '.join(sorted(_RESERVED))}"
            )
    if len(set(labels)) != len(labels):
        raise MetricNameError(f"{name} names a label twice: {', '.join(labels)}")
