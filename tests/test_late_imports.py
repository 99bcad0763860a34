"""
What is off is not imported, and what is needed in a request was imported before, or is by a thread of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.utils import floatToGoString

import obskit
from obskit.late_imports import Awaited
from obskit.late_patterns import LatePattern, late
from obskit.metrics.family_renderer import go_float
from obskit.operation import Operation
from obskit.sinks import kinds, metrics_sink, span_sink

SOURCES = Path(obskit.__file__).parent
NEVER = (
    "structlog",
    "prometheus_client",
    "opentelemetry.sdk",
    "wrapt",
    "psutil",
    "sqlite3",
    "ssl",
    "http.client",
    "email",
)
WEB, METRICS = (
    ("obskit.web.routes", "obskit.health.registry"),
    ("obskit.metrics.collector", "obskit.sinks.metrics_sink"),
)
# Settings -> what they must not bring.
LEFT_OUT = {
    "enabled=False": (
        *(*NEVER, *WEB, *METRICS, "opentelemetry", "logging.config", "logging.handlers", "obskit.integrations.logging"),
        *("obskit.db.query_watch", "obskit.ai.ledger", "obskit.ai.pricing", "obskit.sinks.components", "obskit.system"),
        *("obskit.workers", "obskit.storage", "obskit.subscribers", "obskit.observation", "obskit.sinks.log_sink"),
    ),
    "metrics=False": (*NEVER, *METRICS, "opentelemetry", "obskit.metrics.directory"),
    "log_server=False": (*NEVER, "opentelemetry", "logging.config", "obskit.integrations.logging"),
    "access_log=False": (*NEVER, "opentelemetry"),
    "": (*NEVER, "opentelemetry"),
}


def said_by(program, *arguments):
    """
    Return what a program prints last, in an interpreter of its own, as JSON.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OBSKIT_")}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("given_settings", LEFT_OUT)
def test_what_is_off_is_not_imported(given_settings):
    """
    `configure()` brings what its settings ask for.
    """
    program = "import json, obskit, sys\nobskit.configure({settings})\nprint(json.dumps(sorted(sys.modules)))"
    modules = said_by(program.format(settings=given_settings))
    left_out = LEFT_OUT[given_settings]

    assert "obskit.logs.writer" in modules
    assert [] == [name for name in modules if any(name == out or name.startswith(f"{out}.") for out in left_out)]


# Metrics and lines, and nothing else that has a setting.
METRICS_AND_LINES = "service='shop', health_path=None, log_server=False"
# The folders that metrics and lines are made of. Of any other, and so of each that comes, nothing is imported for them
# but what is here, with what it is there for.
MADE_OF = {"catalogue", "logs", "metrics", "redaction", "rows", "sinks", "storage", "time", "web", "workers"}
SETTINGS = "all settings are read together"
COMPONENT = "decides by the settings what is made"
LEFT_IN = {
    **dict.fromkeys(("ai.settings", "db.settings", "health.settings", "history.settings", "rules.settings"), SETTINGS),
    **dict.fromkeys(("ai.components", "history.components", "rules.components", "signals.components"), COMPONENT),
    "ai.ai_operation": "what a request adds up, in its totals, is one of these",
    "db.query_watch": "reports at the end of a request what it repeated",
    "db.n_plus_one": "the counter that its totals have",
    "db.callsite": "finds the line that repeats",
    **dict.fromkeys(
        (
            *("health.registry", "health.check_runs", "health.check_operation", "health.declaration"),
            *("health.outcome", "health.safe_details"),
        ),
        "checks are added at any time, and run without a route too",
    ),
    "health.event_loop_lag": "is a metric",
    "health.uptime": "is asked by whoever answers for health, which is made with the other routes",
    **dict.fromkeys(
        ("integrations.settings", "integrations._start", "integrations._patches", "integrations._served_request"),
        "what every way into obskit begins with",
    ),
}


def test_nothing_of_a_part_is_imported_that_is_not_used():
    """
    With metrics and lines alone, each other folder of obskit, whichever there are, has nothing imported but what is
    declared; and what is declared is imported, so that the list does not outlive its reasons.
    """
    program = f"import json, obskit, sys\nobskit.configure({METRICS_AND_LINES})\nprint(json.dumps(list(sys.modules)))"
    folders = {path.parent.name for path in SOURCES.glob("*/__init__.py")} - MADE_OF
    inner = [name.removeprefix("obskit.") for name in said_by(program) if name.startswith("obskit.")]

    assert {"ai", "alerts", "db", "export", "health", "history"} <= folders
    assert sorted(LEFT_IN) == sorted(name for name in inner if "." in name and name.partition(".")[0] in folders)


# Modules that make a plan when they are imported: what binds it may import them, while they are not complete.
PLANNING = sorted(
    ".".join(["obskit", *path.relative_to(SOURCES).with_suffix("").parts])
    for path in SOURCES.rglob("*.py")
    if any("recorder.plan(" in line and line[:1] not in " #" for line in path.read_text("utf-8").splitlines())
)


