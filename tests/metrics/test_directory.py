"""
All workers of an instance: added up exactly, whoever dies in between, and whatever lies in the directory.
"""

import fcntl
import mmap
import os
import random
import resource
import signal
import struct
import threading
import time
import zlib

import pytest

from forked import in_child
from obskit.catalogue import Metric
from obskit.metrics import directory as module
from obskit.metrics.cell_file import CellSpaceError
from obskit.metrics.cell_format import HEADER, encode_file
from obskit.metrics.directory import FOLDED_FILE, MAX_BAD_FILES, MAX_DEAD_FILES, Directory
from obskit.workers.file_lock import locked_file
from obskit.workers.instance_folders import is_in_use
from obskit.workers.private_folder import DirectoryError
from workers import HITS, MOUNTS, SECONDS, SIZE, TEMPERATURES, observe, run

FOREIGN, TRUNCATED = b"worker,figures\n" * 20, b"obskit"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "instance"


@pytest.fixture
def joined(fork, path):
    """
    Fork workers that join, count what they are told to, and live until they are killed.
    """

    def start(amount=0.0, *, spec=HITS, name=None, labels=("/a",)):
        def work(worker):
            file = Directory(path).join()
            size = SIZE if spec.kind == "histogram" else 1
            cell = file.allocate(file.family(spec, name or spec.name), labels, size)
            more = amount
            while True:
                if spec.kind == "histogram":
                    observe(cell, more)
                else:
                    cell[0] += float(more)
                worker.say(file.slot)
                more = worker.hear()

        worker = fork(work)
        worker.slot = int(worker.hear())
        return worker

    return start


def hits(directory, own=None, label="/a"):
    family = directory.snapshot(own).families.get("hits_total")
    return family.cells.get((label,), (0.0,))[0] if family else 0.0


def names(path):
    """
    Return what lies in the directory, but for what always does.
    """
    return sorted(name for name in os.listdir(path) if name not in {"lock", "slots"})


def worker_name(number=0):
    return f"worker-{number}-1-{number:016x}.cells"


def test_a_directory_is_private(path):
    """
    It is made with its parents, for this user alone, and may be there already.
    """
    for _ in range(2):
        Directory(path / "deeper")

        assert [0o40700] * 2 == [os.stat(folder).st_mode for folder in (path, path / "deeper")]


def test_a_directory_that_others_may_write_to_is_refused(path):
    """
    Whoever may put files there could have figures added to ours.
    """
    path.mkdir()
    path.chmod(0o770)
    with pytest.raises(DirectoryError, match="others may write there, mode 770: chmod 700 it"):
        Directory(path)


def test_a_directory_that_anybody_may_replace_is_refused(path):
    """
    Whoever may rename the directory can put another in its place; the sticky bit, as of /tmp, keeps him from it.
    """
    path.mkdir()
    path.chmod(0o777)
    with pytest.raises(DirectoryError, match=f"by the mode of {path}: chmod o-w that"):
        Directory(path / "deeper")
    path.chmod(0o1777)

    assert Directory(path / "deeper").path.is_dir()


def test_a_link_is_refused(path, tmp_path):
    """
    A link may lead elsewhere tomorrow.
    """
    (tmp_path / "real").mkdir(mode=0o700)
    path.symlink_to(tmp_path / "real")
    with pytest.raises(DirectoryError, match="symbolic link: name the directory itself"):
        Directory(path)


def test_a_file_is_refused(path):
    """
    A path at which something else lies is told.
    """
    path.write_text("")
    with pytest.raises(DirectoryError, match="it cannot be made: File exists"):
        Directory(path)


@pytest.mark.parametrize("uid", [65534] if os.geteuid() == 0 else [])
def test_a_directory_of_somebody_else_is_refused(path, uid):
    """
    The figures of a process are nobody else's to read or change.
    """
    path.mkdir(mode=0o700)
    os.chown(path, uid, uid)
    with pytest.raises(DirectoryError, match=f"it belongs to user {uid}, and this process is user 0"):
        Directory(path)


