"""
Budgets: what they let through, what they refuse before it is sent, and what they tell.
"""

import asyncio
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import obskit
from forked import in_child
from obskit.ai import Budget, Price, budget, budgets
from obskit.ai.ai_operation import AiOperation
from obskit.ai.budget_book import budget_book
from obskit.ai.budget_estimates import DEFAULT_OUTPUT_TOKENS
from obskit.errors import BudgetError, BudgetExceededError, ConfigurationError
from obskit.recorder import recorder
from obskit.testing import FakeClock, RecordingSink, isolated_runtime
from obskit.time.clock import Deadline

from .provider import headers

BERLIN = "Europe/Berlin"
NOW = datetime(2026, 11, 20, 12, tzinfo=ZoneInfo(BERLIN)).timestamp()
ASKED = {"model": "claude-test", "max_tokens": 64, "messages": [{"role": "user", "content": "Which plate?"}]}
UNPRICED = {**ASKED, "model": "house-model"}
# Of the tariff: 20 tokens of output and 100 of input, as the provider charges by default.
CENT = (100 * 3 + 20 * 15) / 1e6


@pytest.fixture
def clock():
    return FakeClock(NOW)


@pytest.fixture
def runtime(sink, prices, clock):
    with isolated_runtime(sinks=[sink], prices=prices, wall_clock=clock) as runtime:
        yield runtime


def spend(usd, **labels):
    """
    Make a call that costs so much, by a price of a dollar a token.
    """
    with obskit.observe_ai(model="dollar", **labels) as call:
        call.cost_usd = float(usd)


def test_what_is_asked_of_the_file_is_no_query_of_the_application(runtime, sink):
    """
    With SQLite hooked, a budget's own statements are neither counted nor timed.
    """
    obskit.instrument_sqlite3()
    try:
        one = budget("daily", usd=1.0, action="block", unknown_price="allow")
        spend(0.5)
        one.status()
    finally:
        obskit.uninstrument_sqlite3()

    assert ["AiBlock"] == [type(op).__name__ for op in sink.operations]


def told(sink, name="ai.budget"):
    return [event for event in sink.events if event.name == name]


def settled(budget):
    """
    Return what is spent and what is reserved, once what has ended is written.
    """
    status = budget.status()
    return pytest.approx(status.spent_usd), pytest.approx(status.reserved_usd)


def ledger_file(runtime):
    [path] = Path(runtime.settings.state_dir).rglob("*.sqlite3")
    return path


def at_the_file(runtime):
    """
    Lock the file as another process does that writes to it, until it commits or closes.
    """
    other = sqlite3.connect(ledger_file(runtime), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    return other


async def waiting_call(client):
    """
    Begin a call, and come back when a thread waits for the file on its behalf.
    """
    call = asyncio.create_task(client.messages.create(**ASKED))
    while not any(thread.name == "obskit-ledger" for thread in threading.enumerate()):
        await asyncio.sleep(0)
    return call


# Declaring


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"usd": 0}, "usd=0): expected dollars a period, more than 0, found int"),
        ({"usd": float("nan")}, "usd=nan): expected dollars a period, more than 0, found float"),
        ({"usd": True}, "usd=True): expected dollars"),
        ({"usd": "50"}, "usd='50'): expected dollars a period, more than 0, found str"),
        ({"per": "year"}, "per='year'): expected one of 'hour', 'day', 'week', 'month', found str"),
        ({"timezone": "Mars/Olympus"}, "timezone='Mars/Olympus'): expected the name of a time zone"),
        ({"timezone": "../etc/passwd"}, "expected the name of a time zone"),
        ({"services": "planogram"}, "services='planogram'): expected names of services"),
        ({"services": []}, "expected names of services"),
        ({"services": [1]}, "expected names of services"),
        ({"action": "stop"}, "action='stop'): expected 'warn' or 'block', found str"),
        ({"unknown_price": 3}, "unknown_price=3): expected 'allow', 'block' or a Price, found int"),
    ],
)
def test_a_wrong_argument_says_what_is_right(wrong, message):
    """
    It is a ConfigurationError that names the budget, the argument, what was found and what was expected.
    """
    with pytest.raises(BudgetError) as raised:
        budget("wrong", **{"usd": 1, **wrong})

    assert str(raised.value).startswith("budget('wrong', ")
    assert message in str(raised.value)
    assert isinstance(raised.value, ConfigurationError)
    assert budgets() == ()


