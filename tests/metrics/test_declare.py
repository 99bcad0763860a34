"""
An application's own metrics: declared whenever, once, and asked in the background where they are slow.
"""

import asyncio
import inspect
import threading

import pytest
from prometheus_client import generate_latest

import obskit
from forked import in_child
from obskit.errors import ConfigurationError, LabelError, MetricConflictError, MetricNameError
from obskit.metrics.gauge_callbacks import gauge_callbacks
from obskit.recorder import recorder
from obskit.testing import FakeClock, isolated_runtime
from obskit.web.request import Request


class Asked:
    """
    Answer a gauge's query as the test says, and tell when it has.
    """

    def __init__(self, answer):
        self.answer = answer
        self.calls = 0
        self.heard = threading.Semaphore(0)

    def __call__(self):
        self.calls += 1
        try:
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer
        finally:
            self.heard.release()


def ask(gauge):
    """
    Ask a gauge's query once, here.
    """
    [query] = [query for query in gauge_callbacks._callbacks if query.gauge is gauge]
    query.run()


def answered(gauge):
    """
    Wait until the background thread has a gauge's answer.
    """
    [query] = [query for query in gauge_callbacks._callbacks if query.gauge is gauge]
    return query.has_run.wait(10)


def scrape(isolated):
    request = Request("GET", "/metrics", "", lambda name: None, "127.0.0.1")
    return isolated.runtime.routes.answer(request).body.decode()


@pytest.mark.parametrize(
    "declare",
    [
        lambda: obskit.counter("plates_total", "Plates.", ["camera"]),
        lambda: obskit.gauge("cameras", "Cameras.", workers="max"),
        lambda: obskit.histogram("ocr_seconds", "OCR.", ["method"], buckets=[0.1, 1]),
    ],
)
def test_the_same_declaration_is_the_same_object(declare):
    """
    A module that is imported twice, or a view that declares, gets one metric.
    """
    assert declare() is declare()


@pytest.mark.parametrize(
    "other",
    [
        lambda: obskit.counter("plates_total", "Plates.", ["lane"]),
        lambda: obskit.counter("plates_total", "Other plates.", ["camera"]),
        lambda: obskit.counter("plates_total", "Plates.", ["camera"], namespace=""),
        lambda: obskit.histogram("plates_total", "Plates.", ["camera"]),
    ],
)
def test_another_declaration_of_a_name_is_refused(other):
    """
    A name has one type, help, labels and namespace; the message shows both.
    """
    obskit.counter("plates_total", "Plates.", ["camera"])

    with pytest.raises(MetricConflictError, match=r"the metric 'plates_total' is declared twice, differently: first"):
        other()


def test_our_own_names_are_taken():
    """
    The catalogue's names are not for the application.
    """
    with pytest.raises(MetricConflictError, match="'http_requests_total' is one of obskit's own metrics"):
        obskit.counter("http_requests_total", "Requests.")


@pytest.mark.parametrize("name", ["plates recognised", "1_plate", "plates-total", "", "plätze"])
def test_a_bad_name_is_refused(name):
    """
    What Prometheus does not accept is no name, and the message says what is.
    """
    with pytest.raises(MetricNameError, match="is no metric name: use letters, digits and underscores"):
        obskit.histogram(name, "Plates.")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["camera id"], "'camera id' is no label name for plates_total"),
        (["__camera"], "'__camera' is no label name for plates_total"),
        (["le"], "'le' is no label name for plates_total"),
        (["worker"], "'worker' is no label name for plates_total"),
        (["camera", "camera"], "plates_total names a label twice: camera, camera"),
        ("camera", "labels='camera' of plates_total is one string: give a list, labels=['camera']"),
    ],
)
def test_bad_labels_are_refused(labels, message):
    """
    Labels that Prometheus or the page needs itself, doubled ones, and a lone string are no labels.
    """
    with pytest.raises(MetricNameError) as raised:
        obskit.counter("plates_total", "Plates.", labels)

    assert str(raised.value).startswith(message)


def test_a_counter_ends_in_total():
    """
    The suffix is added where it is missing, so that both spellings are one counter.
    """
    assert obskit.counter("plates", "Plates.") is obskit.counter("plates_total", "Plates.")


@pytest.mark.parametrize("declare", [obskit.counter, obskit.gauge, obskit.histogram])
def test_a_unit_is_what_was_given_or_what_the_name_says(declare):
    """
    `unit=` names it; without it the end of the name does; a counter counts.
    """
    plain = "count" if declare is obskit.counter else ""
    units = [declare("plates", "Plates.").spec.unit, declare("bill_usd", "Bill.").spec.unit]

    assert [plain, "usd", "plates"] == [*units, declare("waiting", "Waiting.", unit="plates").spec.unit]


