"""
Hold AI calls to budgets: reserve before a call is sent, settle when it has ended.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, tzinfo
from importlib import import_module
from queue import SimpleQueue
from threading import Lock, RLock, Thread
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from obskit import background
from obskit.ai import budget_periods, pricing
from obskit.ai.operation import AiOperation
from obskit.ai.pricing import MTOK, Price
from obskit.ai.request_size import size_of
from obskit.ai.token_kinds import Usage
from obskit.deferred import drain
from obskit.errors import BudgetError, BudgetExceededError
from obskit.forks import at_fork
from obskit.operation import Event
from obskit.recorder import recorder

if TYPE_CHECKING:
    from obskit.ai.ledger import Ledger
    from obskit.ai.reservations import Ask, Awaited, Crossing, Held, Refused
    from obskit.settings import Settings

CHARACTERS_PER_TOKEN = 4
# Of a request that names no bound: few replies are longer, and what was too little is corrected when it has ended.
DEFAULT_OUTPUT_TOKENS = 4096
MAX_NAME = 200  # characters of the id of a reply that comes later
RETRY_SECONDS = 5.0  # until what could not be written is tried again
_SEVERITY = {50: "INFO", 80: "WARNING", 100: "ERROR"}
_ACTIONS = ("warn", "block")


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """
    Say how a budget stands, for all processes of this machine.

    Attributes:
        name: Of the budget.
        limit_usd: Of a period.
        spent_usd: In this period, estimates included; None where `problem` says why.
        estimated_usd: The part of it that is an estimate.
        reserved_usd: By calls that are under way.
        projected_usd: At the end of the period, if the next hours are like the last days; None while there is less
            than a day of data: too early.
        starts_at: When the period began, in the budget's time zone.
        resets_at: When the next one begins.
        problem: Why nothing is known; None where all is well.
    """

    name: str
    limit_usd: float
    spent_usd: float | None
    estimated_usd: float | None
    reserved_usd: float | None
    projected_usd: float | None
    starts_at: datetime
    resets_at: datetime
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """
        Give the fields ready for JSON, moments in ISO 8601.
        """
        moments = {"starts_at": self.starts_at.isoformat(), "resets_at": self.resets_at.isoformat()}
        return {**asdict(self), **moments}


@dataclass(frozen=True, slots=True)
class Budget:
    """
    Be a budget, as `budget()` declared it.

    Attributes:
        name: The label `budget`.
        usd: Dollars a period.
        per: `hour`, `day`, `week` or `month`.
        timezone: Whose midnights begin its periods.
        services: The services that it counts; None is every call.
        action: `warn` or `block`.
        unknown_price: `allow`, `block`, or the price of models that have none.
    """

    name: str
    usd: float
    per: budget_periods.Per
    timezone: str
    services: frozenset[str] | None
    action: Literal["warn", "block"]
    unknown_price: Literal["allow", "block"] | Price

    @property
    def blocks(self) -> bool:
        """
        Tell whether it refuses calls.
        """
        return self.action == "block"

    def status(self) -> BudgetStatus:
        """
        Read how it stands now. This reads a file: in asynchronous code, run it in a thread.
        """
        return keeper.status(self)


class Holding(NamedTuple):
    """
    Be what a call has reserved.

    Attributes:
        pid: Of the process; a forked child does not settle what its parent has reserved.
        budgets: None for one that is declared in another process alone.
        unanswered: What each budget is charged where nobody can know what the call cost.
    """

    pid: int
    ledger: Ledger
    budgets: tuple[Budget | None, ...]
    held: tuple[Held, ...]
    unanswered: tuple[float, ...]


def _nobody(name: str) -> None:
    """
    Count nothing.
    """


class Keeper:
    """
    Hold the budgets, by name, and ask them. There is one a process; budgets outlive `shutdown()`.

    Attributes:
        on: True where a runtime stands and any budget is declared: hot code asks this alone.
        blocked: Is told the name of a budget with each call that it refuses: the counter.
    """

    def __init__(self) -> None:
        self.on = False
        self.blocked: Callable[[str], None] = _nobody
        self.declared: dict[str, Budget] = {}
        self._ledger: Ledger | None = None
        self._path: tuple[str, str] | None = None  # state_dir and service; None while no runtime stands
        self._lock, self._starting = RLock(), Lock()  # nobody waits for the latter
        self._thread: Thread | None = None
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._told: set[tuple[str, float]] = set()

    # Declaring

    def add(self, budget: Budget) -> Budget:
        """
        Take a budget up; the same declaration again gives the first one.

        Raises:
            BudgetError: Another one has the name, or there is no price to count by.
        """
        known = self.declared.get(budget.name)
        if known is not None:
            if known == budget:
                return known
            raise BudgetError(
                f"a budget {budget.name!r} is declared already, differently ({_described(known)}): give this one "
                "another name, or declare it once"
            )
        if self._path is not None:
            _refuse_without_price(budget)
        self.declared[budget.name] = budget
        self.on = self._path is not None
        return budget

    def remove(self, name: str) -> None:
        """
        Forget a budget; one that is not there is ignored.
        """
        self.declared.pop(name, None)
        self.on = bool(self.declared) and self._path is not None

    def bind(self, settings: Settings) -> None:
        """
        Keep the count for a runtime, whose prices are in use already.

        Raises:
            BudgetError: There is no price to count by.
        """
        for budget in self.declared.values():
            _refuse_without_price(budget)
        self._path = settings.state_dir or default_state_dir(), settings.service
        self.on = bool(self.declared)

    def unbind(self) -> None:
        """
        Write what is settled, and close the file: no runtime stands.
        """
        self.on = False
        with self._lock:
            ledger, self._ledger, self._path = self._ledger, None, None
            thread, self._thread = self._thread, None
        self._told.clear()
        self.blocked = _nobody
        if thread is not None:
            self._wake.put(False)
            thread.join(RETRY_SECONDS)
        if ledger is not None:
            ledger.close()

    def flush(self) -> None:
        """
        Write what is settled, where that can be.
        """
        if self._ledger is None:
            return
        from obskit.ai.reservations import UnavailableError  # with the first ledger it was imported already

        try:
            self._ledger.write()
        except UnavailableError:
            return  # it has been told
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
        budgets = self._counting(op)
        self._safely(budgets, lambda: self._ask_all(op, body, budgets))

    def _safely(self, budgets: tuple[Budget, ...], work: Callable[[], None]) -> None:
        """
        Let no error of our own stop a call, but where a budget blocks: it refuses what it cannot count.
        """
        try:
            work()
        except BudgetExceededError:
            raise
        except Exception as error:
            recorder.failed("ai", error)
            self._refuse_blindly(budgets, error, recorder.wall_clock())

    def _ask_all(self, op: AiOperation, body: Any, budgets: tuple[Budget, ...]) -> None:
        if not budgets:
            return
        now = recorder.wall_clock()
        size, output = size_of(body), _most_output(op, body)
        asked = [_estimate(budget, op, size, output, now) for budget in budgets]
        for budget, dollars in zip(budgets, asked, strict=True):
            if dollars is None and budget.unknown_price == "block":
                raise self._refused(
                    budget,
                    now,
                    f"the budget {budget.name!r} blocks calls of unknown price, and there is none for the model "
                    f"{_asked(op)}: the call was not sent. Add the model to the setting prices, or "
                    'declare the budget with unknown_price="allow" or a Price',
                    reason="unknown_price",
                )
        self._reserve(op, budgets, tuple(dollars or 0.0 for dollars in asked), now)

    async def before_call_async(self, op: AiOperation, body: Any) -> None:
        """
        Do as `before_call()`, in a thread: the event loop waits for no file.
        """
        if not self._counting(op):
            return
        is_given_up = False

        def reserve() -> None:
            self.before_call(op, body)
            if is_given_up:
                self.release(op)

        try:
            await background.in_thread(reserve)
        except BaseException:
            # Cancelled, most likely: the thread runs on. Whoever comes second gives back, and twice does no harm.
            is_given_up = True
            self.release(op)
            raise

    def before_block(self, op: AiOperation) -> None:
        """
        Refuse a block of `observe_ai` where nothing is left. What it will ask for is not known: nothing is reserved.

        Raises:
            BudgetExceededError: A budget refuses it.
        """
        budgets = self._counting(op)
        if budgets:
            self._safely(budgets, lambda: self._glance(op, budgets))

    def _glance(self, op: AiOperation, budgets: tuple[Budget, ...]) -> None:
        from obskit.ai.reservations import Held, UnavailableError

        now, ledger = recorder.wall_clock(), self._open()
        if ledger is None or not _in_loop():
            self._reserve(op, budgets, (0.0,) * len(budgets), now)
            return
        held = []
        for budget in budgets:
            ask = _ask(budget, 0.0, now)
            held.append(Held(None, ask.key, ask.start, 0.0, ask.limit))
            if budget.blocks:
                refused = None
                try:
                    refused = ledger.glance(ask)
                except UnavailableError as error:
                    self._refuse_blindly((budget,), error, now)
                if refused is not None:
                    raise self._refusal(budget, refused, op, 0.0)
        op.held = Holding(os.getpid(), ledger, budgets, tuple(held), (0.0,) * len(budgets))
        self._ensure_running()

    def after_call(self, op: AiOperation) -> None:
        """
        Settle what a call has reserved, by what it cost. Waits for nothing: a thread writes it.
        """
        holding, op.held = op.held, None
        if holding is None or holding.pid != os.getpid():
            return
        estimated = op.estimated or op.cost_usd is None
        dollars = [_cost(op, budget, most) for budget, most in zip(holding.budgets, holding.unanswered, strict=True)]
        name = _name(op) if op.is_background or not op.is_call else None
        holding.ledger.settle(holding.held, dollars, estimated, name)
        self._write_soon()

    # Replies that come later

    def expect(self, op: AiOperation) -> None:
        """
        Let all processes know of a call whose reply comes later, and of what it has reserved.
        """
        holding, name = op.held, _name(op)
        if holding is not None and name is not None and holding.pid == os.getpid():
            holding.ledger.expect(name, (op.service, op.provider, op.model, *(op.paid or ())), holding.held)
            self._write_soon()

    def awaited(self, op: AiOperation) -> Awaited | None:
        """
        Say what the processes of this machine know of a reply; None where nothing is known. On an event loop this
        waits for nobody.
        """
        from obskit.ai.reservations import UnavailableError

        name = _name(op)
        try:
            ledger = None if name is None else self._open()
            return None if ledger is None or name is None else ledger.awaited(name, may_wait=not _in_loop())
        except UnavailableError:
            return None  # it has been told
        except Exception as error:
            recorder.failed("ai", error)
            return None

    def take_over(self, op: AiOperation, known: Awaited | None) -> None:
        """
        Let a reply settle what another process has reserved for it, or be spent where nobody has.
        """
        from obskit.ai.reservations import Held

        ledger = self._open()
        if ledger is None:
            return
        budgets: tuple[Budget | None, ...] = self._counting(op)
        if known is None:
            now = recorder.wall_clock()
            asks = [_ask(budget, 0.0, now) for budget in budgets if budget is not None]
            held = tuple(Held(None, ask.key, ask.start, 0.0, ask.limit) for ask in asks)
        else:
            declared = {_key(budget): budget for budget in tuple(self.declared.values())}
            held = known.held
            budgets = tuple(declared.get(entry.key) for entry in held)
        op.held = Holding(os.getpid(), ledger, budgets, held, tuple(entry.usd for entry in held))
        self._ensure_running()

    def _counting(self, op: AiOperation) -> tuple[Budget, ...]:
        return tuple(
            budget
            for budget in tuple(self.declared.values())
            if budget.services is None or op.service in budget.services
        )

    def _reserve(self, op: AiOperation, budgets: tuple[Budget, ...], dollars: tuple[float, ...], now: float) -> None:
        from obskit.ai.reservations import Refused, UnavailableError

        ledger = self._open()
        if ledger is None:
            return
        asks = [_ask(budget, usd, now) for budget, usd in zip(budgets, dollars, strict=True)]
        try:
            found = ledger.reserve(asks, now)
        except UnavailableError as error:
            self._refuse_blindly(budgets, error, now)
            return
        if isinstance(found, Refused):
            raise self._refusal(budgets[found.place], found, op, dollars[found.place])
        op.held = Holding(os.getpid(), ledger, budgets, found, dollars)
        self._ensure_running()

    def release(self, op: AiOperation) -> None:
        """
        Give back what a call has reserved.
        """
        holding = op.held
        if holding is not None:
            holding.ledger.release(holding.held)
            self._write_soon()

    # Refusing

    def _refusal(self, budget: Budget, refused: Refused, op: AiOperation, usd: float) -> BudgetExceededError:
        _, resets_at = _period(budget, refused.start)
        if refused.is_lost:
            figures = "its count was lost with a broken file"
        else:
            figures = f"${refused.spent:.4f} spent and ${refused.reserved:.4f} reserved"
        message = (
            f"the budget {budget.name!r} allows ${budget.usd:g} per {budget.per}: {figures}; the call was not sent. "
            f"It resets at {resets_at.isoformat()}. {_wish(op, usd)}"
        )
        key = budget.name, refused.start
        if refused.is_first and key not in self._told:
            self._told.add(key)
            fields = _fields(budget, refused.start) | {"spent_usd": refused.spent, "reserved_usd": refused.reserved}
            recorder.emit(Event("ai.budget.blocked", "ERROR", message, fields))
        self.blocked(budget.name)
        spent, reserved = (None, None) if refused.is_lost else (refused.spent, refused.reserved)
        return BudgetExceededError(
            message,
            budget=budget.name,
            limit_usd=budget.usd,
            spent_usd=spent,
            reserved_usd=reserved,
            resets_at=resets_at,
            reason="state" if refused.is_lost else "limit",
            asked_usd=usd or None,
        )

    def _refuse_blindly(self, budgets: tuple[Budget, ...], error: Exception, now: float) -> None:
        """
        Refuse where one of these budgets blocks, and cannot be asked.
        """
        for budget in budgets:
            if budget.blocks:
                raise self._refused(
                    budget,
                    now,
                    f"the budget {budget.name!r} blocks, and what was spent is not known: {error}. The call was not "
                    "sent; put that right, or set state_dir to a directory that can be written to",
                    reason="state",
                )

    def _refused(
        self, budget: Budget, now: float, message: str, *, reason: Literal["state", "unknown_price"]
    ) -> BudgetExceededError:
        """
        Count a refusal for which there are no figures, and make its error.
        """
        self.blocked(budget.name)
        resets_at = _period(budget, _bounds(budget, now)[0])[1]
        return BudgetExceededError(
            message, budget=budget.name, limit_usd=budget.usd, resets_at=resets_at, reason=reason
        )

    # Telling

    def status(self, budget: Budget) -> BudgetStatus:
        """
        Read how a budget stands.
        """
        from obskit.ai.reservations import UnavailableError

        drain()
        now = recorder.wall_clock()
        start = _bounds(budget, now)[0]
        problem = None
        try:
            ledger = self._open()
            if ledger is None:
                raise UnavailableError("nothing is counted: call obskit.configure() first")
            figures = ledger.figures(_key(budget), start, now)
        except UnavailableError as error:
            problem, figures = str(error), None
        starts_at, resets_at = _period(budget, start if figures is None else figures.start)
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

    def _crossed(self, crossing: Crossing) -> None:
        for budget in tuple(self.declared.values()):
            if _key(budget) == crossing.key:
                message = (
                    f"the budget {budget.name!r} is at {crossing.percent} %: ${crossing.spent:.4f} of ${budget.usd:g} "
                    f"per {budget.per}"
                )
                fields = _fields(budget, crossing.start) | {"percent": crossing.percent, "spent_usd": crossing.spent}
                recorder.emit(Event("ai.budget", _SEVERITY[crossing.percent], message, fields))

    def _notice(self, kind: str, message: str) -> None:
        severity = "WARNING" if kind == "ephemeral" else "ERROR"
        recorder.emit(Event("ai.budget.state", severity, message, {"problem": kind}))

    # The thread that writes

    def _open(self) -> Ledger | None:
        """
        Give the ledger; None where no runtime stands.
        """
        found = self._ledger
        if found is None:
            from obskit.ai.budget_file import file_of
            from obskit.ai.ledger import Ledger

            path = self._path
            made = None if path is None else Ledger(file_of(*path), self._notice, self._crossed)
            with self._lock:
                if self._ledger is None and self._path is path:
                    self._ledger = made
                found = self._ledger
        return found

    def _ensure_running(self) -> None:
        if self._thread is None and self._starting.acquire(blocking=False):
            try:
                ledger = self._ledger
                if self._thread is None and ledger is not None:
                    self._wake = SimpleQueue()
                    self._thread = background.start(_keep_writing, ledger, self._wake, name="obskit-budgets")
            finally:
                self._starting.release()

    def _write_soon(self) -> None:
        if self._thread is not None:  # else the next call writes it
            self._wake.put(True)

    def before_fork(self) -> None:
        """
        Let no thread be in the middle of a transaction.
        """
        if self._ledger is not None:
            self._ledger.before_fork()

    def after_fork(self) -> None:
        """
        Go on, in the parent.
        """
        if self._ledger is not None:
            self._ledger.after_fork()

    def start_over(self) -> None:
        """
        Have locks that nobody holds, and no thread, in a forked child.
        """
        self._lock, self._starting, self._thread = RLock(), Lock(), None
        self._wake = SimpleQueue()
        if self._ledger is not None:
            self._ledger.start_over()


def _keep_writing(ledger: Ledger, wake: SimpleQueue[bool]) -> None:
    """
    Write what is settled as it comes.
    """
    from queue import Empty

    from obskit.ai.reservations import UnavailableError

    timeout: float | None = None
    while True:
        try:
            if not wake.get(timeout=timeout):
                return
        except Empty:
            pass
        timeout = None
        try:
            ledger.write()
        except UnavailableError:
            timeout = RETRY_SECONDS
        except Exception as error:
            recorder.failed("ai", error)


keeper = Keeper()
at_fork(before=keeper.before_fork, after_in_parent=keeper.after_fork, after_in_child=keeper.start_over)


# Asynchronous code


def _in_loop() -> bool:
    """
    Tell whether this runs on an event loop, which must not wait.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _in_trio()
    return True


