"""
A process's figures lie in memory, or where the other workers of its server read them; a failure costs the others.
"""

import errno
import shutil
import threading

import obskit
from obskit.catalogue import Metric
from obskit.metrics.cell_file import CellFile, CellSpaceError
from obskit.metrics.family import Counter
from obskit.metrics.workers import Workers
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.testing import RecordingSink, isolated_runtime

SOLD = Metric("sold_total", "counter", "Sold.", ("kind",))


def request():
    op = HttpOperation("GET", "/")
    op.endpoint, op.status = "/", 200
    return op


def served(op):
    plan = recorder.plan(HttpOperation)
    plan.begin(op)
    plan.end(op)


def samples(name, isolated):
    return [sample for shown in isolated.registry.collect() for sample in shown.samples if sample.name == name]


def no_space(*given):
    raise CellSpaceError(errno.ENOSPC, "no space", "nowhere")


def test_without_a_server_figures_are_in_memory():
    """
    A process that nobody made a worker keeps its figures to itself, and asks the queries of its gauges.
    """
    workers = Workers("shop", None)
    workers.resolve()

    assert (False, False, "0", True) == (workers.are_shared, workers.degraded, workers.slot, workers.asks_for_all())
    assert workers.snapshot() is None


def test_figures_of_two_workers_add_up(tmp_path):
    """
    Whichever worker is asked answers for both; the dead one's counts stay.
    """
    folder = str(tmp_path / "workers")
    one, other = Workers("shop", folder), Workers("shop", folder)
    for workers, amount in ((one, 1), (other, 2)):
        counter = Counter(SOLD)
        counter.move_to(workers)
        counter.inc(amount, kind="seed")
    both = other.snapshot().families["sold_total"].cells
    folders = one.folder(), other.folder()
    one.close()
    left = other.snapshot().families["sold_total"].cells

    assert {("seed",): (3.0,)} == both == left
    assert (tmp_path / "workers", tmp_path / "workers") == folders
    other.close()


def test_figures_of_before_go_where_the_others_are(tmp_path):
    """
    What was counted before `configure()` goes along, and the handle stays good.
    """
    early = Counter(SOLD)
    handle = early.labels(kind="seed")
    handle.inc(5)
    workers = Workers("shop", str(tmp_path / "workers"))
    early.move_to(workers)
    handle.inc()

    assert {("seed",): (6.0,)} == workers.snapshot().families["sold_total"].cells
    workers.close()


def test_what_dead_workers_leave_is_bounded_by_the_setting(tmp_path):
    """
    Of workers that are gone ten times `max_label_sets` are kept, the counts of all others under one.
    """
    for number in range(30):
        workers, counter = Workers("shop", str(tmp_path / "workers"), 1), Counter(SOLD)
        counter.move_to(workers)
        counter.inc(kind=f"seed {number}")
        workers.close()
    with isolated_runtime(metrics_dir=str(tmp_path / "workers"), max_label_sets=1) as isolated:
        pages = [{s.labels["kind"]: s.value for s in samples("sold_total", isolated)} for _ in range(2)]

    assert [30.0, 30.0] == [sum(page.values()) for page in pages]
    assert 11 == len(pages[1])
    assert 20.0 == pages[1]["_OVERFLOW"]


def test_a_directory_that_cannot_be_made_is_told_once(tmp_path):
    """
    Requests are counted and served by this worker alone; one warning and a gauge say so.
    """
    (tmp_path / "file").write_text("in the way")
    sink = RecordingSink()
    with isolated_runtime(sinks=[sink], metrics_dir=str(tmp_path / "file" / "workers"), strict=False) as isolated:
        for _ in range(3):
            served(request())
        counted = isolated.value("http_requests_total", method="GET", endpoint="/", status="200")
        degraded = isolated.value("obskit_metrics_degraded")
        for thread in threading.enumerate():
            if thread.name == "obskit-warning":
                thread.join()
        events = [event.name for event in sink.events]

    assert (3.0, 1.0) == (counted, degraded)
    assert ["metrics.degraded"] == events


def test_a_disk_that_fills_up_leaves_this_worker_s_figures(tmp_path, monkeypatch):
    """
    From then on the page has this worker's figures alone. A request that began before is in progress until it ends,
    here and on the pages of others.
    """
    other = Workers("shop", str(tmp_path / "workers"))

    def in_progress():
        return (
            isolated.value("http_requests_in_progress", method="GET"),
            other.snapshot().families["http_requests_in_progress"].cells["GET",],
        )

    with isolated_runtime(metrics_dir=str(tmp_path / "workers"), strict=False) as isolated:
        served(request())
        begun = request()
        recorder.plan(HttpOperation).begin(begun)
        monkeypatch.setattr(CellFile, "allocate", no_space)
        obskit.counter("late_total", "Late.").inc()
        served(request())
        during = in_progress()
        recorder.plan(HttpOperation).end(begun)
        after = in_progress()
        counted = isolated.value("http_requests_total", method="GET", endpoint="/", status="200")
        degraded = isolated.value("obskit_metrics_degraded")
    other.close()

    assert ((1.0, (1.0,)), (0.0, (0.0,))) == (during, after)
    assert (3.0, 1.0) == (counted, degraded)


def test_a_directory_that_is_taken_away_costs_no_page(tmp_path):
    """
    A scrape answers with what this worker has, whatever happens to the files.
    """
    with isolated_runtime(metrics_dir=str(tmp_path / "workers"), strict=False) as isolated:
        served(request())
        shutil.rmtree(tmp_path / "workers")

        assert 1.0 == isolated.value("http_requests_total", method="GET", endpoint="/", status="200")


def test_a_figure_that_cannot_be_read_costs_itself_alone():
    """
    Pulled figures that raise are counted, and the page has all others.
    """
    with isolated_runtime(strict=False) as isolated:
        isolated.runtime._collector.add_scrape_time(Metric("odd", "gauge", "Odd."), lambda: 1 / 0)
        served(request())

        assert 1.0 == isolated.value("http_requests_total", method="GET", endpoint="/", status="200")
        assert isolated.value("odd") is None
    assert 0 == recorder.errors["metrics_page"]