def test_everything_that_is_made_is_private(path, joined):
    """
    No file in the directory can be read by anybody else, whatever the umask.
    """
    before = os.umask(0)
    try:
        joined(1).kill()
        joined(1)
        Directory(path).snapshot()
    finally:
        os.umask(before)

    assert {0o100600} == {os.stat(path / name).st_mode for name in os.listdir(path)}


def test_workers_are_added_up(path, joined):
    """
    One process's snapshot has all workers' counters and histograms, and says who lives.
    """
    workers = [joined(number) for number in (1, 2, 4)]
    joined(0.5, spec=SECONDS)
    joined(5.0, spec=SECONDS)

    snapshot = Directory(path).snapshot()

    assert {("/a",): (7.0,)} == snapshot.families["hits_total"].cells
    assert {("/a",): (2.0, 5.5, 0.0, 1.0, 1.0, 0.0)} == snapshot.families["request_seconds"].cells
    assert [worker.pid for worker in workers] == [worker.pid for worker in snapshot.workers[:3]]
    assert [0, 1, 2, 3, 4] == [worker.slot for worker in snapshot.workers]
    assert (0, 0) == (snapshot.conflicts, snapshot.unreadable)


def test_a_slot_is_the_smallest_that_is_free(path, joined):
    """
    A worker takes the number of one that is dead, so that numbers are as few as workers.
    """
    workers = [joined() for _ in range(4)]
    workers[1].kill()
    workers[2].kill()

    assert [0, 1, 2, 3, 1, 2, 4] == [*(worker.slot for worker in workers), *(joined().slot for _ in range(3))]


def test_a_dead_worker_counts_and_his_gauges_do_not(path, joined):
    """
    What a killed worker has counted stays, and what he was in the middle of is gone.
    """
    worker = joined(3)
    joined(20, spec=TEMPERATURES["sum"], labels=("hall",)).kill()
    joined(21, spec=TEMPERATURES["sum"], labels=("hall",))
    worker.kill()
    directory = Directory(path)
    for _ in range(3):
        snapshot = directory.snapshot()

        assert {("/a",): (3.0,)} == snapshot.families["hits_total"].cells
        assert {("hall",): (21.0,)} == snapshot.families["temperature_sum"].cells
        assert 1 == len(snapshot.workers)


def test_the_files_of_dead_workers_become_one(path, joined):
    """
    After a snapshot that finds dead workers there is one file for all of them, and it is as good.
    """
    for _ in range(5):
        joined(1).kill()
        joined(0.5, spec=SECONDS).kill()
    live = joined(10)
    directory = Directory(path)
    before = directory.snapshot().families
    after, other = directory.snapshot().families, Directory(path).snapshot().families

    assert [FOLDED_FILE, f"worker-{live.slot}-{live.pid}"] == [name.rsplit("-", 1)[0] for name in names(path)]
    assert {("/a",): (15.0,)} == before["hits_total"].cells
    assert {("/a",): (5.0, 2.5, 0.0, 5.0, 0.0, 0.0)} == before["request_seconds"].cells
    assert before["hits_total"].cells == after["hits_total"].cells == other["hits_total"].cells
    assert before["request_seconds"].cells == after["request_seconds"].cells == other["request_seconds"].cells


@pytest.mark.parametrize("scraped", [False, True])
def test_restarts_leave_few_files(path, joined, scraped):
    """
    After 200 workers one after the other, scraped or not, there are a handful of files, and nothing is lost.
    """
    directory = Directory(path)
    for number in range(200):
        worker = joined(1)
        if scraped:
            assert number + 1 == hits(directory)
        worker.kill()

    assert len(names(path)) <= 1 + (1 if scraped else MAX_DEAD_FILES + 1)
    assert 200 == hits(directory)
    assert [FOLDED_FILE] == names(path)


