"""
Renamed labels on the page: the setting `metric_labels`.

Cells, and the files that workers share, keep the names of the catalogue; only the page has the new ones, so that
workers with different settings still merge.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from obskit.catalogue import CATALOGUE, Metric
from obskit.errors import ConfigurationError, MetricNameError

ALL_METRICS = "*"


class LabelRenames:
    """
    The names of labels on the page.

    Args:
        given: `metric_labels`.
        renames: `metric_names`.
        declared: The application's own metrics that are declared so far.

    Raises:
        ConfigurationError: A metric has no such label, or the new name is taken or not a valid label name.
    """

    def __init__(
        self,
        given: Mapping[str, Mapping[str, str]],
        renames: Mapping[str, str | None],
        declared: Iterable[Metric] = (),
    ) -> None:
        self._given = given
        self._every = given.get(ALL_METRICS, {})
        if given:
            known = {spec.name: spec for spec in (*CATALOGUE, *declared)}
            _check_no_new_names(given.keys() - known.keys(), renames)
            _check_known(ALL_METRICS, self._every, {label: None for spec in known.values() for label in spec.labels})
            for spec in known.values():
                self.check(spec)

    def check(self, spec: Metric) -> None:
        """
        Raise ConfigurationError where the renames of a metric are not possible.
        """
        if not self._given:
            return
        _check_known(spec.name, self._given.get(spec.name, {}), spec.labels)
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

    def rename(self, spec: Metric) -> tuple[str, ...]:
        """
        Return a metric's label names on the page.
        """
        names = self._names_of(spec) if self._given else spec.labels
        # Another worker may have a metric of this name with other labels, which were not checked here.
        return names if len(set(names)) == len(names) else spec.labels

    def _names_of(self, spec: Metric) -> tuple[str, ...]:
        names = {**self._every, **self._given.get(spec.name, {})}
        return tuple(names.get(label, label) for label in spec.labels)


NO_RENAMES = LabelRenames({}, {})


def _check_no_new_names(unknown: Iterable[str], renames: Mapping[str, str | None]) -> None:
    old = {new: name for name, new in renames.items() if new is not None}
    for name in sorted(unknown):
        if name in old:
            raise ConfigurationError(
                f"metric_labels has {name!r}, which is what metric_names makes of {old[name]!r}: write {old[name]!r}"
            )


def _check_known(metric: str, asked: Iterable[str], labels: Collection[str]) -> None:
    for label in asked:
        if label in labels:
            continue
        has = "no metric has that label" if metric == ALL_METRICS else f"its labels are {', '.join(labels) or 'none'}"
        from difflib import get_close_matches

        near = get_close_matches(label, labels, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigurationError(f"metric_labels[{metric!r}] renames {label!r}, but {has}{hint}")
