"""
What only a process itself knows is kept fresh by it, for whoever reads the figures of all.
"""

import threading
from importlib.util import find_spec

import pytest
from test_servers import GUNICORN, UVICORN, serving

import obskit
from forked import in_child
from obskit.catalogue import Metric, process
from obskit.db.pools import PoolSize, pools
from obskit.metrics.family import Counter
from obskit.metrics.snapshots import take
from obskit.metrics.workers import Workers
from obskit.testing import FakeClock, advance, isolated_runtime

ACTIVE, GC, LAG = "database_connections_active", process.GC.name, process.LOOP_LAG.name


class Pool:
    """
    A pool that grows whenever it is asked.
    """

    active = 0

    def size(self):
        self.active += 1
        return PoolSize(self.active, 0, None)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "obskit-refresh"]


@pytest.fixture
def pool():
    made = Pool()
    pools.add(made, "plants", Pool.size)
    yield made
    pools.discard(made)


def active(reader):
    return reader.snapshot().families[ACTIVE].cells["plants",][0]


def test_figures_of_its_own_are_refreshed_every_five_seconds(tmp_path, pool):
    """
    Another worker reads them at most so old, although nobody asks this one.
    """
    folder = str(tmp_path / "workers")
    other = Workers("shop", folder)
    with isolated_runtime(clock=FakeClock(), metrics_dir=folder, serving=True):
        obskit.counter("sold_total", "Sold.").inc()
        advance("1s")
        read = [active(other)]
        advance("5s")
        read.append(active(other))
        advance("1h")
        read.append(active(other))

    assert [read[0] + 1, read[0] + 721] == read[1:]
    assert [] == threads()


def test_a_process_that_serves_nothing_refreshes_nothing(tmp_path, pool):
    """
    A command that imports the application, and counts, has no thread; its reading refreshes its own.
    """
    with isolated_runtime(clock=FakeClock(), metrics_dir=str(tmp_path / "workers")) as isolated:
        obskit.counter("sold_total", "Sold.").inc()
        advance("1h")
        found, snapshot = threads(), take(isolated.runtime._collector)

    assert [] == found
    assert {("plants",): (1.0,)} == snapshot.families[ACTIVE].cells


def test_a_process_alone_needs_no_thread():
    """
    Where nobody else reads its figures, the thread ends as soon as that is known.
    """
    with isolated_runtime(clock=FakeClock(), serving=True):
        before = threads()
        obskit.counter("sold_total", "Sold.").inc()
        for thread in before:
            thread.join(10)
        after = threads()

    assert (1, []) == (len(before), after)


def test_a_forked_child_refreshes_its_own(tmp_path, pool):
    """
    Its thread is another one than its parent's, and starts with what it serves.
    """
    folder = str(tmp_path / "workers")

    def work():
        sold.inc()
        advance("5s")
        return len(threads())

    with isolated_runtime(clock=FakeClock(), metrics_dir=folder, serving=True):
        sold = obskit.counter("sold_total", "Sold.")
        sold.inc()
        running = in_child(work)

    assert "1" == running


def test_a_figure_that_cannot_be_read_stops_no_other():
    """
    What raises is counted with each reading, and the others are made.
    """
    done = []
    with isolated_runtime(strict=False) as isolated:
        collector = isolated.runtime._collector
        collector.refresh[:0] = [lambda: 1 / 0]
        collector.refresh.append(lambda: done.append(1))
        take(collector)
        errors = isolated.value("obskit_errors_total", sink="metrics")

    assert [1, 1] == done
    assert errors == 2.0


def test_a_count_that_is_kept_elsewhere_never_goes_down():
    """
    Two threads read it, and the one that read it earlier tells it later.
    """
    with isolated_runtime() as isolated:
        collections = isolated.runtime._collector.add(Counter(Metric("collected_total", "counter", "Collected.")))
        for total in (3.0, 2.0):
            collections.cell(()).set_total(total)
        value = isolated.value("collected_total")

    assert value == 3.0


SERVED = {
    "gunicorn": ((*GUNICORN, "--workers=2", "counted:wsgi"), {GC}),
    "uvicorn": ((*UVICORN, "--workers=2", "counted:asgi"), {GC, LAG}),
    "uvicorn, no lifespan": ((*UVICORN, "--workers=2", "--lifespan=off", "counted:asgi"), {GC, LAG}),
}


@pytest.mark.parametrize("name", [name for name in SERVED if find_spec(name.split(",")[0])])
def test_every_worker_tells_what_only_it_knows(tmp_path, name):
    """
    Of all workers that serve, and not only of those that were asked for the page: here none was.
    """
    arguments, figures = SERVED[name]
    folder = str(tmp_path / "metrics")
    with serving(arguments, tmp_path, OBSKIT_METRICS_DIR=folder) as server:
        pids = set()
        server.until(lambda: pids.add(server.visit()["pid"]) or len(pids) == 2)
        with isolated_runtime(metrics_dir=folder, service="shop") as isolated:

            def known():
                snapshot = take(isolated.runtime._collector)
                slots = {(slot,) for slot, pid in snapshot.pids.items() if pid in pids}
                told = [set(snapshot.families[name].keys) for name in figures if name in snapshot.families]
                return len(told) == len(figures) and len(slots) == 2 and all(slots <= keys for keys in told)

            assert server.until(known)