def test_label_sets_of_the_dead_are_few(path, joined):
    """
    Workers that come and go with ever other labels leave so many label sets behind, and all that they counted.
    """
    for number in range(12):
        joined(1, labels=(f"/{number}",)).kill()
    directory = Directory(path, max_label_sets=5)
    directory.snapshot()
    cells = directory.snapshot().families["hits_total"].cells

    assert 6 == len(cells)
    assert 12 == sum(value for (value,) in cells.values())
    assert (7.0,) == cells["_OVERFLOW",]


def test_a_living_worker_is_never_folded(path, joined):
    """
    Many snapshots of many processes leave a living worker's file where it is, and see him count on.
    """
    worker = joined(1)
    [name] = names(path)
    for number in range(2, 20):
        in_child(lambda: Directory(path).snapshot())
        worker.say(1)
        worker.hear()

        assert number == hits(Directory(path))
    assert [name] == names(path)


def test_two_who_look_at_a_dead_worker_both_find_him_dead(path, joined):
    """
    Somebody who tests whether a worker is dead is not taken for the worker.
    """
    joined(1).kill()
    joined(20, spec=TEMPERATURES["sum"], labels=("hall",)).kill()
    for name in names(path):
        descriptor = os.open(path / name, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_SH)

        assert not is_in_use(path)
    snapshot = Directory(path).snapshot()

    assert [] == snapshot.workers
    assert ["hits_total"] == list(snapshot.families)


def test_a_child_does_not_keep_its_parent_alive(path, fork):
    """
    A worker who is killed is dead although a process that he forked lives on.
    """

    def work(worker):
        file = Directory(path).join()
        file.allocate(file.family(HITS, "hits_total"), ("/a",), 1)[0] = 1
        child = os.fork()
        if not child:
            worker.say(os.getpid())
        signal.pause()

    worker = fork(work)
    child = int(worker.hear())
    assert is_in_use(path)
    worker.kill()
    try:
        assert not is_in_use(path)
        assert [] == Directory(path).snapshot().workers
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("step", ["write_new_file", "rename", "unlink first", "unlink second"])
def test_a_folder_killed_at_any_step_changes_nothing(path, joined, fork, step):
    """
    Killed in a step of folding or between two, it loses no figure and counts none twice; the next one cleans up.
    """
    for amount in (1, 2, 4):
        joined(amount).kill()

    def work(worker):
        name, number = step.split()[0], 1 + step.endswith("second")
        place = module if name == "write_new_file" else os
        call, calls = getattr(place, name), iter(range(number))

        def die(*arguments):
            if next(calls) == number - 1:
                if name == "write_new_file":
                    call(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments)

        setattr(place, name, die)
        Directory(path).fold()

    assert -signal.SIGKILL == fork(work).wait()
    for _ in range(3):
        assert 7 == hits(Directory(path))
    joined(8).kill()
    for _ in range(3):
        assert 15 == hits(Directory(path))
    assert [FOLDED_FILE] == names(path)


def test_a_folder_who_is_stopped_holds_no_scrape_up(path, joined, fork):
    """
    While somebody has the lock and does nothing, others answer, with the same figures, and leave the files.
    """
    joined(1).kill()
    joined(2)

    def work(worker):
        with locked_file(path / "lock") as alone:
            worker.say(alone)
            signal.pause()

    folder = fork(work)
    assert "True" == folder.hear()
    directory = Directory(path)
    for _ in range(3):
        assert 3 == hits(directory)
        assert not directory.fold()
        assert 2 == len(names(path))
    folder.kill()
    assert 3 == hits(directory)
    assert FOLDED_FILE in names(path)


