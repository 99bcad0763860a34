"""
What stops is stopped to its end, and what has been stopped, or is off, neither breaks nor holds anything.
"""

import gc
import importlib
import inspect
import subprocess
import sys
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from contextvars import copy_context
from importlib.util import find_spec
from time import perf_counter

import pytest

import obskit
from obskit.ai.budget_book import budget_book
from obskit.health.registry import registry
from obskit.logs.writer import Writer
from obskit.metrics import declare
from obskit.metrics.collector import MetricCollector
from obskit.metrics.gauge_callbacks import gauge_callbacks
from obskit.metrics.workers import Workers
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.rules import objectives
from obskit.runtime import Runtime
from obskit.sinks.log_sink import LogSink
from obskit.sinks.metrics_sink import MetricsSink
from obskit.testing import FakeClock, isolated_runtime

PARTS = (Runtime, MetricCollector, Workers, Writer, MetricsSink, LogSink, FakeClock)


@pytest.fixture(autouse=True)
def nothing_declared():
    """
    Forget what a test declares.
    """
    checks, budgets, listeners = set(registry.checks), set(budget_book.declared), list(declare.listeners)
    yield
    declare.listeners[:] = listeners  # a runtime whose every part raises leaves its own
    for name in registry.checks.keys() - checks:
        registry.remove(name)
    for name in budget_book.declared.keys() - budgets:
        budget_book.remove(name)
    objectives.declared.pop("stopped", None)


def within(block):
    with block:
        pass


# What every public function is called with, here with no runtime that observes: none raises.
CALLS: dict[str, Callable[..., object]] = {
    "obskit.bind": lambda call: call(user="u-1"),
    "obskit.unbind": lambda call: call("user"),
    "obskit.configure": None,  # what makes the states
    "obskit.shutdown": lambda call: call(),
    "obskit.correlation_id": lambda call: call(),
    "obskit.counter": lambda call: call("stopped_things_total", "Things.").inc(),
    "obskit.gauge": lambda call: call("stopped_rows", "Rows.", query=lambda: 1.0),
    "obskit.histogram": lambda call: call("stopped_seconds", "Seconds.").observe(1.0),
    "obskit.get_logger": lambda call: call("stopped").debug("nothing"),
    "obskit.instrument": None,  # configures
    "obskit.job": lambda call: within(call("stopped")),
    "obskit.objective": lambda call: call("stopped", availability=0.99),
    "obskit.observe": lambda call: within(call("stopped")),
    "obskit.observe_ai": lambda call: within(call(provider="p", model="m")),
    "obskit.observe_db": lambda call: within(call("rows", "select")),
    "obskit.outgoing_headers": lambda call: call(),
    "obskit.set_route": lambda call: call("/stopped"),
    "obskit.with_context": lambda call: call(lambda: None)(),
    "obskit.ai.budget": lambda call: call("stopped", usd=1.0, unknown_price="allow").status(),
    "obskit.ai.budgets": lambda call: call(),
    "obskit.ai.rate_limits": lambda call: call(),
    "obskit.ai.record": lambda call: call(provider="p", model="m", seconds=0.1),
    "obskit.ai.report": lambda call: call().render(),
    "obskit.db.record": lambda call: call(table="rows", operation="select", seconds=0.1),
    "obskit.db.slow_queries": lambda call: call(),
    "obskit.db.slow_statements": lambda call: call(),
    "obskit.db.sqlite_doctor": None,  # needs no runtime
    "obskit.db.summarize": lambda call: call("select 1"),
    "obskit.health.add": lambda call: call("stopped", lambda: {}, background=True),
    "obskit.health.check": lambda call: call(name="stopped")(lambda: {}),
    "obskit.health.remove": lambda call: call("stopped"),
    "obskit.metrics.snapshot": lambda call: call(exemplars=True),
}


def public_functions():
    """
    Find what the package offers to call, but for ready-made checks and classes, which need no runtime.
    """
    for module in ("obskit", "obskit.ai", "obskit.db", "obskit.health", "obskit.metrics"):
        there = importlib.import_module(module)
        for name in there.__all__:
            value = getattr(there, name)
            if inspect.isfunction(value) and not (module == "obskit.health" and name not in ("add", "check", "remove")):
                yield f"{module}.{name}", value


