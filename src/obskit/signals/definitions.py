"""
Ask something of metrics. What cannot be asked is an error here, before anything is evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Protocol, TypeAlias

from obskit.catalogue import CATALOGUE, Metric
from obskit.errors import SignalError
from obskit.metrics.declare import declared
from obskit.signals.counted import First, Quantile, Rise
from obskit.signals.derived import Ratio
from obskit.signals.gauged import Age, Forecast, Growth, Level, TimeLeft
from obskit.signals.matching import Matcher
from obskit.signals.selection import Grouping, Selection
from obskit.signals.signal import Signal
from obskit.signals.units import PER_SECOND, SHARE, TIMESTAMP, unit_of
from obskit.signals.windows import Duration, Span, window_seconds

# Alerts have these of their own, or Prometheus gives them: a label of a metric would be hidden behind them.
# `component` is not among them: an alert's names what the metric's does.
TAKEN_LABELS = frozenset({"severity", "area", "app", "alertname", "job", "instance"})


class Declared(Protocol):
    """
    What `obskit.counter()`, `gauge()` and `histogram()` return.
    """

    @property
    def spec(self) -> Metric:
        """
        Return its row.
        """


Asked: TypeAlias = str | Declared
Where: TypeAlias = Mapping[str, str | Matcher]
By: TypeAlias = Iterable[str]
_NOWHERE: Where = {}
WINDOW = "5m"


def increase(metric: Asked, *, by: By = (), where: Where = _NOWHERE, window: Duration = WINDOW) -> Signal:
    """
    Ask by how much a counter rose in a window, in the counter's unit.

    Args:
        metric: A counter's name, without the namespace, or what `obskit.counter()` returned.
        by: Labels that values are told apart by; without any there is one value.
        where: What labels must be: `{"method": "GET", "status": matches("5..")}`.
        window: A duration from 45 s to 31 d.

    Raises:
        SignalError: It cannot be asked so.
    """
    return _rise("increase", metric, by, where, window)


def rate(metric: Asked, *, by: By = (), where: Where = _NOWHERE, window: Duration = WINDOW) -> Signal:
    """
    Ask by how much a counter rises a second, on average over a window.

    Args:
        metric: A counter's name, without the namespace, or what `obskit.counter()` returned.
        by: Labels that values are told apart by; without any there is one value.
        where: What labels must be: `{"method": "GET", "status": matches("5..")}`.
        window: A duration from 45 s to 31 d.

    Raises:
        SignalError: It cannot be asked so.
    """
    return _rise("rate", metric, by, where, window)


def first(
    metric: Asked, *, by: By, where: Where = _NOWHERE, window: Duration = WINDOW, before: Duration = "1d"
) -> Signal:
    """
    Ask for kinds that a counter has not counted before: how many it has of those that came in the window.

    Args:
        metric: A counter's name, without the namespace, or what `obskit.counter()` returned.
        by: Labels that make a kind, one at least.
        where: What labels must be.
        window: How long a kind is new, from 45 s to 31 d.
        before: How far before the window a kind is looked for, in the same range.

    Raises:
        SignalError: It cannot be asked so.
    """
    row = _row("first", metric, "counter")
    grouping = _grouping(row, by)
    if not grouping.labels:
        raise SignalError(f"first({row.name!r}): by= names the labels that make a kind, one of {_listed(row.labels)}")
    span = Span(window_seconds(window))
    return First(Selection(row, where=_where(row, where)), grouping, span, window_seconds(before, "before"))


def ratio(part: Signal, whole: Signal) -> Signal:
    """
    Ask for a part of a whole, both rates or both increases, told apart by the same labels in the same window. A part
    that is missing is 0; without a whole there is no value.

    Raises:
        SignalError: They do not go together.
    """
    if not isinstance(part, Rise) or not isinstance(whole, Rise):
        raise SignalError("ratio() takes two rates, or two increases; of gauges, write fraction()")
    _check_alike("ratio", part, whole)
    if part.span != whole.span:
        raise SignalError("ratio() takes two signals of one window; to compare windows, write signal.against()")
    part, whole = part.in_all(), whole.in_all()
    return Ratio(part, whole, SHARE, failing=part.requests())


def observations(metric: Asked, *, by: By = (), where: Where = _NOWHERE, window: Duration = WINDOW) -> Signal:
    """
    Ask how many observations a histogram has a second, as `rate()` asks of a counter.
    """
    row = _row("observations", metric, "histogram")
    return Rise(
        Selection(row, "_count", _where(row, where)), _grouping(row, by), Span(window_seconds(window)), per_second=True
    )


def fraction_ahead(part: Asked, whole: Asked, ahead: Duration, window: Duration) -> Signal:
    """
    Ask for a gauge as a share of another, `ahead` from now, along the straight line of the window.
    """
    rows = _row("fraction_ahead", part, "gauge"), _row("fraction_ahead", whole, "gauge")
    grouping = _grouping(rows[0], rows[0].labels)
    then = Forecast(Selection(rows[0]), grouping, Span(window_seconds(window)), window_seconds(ahead, "ahead"))
    of_all = Level(Selection(rows[1]), _grouping(rows[1], rows[1].labels))
    _check_alike("fraction_ahead", then, of_all)
    return Ratio(then, of_all, SHARE, needs_part=True)


def fraction(part: Asked, whole: Asked, *, by: By | None = None, where: Where = _NOWHERE) -> Signal:
    """
    Ask for a gauge as a share of another: memory in use of all memory.

    Args:
        part: A gauge's name, or what `obskit.gauge()` returned.
        whole: Likewise, in the same unit; above 0, else there is no value.
        by: Labels that both have; by default all that both have.
        where: What labels of both must be.

    Raises:
        SignalError: It cannot be asked so.
    """
    rows = _row("fraction", part, "gauge"), _row("fraction", whole, "gauge")
    shared = tuple(label for label in rows[0].labels if label in rows[1].labels)
    used, all_of_it = (
        Level(Selection(row, where=_where(row, where)), _grouping(row, shared if by is None else by)) for row in rows
    )
    _check_alike("fraction", used, all_of_it)
    return Ratio(used, all_of_it, SHARE, needs_part=True)


def quantile(share: float, metric: Asked, *, by: By = (), where: Where = _NOWHERE, window: Duration = WINDOW) -> Signal:
    """
    Ask for a quantile of a histogram's observations in a window.

    The value is an estimate between two bounds, and only shown. A condition is exact: `quantile(0.95, ...) > 2` holds
    where less than 95 % were within 2, which must be one of the bounds.

    Args:
        share: Above 0 and below 1, such as 0.95.
        metric: A histogram's name, without the namespace, or what `obskit.histogram()` returned.
        by: Labels that values are told apart by.
        where: What labels must be.
        window: A duration from 45 s to 31 d.

    Raises:
        SignalError: It cannot be asked so.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise SignalError(f"quantile({share!r}, ...): expected a share above 0 and below 1, such as 0.95")
    row = _row("quantile", metric, "histogram")
    selection = Selection(row, "_bucket", _where(row, where))
    return Quantile(float(share), selection, _grouping(row, by), Span(window_seconds(window)))