def test_figures_agree_and_never_go_back_while_everybody_dies(path, fork):
    """
    Workers count, and others scrape and fold, and all are killed at random: whoever scrapes sees no less than anybody
    saw before he began, and in the end all is there but for what workers were counting when they were killed.
    """
    workers, count, shared = 80, 3, memoryview(mmap.mmap(-1, 8 * 100)).cast("Q")
    seen, observed, wrong, over = 96, 97, 98, 99

    def count_up(index):
        def work(worker):
            file = Directory(path).join()
            hit = file.allocate(file.family(HITS, "hits_total"), ("/a",), 1)
            seconds = file.allocate(file.family(SECONDS, "request_seconds"), ("/a",), SIZE)
            worker.say("joined")
            while True:
                shared[index] += 1
                hit[0] += 1
                observe(seconds, 0.5)

        return work

    def scrape(worker):
        directory, number = Directory(path), 0
        while not shared[over]:
            before = shared[seen], shared[observed]
            families = directory.snapshot().families
            total = int(families["hits_total"].cells["/a",][0]) if "hits_total" in families else 0
            row = families["request_seconds"].cells["/a",] if "request_seconds" in families else (0.0, 0.0)
            if (total, row[0]) < before or row[0] < before[1] or row[0] != sum(row[2:]):
                shared[wrong] += 1
            shared[seen], shared[observed] = max(shared[seen], total), max(shared[observed], int(row[0]))
            number += 1
        worker.say(number)

    chance, counting, scraping = random.Random(7), [], [fork(scrape) for _ in range(count)]
    for index in range(workers):
        counting.append(fork(count_up(index)))
        counting[-1].hear()
        if len(counting) > count:
            counting.pop(chance.randrange(count)).kill()
        if not index % 4:
            scraping.pop(0).kill()
            scraping.append(fork(scrape))
    for worker in counting:
        worker.kill()
    shared[over] = 1
    numbers = [int(scraper.hear()) for scraper in scraping]
    counted, directory = sum(shared[:workers]), Directory(path)

    assert 0 == shared[wrong]
    assert min(numbers) > 0
    for _ in range(3):
        assert counted - workers <= hits(directory) <= counted
        assert counted - 2 * workers <= directory.snapshot().families["request_seconds"].cells["/a",][0] <= counted
    assert [FOLDED_FILE] == names(path)


def leave_one(path):
    """
    Run a worker that counts one and dies.
    """
    file = Directory(path).join()
    file.allocate(file.family(HITS, "hits_total"), ("/a",), 1)[0] = 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_fold_around_the_listing_changes_nothing(path, joined, monkeypatch, moment):
    """
    Somebody who folds just before the files are listed, or just after, neither hides a worker nor shows him twice.
    """
    joined(1).kill()
    joined(2)
    listed = os.listdir

    def fold_around(folder):
        if moment == "before":
            in_child(lambda: Directory(path).fold())
        found = listed(folder)
        if moment == "after":
            in_child(lambda: Directory(path).fold())
        return found

    monkeypatch.setattr(os, "listdir", fold_around)
    assert 3 == hits(Directory(path))
    assert FOLDED_FILE in names(path)


def test_a_snapshot_ends_although_others_fold_without_end(path):
    """
    When workers die and are folded again and again while files are read, the snapshot keeps others from folding.
    """
    folds = []

    class Disturbed(Directory):
        def _read_folded(self, snapshot):
            found = super()._read_folded(snapshot)
            folds.append(in_child(lambda: Directory(path).fold()))
            if folds[-1] == "True":
                in_child(lambda: leave_one(path))
            return found

    directory = Disturbed(path)
    in_child(lambda: leave_one(path))

    total = hits(directory)

    assert ["True"] * 8 + ["False"] == folds
    assert 9 == total


def broken(path, content, number=0, name=None):
    path.mkdir(mode=0o700, exist_ok=True)
    (path / (name or worker_name(number))).write_bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (TRUNCATED, "truncated"),
        (FOREIGN, "foreign"),
        (encode_file([], [])[: HEADER.size] + bytes(64), "corrupt"),
        (b"", "truncated"),
    ],
)
@pytest.mark.parametrize("name", [worker_name(), FOLDED_FILE])
def test_a_file_that_cannot_be_read_is_set_aside_and_counted(path, joined, content, reason, name):
    """
    A broken file is renamed, counted by what is wrong with it, and never an exception; the others count on.
    """
    broken(path, content, name=name)
    joined(1)
    directory = Directory(path)
    snapshot = directory.snapshot()

    assert {("/a",): (1.0,)} == snapshot.families["hits_total"].cells
    assert (1, {reason: 1}) == (snapshot.unreadable, directory.set_aside)
    assert [True, True] == [name.endswith((".bad", ".cells")) for name in names(path)]
    assert 0 == directory.snapshot().unreadable
    assert {reason: 1} == directory.set_aside


