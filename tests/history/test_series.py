"""
Figures become steps: what was counted is there once, in steps of each length, whoever writes and whenever he ends.
"""

import os
import sqlite3
from datetime import timedelta

import pytest

from obskit.catalogue import Metric
from obskit.history.files import SeriesFiles
from obskit.history.keeping import size_of, trim
from obskit.history.lanes import add_up
from obskit.history.reader import FileReader
from obskit.history.roll_up import roll_up
from obskit.history.sampler import InstanceTotals, Known, find_totals, step_start
from obskit.history.series_slot import SeriesSlot
from obskit.metrics.snapshots import FamilySnapshot
from obskit.storage.periods import Span

START = 1_800_000_000  # the start of an hour
EVER = Span(0, 1e11)
COUNTED = Metric("sold_total", "counter", "Sold.", ("crop",))
TIMED = Metric("wait_seconds", "histogram", "Wait.", buckets=(0.1, 1.0))
LEVEL = Metric("queue", "gauge", "Waiting.")
SINCE_BOOT = Metric("machine_errors_total", "counter", "Errors.", is_shared=True)
OF_A_PROCESS = Metric("obskit_process_cpu_seconds_total", "counter", "CPU.", ("worker",), prefixed=False)


def family(metric, figures):
    return FamilySnapshot(metric, list(figures), list(figures.values()))


def families(*found):
    return {metric.name: family(metric, figures) for metric, figures in found}


def sold(roses, **others):
    return COUNTED, {("rose",): (float(roses),), **{(crop,): (float(n),) for crop, n in others.items()}}


def fail(error):
    raise error


def refuse(*problem):
    raise AssertionError(problem)


@pytest.fixture
def files(tmp_path):
    return SeriesFiles(tmp_path)


@pytest.fixture
def open_slot(files):
    opened = []

    def open_slot(on_problem=refuse):
        opened.append(SeriesSlot(*files.claim_slot(), files, on_problem))
        return opened[-1]

    yield open_slot
    for slot in opened:
        slot.close()


@pytest.fixture
def slot(open_slot):
    return open_slot()


@pytest.fixture
def reader(files):
    return FileReader(files, fail)


def totals_of(files, instance="shop-1"):
    return InstanceTotals(instance, find_totals(files, instance, fail))


def increases(reader, name="sold_total", step=10):
    return [(it.at - START, it.key, it.point.value) for it in reader.points(name, EVER, step)]


def test_increases_are_stored_and_nothing_where_nothing_changed(files, slot, reader):
    """
    A step has what was counted in it; one in which nothing was is there, and has no point.
    """
    totals = totals_of(files)
    for index, roses in enumerate((2, 2, 5)):
        totals.store(families(sold(roses)), slot, START + 10 * index)

    assert [(0, ("rose",), 2.0), (20, ("rose",), 3.0)] == increases(reader)
    assert [0, 10, 20] == [it.at - START for it in reader.samplings(EVER, 10)]


def test_another_process_goes_on_where_the_last_one_was(files, open_slot, reader):
    """
    A sampler finds what is stored, by whichever process, in whichever slot, and in files of former hours; so it counts
    nothing twice, and leaves nothing out.
    """
    roses = 0
    for turn in range(5):
        slot, totals = open_slot(), totals_of(files)
        for index in range(300):
            roses += index % 3
            totals.store(families(sold(roses)), slot, START + 3000 * turn + 10 * index)
        if turn % 2:
            slot.close()

    assert len(files.slots()) > 1
    assert roses == sum(value for _, _, value in increases(reader))


def test_a_new_instance_counts_from_zero(files, slot, reader):
    """
    What one instance has counted says nothing of the next.
    """
    for instance, roses in (("shop-1", 7), ("shop-2", 3)):
        totals_of(files, instance).store(families(sold(roses)), slot, START)

    assert [(0, ("rose",), 10.0)] == increases(reader)


def test_counters_of_the_machine_count_from_their_first_sample(files, slot, reader):
    """
    What runs since the machine was started is no increase of the moment in which it is seen.
    """
    totals = totals_of(files)
    for index, errors in enumerate((500.0, 503.0)):
        totals.store(families((SINCE_BOOT, {(): (errors,)})), slot, START + 10 * index)

    assert [(10, (), 3.0)] == increases(reader, "machine_errors_total")


