"""
A cell's figures are exact, however many threads update it.
"""

import threading

import pytest

from obskit.metrics.cells import CounterCell, GaugeCell, HistogramCell

THREADS, UPDATES = 8, 5_000


def hammer(update):
    """
    Call a function from many threads at once.
    """
    gate = threading.Barrier(THREADS)

    def work():
        gate.wait(10)
        for number in range(UPDATES):
            update(number)

    workers = [threading.Thread(target=work) for _ in range(THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)


def test_a_counter_loses_no_update():
    """
    N threads times M increments is N times M.
    """
    cell = CounterCell()
    hammer(lambda number: cell.inc(2))

    assert 2.0 * THREADS * UPDATES == cell.value


def test_a_gauge_loses_no_update():
    """
    As many up as down is where it began.
    """
    cell = GaugeCell()
    hammer(lambda number: cell.inc(3) if number % 2 else cell.dec(3))

    assert 0.0 == cell.value


def test_a_histogram_loses_no_update():
    """
    Buckets and sum add up to what was observed.
    """
    cell = HistogramCell((1.0, 2.0))
    hammer(lambda number: cell.observe(number % 3 + 0.5))
    buckets, total = cell.read()

    assert THREADS * UPDATES == sum(buckets)
    assert THREADS * sum(number % 3 + 0.5 for number in range(UPDATES)) == total


def test_a_histogram_reads_one_moment():
    """
    Buckets and sum that are read while threads update belong together.
    """
    cell, torn = HistogramCell((1.0,)), []

    def update(number):
        cell.observe(2.0)
        buckets, total = cell.read()
        if total != 2.0 * sum(buckets):
            torn.append(total)

    hammer(update)

    assert [] == torn


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, [1, 0, 0]), (0.1, [1, 0, 0]), (0.1000001, [0, 1, 0]), (0.5, [0, 1, 0]), (9.0, [0, 0, 1])],
)
def test_a_bound_belongs_to_its_bucket(value, expected):
    """
    A bucket's upper bound is inclusive, as `le` says; what is over goes to the last one.
    """
    cell = HistogramCell((0.1, 0.5))
    cell.observe(value)

    assert (expected, value) == cell.read()


def test_a_counter_never_goes_down():
    """
    A negative amount is refused and leaves the count as it was.
    """
    cell = CounterCell()
    cell.inc(0.5)
    with pytest.raises(ValueError, match=r"a counter cannot go down: inc\(-1\); use a gauge"):
        cell.inc(-1)

    assert 0.5 == cell.value


def test_a_gauge_is_set():
    """
    It takes any number, the time, and the running blocks.
    """
    cell = GaugeCell()
    cell.set(7)
    with cell.track_inprogress():
        inside = cell.value
    after = cell.value
    cell.set_to_current_time()

    assert (8.0, 7.0) == (inside, after)
    assert cell.value > 1.7e9


def test_zero_starts_over():
    """
    Figures and lock are new: the old lock may be held by a thread that a fork has left behind.
    """
    cells = CounterCell(), GaugeCell()
    histogram = HistogramCell((1.0,))
    for cell in cells:
        cell.inc()
        cell.lock.acquire()
        cell.reset()
        cell.inc()
    histogram.observe(1.0)
    histogram.lock.acquire()
    histogram.reset()

    assert [1.0, 1.0] == [cell.value for cell in cells]
    assert ([0, 0], 0.0) == histogram.read()