def test_a_folder_sets_aside_what_it_cannot_read(path, joined):
    """
    Folding, too, meets broken files.
    """
    joined(1).kill()
    broken(path, FOREIGN)
    broken(path, TRUNCATED, name=FOLDED_FILE)
    directory = Directory(path)

    assert directory.fold()
    assert {"foreign": 1, "truncated": 1} == directory.set_aside
    assert 1 == hits(directory)


def test_few_files_that_were_set_aside_are_kept(path):
    """
    A disk does not fill up with broken files.
    """
    directory = Directory(path)
    for number in range(MAX_BAD_FILES + 10):
        broken(path, FOREIGN, number)
        directory.snapshot()

    assert MAX_BAD_FILES == len(names(path))
    assert {"foreign": MAX_BAD_FILES + 10} == directory.set_aside


def newer(path):
    with open(path, "r+b") as file:
        head = file.read(HEADER.size)
        changed = bytearray(head)
        changed[8:12] = struct.pack("=I", 2)
        checksum = zlib.crc32(bytes(changed[: HEADER.size - 16]))
        changed[HEADER.size - 16 : HEADER.size - 8] = struct.pack("=I4x", checksum)
        file.seek(0)
        file.write(changed)


def test_a_newer_file_is_left_out_while_its_worker_lives(path, joined):
    """
    A worker of a newer version of the library keeps his file; once he is dead, it is set aside.
    """
    worker = joined(1)
    [name] = names(path)
    newer(path / name)
    directory = Directory(path)
    for _ in range(3):
        assert (1, {}) == ((snapshot := directory.snapshot()).unreadable, snapshot.families)
    assert [name] == names(path)
    worker.kill()
    directory.snapshot()
    assert {"newer": 1} == directory.set_aside


def test_links_pipes_and_folders_are_set_aside(path, joined):
    """
    What is named like a worker's file and is none holds nobody up.
    """
    joined(1)
    (path / worker_name(7)).symlink_to("/dev/zero")
    os.mkfifo(path / worker_name(8))
    (path / worker_name(9)).mkdir()
    directory = Directory(path)

    assert 1 == hits(directory)
    assert {"foreign": 3} == directory.set_aside


def test_other_files_are_left_alone(path, joined):
    """
    What is not named like one of ours is not read, counted or removed.
    """
    joined(1)
    (path / "notes.txt").write_text("mine")
    (path / "worker-x.cells").write_text("mine")
    directory = Directory(path)

    assert 1 == hits(directory)
    assert {} == directory.set_aside
    assert {"notes.txt", "worker-x.cells"} < set(names(path))


def test_what_was_on_the_way_is_removed(path, joined):
    """
    Files whose makers were killed go with the next folding, those of the living and the recent stay.
    """
    joined(1).kill()
    for name, age in (("worker-0-1-a.tmp", 3600), ("worker-0-1-b.tmp", 0), ("folded-c.tmp", 0)):
        (path / name).write_bytes(b"")
        os.utime(path / name, (time.time() - age,) * 2)
    Directory(path).fold()

    assert [FOLDED_FILE, "worker-0-1-b.tmp"] == names(path)


def test_a_worker_makes_his_file_again_when_it_goes_away(path, monkeypatch):
    """
    Somebody who takes a file for a left-over before it is locked does not keep a worker from joining.
    """
    rename, gone = os.rename, []

    def unlink_first(source, target):
        if len(gone) < 2:
            gone.append(os.unlink(source))
        rename(source, target)

    monkeypatch.setattr(os, "rename", unlink_first)
    file = Directory(path).join()

    assert [file.path] == [str(path / name) for name in names(path)]
    file.close()


