"""
Write a report as tables for people.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from obskit.ai.advice import dollars

if TYPE_CHECKING:
    from obskit.ai.reporting import AiReport, CallGroup, Quantiles

_WHOSE = {"list": "by genai-prices", "own": "by your prices", "told": "as the provider told"}
_HEAD = ("calls", "success", "input", "cached", "written", "output", "cost", "unknown")


def lines(report: AiReport) -> Iterator[str]:
    """
    Give the lines of a report.
    """
    total = report.total
    yield f"AI calls of the last {report.hours:g} h, of this process alone, which knows them since {report.known_since}"
    yield ""
    for name, value in _facts(report):
        yield f"  {name:<14}{value}"
    if total.calls:
        yield ""
        yield from _groups(report)
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


def _facts(report: AiReport) -> Iterator[tuple[str, str]]:
    total = report.total
    yield "calls", f"{total.calls:,}, {100 * total.success_rate:.1f} % successful" if total.calls else "0"
    if total.calls:
        yield "cost", _cost(total)
        if set(total.cost_by_source) - {"list"}:
            yield "", ", ".join(f"{dollars(usd)} {_WHOSE[name]}" for name, usd in total.cost_by_source.items())
        yield "tokens", f"{total.all_tokens:,}"
        if any(total.estimated_tokens.values()):
            yield "", f"~{sum(total.estimated_tokens.values()):,} more by estimate"
    if total.unknown_cost_calls:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in report.unknown_cost.items())
        yield "unknown cost", f"{total.unknown_cost_calls:,} calls: {reasons}"
    if report.maybe_billed_calls:
        yield "", f"{report.maybe_billed_calls:,} more attempts were never answered, and may have been billed"
    if report.seconds is not None:
        yield "took", _quantiles(report.seconds)
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


def _projection(report: AiReport) -> str:
    found = report.projection
    if found.month_usd is None or found.per_day_usd is None:
        return f"{found.status} to say, with {24 * found.days:.1f} h known" if found.status == "too early" else "?"
    return f"{dollars(found.month_usd)} projected, from {dollars(found.per_day_usd)} a day in {found.days:.1f} days"


def _quantiles(found: Quantiles) -> str:
    return f"p50 {found.p50:.2f} s, p95 {found.p95:.2f} s, p99 {found.p99:.2f} s"


def _cost(group: CallGroup) -> str:
    known = "?" if group.cost_usd is None else dollars(group.cost_usd)
    return known if not group.estimated_cost_usd else f"{known} + ~{dollars(group.estimated_cost_usd)}"


def _groups(report: AiReport) -> Iterator[str]:
    parts = {
        **{"service": report.by_service, "model": report.by_model, "route": report.by_route},
        **{"feature": report.by_feature, "user": report.by_user, "day": report.by_day},
    }
    shown = {name: groups for name, groups in parts.items() if [group.name for group in groups] != ["(none)"]}
    rows = [(part, name, cells) for part, groups in shown.items() for name, cells in _rows(part, groups)]
    first = max(len(name) for _, name, _ in rows)
    widths = [max(len(cells[column]) for _, _, cells in rows) for column in range(len(_HEAD))]
    before = rows[0][0]
    for part, name, cells in rows:
        if part != before:
            yield ""
            before = part
        yield name.ljust(first) + "".join("  " + cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def _rows(part: str, groups: tuple[CallGroup, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield part, _HEAD
    for group in groups:
        tokens = (f"{count:,}" for count in group.tokens.values())
        unknown = f"{group.unknown_cost_calls:,}"
        yield group.name, (f"{group.calls:,}", f"{100 * group.success_rate:.1f} %", *tokens, _cost(group), unknown)
