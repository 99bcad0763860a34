"""
Checks that tests leave nothing behind, and leaves out the folders whose library is not installed.
"""

import gc
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

import beside_prometheus
from obskit.context import current
from obskit.metrics import declare
from obskit.metrics.gauge_callbacks import gauge_callbacks
from obskit.rules import declared as declared_rules
from obskit.rules import objectives
from obskit.runtime import current_runtime
from obskit.testing import RecordingSink
from signals import prometheus

# Tests -> the libraries they need. tests/contract asks for itself: it always has its raw stacks.
NEEDS = {
    "integrations/*flask*": ("flask",),
    "integrations/*starlette*": ("starlette",),
    "integrations/*fastapi*": ("fastapi",),
    "integrations/*django*": ("django",),
    "integrations/*trio*": ("trio", "starlette"),
    "integrations/*psycopg*": ("psycopg",),
    "integrations/*sqlalchemy*": ("sqlalchemy",),
    "export/*examples*": ("anthropic", "django", "fastapi", "flask", "gunicorn", "httpx", "uvicorn"),
    "export/*yaml*": ("hypothesis", "yaml"),
    "examples/*flask*": ("flask", "gunicorn", "httpx"),
    "examples/*django*": ("django", "gunicorn", "httpx"),
    "examples/*fastapi*": ("fastapi", "uvicorn", "httpx", "anthropic"),
    "examples/*demo*": ("fastapi", "uvicorn", "httpx", "anthropic", "genai_prices"),
}
collect_ignore_glob = [tests for tests, libraries in NEEDS.items() if not all(map(find_spec, libraries))]
# What neither the Python nor an extra changes: texts, and our own arithmetic. `--again` leaves it out.
ONCE = (
    *("test_hygiene.py", "test_layers.py", "test_sizes.py", "test_bench.py", "test_debian_programs.py"),
    *("docs/test_reference.py", "docs/test_stability.py", "docs/test_surface.py"),
    *("test_linear_work.py", "signals/test_verdicts.py", "signals/test_live.py", "rules/test_quiet_sites.py"),
    *("export/test_examples.py", "export/test_guides.py", "export/test_mutants.py", "export/test_rules.py"),
    "rules/test_objectives.py",
)
# Each takes ten to sixty seconds: they come first, so that at the end no worker of xdist has one left for itself.
LONG = (
    *("signals/test_verdicts.py", "signals/test_live.py", "rules/test_quiet_sites.py"),
    *("metrics/test_servers.py", "test_linear_work.py", "docs/test_code_blocks.py"),
    *("ai/test_auto.py", "workers/test_leaders.py", "test_contracts.py", "test_children.py", "test_collecting.py"),
    *("ai/test_periods.py", "metrics/test_directory.py", "workers/test_instances.py", "ai/test_broken.py"),
    *("test_sigterm.py", "examples/test_demo.py", "workers/test_candidates.py", "test_interpreters.py"),
)
HERE = Path(__file__).parent
# Pools that belong to asgiref, anyio and asyncio, and outlive a test by design.
POOLS = ("ThreadPoolExecutor", "AnyIO worker thread", "asyncio")


def pytest_addoption(parser):
    parser.addoption("--again", action="store_true", help="leave out what one run of the suite shows for all Pythons")
    parser.addoption("--all-mutants", action="store_true", help="have promtool find the mistakes of every rule shipped")


def pytest_configure(config):
    if config.getoption("again"):
        collect_ignore_glob.extend(ONCE)


def pytest_terminal_summary(terminalreporter, config):
    if not prometheus.found():
        left = beside_prometheus.names()
        terminalreporter.write_line(f"left out, {len(left)} tests beside Prometheus, for want of it: {', '.join(left)}")
    if config.getoption("again"):
        terminalreporter.write_line(f"left out, {len(ONCE)} files that run once: {', '.join(ONCE)}")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """
    Make thousands of tests without the collector, which would go through them again and again.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_modifyitems(items):
    """
    Refuse a test whose name has an address: each worker of xdist would collect another one, and none would run. Long
    files come first.
    """
    first = {HERE / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: first.get(item.path, len(first)))
    if unsteady := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError(f"an address is in the name of {unsteady[0]}; {len(unsteady)} such tests")


def workers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not thread.daemon and not thread.name.startswith(POOLS)}


@pytest.fixture
def sink():
    return RecordingSink()


@pytest.fixture(autouse=True)
def declarations():
    """
    Forget what the test declares, its queries included.
    """
    before, asked = dict(declare.declared), list(gauge_callbacks._callbacks)
    rules = dict(declared_rules.declared)
    yield
    declared_rules.declared.clear()
    declared_rules.declared.update(rules)
    objectives.declared.clear()
    declare.declared.clear()
    declare.declared.update(before)
    gauge_callbacks._callbacks[:] = asked


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """
    After each test no request is current, no runtime stands, and no new thread keeps Python alive.
    """
    before = workers()
    yield
    for thread in workers() - before:
        thread.join(1)

    assert current.get() is None
    assert current_runtime() is None
    assert workers() - before == set()