@pytest.mark.parametrize("unit", ["Plates", "°C", "a b", "9", "x" * 41])
@pytest.mark.parametrize("declare", [obskit.counter, obskit.gauge, obskit.histogram])
def test_a_unit_is_a_word(declare, unit):
    """
    Anything else raises where the metric is declared, and so does what contradicts the name.
    """
    with pytest.raises(MetricNameError, match=r"unit=.* of plates.*: expected a word in lower case, such as 'plates'"):
        declare("plates", "Plates.", unit=unit)
    with pytest.raises(MetricNameError, match="the end of the name says 'seconds'; rename it, or leave unit out"):
        declare("wait_seconds", "Wait.", unit="bytes")


def test_a_gauge_that_ends_in_total_warns():
    """
    The name says counter, and the warning says so, where the gauge is declared.
    """
    with pytest.warns(UserWarning, match="the gauge cameras_total ends in _total, which says counter") as caught:
        obskit.gauge("cameras_total", "Cameras.")

    assert [__file__] == [warning.filename for warning in caught]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": "average"}, "workers='average': expected 'sum', 'min', 'max' or 'latest'"),
        ({"query": 5}, "the query of cameras must be a plain function without arguments"),
        ({"query": asyncio.sleep}, "the query of cameras must be a plain function without arguments"),
        ({"query": dict, "every": 0.01}, "every=0.01 of cameras: expected seconds, 0.1 or more"),
        ({"query": dict, "every": float("nan")}, "every=nan of cameras: expected seconds, 0.1 or more"),
        ({"query": dict, "every": "60"}, "every='60' of cameras: expected seconds, 0.1 or more"),
    ],
)
def test_a_gauge_is_checked_when_it_is_declared(given, message):
    """
    A wrong way to add up, query or interval raises at the declaration.
    """
    with pytest.raises(ConfigurationError) as raised:
        obskit.gauge("cameras", "Cameras.", **given)

    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("buckets", [[], [float("inf")], [1, 1], [2, 1], ["a"], [float("nan")], [1, float("nan")], 5])
def test_buckets_rise(buckets):
    """
    Bounds that are none, no numbers or do not rise are refused.
    """
    with pytest.raises(ConfigurationError, match=r"buckets=.* of ocr_seconds: expected ascending numbers"):
        obskit.histogram("ocr_seconds", "OCR.", buckets=buckets)


def test_the_last_bucket_is_added():
    """
    `+Inf` is there whether it was given or not.
    """
    first = obskit.histogram("ocr_seconds", "OCR.", buckets=(0.1, 1, float("inf")))

    assert first is obskit.histogram("ocr_seconds", "OCR.", buckets=[0.1, 1.0])
    assert (0.1, 1.0) == first.spec.buckets


def test_metrics_bind_when_configure_comes():
    """
    Whether declared before or after `configure()`, a metric is on the page, in the application's namespace.
    """
    early = obskit.counter("early_total", "Early.", ["camera"])
    with isolated_runtime(namespace="cvd") as isolated:
        late = obskit.histogram("late_seconds", "Late.", buckets=[1.0])
        early.inc(camera="north")
        late.observe(0.5)

        assert 1.0 == isolated.value("cvd_early_total", camera="north")
        assert 1.0 == isolated.value("cvd_late_seconds_bucket", le="1.0")
        assert 0.5 == isolated.value("cvd_late_seconds_sum")


def test_a_namespace_of_its_own():
    """
    `namespace=""` leaves the prefix out for one metric, another one takes its place.
    """
    with isolated_runtime(namespace="cvd") as isolated:
        obskit.counter("plain_total", "Plain.", namespace="").inc()
        obskit.counter("other_total", "Other.", namespace="lab").inc()

        assert [1.0, 1.0] == [isolated.value("plain_total"), isolated.value("lab_other_total")]
        assert isolated.value("cvd_plain_total") is None


def test_own_metrics_are_renamed_and_left_out():
    """
    `metric_names` holds for the application's metrics too; one that is left out can still be updated.
    """
    with isolated_runtime(metric_names={"old_total": "new_total", "quiet": None}) as isolated:
        obskit.counter("old_total", "Old.").inc()
        obskit.gauge("quiet", "Quiet.").set(5)

        assert 1.0 == isolated.value("new_total")
        assert "quiet" not in generate_latest(isolated.registry).decode()


def test_own_metrics_have_the_same_cap():
    """
    `max_label_sets` holds for them, and `obskit_overflow_total` names them as the page does.
    """
    with isolated_runtime(namespace="cvd", max_label_sets=3) as isolated:
        plates = obskit.counter("plates_total", "Plates.", ["plate"])
        for number in range(10):
            plates.inc(plate=number)

        assert 7.0 == isolated.value("cvd_plates_total", plate="_OVERFLOW")
        assert 7.0 == isolated.value("obskit_overflow_total", metric="cvd_plates_total")


