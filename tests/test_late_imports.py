"""
What is off is not imported, and what is needed in a request was imported before, or is by a thread of its own.
"""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.utils import floatToGoString

from obskit.late_imports import Awaited
from obskit.metrics.family_renderer import go_float

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
    assert [False, True, True, -1, False] == said_by(JOINED.format(asked=asked))


def test_nothing_waits_for_the_library_after_shutdown():
    """
    What awaits the import is gone with the runtime.
    """
    program = """
import json, sys
import obskit
before = len(sys.meta_path)
obskit.configure(service="shop")
obskit.shutdown()
there = len(sys.meta_path) - before
from prometheus_client import generate_latest
print(json.dumps([there, b"obskit_errors" in generate_latest()]))
"""

    assert [0, False] == said_by(program)


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
