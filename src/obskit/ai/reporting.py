"""
Report what AI calls took, used and cost: as an object, as JSON, as a table.
"""

from __future__ import annotations

import calendar
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from obskit.ai.advice import MIN_CALLS, Thresholds, advise
from obskit.ai.pricing import price_data
from obskit.ai.rate_limit_headers import rate_limits
from obskit.ai.recent_calls import RecentCall, known_calls
from obskit.ai.report_figures import AiFigures, CallGroup, FailedCall, Projection, Spread
from obskit.ai.report_text import lines
from obskit.errors import ConfigurationError
from obskit.recorder import recorder
from obskit.time.timestamps import to_the_second

HOUR, DAY = 3600.0, 86_400.0
MAX_GROUPS = 20  # of a kind; the others are one group
MAX_ERRORS = 10
RATE_DAYS = 7  # of which the projection takes the rate
LONGEST_MONTH_DAYS = 31
MONTH_DAYS = 30  # whose cost is looked at where the month cannot be projected
REST, NONE = "(others)", "(none)"
KINDS = ("input", "cache_read", "cache_write", "output")


@dataclass(frozen=True, slots=True)
class AiReport(AiFigures):
    """
    A report on AI calls. Unknown values are None, never 0, and estimates are separate.

    Attributes:
        made_at: UTC, ISO 8601.
        hours: That were asked for.
        known_since: UTC, ISO 8601. With `history=True` the calls of all workers are in the report, those of the last
            second of a worker that was killed excepted, for as long as they are kept. Without, this process alone is:
            other workers have theirs. The last 100,000 are known.
        is_complete: Whether all of `hours` is known.
        is_of_all_workers: Whether it was read from the history, and not from this process's memory.
        total: All calls.
        by_service, by_model, by_route, by_feature, by_user: The most expensive first, 20 of each. Models are named
            `provider/model`; features and users are those of `obskit.bind(feature=..., user=...)`, and users of the
            history are named as `history_users` says.
        by_day: UTC days, the oldest first.
        by_day_and_model: For each of these days, the models that `by_model` lists, likewise.
        seconds: How long calls took, failed ones included; None where there were none.
        first_chunk_seconds: The time to the first event of a stream.
        output_tokens_per_second: Of successful calls that told their usage.
        cache_savings_usd: What reads from providers' caches saved, less what writes cost on top; may be negative.
        wasted_usd: Billed, or by estimate billed, for calls that failed or were cut short; by `error`, or how.
        unknown_cost: Calls of unknown cost, by reason.
        maybe_billed_calls: Calls of known cost of which an attempt before, at another time, was never answered: it may
            have been billed too, and is in no figure.
        retries: HTTP requests beyond one a call.
        retry_wait_seconds: Between them.
        projection: Of the month.
        price_data: How old the prices are that were asked; None where none of `genai-prices` were needed.
        recent_errors: The last 10, the latest first.
        recommendations: What to look at, with the figures that say so.
        conclusion: `findings`, which are the recommendations; `nothing found`, where there are none; `too few calls`,
            where there are none and hardly could be, with fewer than 20; or `no calls`.
    """

    def render(self) -> str:
        """
        Render the report as text tables. `~` marks an estimate, `?` an unknown value.
        """
        return "\n".join(lines(self)) + "\n"