def test_a_plan_is_made_while_a_runtime_is_active():
    """
    Whichever module makes a plan first, with metrics on: nothing goes round in a circle.
    """
    program = """
import json, os, sys
from importlib import import_module, util
import obskit
failed = []
for module in json.loads(sys.argv[1]):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            obskit.configure(service="shop")
            import_module(module)
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1]:
        failed.append(module)
print(json.dumps(failed))
"""
    without_extras = [module for module in PLANNING if "django" not in module]

    assert len(without_extras) >= 8
    assert said_by(program, json.dumps(without_extras)) == []


@pytest.mark.parametrize("sink", [metrics_sink, span_sink], ids=lambda sink: sink.__name__)
def test_kinds_are_known_by_their_names(sink):
    """
    Each name that a sink binds by is that of a kind of operation, and leads to what binds it.
    """
    for name, binder in sink.BINDERS.items():
        kind = kinds.found(name)

        assert issubclass(kind, Operation)
        assert kinds.name_of(kind) == name
        assert callable(kinds.found(binder))


AI_AFTER = """
import json, sys
import obskit
obskit.configure(service="shop", prices={"own-model": {"input": 1.0, "output": 2.0}}, state_dir=sys.argv[1])
before = [name for name in sys.modules if name in ("obskit.ai.pricing", "obskit.ai.budget_book")]
budget = obskit.ai.budget("all", usd=5.0)
from obskit.ai import pricing
from obskit.ai.budget_book import budget_book
known = list(pricing._prices)
active = budget_book.is_active
obskit.ai.record(provider="acme", model="own-model", seconds=1.0, input_tokens=1_000_000)
status = budget.status()
cost = [row for family in obskit.metrics.snapshot().families.values() if family.spec.name == "ai_cost_usd_total"
        for row in family.rows]
obskit.shutdown()
print(json.dumps([before, known, active, status.problem, cost, pricing._prices, budget_book.is_active]))
"""


def test_what_is_imported_later_joins_the_runtime(tmp_path):
    """
    Prices and budgets that nobody had imported at `configure()` are in force once somebody does, and out of it after
    `shutdown()`.
    """
    assert said_by(AI_AFTER, str(tmp_path)) == [[], ["own-model"], True, None, [[1.0]], {}, False]


def test_a_module_may_be_awaited_by_several():
    """
    Each takes its step, in turn; one that was cancelled does not.
    """
    program = """
import json, sys
from obskit.late_imports import Awaited
taken = []
first, second, third = [Awaited("wave", lambda place=place: taken.append(place)) for place in (1, 2, 3)]
second.cancel()
before = list(taken)
import wave
print(json.dumps([before, sorted(taken), [first.cancel(), third.cancel()]]))
"""

    assert said_by(program) == [[], [1, 3], [False, False]]


def test_a_late_pattern_is_compiled_by_its_first_use():
    """
    Until then it has nothing of a pattern, and from then on the pattern's own methods.
    """
    pattern = late(r"(\d)x")
    methods = [name for name in LatePattern.__slots__ if not name.startswith("_")]
    before = [name for name in methods if is_set(pattern, name)]
    found = pattern.sub(r"\1y", "1x 2x")

    assert (before, found) == ([], "1y 2y")
    assert [is_set(pattern, name) for name in methods] == [True] * len(methods)
    assert pattern.search("a3x")[1] == "3"
    assert pattern.groups == 1


def is_set(thing, slot):
    try:
        getattr(type(thing), slot).__get__(thing)
    except AttributeError:
        return False
    return True


JOINED = """
import json, sys
import obskit
obskit.configure(service="shop")
before = "prometheus_client" in sys.modules, len(sys.meta_path)
{asked}
from prometheus_client import generate_latest, CollectorRegistry, Gauge
shown = b"obskit_errors_total" in generate_latest()
try:
    Gauge("obskit_errors_total", "mine")
    refused = False
except ValueError:
    refused = True
after = len(sys.meta_path) - before[1]
obskit.shutdown()
print(json.dumps([before[0], shown, refused, after, b"obskit_errors" in generate_latest()]))
"""


@pytest.mark.parametrize("asked", ["import prometheus_client.core", "obskit.configure().registry"])
def test_obskit_joins_the_registry_once_somebody_has_it(asked):
    """
    The library is not imported by `configure()`; whoever imports it finds obskit's metrics in its registry, whose names
    are taken, and after `shutdown()` none of them.
    """
    assert [False, True, True, 0, False] == said_by(JOINED.format(asked=asked))