def test_a_name_that_the_application_registered_is_refused_late_too():
    """
    Where the registry has the name, a declaration after `configure()` raises, and leaves the page as it was.
    """
    from prometheus_client import Gauge

    with isolated_runtime() as isolated:
        Gauge("cameras", "Cameras.", registry=isolated.registry).set(3)
        with pytest.raises(MetricConflictError, match="the metric 'cameras' is registered already"):
            obskit.gauge("cameras", "Cameras.")

        assert 3.0 == isolated.value("cameras")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def ocr(clock):
    with isolated_runtime(clock=clock) as isolated:
        histogram = obskit.histogram("ocr_seconds", "OCR.", ["method", "status"], buckets=[1.0])
        histogram.isolated = isolated
        yield histogram


def counts(ocr):
    return {
        tuple(sample.labels.values()): sample.value
        for page in ocr.isolated.registry.collect()
        for sample in page.samples
        if sample.name == "ocr_seconds_sum"
    }


def test_time_fills_the_status(ocr, clock):
    """
    A label `status` that is not given says whether the function raised.
    """

    @ocr.time(method="fast")
    def read(plate):
        clock.advance(2.0)
        return 1 / plate

    assert 1.0 == read(1)
    with pytest.raises(ZeroDivisionError):
        read(0)

    assert {("fast", "success"): 2.0, ("fast", "error"): 2.0} == counts(ocr)
    assert ["plate"] == list(inspect.signature(read).parameters)


def test_time_takes_a_status_that_is_given(ocr, clock):
    """
    The application's own status wins.
    """
    with ocr.time(method="fast", status="cached"):
        clock.advance(1.0)

    assert {("fast", "cached"): 1.0} == counts(ocr)


def test_time_waits_for_a_coroutine(ocr, clock):
    """
    A coroutine function stays one and is timed while it is awaited.
    """

    @ocr.time(method="slow")
    async def read():
        await asyncio.sleep(0)
        clock.advance(3.0)
        return "XY-1"

    assert inspect.iscoroutinefunction(read)
    assert "XY-1" == asyncio.run(read())
    assert {("slow", "success"): 3.0} == counts(ocr)


def test_time_waits_for_a_generator(ocr, clock):
    """
    A generator stays one and is timed to its end; leaving it early is no failure, raising is one.
    """

    @ocr.time(method="slow")
    def read(error=None):
        clock.advance(2.0)
        got = yield 1
        if error:
            raise error
        return got

    def use():
        got = yield from read()
        return got

    user = use()
    next(user)
    with pytest.raises(StopIteration, match="sent"):
        user.send("sent")
    for _ in read():
        break
    with pytest.raises(OSError, match="no camera"):
        list(read(OSError("no camera")))

    assert inspect.isgeneratorfunction(read)
    assert {("slow", "success"): 4.0, ("slow", "error"): 2.0} == counts(ocr)


def test_time_waits_for_an_async_generator(ocr, clock):
    """
    An asynchronous generator stays one, is timed to its end, and is closed where it is left.
    """
    closed = []

    @ocr.time(method="slow")
    async def read():
        try:
            clock.advance(2.0)
            yield 1
            clock.advance(2.0)
        finally:
            closed.append(True)

    async def use():
        everything = [piece async for piece in read()]
        left = read()
        await anext(left)
        await left.aclose()
        return everything

    assert inspect.isasyncgenfunction(read)
    assert [1] == asyncio.run(use())
    assert [True, True] == closed
    assert {("slow", "success"): 6.0} == counts(ocr)


def test_time_knows_blocks_in_blocks(ocr, clock):
    """
    One timer serves several blocks, nested ones too.
    """
    timer = ocr.time(method="fast")
    with timer:
        clock.advance(1.0)
        with timer:
            clock.advance(1.0)

    assert {("fast", "success"): 3.0} == counts(ocr)


@pytest.mark.parametrize("labels", [{}, {"colour": "red"}, {"method": "fast", "colour": "red"}])
def test_time_refuses_labels_at_once(ocr, labels):
    """
    Wrong labels raise where the decorator stands, not in a request.
    """
    with pytest.raises(LabelError, match="ocr_seconds has the labels method, status"):
        ocr.time(**labels)


def test_a_query_is_asked_in_the_background():
    """
    A gauge's query is on the page without a request having asked it.
    """
    asked = Asked({"online": 3, "offline": 1})
    with isolated_runtime() as isolated:
        devices = obskit.gauge("devices", "Devices.", ["status"], query=asked)

        assert answered(devices)
        assert 3.0 == isolated.value("devices", status="online")


