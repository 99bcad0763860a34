"""
What a state engine must keep: nothing is spent twice, nothing is taken twice, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from obskit._contracts.trials import expect, in_child, returns, shown, together
from obskit.ai.reservations import ReservationRefusal, ReservationRequest, ReservedAmount
from obskit.ai.state_engine import StateEngine
from obskit.recorder import recorder

DAY = 86_400.0
_RACERS, _TAKES = 4, 25


def check_state_engine(make: Callable[[], StateEngine], *, seconds: float = 10.0) -> None:
    """
    Check a state engine of your own: `check_state_engine(lambda: MyEngine(URL))`.

    Args:
        make: Opens another engine on the same state, as another process would; that state is empty at first.
        seconds: After which a call counts as one that waits.

    Raises:
        AssertionError: It says which call gave what, and what was expected.
    """
    one, other = (returns("make()", seconds, make) for _ in range(2))
    now = recorder.wall_clock()
    for check in (_spends, _refuses, _all_or_none, _periods, _names, _late_replies, _closes):
        returns(f"{check.__name__.strip('_')}: a call of the engine", seconds, partial(check, one, other, now))
    _race(one, other, now, seconds)
    _fork(one, other, now, seconds)
    for engine in (one, other):
        returns("close()", seconds, engine.close)


def _ask(key: str, usd: float, now: float, limit: float = 1.0, blocks: bool = True) -> ReservationRequest:
    return ReservationRequest(f"contract:{key}", now, usd, limit, blocks)


def _taken(engine: StateEngine, *requests: ReservationRequest, now: float) -> tuple[ReservedAmount, ...]:
    found = engine.reserve(requests, now)
    expect(
        isinstance(found, tuple) and not isinstance(found, ReservationRefusal) and len(found) == len(requests),
        f"reserve() gave {shown(found)} where there is enough: expected an amount for each of {len(requests)} requests",
    )
    return found  # type: ignore[return-value]


def _refused(engine: StateEngine, *requests: ReservationRequest, now: float) -> ReservationRefusal:
    found: Any = engine.reserve(requests, now)
    expect(
        isinstance(found, ReservationRefusal),
        f"reserve() gave {shown(found)} where too little is left: expected a refusal",
    )
    refusal: ReservationRefusal = found
    return refusal


def _stands(
    engine: StateEngine, request: ReservationRequest, now: float, spent: float, reserved: float, why: str
) -> None:
    found = engine.figures(request.key, request.start, now)
    is_so = abs(found.spent - spent) < 1e-9 and abs(found.reserved - reserved) < 1e-9
    figures = f"figures() has spent={found.spent!r} and reserved={found.reserved!r}"
    expect(is_so, f"{why}: {figures}, expected {spent!r} and {reserved!r}")


def _spends(one: StateEngine, other: StateEngine, now: float) -> None:
    ask = _ask("spends", 0.3, now)
    amounts = _taken(one, ask, now=now)
    _stands(other, ask, now, 0.0, 0.3, "what one engine reserves, another sees")
    one.settle(amounts, [0.1])
    one.write()
    _stands(other, ask, now, 0.1, 0.0, "what is settled is spent, and no longer reserved")
    one.release(_taken(one, ask, now=now))
    one.write()
    _stands(other, ask, now, 0.1, 0.0, "what is released is given back")
    one.settle(_taken(one, ask, now=now), [0.2], estimated=True)
    one.write()
    estimated = other.figures(ask.key, ask.start, now).estimated
    expect(
        abs(estimated - 0.2) < 1e-9, f"what is estimated is told: figures() has estimated={estimated!r}, expected 0.2"
    )


def _refuses(one: StateEngine, other: StateEngine, now: float) -> None:
    most, little = _ask("refuses", 0.9, now), _ask("refuses", 0.2, now)
    amounts = _taken(one, most, now=now)
    first, second = _refused(other, little, now=now), _refused(one, little, now=now)
    expect(
        (first.place, first.is_first, second.is_first) == (0, True, False),
        f"the first refusal of a period is told as such, once among all: found {shown((first, second))}",
    )
    _stands(one, most, now, 0.0, 0.9, "what is refused reserves nothing")
    taken = _taken(other, _ask("refuses", 0.2, now, blocks=False), now=now)
    other.release(taken)
    one.settle(amounts, [1.2])
    for engine in (one, other):
        engine.write()
    found = other.current_refusal(_ask("refuses", 0.0, now))
    expect(found is not None, "current_refusal() gave None where more than all is spent: expected a refusal")
    found = other.current_refusal(_ask("untouched", 0.0, now))
    expect(found is None, f"current_refusal() gave {shown(found)} where nothing is spent: expected None")


def _all_or_none(one: StateEngine, other: StateEngine, now: float) -> None:
    enough, too_much = _ask("enough", 0.1, now), _ask("too much", 2.0, now)
    refusal = _refused(one, enough, too_much, now=now)
    expect(refusal.place == 1, f"a refusal says which request it is of: place={refusal.place!r}, expected 1")
    _stands(other, enough, now, 0.0, 0.0, "one request that is refused takes nothing of the others")


def _periods(one: StateEngine, other: StateEngine, now: float) -> None:
    today, tomorrow = _ask("periods", 0.5, now), _ask("periods", 0.5, now + DAY)
    one.settle(_taken(one, today, now=now), [0.5])
    one.write()
    one.release(_taken(one, tomorrow, now=now + DAY))
    one.write()
    _stands(other, tomorrow, now + DAY, 0.0, 0.0, "a new period starts with nothing spent")
    found = other.figures(today.key, today.start, now + DAY).start
    expect(
        found == tomorrow.start, f"a period never goes back: figures() has start={found!r}, expected {tomorrow.start!r}"
    )


def _names(one: StateEngine, other: StateEngine, now: float) -> None:
    ask = _ask("names", 0.3, now)
    amounts = _taken(one, ask, now=now)
    one.expect_reply("reply-1", (), amounts)
    one.write()
    for engine in (one, other, one):
        engine.settle(amounts, [0.1], name="reply-1")
        engine.write()
    _stands(other, ask, now, 0.1, 0.0, "a reply that two processes tell is spent once")


def _late_replies(one: StateEngine, other: StateEngine, now: float) -> None:
    ask = _ask("late", 0.3, now)
    amounts = _taken(one, ask, now=now)
    one.expect_reply("reply-2", ("answers", "claude"), amounts)
    one.write()
    found = other.pending_reply("reply-2", may_wait=True)
    expect(
        found is not None and tuple(found.labels) == ("answers", "claude") and len(found.amounts) == 1,
        f"pending_reply() gave {shown(found)}: expected the labels and the amount that another process left",
    )
    _stands(other, ask, now, 0.0, 0.3, "what a late reply has reserved stays reserved")
    nothing = other.pending_reply("reply-3", may_wait=False)
    expect(nothing is None, f"pending_reply() gave {shown(nothing)} of a name that nobody has told: expected None")


def _closes(one: StateEngine, other: StateEngine, now: float) -> None:
    ask = _ask("closes", 0.3, now)
    one.settle(_taken(one, ask, now=now), [0.1])
    one.close()
    one.close()
    _stands(other, ask, now, 0.1, 0.0, "close() carries out what is queued")
    _stands(one, ask, now, 0.1, 0.0, "after close() the next use opens it again")


def _race(one: StateEngine, other: StateEngine, now: float, seconds: float) -> None:
    taken: list[ReservedAmount] = []
    engines = [one, other] * (_RACERS // 2)

    def take() -> None:
        engine = engines.pop()
        for _ in range(_TAKES):
            found: Any = engine.reserve([_ask("race", 0.1, now)], now)
            if not isinstance(found, ReservationRefusal):
                taken.extend(found)

    together("reserve()", seconds, take, _RACERS)
    expect(
        len(taken) == 10,
        f"{_RACERS} threads with two engines took {len(taken)} times 0.1 dollars of 1 dollar: expected 10 times",
    )


def _fork(one: StateEngine, other: StateEngine, now: float, seconds: float) -> None:
    ask = _ask("fork", 0.3, now)
    one.settle(_taken(one, ask, now=now), [0.1])  # queued: the parent's to write

    def child() -> None:
        one.start_over()
        one.settle(_taken(one, ask, now=now), [0.2])
        one.close()

    for engine in (one, other):
        engine.before_fork()  # in the thread that forks: it may hold a lock until `after_fork()`
    try:
        in_child("the engine", seconds, [("reserve() and settle()", child)])
    finally:
        for engine in (one, other):
            engine.after_fork()
    returns("write()", seconds, one.write)
    found = returns("figures()", seconds, partial(other.figures, ask.key, ask.start, now))
    expect(
        abs(found.spent - 0.3) < 1e-9 and abs(found.reserved) < 1e-9,
        f"a forked child spends what is its own, and the parent what was queued before: figures() has "
        f"spent={found.spent!r} and reserved={found.reserved!r}, expected 0.3 and 0.0",
    )
