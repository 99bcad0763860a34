"""
Read cron expressions, as Debian's cron does: `"30 6 * * mon-fri"`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo

from obskit.errors import ScheduleError

# No expression that comes at all is silent for longer.
_A_YEAR_WITH_29_FEBRUARY = datetime(2023, 3, 1, tzinfo=UTC)


def cron(expression: str, zone: tzinfo) -> Callable[[float], float]:
    """
    Return what gives the first moment of an expression after another moment, both in seconds since the epoch.

    Changes of the clock: what is asked for at a fixed time that is skipped comes at the change, and what is asked for
    at a time that comes twice, once. What is asked for by the minute or hour (`*`) comes as time passes.

    Raises:
        ScheduleError: It has no meaning, or never comes.
    """
    from cronsim import CronSim, CronSimError  # 3 ms, for those who have schedules

    def next_after(moment: float) -> float:
        # It looks at the clock's face alone, so that it may give a moment of the hour that comes twice again.
        found: datetime
        for found in CronSim(expression, datetime.fromtimestamp(moment, zone)):
            if found.timestamp() > moment:
                return found.timestamp()
        raise ScheduleError(f"the cron expression {expression!r:.80} never comes")

    try:
        if len(expression.split()) != 5:
            raise ScheduleError(
                f"{expression!r:.80} is no cron expression: expected five fields (minute, hour, day of the month, "
                "month, day of the week), such as '30 6 * * mon-fri'"
            )
        next_after(_A_YEAR_WITH_29_FEBRUARY.timestamp())
    except (CronSimError, AssertionError, TypeError, AttributeError) as error:
        why = f": {error}" if isinstance(error, CronSimError) else ""
        raise ScheduleError(f"{expression!r:.80} is no cron expression{why}") from error
    return next_after
