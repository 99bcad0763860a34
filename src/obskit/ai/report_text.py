"""
Render a report as text tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice

from obskit.ai.advice import dollars
from obskit.ai.report_figures import AiFigures, CallGroup, Spread
from obskit.text_table import table_lines

_WHOSE = {"list": "by genai-prices", "own": "by your prices", "told": "as the provider told"}
_HEAD = (
    *("calls", "success", "mean", "p95", "max"),
    *("input", "cached", "written", "output", "a call", "cost", "unknown"),
)
_NOTHING = {
    "nothing found": (
        "nothing found: rate limits, errors, cost, waste, unknown costs, prices, retries, slowness, caches, models and "
        "names were looked at"
    ),
    "too few calls": "nothing found, with too few calls to tell: most of what is looked for takes 20",
    "no calls": "nothing to say: no call was seen",
}
_DAYS = 7  # columns, the latest


def lines(report: AiFigures) -> Iterator[str]:
    """
    Yield the lines of a report.
    """
    total = report.total
    whose = "of all workers, known" if report.is_of_all_workers else "of this process alone, which knows them"
    yield f"AI calls of the last {report.hours:g} h, {whose} since {report.known_since}"
    yield ""
    for name, value in _facts(report):
        yield f"  {name:<14}{value}"
    if total.calls:
        yield ""
        yield from _groups(report)
        yield from _days(report)
    if report.recent_errors:
        yield ""
        yield "errors, the latest first"
        for error in report.recent_errors:
            status = "" if error.status is None else f" {error.status}"
            place = " ".join(filter(None, (f"{error.provider}/{error.model}", error.service, error.endpoint)))
            yield f"  {error.at}  {error.error}{status}  {place}"
    for recommendation in report.recommendations:
        yield ""
        yield f"{recommendation.code}: {recommendation.text}"
    if not report.recommendations:
        yield ""
        yield _NOTHING[report.conclusion]


def _facts(report: AiFigures) -> Iterator[tuple[str, str]]:
    total = report.total
    yield "calls", f"{total.calls:,}, {100 * total.success_rate:.1f} % successful" if total.calls else "0"
    if total.calls:
        yield "cost", _cost(total)
        if set(total.cost_by_source) - {"list"}:
            yield "", ", ".join(f"{dollars(usd)} {_WHOSE[name]}" for name, usd in total.cost_by_source.items())
        if total.cost_usd_per_call is not None and total.cost_usd_per_call.count > 1:
            yield "", _extremes(total.cost_usd_per_call, dollars)
        yield "tokens", f"{total.all_tokens:,}"
        if total.tokens_per_call is not None and total.tokens_per_call.count > 1:
            yield "", _extremes(total.tokens_per_call, "{:,.0f}".format)
        if any(total.estimated_tokens.values()):
            yield "", f"~{sum(total.estimated_tokens.values()):,} more by estimate"
    if total.unknown_cost_calls:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in report.unknown_cost.items())
        yield "unknown cost", f"{total.unknown_cost_calls:,} calls: {reasons}"
    if report.maybe_billed_calls:
        yield "", f"{report.maybe_billed_calls:,} more attempts were never answered, and may have been billed"
    if report.seconds is not None:
        yield "took", _extremes(report.seconds, _seconds)
        yield "", _quantiles(report.seconds)
    if report.first_chunk_seconds is not None:
        yield "first chunk", _quantiles(report.first_chunk_seconds)
    if report.output_tokens_per_second is not None:
        yield "output", f"{report.output_tokens_per_second:,.1f} tokens a second"
    if report.cache_savings_usd:
        yield "caches saved", dollars(report.cache_savings_usd)
    if report.wasted_usd:
        reasons = ", ".join(f"{reason} {dollars(usd)}" for reason, usd in sorted(report.wasted_usd.items()))
        yield "wasted", f"{dollars(sum(report.wasted_usd.values()))}: {reasons}"
    if report.retries:
        yield "retries", f"{report.retries:,}, {report.retry_wait_seconds:,.1f} s waited"
    yield "this month", _projection(report)
    prices = report.price_data
    if prices is not None:
        yield "prices", f"genai-prices {prices.version}" + (f", of {prices.of} or before" if prices.of else "")


def _projection(report: AiFigures) -> str:
    found = report.projection
    if found.month_usd is None or found.per_day_usd is None:
        return f"{found.status} to say, with {24 * found.days:.1f} h known" if found.status == "too early" else "?"
    return f"{dollars(found.month_usd)} projected, from {dollars(found.per_day_usd)} a day in {found.days:.1f} days"


def _quantiles(found: Spread) -> str:
    return f"p50 {found.p50:.2f} s, p95 {found.p95:.2f} s, p99 {found.p99:.2f} s"


def _extremes(found: Spread, written: Callable[[float], str]) -> str:
    return f"{written(found.mean)} a call, from {written(found.min)} to {written(found.max)}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s"


def _cost(group: CallGroup) -> str:
    known = "?" if group.cost_usd is None else dollars(group.cost_usd)
    return known if not group.estimated_cost_usd else f"{known} + ~{dollars(group.estimated_cost_usd)}"


def _groups(report: AiFigures) -> Iterator[str]:
    parts = {
        **{"service": report.by_service, "model": report.by_model, "route": report.by_route},
        **{"feature": report.by_feature, "user": report.by_user, "day": report.by_day},
    }
    shown = {name: groups for name, groups in parts.items() if [group.name for group in groups] != ["(none)"]}
    tables = [[*_rows(part, groups)] for part, groups in shown.items()]
    aligned = table_lines([*chain(*tables)])
    for number, table in enumerate(tables):
        if number:
            yield ""
        yield from islice(aligned, len(table))


def _days(report: AiFigures) -> Iterator[str]:
    """
    Yield the cost of each model on each of the latest days; nothing if other tables say the same.
    """
    days = [*report.by_day_and_model][-_DAYS:]
    if len(days) < 2 or len(report.by_model) < 2:
        return
    left_out = len(report.by_day_and_model) - len(days)
    costs = {day: {group.name: _cost(group) for group in report.by_day_and_model[day]} for day in days}
    rows: list[tuple[str, ...]] = [("cost by day", *(day[5:] for day in days))]
    rows += [(group.name, *(costs[day].get(group.name, "-") for day in days)) for group in report.by_model]
    yield ""
    yield from table_lines(rows)
    if left_out:
        yield f"and {left_out:,} days before"


def _rows(part: str, groups: tuple[CallGroup, ...]) -> Iterator[tuple[str, ...]]:
    yield part, *_HEAD
    for group in groups:
        tokens = (f"{count:,}" for count in group.tokens.values())
        took, each = group.seconds, group.cost_usd_per_call
        yield (
            *(group.name, f"{group.calls:,}", f"{100 * group.success_rate:.1f} %"),
            *(("-",) * 3 if took is None else map(_seconds, (took.mean, took.p95, took.max))),
            *tokens,
            *("?" if each is None else dollars(each.mean), _cost(group), f"{group.unknown_cost_calls:,}"),
        )
