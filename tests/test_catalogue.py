"""
The catalogue holds every metric, by Prometheus' rules, and the page shows nothing else.
"""

import asyncio
import math
import re
from types import SimpleNamespace

import pytest

import obskit
from obskit import system
from obskit.ai.ai_operation import AiOperation
from obskit.ai.rate_limit_headers import latest_rate_limits
from obskit.ai.usage import Usage
from obskit.catalogue import CATALOGUE, Metric, spec
from obskit.catalogue import db as db_rows
from obskit.catalogue import function as function_rows
from obskit.catalogue import health as health_rows
from obskit.catalogue import http as http_rows
from obskit.catalogue import pools as pool_rows
from obskit.db.db_operation import DbOperation
from obskit.db.n_plus_one import N_PLUS_ONE
from obskit.db.pools import ConnectionUse, ConnectionWait, PoolSize, begin_use, begin_wait, end_use, end_wait, pools
from obskit.errors import BudgetExceededError, MetricNameError
from obskit.health.check_operation import CheckOperation
from obskit.health.event_loop_lag import lag
from obskit.metrics import declare
from obskit.observation import FunctionOperation
from obskit.operation import Event, HttpOperation
from obskit.recorder import recorder
from obskit.sinks import scrape_time
from obskit.sparse_field import SparseField
from obskit.testing import FakeClock, isolated_runtime

# Labels that are no field of the operation by the same name: the field they are read from.
FIELDS = {("FunctionOperation", "status"): "outcome"}
ROWS = {
    HttpOperation: http_rows.METRICS,
    FunctionOperation: function_rows.METRICS,
    DbOperation: (db_rows.DURATION, db_rows.ERRORS),
    ConnectionWait: (pool_rows.WAIT, pool_rows.TIMEOUTS),
    ConnectionUse: (pool_rows.USE,),
    CheckOperation: health_rows.METRICS,
}
TOLD = ("limit", "remaining", "reset")
UNITS = ("_seconds", "_bytes", "_usd", "_ratio", "_percent")


def fields_of(kind):
    slots = {slot for cls in kind.__mro__ for slot in getattr(cls, "__slots__", ())}
    made = (property, SparseField)
    return slots | {name for cls in kind.__mro__ for name, value in vars(cls).items() if isinstance(value, made)}


def run(operation):
    plan = recorder.plan(type(operation))
    plan.begin(operation)
    plan.end(operation)


def everything_happens():
    """
    Make every series: replies of each sort, failures, drops and errors.
    """
    request = HttpOperation("GET", "/")
    request.status, request.endpoint, request.exception = 500, "/boom", "ValueError"
    request.first_byte_seconds, request.aborted = 0.1, True
    run(request)
    for number in range(10):
        other = HttpOperation("GET", "/")
        other.status, other.endpoint = 200, f"/{number}"
        run(other)
    query = DbOperation("sqlite", "plants", "select")
    query.error = "OperationalError"
    run(query)
    call = AiOperation("planogram", "anthropic", "claude")
    call.tokens, call.cost_usd, call.first_chunk_seconds = Usage(input=1, output=1), 0.5, 0.1
    call.failed_attempts, call.retry_wait_seconds, call.savings_usd = ("429",), 0.1, 0.1
    run(call)
    call = AiOperation("planogram", "anthropic", "claude")
    call.tokens, call.cost_usd, call.estimated, call.error = Usage(input=1), 0.5, True, "truncated"
    run(call)
    run(AiOperation("planogram", "anthropic", "claude"))
    latest_rate_limits.read("anthropic", "claude", [(f"x-ratelimit-{name}-requests".encode(), b"9") for name in TOLD])
    recorder.emit(Event(N_PLUS_ONE, "WARNING", "n+1 queries", {"route": "/boom"}))
    end_use(begin_use("plants"))
    end_wait(begin_wait("plants"), TimeoutError())
    with obskit.observe("job"):
        recorder.dropped.inc(("logs", "closed"))
    recorder.errors.inc("hook")
    check = CheckOperation("database")
    check.timed_out, check.certificate_expires_at = True, 1_900_000_000.0
    run(check)
    recorder.plan(HttpOperation).begin(HttpOperation("GET", "/"))


def budgets_happen():
    """
    Spend for a day and more, and more than there is.
    """
    obskit.ai.budget("catalogue", usd=1, per="week", action="block", unknown_price=obskit.ai.Price(1, 1))
    recorder.wall_clock = clock = FakeClock(1_800_000_000)  # a Friday
    with obskit.observe_ai(model="unpriced") as call:
        call.usage(output_tokens=1_000_000)
    clock.advance(30 * 3600)
    with pytest.raises(BudgetExceededError), obskit.observe_ai(model="unpriced"):
        pass


class Pool:
    """
    A pool that somebody holds.
    """


class Container:
    """
    A container that is limited, on a machine that has swap: where every figure of the system is told.
    """

    seconds = 0.0

    def cpus(self):
        return 0.5

    def cpu_seconds(self):
        self.seconds += 0.1
        return self.seconds

    def memory(self):
        return 1000, 2000


@pytest.fixture
def told(monkeypatch):
    monkeypatch.setattr(system.sampler, "_limits", Container())
    monkeypatch.setattr(system, "WINDOW_SECONDS", 0.0)
    monkeypatch.setattr("psutil.swap_memory", lambda: SimpleNamespace(used=1, total=2))


async def scraped(registry):
    """
    Scrape on an event loop that is watched, twice: what is a difference needs two looks.
    """
    lag.watch(asyncio.get_running_loop())
    list(registry.collect())
    return {family.name: family for family in registry.collect()}


