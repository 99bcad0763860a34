"""
Enforce budgets on AI calls: reserve before a call is sent, settle when it has ended.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

from obskit.ai.ai_operation import AiOperation
from obskit.ai.budget_estimates import max_cost, max_output_tokens, settled_cost
from obskit.ai.budget_refusals import refusal, uncountable, without_price
from obskit.ai.declared_budget import (
    Budget,
    BudgetStatus,
    bounds_of,
    description_of,
    event_fields,
    key_of,
    period_of,
    read_status_by,
    refuse_without_price,
    request_for,
)
from obskit.ai.request_size import text_bytes
from obskit.background import Ticks
from obskit.bounded_calls import BusyError, Lane, TooLateError
from obskit.catalogue import events
from obskit.deferred_endings import drain
from obskit.errors import BudgetError, BudgetExceededError
from obskit.event_loop import in_event_loop
from obskit.forks import at_fork
from obskit.loss_counts import LossCounts
from obskit.recorder import recorder
from obskit.time.clock import Deadline

if TYPE_CHECKING:
    from obskit.ai.ledger import Ledger
    from obskit.ai.reservations import (
        PendingReply,
        ReservationRefusal,
        ReservedAmount,
        ThresholdCrossing,
    )
    from obskit.service_settings import ServiceSettings

MAX_NAME = 200  # characters of the id of a reply that comes later
RETRY_SECONDS = 5.0  # until what could not be written is tried again
# How long a flush waits for the file, by itself; and at least, whatever is left of another deadline.
WRITE_SECONDS, LEAST_SECONDS = 5.0, 0.5
# How long a call on an event loop waits for its turn, and then for the file, which others may hold for 2 seconds.
RESERVE_SECONDS = 5.0
# Calls on event loops that wait for their turn: each takes about a millisecond.
MAX_RESERVING = 5000
_LEVELS = {50: "INFO", 80: "WARNING", 100: "ERROR"}


class Reservation(NamedTuple):
    """
    What one call has reserved of all its budgets.

    Attributes:
        pid: Of the process; a forked child does not settle what its parent has reserved.
        budgets: None for one that is declared in another process alone.
        unanswered: What each budget is charged where nobody can know what the call cost.
    """

    pid: int
    ledger: Ledger
    budgets: tuple[Budget | None, ...]
    amounts: tuple[ReservedAmount, ...]
    unanswered: tuple[float, ...]


class BudgetBook:
    """
    The declared budgets of this process, by name, and their use around calls. Budgets outlive `shutdown()`.

    Attributes:
        is_active: True with an active runtime and at least one budget: hot code checks only this.
        blocked: Calls that were refused, by the name of the budget, in this runtime.
    """

    def __init__(self) -> None:
        self.is_active = False
        self.blocked: LossCounts[str] = LossCounts()
        self.declared: dict[str, Budget] = {}
        self._ledger: Ledger | None = None
        self._path: tuple[str | None, str] | None = None  # state_dir and service; None without an active runtime
        self._lock = RLock()
        self.thread = Ticks(name="obskit-budgets", step=self._write, failed=recorder.failed, part="ai")
        self._waiting = Lane(1, may_hold_loop=True, most_waiting=MAX_RESERVING, name="obskit-ledger")
        self._announced: set[tuple[str, float]] = set()

    # Declaring

    def add(self, budget: Budget) -> Budget:
        """
        Add a budget; the same declaration again returns the first one.

        Raises:
            BudgetError: Another one has the name, or there is no price to count by.
        """
        known = self.declared.get(budget.name)
        if known is not None:
            if known == budget:
                return known
            raise BudgetError(
                f"a budget {budget.name!r} is declared already, differently ({description_of(known)}): give this one "
                "another name, or declare it once"
            )
        if self._path is not None:
            refuse_without_price(budget)
        self.declared[budget.name] = budget
        self.is_active = self._path is not None
        return budget

    def remove(self, name: str) -> None:
        """
        Remove a budget; an unknown name is ignored.
        """
        self.declared.pop(name, None)
        self.is_active = bool(self.declared) and self._path is not None

    def bind(self, settings: ServiceSettings) -> None:
        """
        Start to count for a runtime, once its prices are in use.

        Raises:
            BudgetError: There is no price to count by.
        """
        for budget in self.declared.values():
            refuse_without_price(budget)
        self._path = settings.state_dir, settings.service
        self.is_active = bool(self.declared)

    def unbind(self, deadline: Deadline | None = None) -> None:
        """
        Write pending settlements and close the file, as the runtime ends.
        """
        deadline = deadline or Deadline(WRITE_SECONDS)
        self.is_active = False
        with self._lock:
            ledger, self._ledger, self._path = self._ledger, None, None
        self._announced.clear()
        self.blocked = LossCounts()
        self.thread.stop(deadline)
        if ledger is not None:
            self._write_within(deadline, ledger.close)

    def flush(self, deadline: Deadline | None = None) -> None:
        """
        Write pending settlements, if possible in time; on an event loop, have the thread write them.
        """
        ledger = self._ledger
        if ledger is None:
            return
        if in_event_loop():
            self.thread.wake()
            self.thread.start()
        else:
            self._write_within(deadline or Deadline(WRITE_SECONDS), ledger.write)

    def _write_within(self, deadline: Deadline, write: Callable[[], None]) -> None:
        from obskit.ai.reservations import UnavailableError  # with the first ledger it was imported already

        try:
            self._waiting.run_within(write, max(deadline.remaining(), LEAST_SECONDS))
        except UnavailableError:
            return  # which was reported already
        except (BusyError, TooLateError):
            recorder.dropped.inc(("ai", "flush_timeout"))
        except Exception as error:
            recorder.failed("ai", error)

    # Around a call

    def before_call(self, op: AiOperation, body: Any) -> None:
        """
        Reserve for a call, which waits for the file: at most as long as another process may be at it.

        Args:
            op: With its labels, not begun.
            body: The request's.

        Raises:
            BudgetExceededError: A budget refuses it.
        """
        budgets = self._applying_to(op)
        self._safely(budgets, lambda: self._reserve_estimates(op, body, budgets))

    def _safely(self, budgets: tuple[Budget, ...], work: Callable[[], None]) -> None:
        """
        Run work whose internal errors stop no call, unless a budget blocks: it refuses what it cannot count.
        """
        try:
            work()
        except BudgetExceededError:
            raise
        except Exception as error:
            recorder.failed("ai", error)
            self._refuse_uncountable(budgets, error, recorder.wall_clock())

    def _reserve_estimates(self, op: AiOperation, body: Any, budgets: tuple[Budget, ...]) -> None:
        if not budgets:
            return
        now = recorder.wall_clock()
        size, output = text_bytes(body), max_output_tokens(op, body)
        asked = [max_cost(op, size, output, now, budget.unknown_price) for budget in budgets]
        for budget, dollars in zip(budgets, asked, strict=True):
            if dollars is None and budget.unknown_price == "block":
                self.blocked.inc(budget.name)
                raise without_price(budget, op, now)
        self._reserve(op, budgets, tuple(dollars or 0.0 for dollars in asked), now)

    async def before_call_async(self, op: AiOperation, body: Any) -> None:
        """
        Reserve like `before_call()`, in a thread: the event loop never waits for the file, and the call only so long.
        """
        budgets = self._applying_to(op)
        if not budgets:
            return
        if not in_event_loop():  # who steps a coroutine by hand has no loop that could wait
            self.before_call(op, body)
            return
        try:
            # What comes after nobody waits for it any more is given back.
            await self._waiting.run_async(
                lambda: self.before_call(op, body), RESERVE_SECONDS, on_late=lambda _: self.release(op)
            )
        except (BusyError, TooLateError):
            recorder.dropped.inc(("ai", "budget_reserve"))
            error = TimeoutError(f"others have waited for its file for {RESERVE_SECONDS:.0f} s and more")
            self._refuse_uncountable(budgets, error, recorder.wall_clock())

    def before_block(self, op: AiOperation) -> None:
        """
        Refuse a block of `observe_ai` if a budget is used up. Its cost is unknown, so nothing is reserved.

        Raises:
            BudgetExceededError: A budget refuses it.
        """
        budgets = self._applying_to(op)
        if budgets:
            self._safely(budgets, lambda: self._check_exhausted(op, budgets))

    def _check_exhausted(self, op: AiOperation, budgets: tuple[Budget, ...]) -> None:
        from obskit.ai.reservations import ReservedAmount, UnavailableError

        now, ledger = recorder.wall_clock(), self._open_ledger()
        if ledger is None or not in_event_loop():
            self._reserve(op, budgets, (0.0,) * len(budgets), now)
            return
        amounts = []
        for budget in budgets:
            request = request_for(budget, 0.0, now)
            amounts.append(ReservedAmount(None, request.key, request.start, 0.0, request.limit))
            if budget.blocks:
                refused = None
                try:
                    refused = ledger.current_refusal(request)
                except UnavailableError as error:
                    self._refuse_uncountable((budget,), error, now)
                if refused is not None:
                    raise self._refusal(budget, refused, op, 0.0)
        op.reservation = Reservation(os.getpid(), ledger, budgets, tuple(amounts), (0.0,) * len(budgets))
        self._start_writer()

    def after_call(self, op: AiOperation) -> None:
        """
        Settle what a call has reserved, by what it cost. Waits for nothing: a thread writes it.
        """
        reservation, op.reservation = op.reservation, None
        if reservation is None or reservation.pid != os.getpid():
            return
        estimated = op.estimated or op.cost_usd is None
        dollars = [
            settled_cost(op, "allow" if budget is None else budget.unknown_price, usd)
            for budget, usd in zip(reservation.budgets, reservation.unanswered, strict=True)
        ]
        name = _reply_id(op) if op.is_background or not op.is_call else None
        reservation.ledger.settle(reservation.amounts, dollars, estimated, name)
        self.thread.wake()

    # Replies that come later

    def expect_reply(self, op: AiOperation) -> None:
        """
        Record, for all processes, a call whose reply is fetched later, and its reservation.
        """
        reservation, name = op.reservation, _reply_id(op)
        if reservation is not None and name is not None and reservation.pid == os.getpid():
            reservation.ledger.expect_reply(
                name, (op.service, op.provider, op.model, *(op.billed_as or ())), reservation.amounts
            )
            self.thread.wake()

    def pending_reply(self, op: AiOperation) -> PendingReply | None:
        """
        Return what the processes of this machine know of a pending reply; None if nothing is known. On an event loop
        this never waits.
        """
        from obskit.ai.reservations import UnavailableError

        name = _reply_id(op)
        try:
            ledger = None if name is None else self._open_ledger()
            return None if ledger is None or name is None else ledger.pending_reply(name, may_wait=not in_event_loop())
        except UnavailableError:
            return None  # which was reported already
        except Exception as error:
            recorder.failed("ai", error)
            return None

    def adopt_reservation(self, op: AiOperation, known: PendingReply | None) -> None:
        """
        Take over the reservation of another process for a reply, or an empty one if there is none.
        """
        from obskit.ai.reservations import ReservedAmount

        ledger = self._open_ledger()
        if ledger is None:
            return
        budgets: tuple[Budget | None, ...] = self._applying_to(op)
        if known is None:
            now = recorder.wall_clock()
            requests = [request_for(budget, 0.0, now) for budget in budgets if budget is not None]
            amounts = tuple(
                ReservedAmount(None, request.key, request.start, 0.0, request.limit) for request in requests
            )
        else:
            declared = {key_of(budget): budget for budget in tuple(self.declared.values())}
            amounts = known.amounts
            budgets = tuple(declared.get(entry.key) for entry in amounts)
        op.reservation = Reservation(os.getpid(), ledger, budgets, amounts, tuple(entry.usd for entry in amounts))
        self._start_writer()

    def _applying_to(self, op: AiOperation) -> tuple[Budget, ...]:
        return tuple(
            budget
            for budget in tuple(self.declared.values())
            if budget.services is None or op.service in budget.services
        )

    def _reserve(self, op: AiOperation, budgets: tuple[Budget, ...], dollars: tuple[float, ...], now: float) -> None:
        from obskit.ai.reservations import ReservationRefusal, UnavailableError

        ledger = self._open_ledger()
        if ledger is None:
            return
        requests = [request_for(budget, usd, now) for budget, usd in zip(budgets, dollars, strict=True)]
        try:
            found = ledger.reserve(requests, now)
        except UnavailableError as error:
            self._refuse_uncountable(budgets, error, now)
            return
        if isinstance(found, ReservationRefusal):
            raise self._refusal(budgets[found.place], found, op, dollars[found.place])
        op.reservation = Reservation(os.getpid(), ledger, budgets, found, dollars)
        self._start_writer()

    def release(self, op: AiOperation) -> None:
        """
        Release what a call has reserved.
        """
        reservation = op.reservation
        if reservation is not None:
            reservation.ledger.release(reservation.amounts)
            self.thread.wake()

    # Refusing

    def _refusal(self, budget: Budget, refused: ReservationRefusal, op: AiOperation, usd: float) -> BudgetExceededError:
        """
        Count a refusal, tell the first of a period, and return its error.
        """
        error = refusal(budget, refused, op, usd)
        key = budget.name, refused.start
        if refused.is_first and key not in self._announced:
            self._announced.add(key)
            figures = {"spent_usd": refused.spent, "reserved_usd": refused.reserved}
            fields = event_fields(budget, refused.start) | figures
            recorder.emit(events.BUDGET_BLOCKED.event(str(error), fields))
        self.blocked.inc(budget.name)
        return error

    def _refuse_uncountable(self, budgets: tuple[Budget, ...], error: Exception, now: float) -> None:
        """
        Refuse the call if one of these budgets blocks and its figures cannot be read.
        """
        for budget in budgets:
            if budget.blocks:
                self.blocked.inc(budget.name)
                raise uncountable(budget, error, now)

    # Status and events

    def status(self, budget: Budget) -> BudgetStatus:
        """
        Read how a budget stands.
        """
        from obskit.ai.reservations import UnavailableError

        drain()
        now = recorder.wall_clock()
        start = bounds_of(budget, now)[0]
        problem = None
        try:
            ledger = self._open_ledger()
            if ledger is None:
                raise UnavailableError("nothing is counted: call obskit.configure() first")
            figures = ledger.figures(key_of(budget), start, now)
        except UnavailableError as error:
            problem, figures = str(error), None
        starts_at, resets_at = period_of(budget, start if figures is None else figures.start)
        if figures is None:
            return BudgetStatus(budget.name, budget.usd, None, None, None, None, starts_at, resets_at, problem)
        projected = None
        if figures.rate is not None:
            projected = figures.spent + figures.rate * max(resets_at.timestamp() - now, 0.0)
        return BudgetStatus(
            budget.name,
            budget.usd,
            figures.spent,
            figures.estimated,
            figures.reserved,
            projected,
            starts_at,
            resets_at,
        )

    def _on_crossing(self, crossing: ThresholdCrossing) -> None:
        for budget in tuple(self.declared.values()):
            if key_of(budget) == crossing.key:
                message = (
                    f"the budget {budget.name!r} is at {crossing.percent} %: ${crossing.spent:.4f} of ${budget.usd:g} "
                    f"per {budget.per}"
                )
                fields = event_fields(budget, crossing.start) | {
                    "percent": crossing.percent,
                    "spent_usd": crossing.spent,
                }
                recorder.emit(events.BUDGET.event(message, fields, level=_LEVELS[crossing.percent]))

    def _on_problem(self, kind: str, message: str) -> None:
        level = "WARNING" if kind in ("ephemeral", "network") else "ERROR"
        recorder.emit(events.BUDGET_STATE.event(message, {"problem": kind}, level=level))

    # The thread that writes

    def _open_ledger(self) -> Ledger | None:
        """
        Return the ledger, opened at the first need; None without an active runtime.
        """
        found = self._ledger
        if found is None:
            from obskit.ai.budget_file import file_of
            from obskit.ai.ledger import Ledger

            path = self._path
            settlement = None if path is None else Ledger(file_of(*path), self._on_problem, self._on_crossing)
            with self._lock:
                if self._ledger is None and self._path is path:
                    self._ledger = settlement
                found = self._ledger
        return found

    def _start_writer(self) -> None:
        if self._ledger is not None:
            self.thread.start()

    def _write(self) -> float | None:
        """
        Write settlements as they come; return when to try again, where the file cannot be written.
        """
        from obskit.ai.reservations import UnavailableError

        ledger = self._ledger
        try:
            if ledger is not None:
                ledger.write()
        except UnavailableError:
            return RETRY_SECONDS
        return None

    def before_fork(self) -> None:
        """
        Wait until no thread is in a transaction.
        """
        if self._ledger is not None:
            self._ledger.before_fork()

    def after_fork(self) -> None:
        """
        Unlock, in the parent.
        """
        if self._ledger is not None:
            self._ledger.after_fork()

    def start_over(self) -> None:
        """
        Replace the lock, in a forked child.
        """
        self._lock = RLock()
        if self._ledger is not None:
            self._ledger.start_over()


budget_book = BudgetBook()
read_status_by(budget_book.status)
at_fork(before=budget_book.before_fork, after_in_parent=budget_book.after_fork, after_in_child=budget_book.start_over)


def _reply_id(op: AiOperation) -> str | None:
    name = op.response_id
    return name if isinstance(name, str) and 0 < len(name) <= MAX_NAME else None
