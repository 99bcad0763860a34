"""
What a health check must keep: it answers in time, in words that mean something, and shows nothing secret.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from inspect import isawaitable
from typing import Any

import orjson

from obskit._contracts.trials import expect, no_thread_left, returns, shown
from obskit.health.check_runs import _raised
from obskit.health.declaration import READY, declare
from obskit.health.outcome import STATUSES, Outcome, judged
from obskit.health.safe_details import MAX_TEXT, redacted, without_secrets

_RUNS = 3


def check_health_check(function: Callable[[], Any], *, timeout: float = 2.0, secrets: Iterable[str] = ()) -> None:
    """
    Check what you give to `obskit.health.add()`: `check_health_check(queue_depth, secrets=[PASSWORD])`.

    It is run several times, in a thread or, where it is a coroutine function, on an event loop. Whether it passes or
    fails is its own affair, and so is what it raises, but for what would be shown of that.

    Args:
        function: The check, or one of the ready-made.
        timeout: Seconds that it is to be given.
        secrets: Texts that it knows, such as a password, and that nobody may be shown.

    Raises:
        AssertionError: It says what the check did, and what was expected.
    """
    try:
        declared = declare(
            "checked",
            function,
            groups=(READY,),
            timeout=timeout,
            every=5.0,
            critical=True,
            failures=1,
            successes=1,
            needs=None,
            background=False,
        )
    except ValueError as error:
        expect(False, f"obskit.health.add() refuses it: {error}")
        raise
    name = f"the check {getattr(function, '__name__', type(function).__name__)}"
    expect(
        not declared.is_async or _gives_way(function, timeout), f"{name} holds the event loop: await what it waits for"
    )
    with no_thread_left(name, timeout):
        for _ in range(_RUNS):
            patience = timeout + 1.0 if declared.is_async else timeout  # its loop tells more, and cleans up
            answer = returns(name, patience, partial(_answered, function, timeout))
            _check_answer(name, answer)
            _check_details(name, judged(answer), tuple(secrets), is_raised=isinstance(answer, _Raised))


class _Raised(Outcome):
    """
    The outcome of a check that raised, which obskit has redacted.
    """

    __slots__ = ()


def _answered(function: Callable[[], Any], timeout: float) -> Any:
    try:
        answer = function()
        if isawaitable(answer):
            return asyncio.run(asyncio.wait_for(_awaited(answer), timeout))
        return answer
    except Exception as error:
        if isinstance(error, TimeoutError) and isawaitable(locals().get("answer")):
            expect(False, f"the check has not answered after {timeout:g} s, and was cancelled")
        outcome = _raised(error)
        return _Raised(outcome.status, outcome.reason, outcome.details)


async def _awaited(answer: Any) -> Any:
    return await answer


def _check_answer(name: str, answer: Any) -> None:
    expected = "expected an Outcome, a dictionary of details, True, False, None, or one of " + ", ".join(STATUSES)
    expect(not isawaitable(answer), f"{name} answered with something to await once more: {expected}")
    is_known = answer is None or isinstance(answer, bool | Outcome | Mapping) or answer in STATUSES
    expect(is_known, f"{name} answered {shown(answer)}, which would pass whatever it means: {expected}")
    if isinstance(answer, Outcome):
        expect(answer.status in STATUSES, f"{name} has the status {shown(answer.status)}: {expected}")
        is_text = answer.reason is None or isinstance(answer.reason, str)
        expect(is_text, f"the reason of {name} is {shown(answer.reason)}: expected a text, or None")
        expect(
            isinstance(answer.details, Mapping), f"the details of {name} are {shown(answer.details)}: expected a dict"
        )


def _check_details(name: str, outcome: Outcome, secrets: tuple[str, ...], *, is_raised: bool) -> None:
    reason = outcome.reason or ""
    shown_details = without_secrets(outcome.details)
    page = f"{redacted(reason)} {orjson.dumps(shown_details, default=str, option=orjson.OPT_NON_STR_KEYS).decode()}"
    for secret in secrets:
        expect(secret not in page, f"{name} shows a secret: a text that was given as such is in its reason or details")
    if is_raised:
        return
    expect(
        redacted(reason) == reason, f"the reason of {name} has what looks like a secret, or is longer than {MAX_TEXT}"
    )
    for key, value in outcome.details.items():
        expect(isinstance(key, str), f"the details of {name} have the key {shown(key)}: expected a text")
        expect(_is_finite(value), f"the details of {name} have under {key!r} what JSON has not: NaN, or infinite")
        expect(
            shown_details.get(redacted(key)) == _plain(value),
            f"the details of {name} have something secret, too long or too deep under {shown(redacted(key))}: it is "
            "redacted or cut where it is shown",
        )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _is_finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _gives_way(function: Callable[[], Any], timeout: float) -> bool:
    """
    Return whether an event loop goes on while a coroutine check runs.
    """

    async def run() -> bool:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(_awaited(function()))
        began = loop.time()
        while not task.done() and loop.time() - began < timeout:
            before = loop.time()
            await asyncio.sleep(0.01)
            if loop.time() - before > _HELD_SECONDS:
                return False
        task.cancel()
        await asyncio.wait([task])
        return True

    return returns("the check", timeout + 5.0, partial(asyncio.run, run()))


# Longer than a busy machine lets a loop wait for its turn.
_HELD_SECONDS = 2.0