def test_own_figures_count_although_the_directory_is_gone(path, joined):
    """
    When somebody clears the directory, a worker's own figures are on his page, and the next worker makes it again.
    """
    directory = Directory(path)
    own = directory.join()
    own.allocate(own.family(HITS, "hits_total"), ("/a",), 1)[0] = 5
    assert 5 == hits(directory, own)
    for name in os.listdir(path):
        (path / name).unlink()
    path.rmdir()

    assert 5 == hits(directory, own)
    assert 0 == hits(directory)
    joined(1)
    assert 6 == hits(directory, own)
    own.close()
    assert 1 == hits(directory, own)


FULL = """
import os, sys
from obskit.metrics.directory import Directory
from obskit.metrics.cell_file import CellSpaceError
from workers import HITS
path = sys.argv[1]
directory = Directory(path + "/instance")
first = directory.join()
first.allocate(first.family(HITS, "hits_total"), ("/a",), 1)[0] = 1
first.close()
with open(path + "/ballast", "wb", buffering=0) as ballast:
    try:
        while True:
            ballast.write(bytes(4096))
    except OSError:
        pass
try:
    directory.join()
except CellSpaceError as error:
    print(error.errno)
for _ in range(2):
    print(directory.snapshot().families["hits_total"].cells, len(os.listdir(path + "/instance")))
os.unlink(path + "/ballast")
directory.snapshot()
print(directory.snapshot().families["hits_total"].cells, sorted(os.listdir(path + "/instance")))
"""


@pytest.mark.parametrize("mount", MOUNTS["full"])
def test_a_full_disk_keeps_figures_where_they_are(tmp_path, mount):
    """
    When there is no room to fold, the dead workers' files are read one by one; with room again, they are folded.
    """
    shown = "{('/a',): (1.0,)}"
    assert ["28", f"{shown} 3", f"{shown} 3", f"{shown} ['folded.cells', 'lock', 'slots']"] == run(
        FULL, tmp_path, mount=mount
    ).splitlines()


READ_ONLY = """
import os, subprocess, sys
from obskit.metrics.directory import Directory
from obskit.metrics.cell_file import CellSpaceError
from workers import HITS
path = sys.argv[1]
directory = Directory(path + "/instance")
first = directory.join()
first.allocate(first.family(HITS, "hits_total"), ("/a",), 1)[0] = 1
first.close()
subprocess.run(["mount", "-o", "remount,ro", path], check=True)
print(directory.snapshot().families["hits_total"].cells)
for attempt in (directory.join, lambda: Directory(path + "/other")):
    try:
        attempt()
    except OSError as error:
        print(type(error).__name__, error.errno)
"""


@pytest.mark.parametrize("mount", MOUNTS["full"])
def test_a_disk_that_becomes_read_only_is_read(tmp_path, mount):
    """
    Without the right to write, figures are shown and not folded, and joining is an error that says so.
    """
    assert ["{('/a',): (1.0,)}", "CellSpaceError 30", "DirectoryError 30"] == run(
        READ_ONLY, tmp_path, mount=mount
    ).splitlines()


def test_folding_within_a_quota_gives_up_quietly(path, joined):
    """
    Where a process may not write a file as long as the folded one, it still shows the figures.
    """
    for number in range(3):
        joined(1, labels=(f"/{number}" + "x" * 60_000,)).kill()

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        directory = Directory(path)
        return [len(directory.snapshot().families["hits_total"].rows) for _ in range(2)], directory.fold()

    assert "([3, 3], False)" == in_child(work)
    assert 3 == len(names(path))


def test_the_newest_workers_metric_is_shown(path, joined):
    """
    Where workers disagree about a metric, as while a new release rolls out, the newest's is shown, by everybody.
    """
    other = Metric("hits_total", "counter", "Hits.", ("path", "method"))
    joined(1)
    joined(2, spec=other, labels=("/a", "GET"))
    joined(4)
    newest = joined(8, spec=other, labels=("/a", "GET"))
    for _ in range(2):
        snapshot = Directory(path).snapshot()

        assert {("/a", "GET"): (10.0,)} == snapshot.families["hits_total"].cells
        assert 2 == snapshot.conflicts
    newest.kill()
    assert {("/a",): (5.0,)} == Directory(path).snapshot().families["hits_total"].cells
    assert 1 == len([name for name in names(path) if name == FOLDED_FILE])


