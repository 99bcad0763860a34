"""
A metric's row in the catalogue, checked by Prometheus' naming rules.

Source, of the base units too: https://prometheus.io/docs/practices/naming/ and the data model page beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from obskit.errors import MetricNameError

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Workers: TypeAlias = Literal["sum", "min", "max", "latest"]

UNITS: Mapping[str, str] = MappingProxyType(
    {
        "count": "How many: requests, connections, errors.",
        "seconds": "A length of time.",
        "timestamp": "A moment, in seconds since the epoch.",
        "bytes": "A size.",
        "usd": "US dollars.",
        "percent": "A share, of 100.",
        "tokens": "Tokens of a language model.",
        "cores": "Processor cores.",
        "state": "A number that stands for a word.",
    }
)
# What the end of a name says, `_total` aside; the longer end first.
SUFFIXES: Mapping[str, str] = MappingProxyType(
    {
        **{"_timestamp_seconds": "timestamp", "_start_time_seconds": "timestamp"},
        **{"_milliseconds": "milliseconds", "_ms": "milliseconds"},
        **{f"_{unit}": unit for unit in ("seconds", "bytes", "usd", "percent", "ratio", "tokens", "cores")},
        **{f"_{unit}": unit for unit in ("celsius", "meters", "volts", "amperes", "joules", "grams")},
    }
)

_valid_name = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*").fullmatch
_valid_unit = re.compile(r"[a-z][a-z0-9_]{0,39}").fullmatch
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
        workers: How the gauges of several workers add up. Counters and histograms are always summed.
        is_shared: Whether every worker reads the same figure, of the machine or of a file: it is not added up.
        unit: One of `UNITS`, or an application's own word. Where it is not given, what the end of the name says, and
            else `count` for a counter and an empty text, which says a plain number.
        values: A state's numbers, and the word that each stands for.
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
    is_shared: bool = False
    unit: str = ""
    values: tuple[tuple[float, str], ...] = ()

    def __hash__(self) -> int:
        return hash(self.name)  # names tell rows apart, and a page looks up each

    def __post_init__(self) -> None:
        # `worker` is obskit's to give: to its own processes' figures, and to what several workers cannot add up.
        check_names(self.name, () if self.labels == ("worker",) and not self.prefixed else self.labels)
        object.__setattr__(self, "unit", checked_unit(self.name, self.unit) or ("count" * (self.kind == "counter")))


def checked_unit(name: str, unit: str) -> str:
    """
    Return a metric's unit: as given, or what the end of its name says; empty where neither says any.

    Raises:
        MetricNameError: It is no word, or the end of the name says another unit.
    """
    bare = name.removesuffix("_total")
    named = next((found for suffix, found in SUFFIXES.items() if bare.endswith(suffix)), "")
    if unit and not _valid_unit(unit):
        raise MetricNameError(f"unit={unit!r} of {name}: expected a word in lower case, such as 'plates' or 'celsius'")
    if unit and named and unit != named:
        raise MetricNameError(
            f"unit={unit!r} of {name}: the end of the name says {named!r}; rename it, or leave unit out"
        )
    return unit or named


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
