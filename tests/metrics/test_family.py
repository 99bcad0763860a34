"""
A family finds its cells by label, and never grows beyond its cap.
"""

import threading

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from forked import in_child
from obskit.catalogue import Metric
from obskit.errors import LabelError
from obskit.metrics.collector import MetricCollector
from obskit.metrics.family import MAX_LABEL_LENGTH, CountedHistogram, Counter, Gauge, Histogram
from obskit.metrics.workers import Workers
from obskit.operation import OVERFLOW, HttpOperation
from obskit.recorder import recorder
from obskit.testing import isolated_runtime

PLATES = Metric("plates_total", "counter", "Plates.", ("camera", "lane"))
CAMERAS = Metric("cameras", "gauge", "Cameras.", ("site",))
SECONDS = Metric("ocr_seconds", "histogram", "OCR.", ("method",), buckets=(0.1, 1.0))
SHOWN = Metric("ocr_seconds", "histogram", "OCR.", ("method", "site"), buckets=(0.1, 1.0))
COUNTED = Metric("ocr_total", "counter", "OCR.", ("method", "site", "status"))


def figures(family):
    return {key: cell.value for key, cell in family.items()}


def test_label_sets_are_found_by_name_or_position():
    """
    However a label set is named, in whatever order and type, it is the same cell.
    """
    plates = Counter(PLATES)
    plates.inc(camera="north", lane=1)
    plates.inc(2, lane="1", camera="north")
    plates.labels("north", 1).inc()
    plates.labels(lane=1, camera="north").inc()
    plates.bind(camera="north", lane="1").inc()

    assert {("north", "1"): 6.0} == figures(plates)


def test_gauges_go_up_and_down():
    """
    `inc`, `dec` and `set` work on one label set each.
    """
    cameras = Gauge(CAMERAS)
    cameras.inc(3, site="a")
    cameras.dec(site="a")
    cameras.set(7, site="b")

    assert {("a",): 2.0, ("b",): 7.0} == figures(cameras)


def test_histograms_observe():
    """
    A value lands in the bucket of its label set.
    """
    seconds = Histogram(SECONDS)
    seconds.observe(0.5, method="fast")

    assert {("fast",): ([0, 1, 0], 0.5)} == {key: cell.read() for key, cell in seconds.items()}


@pytest.mark.parametrize(
    ("update", "found"),
    [
        (lambda plates: plates.inc(), "none"),
        (lambda plates: plates.inc(camera="north"), "camera"),
        (lambda plates: plates.inc(camera="north", lane=1, plate="X"), "camera, lane, plate"),
        (lambda plates: plates.inc(camera="north", colour="red"), "camera, colour"),
        (lambda plates: plates.labels("north"), "north"),
        (lambda plates: plates.labels("north", 1, 2), "north, 1, 2"),
        (lambda plates: plates.labels("north", lane=1), "lane"),
    ],
)
def test_wrong_labels_are_named(update, found):
    """
    An update with other labels than the metric's raises, says what it gave and what there is, and counts nothing.
    """
    plates = Counter(PLATES)
    with pytest.raises(LabelError) as raised:
        update(plates)

    assert f"plates_total has the labels camera, lane; this update gave {found}" == str(raised.value)
    assert {} == figures(plates)


def test_a_metric_without_labels_is_there_at_once():
    """
    It shows zero before its first update, and refuses labels.
    """
    opened = Counter(Metric("opened_total", "counter", "Opened."))
    with pytest.raises(LabelError, match="opened_total has the labels none; this update gave door"):
        opened.inc(door="front")

    assert {(): 0.0} == figures(opened)


def test_label_values_are_text_of_bounded_length():
    """
    Whatever is given is shown as text and cut, what has no hash included.
    """
    cameras = Gauge(CAMERAS)
    cameras.set(1, site=["a", "b"])
    cameras.set(2, site="x" * 10_000)
    cameras.set(3, site=None)

    assert {("['a', 'b']",): 1.0, ("x" * MAX_LABEL_LENGTH,): 2.0, ("None",): 3.0} == figures(cameras)