def report(hours: float = 24, *, high_cost_usd: float | None = 100.0, slow_seconds: float | None = 5.0) -> AiReport:
    """
    Report the AI calls: success, time, tokens, dollars by service, model, route, feature, user and day.

    Everything that `/metrics` counts is in it, estimates and unknown costs each apart. It is made from the calls that
    are kept: with `history=True` those of all workers, over restarts, else those of this process since its start, in
    memory; the last 100,000 of either. With that many it takes a few seconds, so ask for it in a thread rather than in
    an event loop. Thread-safe.

    Args:
        hours: How far back.
        high_cost_usd: Dollars a month from which on the cost is a finding; None for never.
        slow_seconds: What the calls of a service may take on average before that is a finding; None for ever.

    Raises:
        ConfigurationError: One of them is not a number above 0.
    """
    _check("hours", hours)
    for name, limit in (("high_cost_usd", high_cost_usd), ("slow_seconds", slow_seconds)):
        if limit is not None:
            _check(name, limit)
    now = recorder.wall_clock()
    begin = now - hours * HOUR
    every, since, is_of_all = known_calls(min(begin, now - LONGEST_MONTH_DAYS * DAY))
    rows = sorted((row for row in every if row.at >= begin), key=lambda row: row.at)
    total = _group("all", rows)
    by_model = _groups(rows, _model)
    projection = _projection(every, since, now)
    prices = price_data(now)
    wasted: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        if row.is_wasted:
            wasted[row.labels.aborted or "error"] += row.usd or 0.0
    spent = math.fsum(row.usd or 0.0 for row in every if row.at >= now - MONTH_DAYS * DAY)
    thresholds = Thresholds(high_cost_usd, slow_seconds, spent, projection.month_usd)
    found = advise(rows, rate_limits(), prices, thresholds)
    return AiReport(
        made_at=to_the_second(now),
        hours=hours,
        known_since=to_the_second(since),
        is_complete=since <= begin,
        is_of_all_workers=is_of_all,
        total=total,
        by_service=_groups(rows, lambda row: row.labels.service),
        by_model=by_model,
        by_route=_groups(rows, lambda row: row.labels.endpoint),
        by_feature=_groups(rows, lambda row: row.labels.feature),
        by_user=_groups(rows, lambda row: row.labels.user),
        by_day=tuple(sorted(_groups(rows, _day, limit=None), key=lambda day: day.name)),
        by_day_and_model=_by_day_and_model(rows, {group.name for group in by_model}),
        seconds=total.seconds,
        first_chunk_seconds=_spread(row.first_chunk_seconds for row in rows if row.first_chunk_seconds is not None),
        output_tokens_per_second=_speed(rows),
        cache_savings_usd=math.fsum(row.saved_usd for row in rows),
        wasted_usd=dict(wasted),
        unknown_cost=_unknown(rows),
        maybe_billed_calls=sum(row.has_unanswered_attempt and row.usd is not None for row in rows),
        retries=sum(max(row.attempts - 1, 0) for row in rows),
        retry_wait_seconds=math.fsum(row.waited_seconds for row in rows),
        projection=projection,
        price_data=prices,
        recent_errors=tuple(_failure(row) for row in reversed(rows) if row.is_error)[:MAX_ERRORS],
        recommendations=found,
        conclusion=_conclusion(total.calls, len(found)),
    )


