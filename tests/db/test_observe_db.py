"""
`observe_db`: what is counted, once, and under which labels.
"""

import asyncio
import contextvars
import inspect
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import obskit
from obskit.context import current
from obskit.db.database import Database
from obskit.db.db_operation import DbOperation
from obskit.db.observe import begin, end
from obskit.observation import FunctionOperation
from obskit.operation import HttpOperation
from obskit.testing import FakeClock, RecordingSink, isolated_runtime

SQLITE = Database("sqlite")


@pytest.fixture
def clock():
    return FakeClock(100.0)


@pytest.fixture
def runtime(clock, sink):
    with isolated_runtime(sinks=[sink], clock=clock) as runtime:
        yield runtime


@pytest.fixture
def request_operation(runtime):
    """
    Run the test inside a request.
    """
    operation = HttpOperation("GET", "/devices")
    token = current.set(operation)
    yield operation
    current.reset(token)


def hooked(clock, seconds=1.0, sql="select * from plates", error=None):
    """
    Make a query as a hooked driver would.
    """
    operation = begin(SQLITE, sql)
    clock.advance(seconds)
    operation.duration_seconds = seconds
    operation.error = error
    end(operation)
    return operation


def seen(sink):
    return [(op.system, op.table, op.operation, op.duration_seconds) for op in sink.operations]


def test_a_block_is_one_query(runtime, clock, sink):
    """
    A block in which no hook saw a query is the observation, from its start to its end.
    """
    with obskit.observe_db(table="devices", operation="SELECT"):
        clock.advance(2.0)

    assert seen(sink) == [("unknown", "devices", "select", 2.0)]
    assert runtime.value(
        "database_query_duration_seconds_sum", system="unknown", table="devices", operation="select"
    ) == pytest.approx(2.0)


def test_a_hooked_query_takes_the_labels_and_is_the_only_one_counted(runtime, clock, sink):
    """
    Around a hooked query the block gives table and operation; the time and the system are the hook's.
    """
    with obskit.observe_db(table="devices", operation="select"):
        clock.advance(5.0)
        hooked(clock, 1.0)
        clock.advance(5.0)

    assert seen(sink) == [("sqlite", "devices", "select", 1.0)]


def test_each_hooked_query_in_a_block_counts(runtime, clock, sink):
    """
    Several hooked queries in one block are several observations under its labels.
    """
    with obskit.observe_db(table="devices", operation="select"):
        hooked(clock, 1.0)
        hooked(clock, 2.0)

    assert seen(sink) == [("sqlite", "devices", "select", 1.0), ("sqlite", "devices", "select", 2.0)]


def test_the_labels_end_with_the_block(runtime, clock, sink):
    """
    A hooked query after the block has the labels of its own statement.
    """
    with obskit.observe_db(table="devices", operation="select"):
        pass
    hooked(clock)

    assert seen(sink) == [("unknown", "devices", "select", 0.0), ("sqlite", "plates", "select", 1.0)]


def test_a_system_that_is_given_wins_over_the_hooks(runtime, clock, sink):
    """
    `observe_db(system=...)` is a label like the others.
    """
    with obskit.observe_db(table="devices", operation="select", system="libsql"):
        hooked(clock)

    assert seen(sink) == [("libsql", "devices", "select", 1.0)]


def test_empty_labels_are_left_to_the_hook(runtime, clock, sink):
    """
    An empty table or operation is filled in from the statement.
    """
    with obskit.observe_db(table="", operation="search"):
        hooked(clock)
    with obskit.observe_db(table="devices", operation=""):
        hooked(clock)

    assert [op[1:3] for op in seen(sink)] == [("plates", "search"), ("devices", "select")]


def test_nested_blocks_count_once(runtime, clock, sink):
    """
    Of nested blocks the innermost one is the observation, hooked or not.
    """
    with obskit.observe_db(table="outer", operation="select"):
        with obskit.observe_db(table="inner", operation="update"):
            clock.advance(1.0)
        with obskit.observe_db(table="hooked", operation="delete"):
            hooked(clock, 2.0)

    assert seen(sink) == [("unknown", "inner", "update", 1.0), ("sqlite", "hooked", "delete", 2.0)]


def test_a_hooked_query_below_a_function_takes_the_labels(runtime, clock, sink):
    """
    An observed function between block and query does not part them.
    """
    with obskit.observe_db(table="devices", operation="select"), obskit.observe("parse"):
        operation = hooked(clock)

    assert [type(op) for op in sink.operations] == [DbOperation, FunctionOperation]
    assert (operation.table, type(operation.parent)) == ("devices", FunctionOperation)