FUNCTIONS = dict(public_functions())
INSTRUMENT = {name for name in FUNCTIONS if "instrument_" in name}


def disabled():
    return isolated_runtime(enabled=False)


def stopped():
    with isolated_runtime():
        pass
    return nullcontext()


STATES = {"disabled": disabled, "after shutdown": stopped}


def test_every_public_function_is_tried():
    """
    A function that is new has to say here what it is called with.
    """
    assert FUNCTIONS.keys() - INSTRUMENT == CALLS.keys()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if call is not None])
def test_public_functions_where_nothing_is_observed(name, state):
    """
    No public function raises where obskit is off, or has been shut down.
    """
    with STATES[state]():
        copy_context().run(CALLS[name], FUNCTIONS[name])  # what is bound outside of a request stays


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", sorted(name for name in INSTRUMENT if ".instrument" in name and "django" not in name))
def test_hooks_where_nothing_is_observed(name, state):
    """
    A library can be hooked and let go where obskit is off, or has been shut down; Django's wants its settings.
    """
    library = name.rpartition("instrument_")[2]
    if library in ("sqlite3", "threads", "logging") or find_spec(library):
        with STATES[state]():
            FUNCTIONS[name]()
            FUNCTIONS[name.replace(".instrument", ".uninstrument")]()


@pytest.mark.parametrize(
    "name", [name for name, _ in inspect.getmembers(Runtime, inspect.isfunction) if name[0] != "_"]
)
def test_every_method_of_a_disabled_runtime(name):
    """
    A runtime that is off has every method of one that is on, and none of them does anything.
    """
    with isolated_runtime(enabled=False) as isolated:
        getattr(isolated.runtime, name)()

        assert [] == isolated.lines


def placed(settings, folder):
    """
    Put the folder where a setting has braces.
    """
    return {name: value.format(folder) if isinstance(value, str) else value for name, value in settings.items()}


def observe_all(runtime):
    with (
        obskit.observe("work"),
        obskit.observe_db(operation="SELECT", table="rows"),
        obskit.observe_ai(provider="p", model="m"),
    ):
        obskit.get_logger("shop").info("a line")
    op = HttpOperation("GET", "/")
    recorder.plan(HttpOperation).begin(op)
    recorder.plan(HttpOperation).end(op)
    if runtime.registry is not None:
        list(runtime.registry.collect())


@pytest.mark.parametrize("settings", [{}, {"metrics_dir": "{}/metrics"}, {"log_queue": 10}, {"enabled": False}])
def test_nothing_holds_or_calls_a_runtime_that_was_shut_down(settings, tmp_path):
    """
    After `shutdown()` and a garbage collection nothing of the runtime is left, also where metrics, gauges with a
    query, checks and budgets were declared while it stood.
    """
    obskit.gauge("left_rows", "Rows.", query=lambda: 1.0)
    settings = placed(settings, tmp_path)
    before = {id(found) for found in gc.get_objects() if type(found) in PARTS}
    with isolated_runtime(clock=FakeClock(), **settings) as isolated:
        obskit.counter("left_total", "Things.").inc()
        obskit.health.add("left", lambda: {}, background=True)
        obskit.ai.budget("left", usd=1.0, unknown_price="allow")
        observe_all(isolated.runtime)
        made = [found for found in gc.get_objects() if type(found) in PARTS and id(found) not in before]
        parts = [weakref.ref(found) for found in made]
        kinds = {type(found) for found in made}
        del made
    del isolated
    gc.collect()

    assert {Runtime, Writer, FakeClock} <= kinds
    assert [] == [part() for part in parts if part() is not None]


def test_no_plan_keeps_a_clock_of_a_test():
    """
    What is timed between two runtimes is timed by the real clock.
    """
    with isolated_runtime(clock=FakeClock()) as isolated:
        observe_all(isolated.runtime)

    assert {perf_counter} == {plan.clock for plan in recorder._plans.values()}