def test_the_next_process_of_a_number_begins_at_zero(files, slot, reader):
    """
    What a process says of itself falls with the next process that has its number, and that counts.
    """
    totals = totals_of(files)
    for index, seconds in enumerate((5.0, 2.0, 2.5)):
        totals.store(families((OF_A_PROCESS, {("0",): (seconds,)})), slot, START + 10 * index)

    assert [5.0, 2.0, 0.5] == [value for _, _, value in increases(reader, OF_A_PROCESS.name)]


def test_a_total_that_falls_is_a_fault_and_no_increase(files, slot, reader):
    """
    It is counted, and what is counted from there on is stored.
    """
    totals = totals_of(files)
    fallen = [
        totals.store(families(sold(roses)), slot, START + 10 * index).fallen for index, roses in enumerate((7, 4, 6))
    ]

    assert [0, 1, 0] == fallen
    assert [7.0, 2.0] == [value for _, _, value in increases(reader)]


def test_workers_that_cannot_be_read_for_a_moment_are_not_counted_again(files, slot, reader):
    """
    Where not all workers could be read, what is less than before says nothing: they come back as they were.
    """
    totals = totals_of(files)
    for index, (roses, is_whole) in enumerate(((100, True), (70, False), (115, True))):
        assert 0 == totals.store(families(sold(roses)), slot, START + 10 * index, is_whole=is_whole).fallen

    assert 115.0 == sum(value for _, _, value in increases(reader))


def test_totals_that_are_lost_count_from_now(files, slot, reader):
    """
    Where something was stored that is there no more, what is counted already is not told as new.
    """
    totals = InstanceTotals("shop-1", Known({}, 9), counts_from_zero=False)
    for index, roses in enumerate((100, 103)):
        totals.store(families(sold(roses, tulip=index)), slot, START + 10 * index)

    assert [(10, ("rose",), 3.0), (10, ("tulip",), 1.0)] == sorted(increases(reader))


def test_a_step_that_is_there_is_added_to(files, slot, reader):
    """
    After the clock was set back, the last step takes what is counted until the clock has passed it.
    """
    totals, last = totals_of(files), 0
    for wall, roses in ((START + 20, 1), (START + 30, 2), (START - 600, 4), (START + 31, 8), (START + 40, 16)):
        last = step_start(wall, 10, last)
        observed = (float(roses), roses / 4, float(roses), 0.0, 0.0)
        totals.store(families(sold(roses), (TIMED, {(): observed}), (LEVEL, {(): (float(roses),)})), slot, last)
    timed = [(it.at - START, it.point.n, it.point.value) for it in reader.points("wait_seconds", EVER, 10)]

    assert [(10, ("rose",), 1.0), (20, ("rose",), 7.0), (30, ("rose",), 8.0)] == increases(reader)
    assert [(10, 1, 0.25), (20, 7, 1.75), (30, 8, 2.0)] == timed
    assert [1.0, 8.0, 16.0] == [it.point.value for it in reader.points("queue", EVER, 10)]


def sample_hours(files, slot, hours):
    """
    Sample a shop that sells, waits and queues, and put together what is due.
    """
    totals = totals_of(files)
    for index in range(360 * hours):
        observed = (3.0 * index, 0.25 * index, 2.0 * index, 1.0 * index, 0.0)
        found = families(sold(index), (TIMED, {(): observed}), (LEVEL, {(): (float(index % 7),)}))
        totals.store(found, slot, START + 10 * index)
        if index % 6 == 5:
            roll_up(slot, files, START + 10 * index + 10)


@pytest.mark.parametrize("step", [10, 60, 300, 3600])
def test_longer_steps_say_the_same(files, slot, reader, step):
    """
    Increases, observations and their buckets add up to the same in steps of each length.
    """
    sample_hours(files, slot, 2)
    timed = [it.point for it in reader.points("wait_seconds", EVER, step)]

    assert 719.0 == sum(value for _, _, value in increases(reader, step=step))
    assert (3 * 719, 0.25 * 719) == (sum(it.n for it in timed), sum(it.value for it in timed))
    assert [2 * 719, 719, 0] == add_up((it.lanes for it in timed), 3)


def test_longer_steps_keep_extremes(files, slot, reader):
    """
    A minute and an hour know a gauge's lowest, highest and mean value and the last one, and the minute of the highest;
    of a counter its largest minute.
    """
    sample_hours(files, slot, 1)
    [queue] = [it.point for it in reader.points("queue", EVER, 3600)]
    [first, *_] = [it.point for it in reader.points("queue", EVER, 60)]
    [roses] = [it.point for it in reader.points("sold_total", EVER, 3600)]

    assert (0.0, 5.0, 5.0, 6, 15.0) == (first.lowest, first.highest, first.value, first.n, first.total)
    assert (0.0, 6.0, 359.0 % 7, 360) == (queue.lowest, queue.highest, queue.value, queue.n)
    assert START + 60 == queue.highest_at
    assert (6.0, START + 60) == (roses.highest, roses.highest_at)


