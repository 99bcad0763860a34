"""
Run a check: one run at a time, in one thread or on the server's event loop, and no probe waits beyond its timeout.

A run that hangs keeps its thread, and no second one is begun for it. Meanwhile the check counts as failed by timeout,
once for each interval that passes, and probes are answered from what is known, with its age.
"""

from __future__ import annotations

import contextvars
import random
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable, iscoroutine
from threading import RLock
from typing import TYPE_CHECKING, Any

from obskit import background
from obskit.catalogue import events
from obskit.health.check_operation import CheckOperation
from obskit.health.declaration import CheckDeclaration
from obskit.health.outcome import Outcome, Status, judged, with_time
from obskit.health.safe_details import redacted, without_secrets
from obskit.recorder import recorder
from obskit.time.clock import WakeUp, system_clock

if TYPE_CHECKING:
    import asyncio

# Shares of an interval, between which the next run is drawn: workers and replicas must not ask in step.
JITTER = (0.9, 1.1)
# Seconds after which a check is reported to block the server's event loop: as long as in asyncio's own debug mode.
BLOCKS_AFTER = 0.1
_TIMEOUT = "timeout"
_NO_THREAD = "no thread can be started"

_plan = recorder.plan(CheckOperation)


@dataclass(frozen=True, slots=True)
class Transition:
    """
    A change of a component's status.

    Attributes:
        component: The check's name.
        at: Seconds since the epoch.
        was, now: Its statuses; `was` is None for the first.
        reason: What the last run said, redacted.
    """

    component: str
    at: float
    was: Status | None
    now: Status
    reason: str | None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """
    The latest result of a check.

    Attributes:
        status: After hysteresis: what probes see.
        outcome: Of the last run that has ended, or of its timeout.
        seconds: How long that run took; None before the first, and while one hangs.
        answered_at: When the check itself last answered, on the recorder's clock; None: never.
        timed_out: Whether the last run had not answered in time.
    """

    status: Status
    outcome: Outcome
    seconds: float | None = None
    answered_at: float | None = None
    timed_out: bool = False


class Run:
    """
    One run of a check.

    Attributes:
        deadline: When it counts as failed, on the recorder's clock.
        loop: The event loop that it was left to; None: it runs in a thread.
        awaited: Whether a probe waits for it; not for one after a timeout, which may hang as well.
    """

    def __init__(self, check: Check, now: float, awaited: bool) -> None:
        self.check = check
        self.started = now
        self.deadline = now + check.declared.timeout_seconds
        self.awaited = awaited
        self.overdue = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self.operation = CheckOperation(check.declared.name)
        self._over: Future[None] = Future()
        self._over.set_running_or_notify_cancel()  # so that a probe that leaves cannot cancel it

    def over(self) -> None:
        """
        Release everyone who waits.
        """
        self._over.set_result(None)

    def _remaining(self) -> float:
        return max(0.0, self.deadline - recorder.clock())

    def wait(self) -> None:
        """
        Wait until it is over, and no longer than its timeout.
        """
        try:
            self._over.result(self._remaining())
        except TimeoutError:
            self.check.time_out(self)

    async def wait_async(self) -> None:
        """
        Wait in the same way on asyncio's event loop, which is not held.
        """
        import asyncio  # here and below: servers without an event loop do not pay for it

        over = asyncio.wrap_future(self._over)
        await asyncio.wait([over], timeout=self._remaining())
        if not self._over.done():
            self.check.time_out(self)