def _in_trio() -> bool:
    if "trio" not in sys.modules:
        return False
    try:
        import_module("trio").lowlevel.current_task()
    except RuntimeError:
        return False
    return True


# Estimates


def _asked(op: AiOperation) -> str:
    """
    Name what a call asks for, whatever labels it has.
    """
    provider, model = (op.provider, op.model) if op.paid is None else op.paid
    return f"{model!r} of {provider!r}"


def _wish(op: AiOperation, usd: float) -> str:
    if not usd:
        return f"It asked for {_asked(op)}"
    return f"It asked for {_asked(op)}, which may cost ${usd:.4f}"


def _most_output(op: AiOperation, body: Any) -> int:
    if op.operation == "embeddings":
        return 0
    asked = body if isinstance(body, dict) else {}
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        bound = asked.get(name)
        if isinstance(bound, int) and not isinstance(bound, bool) and bound > 0:
            break
    else:
        bound = DEFAULT_OUTPUT_TOKENS
    count = asked.get("n")
    return bound * count if isinstance(count, int) and count > 0 else bound


def _estimate(budget: Budget, op: AiOperation, size: int, output: int, now: float) -> float | None:
    """
    Estimate what a call costs at most; None where its price is not known and nobody has said what to take for it.
    """
    usage = Usage(input=-(-size // CHARACTERS_PER_TOKEN), output=output)
    try:
        provider, model = (op.provider, op.model) if op.paid is None else op.paid
        found = pricing.cost(provider, model, usage, now).usd
    except Exception as error:
        recorder.failed("ai", error)
        found = None
    if found is None and isinstance(budget.unknown_price, Price):
        return _priced(budget.unknown_price, usage)
    return found


def _priced(price: Price, usage: Usage) -> float:
    """
    Price tokens by what a budget says of models that have no price; those of caches as input, where it says no more.
    """
    read = price.input if price.cache_read is None else price.cache_read
    write = price.input if price.cache_write is None else price.cache_write
    parts = (usage.input * price.input, usage.cache_read * read, usage.cache_write * write, usage.output * price.output)
    return sum(parts) / MTOK


def _name(op: AiOperation) -> str | None:
    name = op.response_id
    return name if isinstance(name, str) and 0 < len(name) <= MAX_NAME else None


def _cost(op: AiOperation, budget: Budget | None, unanswered: float) -> float:
    if op.cost_usd is not None:
        return op.cost_usd
    if op.tokens is not None and budget is not None and isinstance(budget.unknown_price, Price):
        return _priced(budget.unknown_price, op.tokens)
    return unanswered


# Periods


def _key(budget: Budget) -> str:
    return f"{budget.name}/{budget.per}/{budget.timezone}"


def _zone(budget: Budget) -> tzinfo:
    return ZoneInfo(budget.timezone)


def _bounds(budget: Budget, moment: float) -> tuple[float, float]:
    return budget_periods.around(moment, budget.per, _zone(budget))


def _period(budget: Budget, start: float) -> tuple[datetime, datetime]:
    zone, (_, end) = _zone(budget), _bounds(budget, start)
    return datetime.fromtimestamp(start, zone), datetime.fromtimestamp(end, zone)


def _ask(budget: Budget, usd: float, now: float) -> Ask:
    from obskit.ai.reservations import Ask

    return Ask(_key(budget), _bounds(budget, now)[0], usd, budget.usd, budget.blocks)


def _fields(budget: Budget, start: float) -> dict[str, Any]:
    resets_at = _period(budget, start)[1].isoformat()
    return {"budget": budget.name, "limit_usd": budget.usd, "per": budget.per, "resets_at": resets_at}


def default_state_dir() -> str:
    """
    Give the folder in which this user's programs keep state; it begins with `~` where the user has no home.
    """
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/AppData/Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Application Support")
    else:
        given = os.environ.get("XDG_STATE_HOME", "")
        base = given if os.path.isabs(given) else os.path.expanduser("~/.local/state")
    return os.path.join(base, "obskit")


# Declaring


def _refuse_without_price(budget: Budget) -> None:
    if budget.blocks and not isinstance(budget.unknown_price, Price) and not pricing.has_source():
        raise BudgetError(
            f"the budget {budget.name!r} blocks, and there is no price to count by: pip install 'obskit[ai]', fill the "
            "setting prices, or declare it with unknown_price=obskit.ai.Price(...)"
        )


def _described(budget: Budget) -> str:
    return f"usd={budget.usd:g}, per={budget.per!r}, timezone={budget.timezone!r}, action={budget.action!r}"


def _expect(good: bool, name: str, argument: str, value: object, what: str) -> None:
    if not good:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        raise BudgetError(f"budget({name!r}, {argument}={shown}): expected {what}, found {type(value).__name__}")


def _is_zone(name: Any) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError, TypeError, AttributeError):
        return False
    return True


def budget(
    name: str,
    *,
    usd: float,
    per: Literal["hour", "day", "week", "month"] = "day",
    timezone: str = "UTC",
    services: Iterable[str] | None = None,
    action: Literal["warn", "block"] = "warn",
    unknown_price: Literal["allow", "block"] | Price | None = None,
) -> Budget:
    """
    Declare a budget: what AI calls may cost in a period, for all processes of this service on this machine.

    It is declared once, before or after `configure()`; the same declaration again gives the same budget. Before a call
    of a hooked client is sent, what it may cost at most is reserved: a quarter of the bytes of the request's text as
    input, and what attached files are read as, and the `max_tokens` that it names, or 4096, as output. When the call
    has ended, what it did cost takes the place of
    that. A block of `observe_ai` reserves nothing, since nobody knows what it will ask for: it is refused once nothing
    is left, and what it cost counts when it has ended. At 50, 80 and 100 % there is an event.

    Args:
        name: The label `budget`; one of a bounded set, at most 100 characters.
        usd: Dollars a period, more than 0.
        per: `hour`, `day`, `week` (from Monday) or `month`.
        timezone: Whose midnights begin the periods, such as `Europe/Berlin`.
        services: Count only calls with one of these labels `service`; None is every call.
        action: `block` refuses a call that may pass the limit; `warn` only tells.
        unknown_price: What to do with a model that has no price: `allow` it and count nothing, `block` it, or count it
            by a `Price`. Default: `block` where the action is `block`, else `allow`.

    Raises:
        BudgetError: An argument cannot be used, another budget has the name, or the action is `block` and there is
            nothing that says what a model costs.
    """
    _expect(isinstance(name, str) and 0 < len(name) <= 100, str(name)[:100], "name", name, "1 to 100 characters")
    is_number = isinstance(usd, (int, float)) and not isinstance(usd, bool)
    _expect(is_number and 0 < usd < float("inf"), name, "usd", usd, "dollars a period, more than 0")
    _expect(per in budget_periods.PERIODS, name, "per", per, "one of " + ", ".join(map(repr, budget_periods.PERIODS)))
    _expect(_is_zone(timezone), name, "timezone", timezone, "the name of a time zone such as 'Europe/Berlin'")
    what = "names of services such as ['planogram'], or None for every call"
    good = services is None or (isinstance(services, (list, tuple, set, frozenset)) and len(services) > 0)
    _expect(good, name, "services", services, what)
    named = None if services is None else frozenset(services)
    _expect(named is None or all(isinstance(service, str) for service in named), name, "services", services, what)
    _expect(action in _ACTIONS, name, "action", action, "'warn' or 'block'")
    unknown = unknown_price if unknown_price is not None else "block" if action == "block" else "allow"
    good = isinstance(unknown, Price) or unknown in ("allow", "block")
    _expect(good, name, "unknown_price", unknown_price, "'allow', 'block' or a Price")
    return keeper.add(Budget(name, float(usd), per, timezone, named, action, unknown))


def budgets() -> tuple[Budget, ...]:
    """
    List the declared budgets, in the order of their declaration; `status()` of each says how it stands.
    """
    return tuple(keeper.declared.values())