def test_a_gauge_that_has_left_is_not_carried_on(files, slot, reader):
    """
    Only its samples count, not those after it has gone.
    """
    totals = totals_of(files)
    for index in range(12):
        found = families((LEVEL, {(): (4.0,)})) if index < 3 else {}
        totals.store(found, slot, START + 10 * index)
    roll_up(slot, files, START + 120)

    assert [(0, 3)] == [(it.at - START, it.point.n) for it in reader.points("queue", EVER, 60)]


@pytest.mark.parametrize("broken", [0, 1, 5, 40, 400])
def test_what_was_put_together_half_is_so_again(files, open_slot, reader, broken):
    """
    A process that is killed while it puts steps together leaves nothing that is doubled, or missing.
    """
    slot, totals = open_slot(), totals_of(files)
    for index in range(360):
        totals.store(families(sold(index)), slot, START + 10 * index)
    write, left = slot.write, [broken]

    def write_for_a_while(step, at, work):
        if not left[0]:
            raise OSError("killed")
        left[0] -= 1
        write(step, at, work)

    slot.write = write_for_a_while
    if broken < 400:
        with pytest.raises(OSError, match="killed"):
            roll_up(slot, files, START + 3600)
    slot.close()
    halves = [sum(value for _, _, value in increases(reader, step=step)) for step in (10, 60, 3600)]
    roll_up(open_slot(), files, START + 3600)

    assert [359.0] * 3 == halves
    assert [359.0] * 3 == [sum(value for _, _, value in increases(reader, step=step)) for step in (10, 60, 3600)]
    assert [3600] == [it.step for it in reader.samplings(EVER, 3600)]


def test_each_moment_is_told_once_when_fine_steps_are_gone(files, slot, reader):
    """
    Where files of fine steps were removed, minutes say what they had, and hours what those had.
    """
    sample_hours(files, slot, 3)
    fine, minutes = files.by_step[10].files(), files.by_step[60].files()
    os.unlink(fine[0].path)
    without_fine = [sum(value for _, _, value in increases(reader, step=step)) for step in (10, 60, 3600)]
    os.unlink(minutes[0].path)

    assert [1079.0] * 3 == without_fine
    assert 1079.0 == sum(value for _, _, value in increases(reader, step=10))
    assert {10, 3600} == {it.step for it in reader.samplings(EVER, 10)}


def test_a_full_disk_loses_nothing(files, slot, reader):
    """
    What could not be stored is in the next sampling that can.
    """
    totals, store = totals_of(files), slot.store
    totals.store(families(sold(1)), slot, START)

    def full(sampled):
        raise sqlite3.OperationalError("database or disk is full")

    slot.store = full
    with pytest.raises(sqlite3.OperationalError):
        totals.store(families(sold(5)), slot, START + 10)
    slot.store = store
    totals.store(families(sold(6)), slot, START + 20)

    assert [(0, ("rose",), 1.0), (20, ("rose",), 5.0)] == increases(reader)


@pytest.mark.parametrize("content", [b"", b"x" * 5000, os.urandom(20_000)])
def test_a_damaged_file_is_set_aside(files, open_slot, content):
    """
    It is told; a sampler that lives goes on with what is counted since, and others read what is left.
    """
    told, unread = [], []
    slot, totals = open_slot(lambda *problem: told.append(problem[0])), totals_of(files)
    totals.store(families(sold(1)), slot, START)
    [file] = files.by_step[10].files()
    slot.close()
    file.path.write_bytes(content)
    reader = FileReader(files, unread.append)
    assert [] == increases(reader)
    totals.store(families(sold(4)), open_slot(lambda *problem: told.append(problem[0])), START + 10)

    assert [(10, ("rose",), 3.0)] == increases(reader)
    assert (["damaged"], True) == (told, len(unread) > 0)