@pytest.mark.parametrize("name", ["", "x" * 101, None])
def test_a_wrong_name(name):
    """
    A name is a label: some characters, and not too many.
    """
    with pytest.raises(BudgetError, match="expected 1 to 100 characters"):
        budget(name, usd=1)


def test_the_same_declaration_gives_the_same_budget(runtime):
    """
    A module that is imported twice declares once; another budget under the name raises.
    """
    first = budget("daily", usd=50, services=["a", "b"])

    assert budget("daily", usd=50.0, services=("b", "a")) is first
    assert budgets() == (first,)
    with pytest.raises(BudgetError, match="a budget 'daily' is declared already, differently"):
        budget("daily", usd=51, services=["a", "b"])


def test_unknown_prices_block_where_the_budget_does(runtime):
    """
    The default of `unknown_price` follows the action.
    """
    assert budget("a", usd=1).unknown_price == "allow"
    assert budget("b", usd=1, action="block").unknown_price == "block"
    assert budget("c", usd=1, action="block", unknown_price="allow").unknown_price == "allow"


def test_blocking_without_prices_is_refused(monkeypatch):
    """
    Where nothing says what a model costs, a budget that blocks cannot be: as it is declared, or as a runtime starts.
    """
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    monkeypatch.setattr("obskit.ai.pricing.find_spec", lambda name: None)
    with isolated_runtime(), pytest.raises(BudgetError, match="there is no price to count by"):
        budget("blocking", usd=1, action="block")
    early = budget("early", usd=1, action="block")
    try:
        with pytest.raises(BudgetError, match="there is no price to count by"), isolated_runtime():
            pass
        with isolated_runtime(prices={"m": {"input": 1, "output": 1}}):
            assert budgets() == (early,)
    finally:
        budget_book.remove("early")


def test_a_budget_may_be_declared_before_configure():
    """
    It counts from the moment that a runtime stands.
    """
    early = budget("before", usd=1)
    try:
        assert early.status().problem == "nothing is counted: call obskit.configure() first"
        with isolated_runtime():
            spend(0.25)
            assert early.status().spent_usd == 0.25
    finally:
        budget_book.remove("before")