def mean(metric: Asked, *, by: By = (), where: Where = _NOWHERE, window: Duration = WINDOW) -> Signal:
    """
    Ask for the mean of a histogram's observations in a window.

    Args:
        metric: A histogram's name, without the namespace, or what `obskit.histogram()` returned.
        by: Labels that values are told apart by.
        where: What labels must be.
        window: A duration from 45 s to 31 d.

    Raises:
        SignalError: It cannot be asked so.
    """
    row = _row("mean", metric, "histogram")
    matchers, grouping, span = _where(row, where), _grouping(row, by), Span(window_seconds(window))
    total, count = (Rise(Selection(row, suffix, matchers), grouping, span) for suffix in ("_sum", "_count"))
    return Ratio(total, count, unit_of(row))


def level(metric: Asked, *, by: By | None = None, where: Where = _NOWHERE) -> Signal:
    """
    Ask for what a gauge is.

    Args:
        metric: A gauge's name, without the namespace, or what `obskit.gauge()` returned.
        by: Labels that values are told apart by; by default all that it has. What is not told apart is combined as
            the values of several workers are.
        where: What labels must be.

    Raises:
        SignalError: It cannot be asked so.
    """
    row = _row("level", metric, "gauge")
    return Level(Selection(row, where=_where(row, where)), _grouping(row, row.labels if by is None else by))


def age(metric: Asked, *, by: By | None = None, where: Where = _NOWHERE) -> Signal:
    """
    Ask how many seconds ago a gauge's time is; while it is 0 there is no value.

    Args:
        metric: The name of a gauge of seconds since the epoch, which ends in `_timestamp_seconds`, or what
            `obskit.gauge()` returned.
        by: Labels that values are told apart by; by default all that it has. Of several times the latest counts.
        where: What labels must be.

    Raises:
        SignalError: It cannot be asked so.
    """
    row = _row_of_times("age", metric)
    return Age(Selection(row, where=_where(row, where)), _grouping(row, row.labels if by is None else by))


def time_left(metric: Asked, *, by: By | None = None, where: Where = _NOWHERE) -> Signal:
    """
    Ask how many seconds it is to a gauge's time, as `age()` asks how many it is since. Of several times the first
    counts.
    """
    row = _row_of_times("time_left", metric)
    return TimeLeft(Selection(row, where=_where(row, where)), _grouping(row, row.labels if by is None else by))