class Check:
    """
    A check and its state in this process. Thread-safe.
    """

    def __init__(self, declared: CheckDeclaration, on_transition: Callable[[Transition], None]) -> None:
        self.declared = declared
        self._on_transition = on_transition
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._blocks = False
        self._is_async = declared.is_async
        self.start_over()

    def start_over(self) -> None:
        """
        Reset, as in a forked child: threads and locks of the parent are gone.
        """
        self._lock = RLock()
        self._run: Run | None = None
        self._streak: tuple[bool, int] = (True, 0)
        self.result: CheckResult | None = None
        self.due = float("-inf")  # before that, a probe reads `result` and runs nothing
        loop, self._own_loop = self._own_loop, None
        if loop is not None and not loop.is_running():
            loop.close()

    def refresh(self, now: float, loop: asyncio.AbstractEventLoop | None, failed_need: str | None) -> Run | None:
        """
        Begin a run where one is due and none is going on; return the one that is worth waiting for.
        """
        if now < self.due:
            return None
        seen = self._run
        is_gone = seen is not None and seen.loop is not None and seen.loop.is_closed()  # it went with its loop
        fresh = Run(self, now, self.result is None or not self.result.timed_out) if seen is None or is_gone else None
        begins = False
        with self._lock:  # nothing is called here: a finaliser may ask for the same check
            if now < self.due:
                return None
            if is_gone and self._run is seen:
                self._run = None
            run = self._run
            if run is None and failed_need is None and fresh is not None:
                run = self._run = fresh
                begins = True
        if run is None:
            self._record(Outcome("fail", f"needs {failed_need}"), None)
        elif begins:
            self._begin(run, loop)
        elif now >= run.deadline:
            self.time_out(run)
        return run if run is not None and run.awaited and not run.overdue else None

    def next_due(self) -> float:
        """
        Return when there is something to do: to begin a run, or to time the present one out.
        """
        run = self._run
        return self.due if run is None or run.overdue else run.deadline

    def time_out(self, run: Run) -> None:
        """
        Count a failure by timeout: at the deadline, and again whenever a further run would have been due.
        """
        with self._lock:
            now = recorder.clock()
            if self._run is not run or (run.overdue and now < self.due):
                return
            first, run.overdue = not run.overdue, True
            known = self.result
            outcome = Outcome("fail", _TIMEOUT, known.outcome.details if known is not None else {})
            answer = CheckResult("fail", outcome, None, known.answered_at if known is not None else None, True)
            transition = self._apply(answer, now)
        if first:
            self._end(run, timed_out=True)
        self._report(transition)

    def _record(self, outcome: Outcome, run: Run | None) -> None:
        """
        Record the outcome of a run, or of none where a needed check is down.
        """
        with self._lock:
            if self._run is not run:
                return  # the process has forked, or the runtime was shut down since
            now = recorder.clock()
            self._run = None
            if run is not None and run.overdue:
                self.due = now  # a late result is out of date: run again
                return
            seconds = None if run is None else now - run.started
            if seconds is not None:
                outcome = with_time(outcome, seconds, getattr(self.declared.function, "warn_ms", None))
            transition = self._apply(CheckResult("fail", outcome, seconds, now), now)
        try:
            if run is not None:
                self._end(run, timed_out=False)
            self._report(transition)
        finally:
            if run is not None:
                run.over()

    def _apply(self, answer: CheckResult, now: float) -> Transition | None:
        """
        Pass an outcome through hysteresis: `failures` in a row take the check down, `successes` in a row up again.
        """
        declared, was = self.declared, None if self.result is None else self.result.status
        good = answer.outcome.status != "fail"
        self._streak = (good, self._streak[1] + 1 if self._streak[0] is good else 1)
        enough = declared.successes if good else declared.failures
        turned = was is None or good is (was != "fail") or self._streak[1] >= enough
        status: Status = answer.outcome.status if turned or was is None else was
        self.result = CheckResult(status, answer.outcome, answer.seconds, answer.answered_at, answer.timed_out)
        self.due = now + declared.every_seconds * random.uniform(*JITTER)
        if status == was:
            return None
        reason = answer.outcome.reason
        return Transition(declared.name, recorder.wall_clock(), was, status, redacted(reason) if reason else None)

    def _end(self, run: Run, timed_out: bool) -> None:
        if self.result is not None:
            run.operation.status = self.result.status
            expires_at = self.result.outcome.details.get("certificate_expires_at")
            run.operation.certificate_expires_at = expires_at if isinstance(expires_at, float) else None
        run.operation.timed_out = timed_out
        _plan.end(run.operation)

    def _report(self, transition: Transition | None) -> None:
        if transition is not None:
            self._on_transition(transition)

    def _begin(self, run: Run, loop: asyncio.AbstractEventLoop | None) -> None:
        _plan.begin(run.operation)
        if self._is_async and self._runs_on(loop, run):
            return
        if background.start(self._work, run, loop, name=f"obskit-health-{self.declared.name}", ends=True) is None:
            self._record(Outcome("fail", _NO_THREAD), run)

    def _runs_on(self, loop: asyncio.AbstractEventLoop | None, run: Run) -> bool:
        """
        Run it on the server's event loop, where there is one that serves.
        """
        if loop is None or not loop.is_running() or self._blocks:
            return False
        try:
            loop.call_soon_threadsafe(self._begin_on, loop, run)
        except RuntimeError:  # it has been closed since
            return False
        run.loop = loop
        return True

    def _work(self, run: Run, loop: asyncio.AbstractEventLoop | None) -> None:
        if not self._is_async:
            answer = _result_of(self.declared.function)
            if not isawaitable(answer):
                self._record(_outcome_of(lambda: answer), run)
                return
            # A plain function that gives what is to be awaited: asked anew, where the client's connections belong.
            self._is_async = True
            if iscoroutine(answer):
                answer.close()
            if self._runs_on(loop, run):
                return
        self._record(_outcome_of(partial(self._in_own_loop, run)), run)

    def _in_own_loop(self, run: Run) -> Any:
        """
        Run to its end on an event loop that this check keeps, for clients that stay bound to one.
        """
        import asyncio

        if self._own_loop is None:
            self._own_loop = asyncio.new_event_loop()
        return self._own_loop.run_until_complete(self._bounded(run))

    async def _bounded(self, run: Run) -> Any:
        import asyncio

        task = asyncio.ensure_future(_to_await(self.declared.function))
        done, _ = await asyncio.wait({task}, timeout=self.declared.timeout_seconds)
        if not done:
            self.time_out(run)
            task.cancel()
            await asyncio.wait({task})
        return task.result()

    def _begin_on(self, loop: asyncio.AbstractEventLoop, run: Run) -> None:
        steps = _TimedCoroutine(self.declared.function)
        watch = self._watch(steps)
        try:
            task = loop.create_task(steps.run(), context=contextvars.Context())
        except Exception as error:  # of a task factory
            self._record(_raised(error), run)
            return
        timeout = loop.call_later(self.declared.timeout_seconds, task.cancel)

        def over(task: asyncio.Task[Any]) -> None:
            watch.set()
            timeout.cancel()
            if steps.longest > BLOCKS_AFTER:
                self._report_blocking(steps)
            if task.cancelled():
                self.time_out(run)
                self._record(Outcome("fail", _TIMEOUT), run)
            else:
                self._record(_outcome_of(task.result), run)

        task.add_done_callback(over)

    def _watch(self, steps: _TimedCoroutine) -> WakeUp:
        """
        Measure once from outside: from inside, a step that never ends is not seen to be long.
        """
        return background.start_later(
            BLOCKS_AFTER * 2,
            lambda: self._report_blocking(steps) if steps.current() > BLOCKS_AFTER else None,
            name=f"obskit-watch-{self.declared.name}",
        )

    def _report_blocking(self, steps: _TimedCoroutine) -> None:
        """
        Report a check that holds the server's event loop, once, and run it in a thread from now on.
        """
        if self._blocks:
            return
        self._blocks = True
        name, seconds = self.declared.name, max(steps.longest, steps.current())
        message = (
            f"the check {name} held the event loop for {seconds:.1f} s or longer: await what it waits for, or make it "
            "a plain function; it runs in a thread from now on"
        )
        recorder.emit(events.BLOCKED_LOOP.event(message, {"component": name}))