@pytest.fixture
def page(tmp_path, told, monkeypatch):
    for name in list(declare.declared):  # by tests before this one
        monkeypatch.delitem(declare.declared, name)
    folder, pool = tmp_path / "workers", Pool()
    pools.add(pool, "plants", lambda pool: PoolSize(1, 2, 5))
    with isolated_runtime(namespace="shop", size_metrics=True, max_label_sets=5, metrics_dir=str(folder)) as isolated:
        everything_happens()
        budgets_happen()
        (folder / "worker-9-1-0123456789abcdef.cells").write_bytes(b"nobody's")
        list(isolated.registry.collect())  # sets it aside
        yield asyncio.run(scraped(isolated.registry))


def name_on_page(row):
    name = f"shop_{row.name}" if row.prefixed else row.name
    return name.removesuffix("_total") if row.kind == "counter" else name


def test_every_series_on_the_page_is_in_the_catalogue(page):
    """
    What is scraped has a row, of the same type, help and labels; and every row is scraped once all has happened.
    """
    catalogue = {name_on_page(row): row for row in CATALOGUE}
    wrong = [
        name
        for name, family in page.items()
        if (family.type, family.documentation) != (catalogue[name].kind, catalogue[name].help)
        or any(set(sample.labels) - {"le"} != set(catalogue[name].labels) for sample in family.samples)
    ]

    assert catalogue.keys() == page.keys()
    assert [] == wrong
    assert [] == [name for name, family in page.items() if not family.samples]


def test_buckets_are_those_of_the_catalogue_or_a_setting(page):
    """
    A histogram's bounds are written in its row, or given by a setting where the row has none.
    """
    histograms = [row for row in CATALOGUE if row.kind == "histogram"]
    shown = {
        row.name: {float(sample.labels["le"]) for sample in page[name_on_page(row)].samples if "le" in sample.labels}
        for row in histograms
    }
    written = {row.name: {*row.buckets, math.inf} for row in histograms if row.buckets}

    assert {"function_duration_seconds", "http_request_duration_seconds"} <= shown.keys()
    assert written == {name: bounds for name, bounds in shown.items() if name in written}
    assert all(len(bounds) > 1 for bounds in shown.values())


def test_names_are_unique():
    """
    No two rows have a name.
    """
    names = [row.name for row in CATALOGUE]

    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
def test_a_row_follows_the_rules(row):
    """
    Counters, and they alone, end in `_total`; histograms end in a base unit; names are lower case, help is a sentence.
    """
    assert (row.kind == "counter") == row.name.endswith("_total")
    assert row.kind != "histogram" or row.name.endswith(UNITS)
    assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|kilobytes)(_|$)", row.name)
    assert re.fullmatch(r"[a-z][a-z0-9_]*", row.name)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in row.labels)
    assert re.fullmatch(r"[A-Z].*\.", row.help)
    assert list(row.buckets) == sorted(set(row.buckets))
    assert row.prefixed != row.name.startswith("obskit_")


@pytest.mark.parametrize("row", CATALOGUE, ids=lambda row: row.name)
def test_every_metric_has_a_unit(row):
    """
    It is one of the list; a state names what its numbers stand for, in its help too, and nothing else has such names.
    """
    told = [f"{value:g}" for value, _ in row.values]

    assert row.unit in spec.UNITS
    assert (row.unit == "state") == bool(row.values)
    assert [] == [number for number in told if number not in row.help]


def test_every_unit_is_used():
    """
    The list of units has none that no metric has.
    """
    assert {row.unit for row in CATALOGUE} == spec.UNITS.keys()


def test_a_row_without_a_unit_is_found():
    """
    A gauge whose name says none has none, which the test of all rows refuses; counters count.
    """
    assert ("", "count") == (Metric("x", "gauge", "X.").unit, Metric("x_total", "counter", "X.").unit)
    assert "" not in spec.UNITS


@pytest.mark.parametrize(("suffix", "unit"), spec.SUFFIXES.items())
def test_the_end_of_a_name_says_the_unit(suffix, unit):
    """
    Of each kind, with `_total` behind it where it counts; and another unit cannot be written.
    """
    said = [Metric(f"x{suffix}", kind, "X.").unit for kind in ("gauge", "histogram")]

    assert [unit] * 3 == [*said, Metric(f"x{suffix}_total", "counter", "X.").unit]
    with pytest.raises(MetricNameError, match=f"the end of the name says '{unit}'"):
        Metric(f"x{suffix}", "gauge", "X.", unit="plates")


def test_figures_that_all_workers_read_are_those_of_the_machine_and_of_files():
    """
    What is said to be one figure is what is read when it is asked for, alike in every worker, and has no cells.
    """
    shared = {row for row in CATALOGUE if row.is_shared}

    assert {*scrape_time.READERS, *scrape_time.BUDGET_READERS} == shared


@pytest.mark.parametrize(
    ("kind", "row"), [(kind, row) for kind, rows in ROWS.items() for row in rows], ids=lambda value: str(value)[:40]
)
def test_labels_are_fields(kind, row):
    """
    Each label of an operation's metric is a field of that operation, never a key of its `extra`.
    """
    fields = fields_of(kind)

    assert [] == [label for label in row.labels if FIELDS.get((kind.__name__, label), label) not in fields]


@pytest.mark.parametrize("label", ["le", "quantile", "worker", "__name__", "a-b", "1a", ""])
def test_a_row_with_a_bad_label_cannot_be_written(label):
    """
    A label that Prometheus keeps for itself, or that is none, raises where the row is written.
    """
    with pytest.raises(MetricNameError, match=f"{label!r} is no label name for x_total: use letters, digits"):
        Metric("x_total", "counter", "X.", (label,))