# Whatever is still queued an hour later is put out by nobody but the shutdown, into a file that is open already.
LAST_SPAN = """
import sys
{before}
import os, obskit, resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(), schedule_delay_millis=3_600_000))
obskit.configure(tracing=provider, state_dir={folder!r}, **{settings!r})
with obskit.observe("last words"):
    pass
{after}
obskit.shutdown()
print("survived")
"""
NO_DESCRIPTOR = """
resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try:
    open(os.devnull)
except OSError:
    print("no descriptor is left")
"""
NO_IMPORT = """
class Told:
    def find_spec(self, name, path=None, target=None):
        print("imported", name)
sys.meta_path.insert(0, Told())
"""
SETTINGS = {
    "the least": {"metrics": False, "access_log": False},
    "the usual": {},
    "everything": {
        **{"log_queue": 100, "log_file": "{}/lines.log", "error_file": "{}/errors.log", "metrics_dir": "{}/metrics"},
        **{"log_gzip": True, "log_keep_files": 3, "auto": True},
    },
}


def last_span(tmp_path, settings, before="", after=""):
    """
    Run a program that is shut down; give its words, and whether its last span came out.
    """
    settings = placed(settings, tmp_path)
    program = LAST_SPAN.format(before=before, after=after, folder=str(tmp_path / "state"), settings=settings)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    words = [line for line in done.stdout.splitlines() if line.startswith(("survived", "no ", "imported"))]
    return words, '"last words"' in done.stdout, done.stderr


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_shutdown_imports_nothing_for_the_first_time(tmp_path, settings):
    """
    What a shutdown needs is there before it: a process that has no descriptors left cannot read modules.
    """
    assert (["survived"], True) == last_span(tmp_path, SETTINGS[settings], after=NO_IMPORT)[:2]


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_shutdown_without_descriptors_loses_nothing(tmp_path, settings):
    """
    Where no file can be opened any more, the last spans are put out.
    """
    words, came, errors = last_span(tmp_path, SETTINGS[settings], after=NO_DESCRIPTOR)

    assert (["no descriptor is left", "survived"], True) == (words, came), errors


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_python_without_sqlite_loses_nothing(tmp_path, settings):
    """
    A Python that was built without SQLite has no budgets, and the last spans are put out.
    """
    before = "sys.modules['_sqlite3'] = None"
    words, came, errors = last_span(tmp_path, SETTINGS[settings], before=before)

    assert (["survived"], True) == (words, came), errors


def test_a_part_that_raises_stops_no_other(monkeypatch):
    """
    Whatever one part of the shutdown raises, all others are closed, and no application is observed any more.
    """
    closed = []

    class Sink:
        name = "last"

        def bind(self, kind):
            return None, None

        emit = flush = lambda self, *anything: None

        def close(self):
            closed.append("last")

    def full():
        raise OSError(24, "Too many open files")

    with isolated_runtime(strict=False, sinks=[Sink()]):
        for holder, name in (
            (budget_book, "flush"),
            (budget_book, "unbind"),
            (registry, "unbind"),
            (gauge_callbacks, "stop"),
        ):
            monkeypatch.setattr(holder, name, full)
        obskit.shutdown()
        monkeypatch.undo()
        obskit.shutdown()
        budget_book.unbind()
        registry.unbind()
        gauge_callbacks.stop()

    assert ["last"] == closed


HELD = """
import atexit, sys
def show():
    from obskit.health.registry import registry
    from obskit.metrics.gauge_callbacks import gauge_callbacks
    print(registry.checks, gauge_callbacks._callbacks)
atexit.register(show)  # runs after those of what is imported later
import obskit
obskit.health.add("plain", lambda: {})
obskit.gauge("left_rows", "Rows.", query=lambda: 1.0)
obskit.configure(log_stream=sys.stderr)
"""


def test_at_exit_nothing_holds_functions_of_the_application():
    """
    Its modules would not be collected whole, and finalisers of its own, or of logging under gevent, would find half
    of everything gone.
    """
    done = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, timeout=120)

    assert "{} []\n" == done.stdout