class _TimedCoroutine:
    """
    A coroutine, with the time of each step: the stretch in which it does not give the event loop back.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._began: float | None = None
        self.longest = 0.0

    def current(self) -> float:
        """
        Return how long the current step has taken, in seconds; 0 between steps.
        """
        began = self._began
        return 0.0 if began is None else system_clock.monotonic() - began

    async def run(self) -> Any:
        return await self

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = _to_await(self._function)
        value: Any = None
        error: BaseException | None = None
        while True:
            self._began = system_clock.monotonic()
            try:
                given = steps.send(value) if error is None else steps.throw(error)
            except StopIteration as stop:
                return stop.value
            finally:
                self.longest = max(self.longest, self.current())
                self._began = None
            value = error = None
            try:
                value = yield given
            except BaseException as thrown:
                error = thrown


async def _to_await(function: Callable[[], Any]) -> Any:
    answer = function()
    return await answer if isawaitable(answer) else answer


def _result_of(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except BaseException as error:  # of a check that exits, too: it must not end in silence
        return _raised(error)


def _outcome_of(ask: Callable[[], Any]) -> Outcome:
    try:
        return judged(ask())
    except BaseException as error:  # of a check that exits, too: it must not end in silence
        return _raised(error)


def _raised(error: BaseException) -> Outcome:
    """
    Make a failure of an exception: its class for the reason, its text among the details, redacted.
    """
    try:
        text = redacted(str(error))
    except Exception:  # of the exception's own __str__
        text = ""
    details: dict[str, Any] = {"error": text} if text else {}
    details.update(without_secrets(getattr(error, "health_details", {})))
    return Outcome("fail", _TIMEOUT if isinstance(error, TimeoutError) and not text else type(error).__name__, details)