def test_a_block_that_gave_its_labels_is_nobodys_parent(request_operation, clock):
    """
    A hooked query's parent is what the block ran in, and its root is the request.
    """
    with (
        obskit.observe_db(table="devices", operation="select"),
        obskit.observe_db(table="devices", operation="select"),
    ):
        operation = hooked(clock)

    assert (operation.parent, operation.root) == (request_operation, request_operation)


def test_an_exception_is_counted_by_its_class(runtime, clock, sink):
    """
    What a block raises leaves it unchanged and is the error of its observation.
    """
    raised = KeyError("device")
    with pytest.raises(KeyError) as caught, obskit.observe_db(table="devices", operation="select"):
        raise raised

    labels = {"system": "unknown", "table": "devices", "operation": "select"}
    assert caught.value is raised
    assert runtime.value("database_errors_total", **labels, error="KeyError") == 1.0
    assert runtime.value("database_query_duration_seconds_count", **labels) == 1.0


def test_an_error_after_the_query_is_not_the_databases(runtime, clock, sink):
    """
    A block that raises after its hooked query went well counts no database error.
    """

    @obskit.observe_db(table="devices", operation="select")
    def active():
        hooked(clock)
        raise KeyError

    with pytest.raises(KeyError):
        active()

    assert [op.error for op in sink.operations] == [None]


def test_a_hooked_error_is_counted_once(runtime, clock, sink):
    """
    The error of a hooked query is not counted again by the block that it leaves.
    """

    @obskit.observe_db(table="devices", operation="select")
    def active():
        hooked(clock, error="KeyError")
        raise KeyError

    with pytest.raises(KeyError):
        active()

    assert [op.error for op in sink.operations] == ["KeyError"]


def test_a_failure_that_raised_nothing(runtime, sink):
    """
    `fail()` marks the block; its reason is no label.
    """
    with obskit.observe_db(table="devices", operation="select") as operation:
        operation.fail("the row of device 7 is gone")
    labels = {"system": "unknown", "table": "devices", "operation": "select"}

    assert runtime.value("database_errors_total", **labels, error="failed") == 1.0
    assert sink.operations[0].extra == {"reason": "the row of device 7 is gone"}


def test_the_block_gives_an_operation_that_takes_extra_fields(runtime, sink):
    """
    What is put into `extra` inside the block is there at its end.
    """
    with obskit.observe_db(table="devices", operation="select") as operation:
        operation.extra["rows"] = 12

    assert [op.extra for op in sink.operations] == [{"rows": 12}]


def test_a_sink_knows_when_a_block_began(clock):
    """
    A block is handed to the sinks at its end, with the time at which it began.
    """

    class Starts(RecordingSink):
        def bind(self, kind):
            return lambda op: self.begun.append(op.started), self.operations.append

    sink = Starts()
    with isolated_runtime(sinks=[sink], clock=clock), obskit.observe_db(table="devices", operation="select"):
        clock.advance(3.0)

    assert (sink.begun, sink.operations[0].started) == ([100.0], 100.0)


def observed_kinds(clock):
    """
    Yield a function of each kind, and what exhausts it.
    """
    devices = obskit.observe_db(table="devices", operation="select")

    @devices
    def function(hook):
        return [hook()]

    @devices
    async def coroutine(hook):
        await asyncio.sleep(0)
        return [hook()]

    @devices
    def generator(hook):
        yield hook()

    @devices
    async def async_generator(hook):
        yield hook()

    async def drained(hook):
        return [item async for item in async_generator(hook)]

    return {
        "function": function,
        "coroutine": lambda hook: asyncio.run(coroutine(hook)),
        "generator": lambda hook: list(generator(hook)),
        "async generator": lambda hook: asyncio.run(drained(hook)),
    }