def test_a_longer_step_that_is_damaged_is_put_together_again(files, open_slot, reader):
    """
    As far as shorter steps are still there, nothing is lost, and it is told.
    """
    told = []
    slot = open_slot(lambda *problem: told.append(problem[0]))
    sample_hours(files, slot, 1)
    for step in (60, 3600):
        [file] = files.by_step[step].files()
        os.truncate(file.path, 0)
        slot.reopen_damaged()
        roll_up(slot, files, START + 3600)
        slot.write(10, START + 3590, lambda db, ids: db.execute("INSERT INTO due VALUES (?)", (START + 3540,)))
        roll_up(slot, files, START + 3600)

    assert [359.0] * 3 == [sum(value for _, _, value in increases(reader, step=step)) for step in (10, 60, 3600)]
    assert ["damaged"] * 2 == told


def test_a_longer_step_that_cannot_be_written_harms_no_shorter_one(files, open_slot, reader):
    """
    A folder in place of its lock is no damage of the file that the longer step is made of.
    """
    told = []
    slot = open_slot(lambda *problem: told.append(problem[0]))
    hours = files.by_step[3600].path_at(START, str(slot.number))
    hours.with_name(f"{hours.name}.lock").mkdir(parents=True)
    with pytest.raises(OSError, match="it is no file"):
        sample_hours(files, slot, 1)

    assert 0 < sum(value for _, _, value in increases(reader, step=3600))
    assert [] == told


def test_a_slot_whose_files_cannot_be_used_is_left_alone(files, slot):
    """
    Another one is taken, and which file it was is told.
    """
    refused, hours = [], files.by_step[3600].path_at(START, "1")
    hours.parent.mkdir(parents=True)
    hours.symlink_to("/nonexistent/file")
    (files.folder / "slot-2.lock").mkdir()
    lock, number = files.claim_slot(START, refused.append)
    lock.release()

    assert 3 == number
    assert [hours, files.folder / "slot-2.lock"] == refused


def test_a_newer_file_is_left_alone(files, open_slot):
    """
    What another version has written is neither read nor written.
    """
    slot = open_slot()
    totals_of(files).store(families(sold(1)), slot, START)
    slot.close()
    [file] = files.by_step[10].files()
    with sqlite3.connect(file.path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    unread = []

    assert [] == increases(FileReader(files, unread.append))
    assert ["it has format 99, and this obskit reads 1 to 1"] * len(unread) == [str(error) for error in unread]
    with pytest.raises(sqlite3.OperationalError, match="a newer version of obskit wrote it"):
        InstanceTotals("shop-1", Known({}, 0)).store(families(sold(4)), open_slot(), START + 10)


def test_views_have_names(files, slot):
    """
    Whoever opens a file with a tool of his own reads names and labels.
    """
    sample_hours(files, slot, 1)
    slot.close()
    [file] = files.by_step[3600].files()
    with sqlite3.connect(file.path) as db:
        found = {view: db.execute(f"SELECT * FROM {view}").fetchall() for view in ("counters", "gauges", "histograms")}
    db.close()

    assert [("2027-01-15 08:00:00", START, "sold_total", '["rose"]', 359.0)] == found["counters"]
    assert [("2027-01-15 08:00:00", START, "queue", "[]", 2.0, 0.0, 6.0, 360)] == found["gauges"]
    assert [("2027-01-15 08:00:00", START, "wait_seconds", "[]", 1077, 89.75)] == found["histograms"]


def test_the_finest_and_oldest_goes_first(files, slot):
    """
    Files stay as long as their kind is kept; beyond the cap, the oldest of the finest steps go, never what is written.
    """
    sample_hours(files, slot, 3)
    kinds, now = list(files.by_step.values()), START + 3 * 3600 - 10
    size = size_of(kinds)
    kept = [trim(kinds, size, now), trim(kinds, size - 1, now), trim(kinds, 1, now)]
    starts = [file.span.start - START for file in files.by_step[10].files()]
    files.by_step[10].keep = timedelta(hours=1)
    later = trim(kinds, size, now + 3 * 3600)

    assert [(0, True), (1, True), (1, False)] == [(it.removed, it.fits) for it in kept]
    assert [7200.0] == starts
    assert (1, True) == (later.removed, later.fits)
    assert [1, 1] == [len(files.by_step[step].files()) for step in (60, 3600)]


def test_a_kind_is_never_more_than_its_own_cap(files, slot):
    """
    Though there is room for all together: what one kind has too much of takes nothing from the others.
    """
    sample_hours(files, slot, 2)
    kinds, now = list(files.by_step.values()), START + 2 * 3600 - 10
    files.by_step[10].max_bytes = 1
    kept = trim(kinds, 1 << 30, now)

    assert (1, True) == (kept.removed, kept.fits)
    assert 1 == files.by_step[10].max_bytes