def test_a_query_of_a_gauge_without_labels_answers_a_figure():
    """
    A plain number is the answer where there are no labels, and a tuple names several.
    """
    plain = obskit.gauge("queue_depth", "Depth.", query=lambda: 7)
    pairs = obskit.gauge("shelves", "Shelves.", ["site", "row"], query=lambda: {("a", 1): 2})
    with isolated_runtime() as isolated:
        assert answered(plain)
        assert answered(pairs)
        assert (7.0, 2.0) == (isolated.value("queue_depth"), isolated.value("shelves", site="a", row="1"))


def test_labels_that_vanish_from_the_answer_vanish_from_the_page():
    """
    A status that no device has any more is not shown for ever.
    """
    asked = Asked({"online": 3, "broken": 1})
    with isolated_runtime() as isolated:
        devices = obskit.gauge("devices", "Devices.", ["status"], query=asked, every=3600)
        assert answered(devices)
        asked.answer = {"online": 2}
        ask(devices)

        assert 2.0 == isolated.value("devices", status="online")
        assert isolated.value("devices", status="broken") is None


@pytest.mark.parametrize(
    "wrong", [OSError("the database is away"), {"online": "many"}, {("online", "extra"): 1}, 5, None, "text"]
)
def test_an_answer_that_is_none_keeps_the_last_good_one(wrong):
    """
    A query that raises, or answers what is no figure, is counted, and the page keeps what it had.
    """
    asked = Asked({"online": 3})
    with isolated_runtime(strict=False) as isolated:
        devices = obskit.gauge("devices", "Devices.", ["status"], query=asked, every=3600)
        assert answered(devices)
        asked.answer = wrong
        ask(devices)

        assert 3.0 == isolated.value("devices", status="online")
        assert 1.0 == isolated.value("obskit_errors_total", sink="gauge_query")


def test_a_slow_query_blocks_no_scrape():
    """
    While a query hangs, the page answers, and so do the declarations of other gauges.
    """
    started, release = threading.Event(), threading.Event()

    def hang():
        started.set()
        release.wait(30)
        return 1

    with isolated_runtime() as isolated:
        slow = obskit.gauge("slow", "Slow.", query=hang)
        assert started.wait(10)
        obskit.gauge("other", "Other.").set(5)
        page = scrape(isolated)
        release.set()

        assert "other 5.0" in page
        assert answered(slow)


def test_a_query_is_asked_again():
    """
    It comes round every so many seconds.
    """
    asked = Asked(1)
    with isolated_runtime():
        obskit.gauge("often", "Often.", query=asked, every=0.1)

        assert all(asked.heard.acquire(timeout=10) for _ in range(3))


def test_a_later_query_takes_the_earlier_ones_place():
    """
    The same gauge declared again with another query, as a reloaded module does, is asked once a round.
    """
    first, second = Asked(1), Asked(2)
    with isolated_runtime() as isolated:
        gauge = obskit.gauge("reloaded", "Reloaded.", query=first, every=3600)
        assert answered(gauge)
        assert gauge is obskit.gauge("reloaded", "Reloaded.", query=second, every=3600)
        assert second.heard.acquire(timeout=10)
        assert answered(gauge)

        assert (1, 1) == (first.calls, second.calls)
        assert 2.0 == isolated.value("reloaded")


def test_queries_stop_with_the_runtime():
    """
    Without a runtime nobody asks, and the next one asks anew.
    """
    asked = Asked(1)
    gauge = obskit.gauge("resumed", "Resumed.", query=asked, every=3600)
    before = asked.calls
    for _ in range(2):
        with isolated_runtime():
            assert answered(gauge)

    assert (0, 2) == (before, asked.calls)
    assert [] == [thread.name for thread in threading.enumerate() if thread is gauge_callbacks.thread.running]


def test_a_forked_child_asks_from_its_first_scrape_on():
    """
    The parent's thread is not in the child; its first scrape starts one, and the answer comes.
    """
    asked = Asked({"online": 3})
    with isolated_runtime() as isolated:
        devices = obskit.gauge("devices", "Devices.", ["status"], query=asked, every=3600)
        assert answered(devices)

        def work():
            idle = gauge_callbacks.thread.running
            scrape(isolated)
            return idle, answered(devices), isolated.value("devices", status="online")

        story = in_child(work)

    assert "(None, True, 3.0)" == story


def test_query_errors_are_counted_and_not_raised_in_the_thread():
    """
    A query that only ever fails leaves the thread running for the others.
    """
    failing, good = Asked(OSError("away")), Asked(1)
    with isolated_runtime(strict=False) as isolated:
        obskit.gauge("failing", "Failing.", ["status"], query=failing, every=0.1)
        other = obskit.gauge("good", "Good.", query=good, every=3600)
        assert all(failing.heard.acquire(timeout=10) for _ in range(2))
        assert answered(other)

        assert 1.0 == isolated.value("good")
        assert recorder.errors["gauge_query"] >= 1