@pytest.mark.parametrize("name", ["prometheus_client", "obskit.signals.page", "obskit.ai.pricing"])
def test_who_asks_whether_a_library_is_there_changes_nothing(name):
    """
    The test for an optional library, before its import, leaves the step to the import; so does an import that fails.
    """
    program = """
import importlib.util, json, sys
from obskit.late_imports import Awaited
taken = []
Awaited(sys.argv[1], lambda: taken.append(sys.argv[1]))
spec = importlib.util.find_spec(sys.argv[1])
failing = importlib.util.find_spec(sys.argv[1])
class Full:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            raise OSError(24, "too many open files")
sys.meta_path.insert(1, Full())
try:
    __import__(sys.argv[1])
except OSError:
    taken.append("failed")
del sys.meta_path[1]
before = list(taken)
__import__(sys.argv[1])
print(json.dumps([spec is not None, before, taken[1:]]))
"""

    assert [True, ["failed"], [name]] == said_by(program, name)


def test_no_import_of_another_thread_misses_a_finder():
    """
    While one thread is at a finder, what is awaited is imported and cancelled: the finders that come next are asked.
    """
    program = """
import json, sys, threading
from importlib.machinery import ModuleSpec
from obskit.late_imports import Awaited
inside, go, found = threading.Event(), threading.Event(), []
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "mine":
            inside.set()
            go.wait(60)
class Last:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec("mine", self) if name == "mine" else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        found.append(module.__name__)
awaited = [Awaited(name, lambda: None) for name in ("wave", "chunk")]
sys.meta_path += [Slow(), Last()]
thread = threading.Thread(target=__import__, args=["mine"])
thread.start()
inside.wait(60)
import wave
awaited[1].cancel()
go.set()
thread.join()
print(json.dumps(found))
"""

    assert ["mine"] == said_by(program)


def test_nothing_waits_for_the_library_after_shutdown():
    """
    What awaits the import is gone with the runtime; one finder stays, however many there were.
    """
    program = """
import json, sys
import obskit
before = len(sys.meta_path)
for _ in range(3):
    obskit.configure(service="shop")
    obskit.shutdown()
there = len(sys.meta_path) - before
from prometheus_client import generate_latest
print(json.dumps([there, b"obskit_errors" in generate_latest()]))
"""

    assert [1, False] == said_by(program)


def test_names_that_settings_give_twice_are_refused_without_the_library():
    """
    Two metrics of one name are a mistake at `configure()`, whether the library is there or not.
    """
    program = """
import json, sys
import obskit
from obskit.errors import MetricConflictError
try:
    obskit.configure(metric_names={"obskit_errors_total": "x_total", "obskit_dropped_total": "x_total"})
except MetricConflictError as error:
    print(json.dumps(["prometheus_client" in sys.modules, "x_total" in str(error)]))
"""

    assert [False, True] == said_by(program)


FIRST_REQUESTS = """
import asyncio, json, sys, threading
import obskit

class Seen:
    names = []

    def find_spec(self, name, path=None, target=None):
        self.names.append((threading.current_thread() is threading.main_thread(), name))

async def app(scope, receive, send):
    log.info("asked", items=[1], order={"a": 1}, url="https://shop.example/?page=2", error=ValueError("x"))
    with obskit.observe("work"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})

async def ask(path):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [], "http_version": "1.1"}
    await served(scope, receive, send)
    return sent[0]["status"]

async def main():
    sys.meta_path.insert(0, Seen())
    return [await ask(path) for path in ("/", "/", "/metrics", "/health", "/live", "/nowhere")]

served = obskit.instrument(app, service="shop", **json.loads(sys.argv[1]))
log, observe = obskit.get_logger("shop"), obskit.observe
statuses = asyncio.run(main())
obskit.shutdown()
here = [name for is_here, name in Seen.names if is_here]
print(json.dumps([statuses, here, "prometheus_client" in [name for is_here, name in Seen.names if not is_here]]))
"""


@pytest.mark.parametrize("own", [{}, {"metrics_dir": "shared"}])
def test_an_event_loop_imports_nothing_in_its_first_requests(own, tmp_path):
    """
    Requests, lines, functions and a scrape make their event loop import nothing; the scrape imports prometheus_client,
    and does so in its own thread.
    """
    given = {name: str(tmp_path / folder) for name, folder in own.items()}

    assert [[200] * 6, [], True] == said_by(FIRST_REQUESTS, json.dumps(given))


def test_a_library_that_is_there_is_not_awaited():
    """
    The step is taken at once, and there is nothing to cancel.
    """
    taken = []
    awaited = Awaited("json", lambda: taken.append(1))

    assert ([1], False) == (taken, awaited.cancel())


@settings(deadline=None)
@given(
    st.floats() | st.integers(-(10**20), 10**20) | st.sampled_from([1e6, 999999.5, 1e16, 10.0**15, -1e9, 12345678.9])
)
def test_floats_are_formatted_as_by_the_library(value):
    """
    What is formatted without the library looks as if by it.
    """
    assert floatToGoString(value) == go_float(value)