def growth(metric: Asked, *, by: By | None = None, where: Where = _NOWHERE, window: Duration = "1h") -> Signal:
    """
    Ask by how much a gauge grows in a window, in the gauge's unit: along the straight line that fits best.

    Args:
        metric: A gauge's name, without the namespace, or what `obskit.gauge()` returned.
        by: Labels that values are told apart by; by default all that it has.
        where: What labels must be.
        window: A duration from 45 s to 31 d.

    Raises:
        SignalError: It cannot be asked so.
    """
    row = _row("growth", metric, "gauge")
    if unit_of(row) == TIMESTAMP:
        raise SignalError(f"growth({row.name!r}): times do not grow; ask for age()")
    grouping = _grouping(row, row.labels if by is None else by)
    return Growth(Selection(row, where=_where(row, where)), grouping, Span(window_seconds(window)))


def _rise(asked: str, metric: Asked, by: By, where: Where, window: Duration) -> Signal:
    row = _row(asked, metric, "counter")
    span = Span(window_seconds(window))
    return Rise(Selection(row, where=_where(row, where)), _grouping(row, by), span, per_second=asked == "rate")


_INSTEAD = {"counter": "rate() or increase()", "gauge": "level() or growth()", "histogram": "quantile() or mean()"}


def _row(asked: str, metric: object, kind: str) -> Metric:
    row = _found(asked, metric)
    if row.kind != kind:
        raise SignalError(
            f"{asked}({row.name!r}): that is a {row.kind}, and {asked}() is of a {kind}; ask for {_INSTEAD[row.kind]}"
        )
    return row


def _row_of_times(asked: str, metric: object) -> Metric:
    row = _row(asked, metric, "gauge")
    if unit_of(row) != TIMESTAMP:
        raise SignalError(f"{asked}({row.name!r}): that is no time: expected a gauge that ends in _timestamp_seconds")
    return row


def _found(asked: str, metric: object) -> Metric:
    spec = getattr(metric, "spec", None)
    if isinstance(spec, Metric):
        return spec
    if not isinstance(metric, str):
        raise SignalError(
            f"{asked}() takes a metric's name, or what obskit.counter(), gauge() or histogram() returned, "
            f"not {type(metric).__name__}"
        )
    rows = {**{row.name: row for row in CATALOGUE}, **{name: family.spec for name, family in declared.items()}}
    row = rows.get(metric)
    if row is None:
        near = get_close_matches(metric, rows, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "declare it first, and leave the namespace out"
        raise SignalError(f"{asked}({metric!r}): there is no such metric; {hint}")
    return row


def _grouping(row: Metric, by: object) -> Grouping:
    labels = _labels_of(by)
    for label in labels:
        if label in TAKEN_LABELS:
            raise SignalError(
                f"by={label!r} of {row.name}: alerts have a label {label} of their own, which would hide it"
            )
        _check_label("by", row, label)
    return Grouping(row, tuple(sorted(set(labels))))


def _labels_of(by: object) -> tuple[str, ...]:
    if isinstance(by, str) or not isinstance(by, Iterable):
        raise SignalError(f"by={by!r}: expected a list of labels, such as by=['endpoint']")
    return tuple(str(label) for label in by)


def _where(row: Metric, where: object) -> tuple[tuple[str, Matcher], ...]:
    if not isinstance(where, Mapping):
        raise SignalError(f"where={where!r}: expected labels and values, such as where={{'status': matches('5..')}}")
    found = []
    for label, value in where.items():
        _check_label("where", row, label)
        if not isinstance(value, str | Matcher):
            raise SignalError(f"where of {row.name} has {label}={value!r}: expected text, or matches('...')")
        found.append((str(label), value if isinstance(value, Matcher) else Matcher(value)))
    return tuple(sorted(found, key=lambda pair: pair[0]))


def _check_label(argument: str, row: Metric, label: object) -> None:
    if label not in row.labels:
        near = get_close_matches(str(label), row.labels, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"its labels are {_listed(row.labels)}"
        raise SignalError(f"{argument} names {label!r}, which {row.name} does not have; {hint}")


def _check_alike(asked: str, part: Signal, whole: Signal) -> None:
    if part.unit != whole.unit:
        units = f"{part.unit.removesuffix(PER_SECOND)} and {whole.unit.removesuffix(PER_SECOND)}"
        if part.unit.endswith(PER_SECOND) != whole.unit.endswith(PER_SECOND):
            units = f"{part.unit} and {whole.unit}"
        raise SignalError(f"{asked}() takes two signals of one unit, not {units}")
    if part.labels != whole.labels:
        raise SignalError(
            f"{asked}() takes two signals by the same labels, not by {_listed(part.labels)} and {_listed(whole.labels)}"
        )


def _listed(labels: Iterable[str]) -> str:
    return ", ".join(labels) or "none"