def test_label_sets_end_at_the_cap():
    """
    Of 5,000 values 1,000 are kept; the others share one label set, nothing is lost, and the excess is counted.
    """
    cameras = Counter(Metric("seen_total", "counter", "Seen.", ("plate",)))
    for number in range(5_000):
        cameras.inc(plate=number)
    shown = figures(cameras)

    assert 1_001 == len(shown)
    assert (4_000.0, 4_000) == (shown[OVERFLOW,], cameras.overflowed)
    assert 5_000.0 == sum(shown.values())


def test_the_cap_lets_known_label_sets_through():
    """
    What came before the cap was reached is counted as itself for good.
    """
    cameras = Counter(Metric("seen_total", "counter", "Seen.", ("plate",)))
    cameras.max_label_sets = 2
    for plate in ("a", "b", "c", "a", "d", "b"):
        cameras.inc(plate=plate)

    assert {("a",): 2.0, ("b",): 2.0, (OVERFLOW,): 2.0} == figures(cameras)


def test_threads_do_not_pass_the_cap():
    """
    Eight threads that bring new values at once end at the cap, and no update is lost.
    """
    cameras = Counter(Metric("seen_total", "counter", "Seen.", ("plate",)))
    cameras.max_label_sets = 100
    gate = threading.Barrier(8)

    def work(worker):
        gate.wait(10)
        for number in range(500):
            cameras.inc(plate=f"{worker}-{number}")

    workers = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    shown = figures(cameras)

    assert (101, 4_000.0, 3_900) == (len(shown), sum(shown.values()), cameras.overflowed)


def test_the_page_tells_of_the_cap():
    """
    `obskit_overflow_total` and `obskit_label_sets` say of which metric there was too much.
    """
    with isolated_runtime(max_label_sets=10) as isolated:
        for number in range(30):
            operation = HttpOperation("GET", "/")
            operation.endpoint = f"/made/up/{number}"
            operation.status = 200
            recorder.plan(HttpOperation).begin(operation)
            recorder.plan(HttpOperation).end(operation)

        metric = "http_request_duration_seconds"
        overflow = {"method": "GET", "endpoint": OVERFLOW}
        assert 20.0 == isolated.value("obskit_overflow_total", metric=metric)
        assert 11.0 == isolated.value("obskit_label_sets", metric=metric)
        assert 20.0 == isolated.value(f"{metric}_count", **overflow)
        assert 20.0 == isolated.value("http_requests_total", status="200", **overflow)


def test_a_counted_histogram_agrees_with_its_counter():
    """
    The histogram adds up over the label that only the counter shows; over the cap both fold the same label sets.
    """
    requests = CountedHistogram(SHOWN, COUNTED)
    requests.max_label_sets = 2
    for key in (
        ("GET", "a", "200"),
        ("GET", "a", "500"),
        ("GET", "b", "200"),
        ("GET", "c", "404"),
        ("PUT", "d", "200"),
    ):
        requests.cell(key).observe(0.05)
    collector, registry = MetricCollector("", {}, 2, Workers("shop", None)), CollectorRegistry()
    collector.add(requests)
    collector.register(registry)
    merged = {
        (sample.labels["method"], sample.labels["site"]): sample.value
        for page in registry.collect()
        for sample in page.samples
        if sample.name == SHOWN.name + "_count"
    }

    assert {("GET", "a"): 2, ("GET", "b"): 1, ("GET", OVERFLOW): 1, ("PUT", OVERFLOW): 1} == merged
    assert [("GET", OVERFLOW, "404"), ("PUT", OVERFLOW, "200")] == [k for k, _ in requests.items() if OVERFLOW in k]
    assert (True, False) == (requests.is_within_cap("GET", "a"), requests.is_within_cap("GET", "c"))