def test_a_user_without_a_home_has_no_state_folder(tmp_path):
    """
    Run with a user id that has no home, as `docker run -u 4242` does: warned of, and nothing is made in `./~`.
    """
    program = """
import os
os.environ.pop("HOME", None); os.environ.pop("XDG_STATE_HOME", None)
import pwd
pwd.getpwuid = lambda uid: (_ for _ in ()).throw(KeyError(uid))
import obskit
obskit.configure(prices={})
daily = obskit.ai.budget("daily", usd=1.0, unknown_price="allow")
with obskit.observe_ai(provider="p", model="m"):
    pass
print(daily.status().problem)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert '"problem":"unavailable"' in done.stdout
    assert "no home folder: set state_dir" in done.stdout.splitlines()[-1]
    assert not (tmp_path / "~").exists()


# Calls of the SDKs


def test_a_call_is_reserved_and_settled(claude, provider, runtime):
    """
    While a call is under way, its bytes and its `max_tokens` are reserved; then what it cost is spent.
    """
    daily = budget("daily", usd=1, action="block")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(claude.messages.create, **ASKED, extra_headers=headers(hold=0))
        while not provider.attempts:
            pass
        under_way = daily.status()
        provider.go()
        call.result()

    low, high = 64 * 15 / 1e6, 64 * 15 / 1e6 + 100 * 3 / 1e6
    assert under_way.spent_usd == 0.0
    assert low < under_way.reserved_usd < high
    assert (CENT, 0.0) == settled(daily)


def test_what_is_refused_is_never_sent(claude, provider, runtime, sink):
    """
    The error says which budget, how much of what, and when it resets; the provider has seen nothing, and no call is
    counted but in `ai_budget_blocked_total`.
    """
    budget("tiny", usd=0.0005, action="block", timezone=BERLIN)
    for _ in range(2):
        with pytest.raises(BudgetExceededError) as raised:
            claude.messages.create(**ASKED)

    error = raised.value
    assert (provider.attempts, provider.bill, sink.operations) == ([], [], [])
    assert (error.budget, error.limit_usd, error.spent_usd, error.reserved_usd) == ("tiny", 0.0005, 0.0, 0.0)
    assert (error.reason, error.resets_at.isoformat()) == ("limit", "2026-11-21T00:00:00+01:00")
    assert "the budget 'tiny' allows $0.0005 per day: $0.0000 spent" in str(error)
    assert runtime.value("ai_budget_blocked_total", budget="tiny") == 2
    assert [event.fields["budget"] for event in told(sink, "ai.budget.blocked")] == ["tiny"]


def test_the_error_can_be_pickled():
    """
    It keeps what it says on its way through a queue.
    """
    error = BudgetExceededError("used up", budget="daily", limit_usd=1.0, spent_usd=0.9)
    copy = pickle.loads(pickle.dumps(error))

    assert (str(copy), vars(copy)) == (str(error), vars(error))


@pytest.mark.parametrize("limit", [64, None])
def test_the_reserve_counts_what_may_come_out(limit, gpt, provider, runtime):
    """
    Without a bound of output a request stands for 4096 tokens; a bound counts for each of its choices.
    """
    most = (DEFAULT_OUTPUT_TOKENS if limit is None else limit * 3) * 8 / 1e6
    budget("just not", usd=most, action="block")
    more = {} if limit is None else {"max_completion_tokens": limit, "n": 3}
    with pytest.raises(BudgetExceededError):
        gpt.chat.completions.create(model="gpt-test", messages=ASKED["messages"], **more)
    budget_book.remove("just not")
    budget("just", usd=most + 100 * 2 / 1e6, action="block")
    gpt.chat.completions.create(model="gpt-test", messages=ASKED["messages"], **more)

    assert len(provider.attempts) == 1


def test_embeddings_have_no_output(gpt, provider, runtime):
    """
    They reserve for their input alone.
    """
    budget("cents", usd=0.0001, action="block")
    gpt.embeddings.create(model="embed-test", input="Which plate?")

    assert len(provider.attempts) == 1


def test_a_refusal_by_the_provider_costs_nothing(claude, anthropic, provider, runtime):
    """
    What was reserved for a call that ended in a 429 is given back.
    """
    daily = budget("daily", usd=1, action="block")
    with pytest.raises(anthropic.RateLimitError):
        claude.with_options(max_retries=0).messages.create(**ASKED, extra_headers=headers(fail=[429]))

    assert (0.0, 0.0) == settled(daily)


def test_a_call_without_an_answer_costs_what_was_reserved(claude, anthropic, runtime):
    """
    Nobody knows whether it was billed: it counts, as an estimate.
    """
    daily = budget("daily", usd=1, action="block")
    with pytest.raises(anthropic.APIConnectionError):
        claude.with_options(max_retries=0).messages.create(**ASKED, extra_headers=headers(fail=["drop"]))
    status = daily.status()

    assert 64 * 15 / 1e6 < status.spent_usd < 64 * 15 / 1e6 + 100 * 3 / 1e6
    assert (status.estimated_usd, status.reserved_usd) == (status.spent_usd, 0.0)


def test_a_stream_is_settled_at_its_end(claude, provider, runtime):
    """
    The reserve of a stream holds until it was read.
    """
    daily = budget("daily", usd=1, action="block")
    stream = claude.messages.create(**ASKED, stream=True)
    reserved = daily.status().reserved_usd
    for _ in stream:
        pass

    assert reserved > 64 * 15 / 1e6
    assert (float(provider.usd()), 0.0) == settled(daily)


@pytest.mark.parametrize(
    ("unknown_price", "cost"),
    [("allow", 0.0), (Price(input=30, output=150), 10 * CENT)],
    ids=["allow", "price"],
)
def test_a_model_without_a_price(unknown_price, cost, claude, provider, runtime):
    """
    It is let through uncounted, or counted by the price that the budget takes for such models.
    """
    daily = budget("daily", usd=1, action="block", unknown_price=unknown_price)
    claude.messages.create(**UNPRICED)

    assert (cost, 0.0) == settled(daily)


def test_a_model_without_a_price_is_blocked(claude, provider, runtime):
    """
    By default a budget that blocks refuses what it cannot count, and says what to do.
    """
    budget("daily", usd=1, action="block")
    with pytest.raises(BudgetExceededError, match="Add the model to the setting prices") as raised:
        claude.messages.create(**UNPRICED)

    assert (raised.value.reason, provider.attempts) == ("unknown_price", [])


def test_a_budget_counts_its_services_alone(claude, provider, runtime):
    """
    Calls of other services, and those of none, are neither counted nor refused.
    """
    mine = budget("mine", usd=0.0005, action="block", services=["planogram"])
    claude.messages.create(**ASKED)
    with obskit.observe_ai(service="labels"):
        claude.messages.create(**ASKED)
    with pytest.raises(BudgetExceededError), obskit.observe_ai(service="planogram"):
        claude.messages.create(**ASKED)

    assert len(provider.attempts) == 2
    assert (0.0, 0.0) == settled(mine)


def test_threads_never_pass_a_dollar(claude, provider, runtime):
    """
    64 threads ask until they are refused: what the provider charges is at most a dollar, and less than a call short of
    it; nothing is left reserved.
    """
    daily = budget("daily", usd=1, action="block")
    dear = {**ASKED, "max_tokens": 1000, "extra_headers": headers(input=10, output=1000)}

    def ask(_):
        try:
            while True:
                claude.messages.create(**dear)
        except BudgetExceededError:
            return 1

    with ThreadPoolExecutor(64) as pool:
        refused = sum(pool.map(ask, range(64)))
    one_more = 1000 * 15 / 1e6 + 100 * 3 / 1e6

    assert refused == 64
    assert 1 - one_more <= float(provider.usd()) <= 1
    assert (float(provider.usd()), 0.0) == settled(daily)


# Asynchronous code


async def told_async(anthropic, provider, work):
    async with anthropic.AsyncAnthropic(api_key="none", base_url=provider.url) as client:
        return await work(client)


def test_async_calls_are_counted_and_refused(anthropic, provider, runtime):
    """
    As those of the other client.
    """
    daily = budget("daily", usd=0.002, action="block")

    async def work(client):
        await client.messages.create(**ASKED)
        await asyncio.to_thread(lambda: settled(daily))
        with pytest.raises(BudgetExceededError):
            await asyncio.gather(*[client.messages.create(**ASKED) for _ in range(9)])

    asyncio.run(told_async(anthropic, provider, work))

    assert float(provider.usd()) <= 0.002


@pytest.fixture
def patient(monkeypatch):
    """
    Raise the time after which a wait for the file gives up, beyond what a test takes.
    """
    monkeypatch.setattr("obskit.storage.own_sqlite.BUSY_SECONDS", 60.0)


def test_calls_on_trio_are_counted(anthropic, provider, runtime):
    """
    They reserve in a thread there too.
    """
    trio = pytest.importorskip("trio")
    daily = budget("daily", usd=1, action="block")
    trio.run(told_async, anthropic, provider, lambda client: client.messages.create(**ASKED))

    assert (CENT, 0.0) == settled(daily)


def test_an_error_of_our_own_refuses_where_a_budget_blocks(claude, provider, runtime, monkeypatch):
    """
    What cannot be counted is not sent; where the budgets only warn, the call goes its way.
    """

    def broken(*args):
        raise RuntimeError("broken")

    budget("warning", usd=1)
    monkeypatch.setattr("obskit.ai.budget_book.max_output_tokens", broken)
    recorder.strict = False
    claude.messages.create(**ASKED)
    budget("blocking", usd=1, action="block")
    with pytest.raises(BudgetExceededError, match="what was spent is not known: broken"):
        claude.messages.create(**ASKED)

    assert (len(provider.attempts), recorder.errors["ai"]) == (1, 2)


def test_the_event_loop_never_waits_for_the_file(anthropic, provider, runtime, patient):
    """
    While another process is at the file, an async call waits in a thread: other tasks run, and one of them makes the
    other process let go.
    """
    daily = budget("daily", usd=1, action="block")
    daily.status()
    other = at_the_file(runtime)

    async def work(client):
        call = await waiting_call(client)
        for _ in range(100):
            await asyncio.sleep(0)
        sent = len(provider.attempts)
        other.execute("COMMIT")
        await call
        return sent

    sent = asyncio.run(told_async(anthropic, provider, work))
    other.close()

    assert (sent, len(provider.attempts)) == (0, 1)
    assert (CENT, 0.0) == settled(daily)


def test_a_call_that_is_cancelled_while_it_reserves_gives_back(anthropic, provider, runtime, patient):
    """
    The thread that has reserved for it by then gives it back; nothing is sent.
    """
    daily = budget("daily", usd=1, action="block")
    daily.status()
    other = at_the_file(runtime)

    async def work(client):
        call = await waiting_call(client)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        other.execute("COMMIT")

    asyncio.run(told_async(anthropic, provider, work))
    other.close()
    end_reserving()

    assert provider.attempts == []
    assert (0.0, 0.0) == settled(daily)


def end_reserving():
    """
    Wait until no thread reserves any more.
    """
    for thread in threading.enumerate():
        if thread.name == "obskit-ledger":
            thread.join()


def test_a_full_pool_of_the_application_holds_no_call_up(runtime):
    """
    An async call reserves although every thread of the event loop's pool waits for something else.
    """
    daily, is_over = budget("daily", usd=1, action="block"), threading.Event()
    call = AiOperation("planogram", "anthropic", "claude-test")

    async def work():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        busy = loop.run_in_executor(None, is_over.wait)
        try:
            async with asyncio.timeout(60):
                await budget_book.before_call_async(call, ASKED)
        finally:
            is_over.set()
            await busy

    asyncio.run(work())

    assert daily.status().reserved_usd > 0
    budget_book.release(call)


@pytest.mark.parametrize(("action", "sent"), [("block", 0), ("warn", 1)])
def test_a_call_does_not_wait_for_its_budget_for_ever(anthropic, provider, runtime, patient, monkeypatch, action, sent):
    """
    Where the file is not free in time, an async call is refused by a budget that blocks, and goes its way without one;
    what is reserved for it late is given back.
    """
    daily = budget("daily", usd=1, action=action)
    daily.status()
    other = at_the_file(runtime)
    monkeypatch.setattr("obskit.ai.budget_book.RESERVE_SECONDS", 0.05)

    async def work(client):
        await client.messages.create(**ASKED)

    if action == "block":
        with pytest.raises(BudgetExceededError, match="what was spent is not known: others have waited"):
            asyncio.run(told_async(anthropic, provider, work))
    else:
        asyncio.run(told_async(anthropic, provider, work))
    other.execute("COMMIT")
    other.close()
    end_reserving()

    assert sent == len(provider.attempts)
    assert 1 == recorder.dropped["ai", "budget_reserve"]
    assert (0.0, 0.0) == settled(daily)


def reserved_call():
    """
    Return a call that has cost a dollar, and is not settled yet.
    """
    call = AiOperation("planogram", "anthropic", "claude-test")
    budget_book.before_call(call, ASKED)
    call.cost_usd = 1.0
    return call


@pytest.mark.parametrize("step", ["flush", "unbind"])
def test_the_end_waits_no_longer_for_the_file_than_it_may(runtime, patient, monkeypatch, step):
    """
    While another process is at the file, a flush and the end of the runtime come back with their deadline; it is
    written once that is over.
    """
    monkeypatch.setattr("obskit.ai.budget_book.LEAST_SECONDS", 0.01)
    daily, call = budget("daily", usd=9), reserved_call()
    other = at_the_file(runtime)
    budget_book.after_call(call)
    getattr(budget_book, step)(Deadline(0))
    other.execute("COMMIT")
    other.close()
    end_reserving()

    assert 1 == recorder.dropped["ai", "flush_timeout"]
    if step == "unbind":
        budget_book.bind(runtime.settings)
    assert (1.0, 0.0) == settled(daily)


def test_a_flush_on_an_event_loop_waits_for_nothing(runtime, patient):
    """
    The thread writes what is settled, once the file is free.
    """
    daily, call = budget("daily", usd=9), reserved_call()
    other = at_the_file(runtime)
    budget_book.after_call(call)

    async def flush():
        budget_book.flush(Deadline(60))

    asyncio.run(flush())
    other.execute("COMMIT")
    other.close()

    assert (1.0, 0.0) == settled(daily)


def test_async_blocks_wait_for_nobody(runtime):
    """
    A block in asynchronous code is refused by what is known, also while another process is at the file.
    """
    daily = budget("daily", usd=1, action="block", unknown_price="allow")
    spend(1)
    daily.status()
    other = at_the_file(runtime)

    @obskit.observe_ai(service="planogram")
    async def ask():
        raise AssertionError

    with pytest.raises(BudgetExceededError):
        asyncio.run(ask())
    other.close()

    assert runtime.value("ai_budget_blocked_total", budget="daily") == 1


def test_async_blocks_are_counted(runtime):
    """
    What they cost is written by a thread.
    """
    daily = budget("daily", usd=1, action="block", unknown_price="allow")

    async def main():
        async with obskit.observe_ai(model="m") as call:
            call.cost_usd = 0.25

    asyncio.run(main())

    assert (0.25, 0.0) == settled(daily)


# Periods


@pytest.mark.parametrize(
    ("noon", "hours"), [("2026-03-28T12:00", 23), ("2026-10-24T12:00", 25), ("2026-11-20T12:00", 24)]
)
def test_a_day_resets_once(noon, hours, runtime, clock):
    """
    Over midnight and over both clock changes, a day that is watched each quarter of an hour begins once.
    """
    daily = budget("daily", usd=1, timezone=BERLIN)
    clock.now = datetime.fromisoformat(noon).replace(tzinfo=ZoneInfo(BERLIN)).timestamp()
    spent = []
    for _ in range(4 * (hours + 12)):
        spend(0.001)
        spent.append(round(daily.status().spent_usd, 6))
        clock.advance(900)
    resets = [index for index, usd in enumerate(spent) if usd == 0.001]

    assert resets == [0, 4 * 12]
    assert spent[-1] == round(0.001 * 4 * hours, 6)


def test_a_clock_that_goes_back_resets_nothing(runtime, clock):
    """
    What was spent on the day that has begun stays spent.
    """
    daily = budget("daily", usd=1, action="block", unknown_price="allow", timezone=BERLIN)
    clock.advance(86_400)
    spend(1)
    clock.advance(-86_400)
    with pytest.raises(BudgetExceededError) as raised:
        spend(1)
    clock.advance(2 * 86_400)

    assert raised.value.resets_at.isoformat() == "2026-11-22T00:00:00+01:00"
    assert daily.status().spent_usd == 0.0


def test_the_projection(runtime, clock):
    """
    Under a day of data it is too early; then it is what is spent and what the rest of the period adds at this rate.
    """
    weekly = budget("weekly", usd=100, per="week", timezone=BERLIN)
    clock.now = datetime(2026, 11, 16, tzinfo=ZoneInfo(BERLIN)).timestamp()
    spend(1)
    clock.advance(86_399)
    too_early = weekly.status().projected_usd
    clock.advance(1)

    assert too_early is None
    assert weekly.status().projected_usd == pytest.approx(7.0)
    assert runtime.value("ai_budget_projected_usd", budget="weekly") == pytest.approx(7.0)


# Telling


def test_shares_are_told_once_a_period(runtime, sink, clock):
    """
    50, 80 and 100 % are one event each, and again in the next period.
    """
    budget("daily", usd=1)
    for _ in range(2):
        for _ in range(12):
            spend(0.1)
        obskit.ai.budgets()[0].status()
        clock.advance(86_400)
    events = told(sink)

    assert [event.fields["percent"] for event in events] == [50, 80, 100] * 2
    assert [event.severity for event in events[:3]] == ["INFO", "WARNING", "ERROR"]
    assert {event.fields["budget"] for event in events} == {"daily"}


def test_the_gauges_are_those_of_the_file(runtime):
    """
    Limit and spent are gauges; the projection is left out while it is too early.
    """
    budget("daily", usd=2)
    spend(0.5)

    assert runtime.value("ai_budget_limit_usd", budget="daily") == 2
    assert runtime.value("ai_budget_spent_usd", budget="daily") == 0.5
    assert runtime.value("ai_budget_projected_usd", budget="daily") is None


def test_the_status_is_ready_for_json(runtime):
    """
    Moments are written in the budget's zone.
    """
    found = budget("daily", usd=2, timezone=BERLIN).status().to_dict()

    assert found == {
        "name": "daily",
        "limit_usd": 2.0,
        "spent_usd": 0.0,
        "estimated_usd": 0.0,
        "reserved_usd": 0.0,
        "projected_usd": None,
        "starts_at": "2026-11-20T00:00:00+01:00",
        "resets_at": "2026-11-21T00:00:00+01:00",
        "problem": None,
    }


# State


@pytest.mark.parametrize("action", ["warn", "block"])
def test_a_state_that_cannot_be_used(action, prices, sink, tmp_path):
    """
    Who blocks refuses and says why, who warns lets through; either is one event, and the gauges are left out.
    """
    (tmp_path / "file").write_text("in the way")
    state = str(tmp_path / "file" / "state")
    with isolated_runtime(sinks=[sink], prices=prices, state_dir=state) as runtime:
        daily = budget("daily", usd=1, action=action)
        for _ in range(2):
            if action == "block":
                with pytest.raises(BudgetExceededError, match="what was spent is not known") as raised:
                    spend(0.1)
                assert raised.value.reason == "state"
            else:
                spend(0.1)
        gauge = runtime.value("ai_budget_spent_usd", budget="daily")

        assert gauge is None
        assert "cannot be used" in daily.status().problem
        assert [event.fields["problem"] for event in told(sink, "ai.budget.state")] == ["unavailable"]


@pytest.mark.parametrize("action", ["warn", "block"])
def test_a_broken_state(action, runtime, sink, clock):
    """
    The file is set aside with an event. Who blocks refuses until the period ends, since nobody knows what was spent.
    """
    daily = budget("daily", usd=1, action=action, unknown_price="allow")
    spend(0.1)
    daily.status()
    path = ledger_file(runtime)
    budget_book.unbind()
    path.write_bytes(b"this is no database" * 100)
    budget_book.bind(runtime.settings)
    if action == "block":
        with pytest.raises(BudgetExceededError, match="its count was lost with a broken file"):
            spend(0.1)
    else:
        spend(0.1)
    clock.advance(86_400)
    spend(0.2)

    assert daily.status().spent_usd == 0.2
    assert [event.fields["problem"] for event in told(sink, "ai.budget.state")] == ["lost"]


def test_a_restart_forgets_nothing(prices, tmp_path):
    """
    The next runtime goes on where the last one stopped, with what ended just before it did.
    """
    for expected in (0.25, 0.5):
        with isolated_runtime(prices=prices, state_dir=str(tmp_path)):
            daily = budget("daily", usd=1)
            spend(0.25)
        with isolated_runtime(prices=prices, state_dir=str(tmp_path)):
            daily = budget("daily", usd=1)
            assert daily.status().spent_usd == expected


def test_a_forked_child_counts_too(runtime):
    """
    Parent and child add to the same budget, each its own calls.
    """
    daily = budget("daily", usd=1)
    spend(0.25)
    assert daily.status().spent_usd == 0.25  # and so written: what the parent still holds is not the child's to write

    def child():
        spend(0.25)
        return daily.status().spent_usd

    assert in_child(child) == "0.5"
    assert daily.status().spent_usd == 0.5


def test_a_child_settles_nothing_of_its_parents(runtime):
    """
    A call that is under way when the process forks ends twice, and is settled once.
    """
    daily = budget("daily", usd=1)
    call = obskit.observe_ai(model="m")
    with call as op:
        op.cost_usd = 0.25

        def child():
            budget_book.after_call(op)
            return daily.status().spent_usd

        in_the_child = in_child(child)

    assert in_the_child == "0.0"
    assert daily.status().spent_usd == 0.25


def test_without_a_budget_nothing_is_made(claude, runtime):
    """
    No file, no folder, no thread.
    """
    claude.messages.create(**ASKED)

    assert not os.path.exists(runtime.settings.state_dir)
    assert [thread.name for thread in threading.enumerate() if thread.name == "obskit-budgets"] == []


def test_a_budget_is_what_was_declared(runtime):
    """
    Its fields can be read, and not be changed.
    """
    found = budget("daily", usd=50, services=["a"])

    assert found == Budget("daily", 50.0, "day", "UTC", frozenset({"a"}), "warn", "allow")
    with pytest.raises(AttributeError):
        found.usd = 51


def test_sinks_that_are_told_may_ask(runtime):
    """
    A sink that asks for the status while it is told does not wait for itself.
    """
    daily = budget("daily", usd=1)
    heard = []

    class Asking(RecordingSink):
        def emit(self, event):
            if event.name == "ai.budget":
                heard.append(daily.status().spent_usd)

    from obskit.recorder import recorder

    recorder.bind([Asking()])
    spend(0.6)
    daily.status()

    assert heard == [0.6]


@pytest.mark.parametrize("hooked_first", [False, True])
def test_the_queries_of_budgets_are_not_the_applications(tmp_path, hooked_first):
    """
    The file that keeps the count is a SQLite of obskit's own: with `sqlite3` hooked, none of its queries is counted.
    """
    prices = {"house-model": {"input": 1.0, "output": 1.0}}
    with isolated_runtime(state_dir=str(tmp_path), prices=prices) as runtime:
        if hooked_first:
            obskit.instrument_sqlite3()
        budget("own", usd=100, action="block")
        obskit.instrument_sqlite3()
        for _ in range(3):
            with obskit.observe_ai(service="planogram", provider="acme", model="house-model") as call:
                call.usage(input_tokens=1)
        tables = {
            sample.labels["table"]
            for family in runtime.registry.collect()
            if family.name == "database_query_duration_seconds"
            for sample in family.samples
        }
        obskit.uninstrument_sqlite3()

    assert tables == set()