def _check(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ConfigurationError(f"report({name}={value!r}): expected a number above 0")


def _conclusion(made: int, findings: int) -> str:
    if findings:
        return "findings"
    if made >= MIN_CALLS:
        return "nothing found"
    return "too few calls" if made else "no calls"


def _day(row: RecentCall) -> str:
    return to_the_second(row.at)[:10]


def _model(row: RecentCall) -> str:
    return f"{row.labels.provider}/{row.labels.model}"


def _by_day_and_model(rows: Iterable[RecentCall], listed: set[str]) -> dict[str, tuple[CallGroup, ...]]:
    days: defaultdict[str, list[RecentCall]] = defaultdict(list)
    for row in rows:  # in the order of time
        days[_day(row)].append(row)

    def name(row: RecentCall) -> str:
        model = _model(row)
        return model if model in listed else REST

    found = {day: _groups(some, name, limit=None) for day, some in days.items()}
    return {day: tuple(sorted(groups, key=lambda group: group.name == REST)) for day, groups in found.items()}


def _groups(
    rows: Iterable[RecentCall], name: Callable[[RecentCall], str], limit: int | None = MAX_GROUPS
) -> tuple[CallGroup, ...]:
    """
    Group calls, the most expensive first, and what is beyond the limit together.
    """
    members: defaultdict[str, list[RecentCall]] = defaultdict(list)
    for row in rows:
        members[name(row)].append(row)
    groups = [_group(found or NONE, some) for found, some in members.items()]
    groups.sort(key=lambda group: (-(group.cost_usd or 0.0) - group.estimated_cost_usd, -group.calls, group.name))
    if limit is None or len(groups) <= limit:
        return tuple(groups)
    kept = groups[: limit - 1]
    listed = {group.name for group in kept}
    rest = [row for found, some in members.items() if (found or NONE) not in listed for row in some]
    return (*kept, _group(REST, rest))


def _group(name: str, rows: Sequence[RecentCall]) -> CallGroup:
    made = [row for row in rows if row.is_call]
    errors = sum(row.is_error for row in made)
    exact = [row for row in rows if row.usd is not None and not row.is_estimated]
    known = [row.usd or 0.0 for row in exact]
    sources = sorted({row.source or "" for row in exact})
    unknown = max(sum(row.usd is None for row in made) - sum(row.is_fetch_of_own_call for row in rows), 0)
    return CallGroup(
        name=name,
        calls=len(made),
        errors=errors,
        success_rate=1 - errors / len(made) if made else 1.0,
        tokens=_tokens(row for row in rows if not row.is_estimated),
        estimated_tokens=_tokens(row for row in rows if row.is_estimated),
        cost_usd=math.fsum(known) if known or not unknown else None,
        cost_by_source={s: math.fsum(row.usd or 0.0 for row in exact if row.source == s) for s in sources},
        estimated_cost_usd=math.fsum(row.usd or 0.0 for row in rows if row.is_estimated),
        unknown_cost_calls=unknown,
        seconds=_spread(row.seconds for row in made),
        tokens_per_call=_spread(sum(row.tokens) for row in rows if row.tokens is not None and not row.is_estimated),
        cost_usd_per_call=_spread(known),
    )


def _tokens(rows: Iterable[RecentCall]) -> dict[str, int]:
    found = [row.tokens for row in rows if row.tokens is not None]
    return {kind: sum(tokens[at] for tokens in found) for at, kind in enumerate(KINDS)}


def _spread(figures: Iterable[float]) -> Spread | None:
    ordered = sorted(figures)
    count = len(ordered)
    if not count:
        return None
    p50, p95, p99 = (ordered[math.ceil(share * count) - 1] for share in (0.5, 0.95, 0.99))
    return Spread(count, math.fsum(ordered) / count, ordered[0], p50, p95, p99, ordered[-1])


def _speed(rows: Iterable[RecentCall]) -> float | None:
    output, seconds = 0, 0.0
    for row in rows:
        if row.tokens is not None and row.tokens[3] and row.is_call and not row.is_error and not row.is_estimated:
            output, seconds = output + row.tokens[3], seconds + row.seconds
    return output / seconds if seconds > 0 else None


def _unknown(rows: Iterable[RecentCall]) -> dict[str, int]:
    """
    Count calls of unknown cost by reason, but for those whose cost was told later.
    """
    reasons: Counter[str] = Counter()
    for row in rows:
        if row.is_fetch_of_own_call:
            reasons["background"] -= 1
        elif row.usd is None:
            reasons[row.labels.reason] += 1
    return {reason: count for reason, count in reasons.most_common() if count > 0}


def _projection(rows: Sequence[RecentCall], since: float, now: float) -> Projection:
    """
    Project the month's cost: the last days' rate for the part of the month that was not seen.
    """
    days = (now - since) / DAY
    if days < 1:
        return Projection(None, None, max(days, 0.0), "too early")
    days = min(days, RATE_DAYS)
    recent = [row.usd for row in rows if row.at >= now - days * DAY]
    known = [usd for usd in recent if usd is not None]
    if recent and not known:
        return Projection(None, None, days, "unknown")
    per_day = math.fsum(known) / days
    today = datetime.fromtimestamp(now, UTC)
    first = datetime(today.year, today.month, 1, tzinfo=UTC).timestamp()
    seen = math.fsum(row.usd or 0.0 for row in rows if row.at >= first)
    length = calendar.monthrange(today.year, today.month)[1]
    unseen = length - (now - max(since, first)) / DAY
    return Projection(seen + per_day * unseen, per_day, days, "ok")


def _failure(row: RecentCall) -> FailedCall:
    names = row.labels
    return FailedCall(
        *(to_the_second(row.at), names.service, names.provider, names.model, names.endpoint),
        *(names.error, row.status or None, row.usd),
    )