def test_a_handle_is_the_cell():
    """
    What a handle counts is on the page, also after others were added.
    """
    plates = Counter(PLATES)
    north = plates.bind(camera="north", lane=1)
    plates.inc(camera="south", lane=1)
    north.inc(5)

    assert {("north", "1"): 5.0, ("south", "1"): 1.0} == figures(plates)


def test_clear_keeps_handles_alone():
    """
    Afterwards a handle that was given out counts from zero; every other label set is gone.
    """
    plates = Counter(PLATES)
    north = plates.bind(camera="north", lane=1)
    plates.inc(camera="south", lane=1)
    north.inc()
    plates.clear()
    north.inc(3)

    assert {("north", "1"): 3.0} == figures(plates)
    assert 0 == plates.overflowed


def test_a_replaced_gauge_shows_the_new_label_sets_alone():
    """
    Label sets that are not in the new answer vanish, also where the old ones filled the cap.
    """
    cameras = Gauge(CAMERAS)
    cameras.max_label_sets = 2
    cameras.replace({("a",): 1.0, ("b",): 2.0})
    cameras.replace({("b",): 3.0, ("c",): 4.0})

    assert {("b",): 3.0, ("c",): 4.0} == figures(cameras)


def test_a_replacement_with_wrong_labels_changes_nothing():
    """
    One label set of the wrong length refuses the whole answer.
    """
    cameras = Gauge(CAMERAS)
    cameras.replace({("a",): 1.0})
    with pytest.raises(LabelError):
        cameras.replace({("b",): 2.0, ("c", "d"): 3.0})

    assert {("a",): 1.0} == figures(cameras)


def test_a_forked_child_starts_from_zero():
    """
    What the parent counted is not in the child, whose handles work and count for the child alone.
    """
    plates = Counter(PLATES)
    north = plates.bind(camera="north", lane=1)
    north.inc(5)
    plates.inc(camera="south", lane=1)

    def work():
        before = figures(plates)
        north.inc()
        return before, figures(plates)

    assert "({('north', '1'): 0.0}, {('north', '1'): 1.0})" == in_child(work)
    assert {("north", "1"): 5.0, ("south", "1"): 1.0} == figures(plates)


def test_a_fork_under_held_locks_does_not_deadlock():
    """
    A child that was forked while other threads held every lock can count, add label sets and read.
    """
    plates, held, release = Counter(PLATES), threading.Event(), threading.Event()
    north = plates.bind(camera="north", lane=1)

    def hold():
        with plates._lock, north.lock:
            held.set()
            release.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)

    def work():
        north.inc()
        plates.inc(camera="south", lane=1)
        return figures(plates)

    answer = in_child(work)
    release.set()
    holder.join(10)

    assert "{('north', '1'): 1.0, ('south', '1'): 1.0}" == answer


def test_what_utf8_cannot_say_does_not_break_the_page():
    """
    A lone surrogate in a label's value is shown as a question mark; the page is whole.
    """
    with isolated_runtime() as isolated:
        operation = HttpOperation("GET", "/")
        operation.endpoint, operation.status = "/files/\udc80", 200
        recorder.plan(HttpOperation).end(operation)
        text = generate_latest(isolated.registry).decode()

    assert 'http_requests_total{endpoint="/files/?",method="GET",status="200"} 1.0' in text


def test_a_gauge_without_labels_is_its_own_handle():
    """
    What `prometheus_client` users ask of a gauge itself is there, also by label.
    """
    plain, by_kind = Gauge(Metric("plain", "gauge", "Plain.")), Gauge(Metric("by_kind", "gauge", "By kind.", ("kind",)))
    with plain.track_inprogress(), by_kind.track_inprogress(kind="seed"):
        during = plain.labels().value, by_kind.labels("seed").value
    after = plain.labels().value, by_kind.labels("seed").value
    plain.set_to_current_time()
    by_kind.set_to_current_time(kind="seed")

    assert ((1, 1), (0, 0)) == (during, after)
    assert plain.labels().value > 1e9 < by_kind.labels("seed").value