KINDS = ("function", "coroutine", "generator", "async generator")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_function_is_one_query(runtime, clock, sink, kind):
    """
    Decorated, each kind of function is one query for each call, and returns what it did.
    """
    run = observed_kinds(clock)[kind]

    assert run(lambda: clock.advance(1.0)) == [None]
    assert run(lambda: clock.advance(2.0)) == [None]
    assert seen(sink) == [("unknown", "devices", "select", 1.0), ("unknown", "devices", "select", 2.0)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_function_gives_its_labels_to_hooked_queries(runtime, clock, sink, kind):
    """
    Decorated, each kind of function counts its hooked query in its own place.
    """
    observed_kinds(clock)[kind](lambda: hooked(clock, 1.0))

    assert seen(sink) == [("sqlite", "devices", "select", 1.0)]


def test_a_decorated_function_keeps_what_it_is():
    """
    Name, signature and kind of a decorated function are its own.
    """

    @obskit.observe_db(table="devices", operation="select")
    async def active(connection: str) -> int:
        """Count."""

    assert (active.__name__, active.__doc__) == ("active", "Count.")
    assert list(inspect.signature(active).parameters) == ["connection"]
    assert inspect.iscoroutinefunction(active)


def test_one_decorator_serves_many_threads(runtime, sink):
    """
    One `observe_db`, entered in several threads at once, gives each its own observation.
    """
    devices = obskit.observe_db(table="devices", operation="select")
    together = threading.Barrier(4)

    def run():
        for _ in range(50):
            with devices as operation:
                together.wait(10)
                operation.extra["thread"] = threading.get_ident()
            assert current.get() is None

    with ThreadPoolExecutor(4) as pool:
        for running in [pool.submit(run) for _ in range(4)]:
            running.result()

    assert len(sink.operations) == 200
    assert len({op.extra["thread"] for op in sink.operations}) == 4


def test_a_block_may_end_in_another_context(runtime, sink):
    """
    A block that is left in another copy of the context, as FastAPI leaves dependencies that yield, still ends.
    """
    block = obskit.observe_db(table="devices", operation="select")
    contextvars.copy_context().run(block.__enter__)
    contextvars.copy_context().run(block.__exit__, None, None, None)

    assert [op.table for op in sink.operations] == ["devices"]


def test_a_thread_that_outlives_the_block_has_its_own_labels(runtime, clock, sink):
    """
    A query in a context that was copied inside the block, made after the block, does not take its labels.
    """
    with obskit.observe_db(table="devices", operation="select"):
        copied = contextvars.copy_context()
    copied.run(hooked, clock)

    assert [op.table for op in sink.operations] == ["devices", "plates"]


def test_queries_add_to_the_totals_of_their_request(request_operation, clock):
    """
    Hooked queries and blocks add their number and seconds to the request, each once.
    """
    hooked(clock, 1.0)
    with obskit.observe_db(table="devices", operation="select"):
        hooked(clock, 2.0)
    with obskit.observe_db(table="devices", operation="select"):
        clock.advance(4.0)

    assert (request_operation.totals.db_queries, request_operation.totals.db_seconds) == (3, 7.0)


def test_a_request_without_queries_has_no_totals(request_operation):
    """
    Totals are None until the first query.
    """
    with obskit.observe("parse"):
        pass

    assert request_operation.totals is None


def test_totals_of_queries_in_many_threads(request_operation, clock):
    """
    Queries that end in several threads of one request are all in its totals.
    """
    together = threading.Barrier(8)

    def run():
        together.wait(10)
        for _ in range(200):
            hooked(clock, 0.0)

    with ThreadPoolExecutor(8) as pool:
        for running in [pool.submit(contextvars.copy_context().run, run) for _ in range(8)]:
            running.result()

    assert request_operation.totals.db_queries == 1600


def test_queries_outside_of_a_request_have_no_totals_to_add_to(runtime, clock, sink):
    """
    A job's query is counted like any other.
    """
    with obskit.observe("job"):
        hooked(clock)

    assert [type(op) for op in sink.operations] == [DbOperation, FunctionOperation]


def test_a_hooked_query_has_every_field(runtime, clock):
    """
    `begin()` fills the same fields as the constructor, whatever fields there come to be.
    """
    names = {name for cls in DbOperation.__mro__ for name in getattr(cls, "__slots__", ())}
    plain, ours = DbOperation("sqlite", "plates", "select"), begin(SQLITE, "select * from plates")
    differing = {
        name
        for name in names - {"labels", "root", "database", "started"}
        if getattr(plain, name) != getattr(ours, name)
    }

    assert (differing, ours.root) == (set(), ours)


@pytest.mark.parametrize("sql", [[], None, 7, b"select * from plates"])
def test_a_query_of_anything_is_no_error(runtime, sql):
    """
    What is no statement is for the driver to refuse.
    """
    assert begin(SQLITE, sql).system == "sqlite"


def test_without_a_runtime_nothing_happens(clock):
    """
    Blocks and decorated functions work before `configure()` and after `shutdown()`.
    """

    @obskit.observe_db(table="devices", operation="select")
    def active():
        return 7

    with obskit.observe_db(table="devices", operation="select"):
        hooked(clock)

    assert active() == 7


def test_observe_can_be_called_after_observe_db_came_first():
    """
    Importing `observe_db` imports the module `obskit.observe`, which is called like the function of that name.
    """
    code = "import obskit\nobskit.observe_db\n@obskit.observe\ndef f(): return 7\nwith obskit.observe('g'): print(f())"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "7\n"
