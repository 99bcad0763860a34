"""
Give labels other names on the page: the setting `metric_labels`.

Cells, and the files in which workers share them, keep the names of the catalogue: only what is written has the new
ones, so that a server's workers add up whatever each of them calls its labels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches

from obskit.catalogue import CATALOGUE, Metric
from obskit.errors import ConfigurationError, MetricNameError

EVERY = "*"


class LabelNames:
    """
    Know the labels' names on the page.

    Args:
        given: `metric_labels`.
        renames: `metric_names`.
        declared: The application's own metrics, as far as they are declared.

    Raises:
        ConfigurationError: A metric has no such label, or it cannot have the new one: it has one of that name, or the
            name is no label's.
    """

    def __init__(
        self,
        given: Mapping[str, Mapping[str, str]],
        renames: Mapping[str, str | None],
        declared: Iterable[Metric] = (),
    ) -> None:
        self._given = given
        self._every = given.get(EVERY, {})
        if given:
            known = {spec.name: spec for spec in (*CATALOGUE, *declared)}
            _refuse_new_names(given.keys() - known.keys(), renames)
            _refuse_unknown(EVERY, self._every, {label: None for spec in known.values() for label in spec.labels})
            for spec in known.values():
                self.check(spec)

    def check(self, spec: Metric) -> None:
        """
        Refuse what is given for a metric, where it cannot be done.
        """
        if not self._given:
            return
        _refuse_unknown(spec.name, self._given.get(spec.name, {}), spec.labels)
        names = self._names_of(spec)
        if names == spec.labels:
            return
        said = f"metric_labels gives {spec.name} the labels {', '.join(names)}"
        if names.count("worker") < spec.labels.count("worker"):
            raise ConfigurationError(f"{said}: 'worker' stays, since metrics that obskit does not write have it too")
        try:
            replace(spec, labels=names)
        except MetricNameError as error:
            raise ConfigurationError(f"{said}: {error}") from None

    def shown(self, spec: Metric) -> tuple[str, ...]:
        """
        Give a metric's labels as the page has them.
        """
        names = self._names_of(spec) if self._given else spec.labels
        # Another worker may have a metric of this name with other labels, which nobody has checked.
        return names if len(set(names)) == len(names) else spec.labels

    def _names_of(self, spec: Metric) -> tuple[str, ...]:
        names = {**self._every, **self._given.get(spec.name, {})}
        return tuple(names.get(label, label) for label in spec.labels)


AS_THEY_ARE = LabelNames({}, {})


def _refuse_new_names(unknown: Iterable[str], renames: Mapping[str, str | None]) -> None:
    old = {new: name for name, new in renames.items() if new is not None}
    for name in sorted(unknown):
        if name in old:
            raise ConfigurationError(
                f"metric_labels has {name!r}, which is what metric_names makes of {old[name]!r}: write {old[name]!r}"
            )


def _refuse_unknown(metric: str, asked: Iterable[str], labels: Collection[str]) -> None:
    for label in asked:
        if label in labels:
            continue
        has = "no metric has that label" if metric == EVERY else f"its labels are {', '.join(labels) or 'none'}"
        near = get_close_matches(label, labels, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigurationError(f"metric_labels[{metric!r}] renames {label!r}, but {has}{hint}")