def test_a_row_that_has_not_changed_is_the_same_object(path, joined):
    """
    What was rendered of a row may be kept until the row is another.
    """
    joined(1, labels=("/a",))
    worker = joined(1, labels=("/b",))
    directory = Directory(path)
    first = directory.snapshot().families["hits_total"].cells
    worker.say(1)
    worker.hear()
    second = directory.snapshot().families["hits_total"].cells

    assert first["/a",] is second["/a",]
    assert [(1.0,), (2.0,)] == [first["/b",], second["/b",]]


def test_exemplars_of_all_workers_are_there_when_asked_for(path, fork):
    """
    A snapshot has the latest exemplar of each bucket of living workers, and none when they are not asked for.
    """

    def start(value):
        def work(worker):
            file = Directory(path).join()
            number = file.family(SECONDS, "request_seconds")
            observe(file.allocate(number, ("/a",), SIZE), 0.5)
            file.allocate_exemplars(number, ("/a",), 4).put(1, "a" * 32, value, value)
            worker.say("joined")
            signal.pause()

        fork(work).hear()

    for value in (3.0, 5.0, 4.0):
        start(value)
    directory = Directory(path)

    families = directory.snapshot(exemplars=True).families
    assert {("/a",): {1: ("a" * 32, 5.0, 5.0)}} == families["request_seconds"].exemplars
    assert {} == directory.snapshot().families["request_seconds"].exemplars


def test_threads_may_scrape_at_once(path, joined):
    """
    Snapshots by several threads of one process are each right.
    """
    worker = joined(1)
    directory, wrong = Directory(path), []

    def scrape():
        for _ in range(100):
            if hits(directory) != 1:
                wrong.append(1)

    joined(0).kill()
    threads = [threading.Thread(target=scrape) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == wrong
    assert worker.pid


def test_a_child_forked_during_a_scrape_can_scrape(path, joined):
    """
    A forked child does not wait for a lock that a thread of its parent held.
    """
    joined(1)
    directory = Directory(path)
    with directory._lock:
        assert "1.0" == in_child(lambda: hits(directory))


def test_figures_stay_while_no_file_can_be_opened(path, joined):
    """
    A process that has used up its descriptors shows the others' figures as they were, and its own as they are.
    """
    joined(4).kill()
    joined(8)

    def work():
        directory = Directory(path)
        own = directory.join()
        cell = own.allocate(own.family(HITS, "hits_total"), ("/a",), 1)
        before = hits(directory, own)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        cell[0] = 1
        during, unreadable = hits(directory, own), directory.snapshot(own).unreadable
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        cell[0] = 2
        return before, during, unreadable, hits(directory, own), directory.set_aside

    assert "(12.0, 13.0, 1, 14.0, {})" == in_child(work)


def test_figures_stay_while_one_file_is_refused(path, joined, monkeypatch):
    """
    A file that the system does not give out for a while counts as it was read last.
    """
    joined(4)
    refused = joined(8)
    directory, opened = Directory(path), os.open
    assert 12 == hits(directory)

    def refuse(name, *arguments):
        if f"-{refused.pid}-" in str(name):
            raise PermissionError(13, "refused")
        return opened(name, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    assert 12 == hits(directory)
    assert 1 == directory.snapshot().unreadable
    assert 4 == hits(Directory(path))
    assert {} == directory.set_aside


def test_joining_without_descriptors_is_told(path):
    """
    A worker that can open no file is told so by the error that he expects.
    """

    def work():
        directory = Directory(path)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        with pytest.raises(CellSpaceError):
            directory.join()
        return "told"

    assert "told" == in_child(work)
