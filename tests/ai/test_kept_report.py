"""
With a history, the report and the slow queries are those of all workers, over restarts.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

import obskit
from obskit.ai.recent_calls import known_calls, recent_calls
from obskit.testing import FakeClock, isolated_runtime

from .provider import TARIFF, headers, running

PATIENCE_SECONDS = 60
PRICES = {
    model: {
        name: float(rate) for name, rate in zip(("input", "cache_read", "cache_write", "output"), rates, strict=True)
    }
    for model, rates in TARIFF.items()
    if any(rates)
}
WORKER = """
import sys, anthropic, obskit
url, folder, prices, scenes = eval(sys.stdin.readline())
obskit.configure(service="shop", history=True, history_dir=folder, serving=True, prices=prices)
obskit.instrument_anthropic()
obskit.bind(user="ann", feature="labels")
with anthropic.Anthropic(api_key="none", base_url=url, max_retries=0) as client:
    for scene in scenes:
        message = [{"role": "user", "content": "x"}]
        client.messages.create(model="claude-test", max_tokens=50, messages=message, extra_headers=scene)
    print("made", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def given(tmp_path):
    return {"service": "shop", "history": True, "history_dir": str(tmp_path / "history"), "serving": True}


def make_calls(clock):
    def call(seconds=1.0, error=None, used=(1000, 100), **rare):
        with suppress(ValueError), obskit.observe_ai(service="labels", provider="acme", model="m-1") as op:
            clock.advance(seconds)
            if used:
                op.usage(input_tokens=used[0], output_tokens=used[1])
            for name, value in rare.items():
                setattr(op, name, value)
            if error is not None:
                raise error

    call()
    call(0.5, ValueError("x"))
    call(used=None)
    call(attempts=3, retry_wait_seconds=0.25, first_chunk_seconds=0.5, status_code=200)
    call(aborted="closed", estimated=True)
    call(failed_attempts=("error",))
    call(is_call=False, is_known_call=True)


def test_calls_are_read_as_they_were_made(given):
    """
    Each figure of a call that is read from the history is that which memory has of it.
    """
    clock = FakeClock(1_800_000_000.0)
    prices = {"m-1": {"input": 2, "output": 10}}
    with isolated_runtime(**given, history_users="plain", clock=clock, wall_clock=clock, prices=prices):
        with obskit.job("nightly"):
            obskit.bind(user="ann", feature="search")
            make_calls(clock)
        remembered = list(recent_calls.rows())
        kept = known_calls(0.0).calls
        first = obskit.ai.report()
    with isolated_runtime(**given, history_users="plain", clock=clock, wall_clock=clock, prices=prices):
        again = obskit.ai.report()

    assert remembered == kept
    assert (7, first.total, first.by_user) == (len(kept), again.total, again.by_user)


def test_the_report_is_the_bill_over_workers_and_kills(given):
    """
    Calls of several workers, all killed once their calls are stored, and of others after them, add up to the bill.
    """
    pytest.importorskip("anthropic")
    folder = given["history_dir"]
    with running() as provider, isolated_runtime(**given):
        for begin in (1, 4):
            workers = []
            for number in range(begin, begin + 3):
                scenes = [headers(input=100 * number + place, output=number, cache_read=place) for place in range(4)]
                worker = subprocess.Popen([sys.executable, "-c", WORKER], stdin=-1, stdout=-1, text=True)
                workers.append(worker)
                worker.stdin.write(f"{(provider.url, folder, PRICES, scenes)!r}\n")
                worker.stdin.flush()
            for worker in workers:
                assert "made\n" == worker.stdout.readline()
            end = time.monotonic() + PATIENCE_SECONDS
            while obskit.ai.report().total.calls < len(provider.bill) and time.monotonic() < end:
                os.sched_yield()
            for worker in workers:
                worker.send_signal(signal.SIGKILL)
                worker.communicate()
        report = obskit.ai.report()

    assert (24, pytest.approx(float(provider.usd()), abs=1e-9)) == (report.total.calls, report.total.cost_usd)
    assert provider.tokens() == report.total.tokens
    assert "of all workers, known since" in report.render()
    assert [("labels", 24)] == [(group.name, group.calls) for group in report.by_feature]


def test_slow_queries_are_those_of_before_too(given):
    """
    Slow queries are read with all they had, over a restart, the latest or the slowest, and by statement.
    """
    clock = FakeClock(1_800_000_000.0)
    for _ in range(2):
        with isolated_runtime(**given, clock=clock, wall_clock=clock, slow_query_ms=50):
            for took in (0.5, 0.25):
                with obskit.observe_db(table="plates", operation="select", system="sqlite"):
                    clock.advance(took)
            remembered = obskit.db.slow_log._totals.latest()
            found = obskit.db.slow_queries(), obskit.db.slow_queries(slowest=2), obskit.db.slow_statements()

    assert ([500.0, 250.0] * 2, [500.0, 500.0]) == tuple([one.duration_ms for one in some] for some in found[:2])
    assert remembered[-1].to_dict() == found[0][-1].to_dict()
    assert [(4, 1500.0)] == [(one.count, one.total_ms) for one in found[2]]


def test_a_process_that_does_not_serve_knows_its_own(given):
    """
    A script's report has its own calls, and makes no folder; once it serves, what it had called before is stored too.
    """
    clock = FakeClock(1_800_000_000.0)
    with isolated_runtime(**given | {"serving": False}, clock=clock, wall_clock=clock) as isolated:
        make_calls(clock)
        before = obskit.ai.report().total.calls
        has_folder = os.path.exists(given["history_dir"])
        writer = isolated.runtime._assembly.part("records")._writer
        writer._takes = lambda: True
        kept = known_calls(0.0).calls

    assert (6, False, 7) == (before, has_folder, len(kept))
