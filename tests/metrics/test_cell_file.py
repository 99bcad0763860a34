"""
A worker's file: what is written is what others read, whatever happens to the writer, the disk or the bytes.
"""

import ctypes
import errno
import os
import random
import resource
import signal
import struct
import threading
import zlib

import pytest

from forked import in_child
from obskit.catalogue import Metric
from obskit.metrics.cell_file import CHUNK, CellFile, CellSpaceError
from obskit.metrics.cell_format import (
    ABSENT,
    CELL_KIND,
    FAMILY_KIND,
    HEADER,
    MAX_FILE_BYTES,
    RECORD_HEADER,
    USED_OFFSET,
    CellFileError,
    Exemplar,
    encode_cell,
    encode_family,
    encode_header,
    encode_json,
)
from obskit.metrics.reader import Reader
from workers import HITS, MOUNTS, PLAIN, SECONDS, SIZE, TEMPERATURES, observe, run

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def file(tmp_path):
    file = CellFile.create(tmp_path / "a.cells", slot=3)
    yield file
    file.close()


def histogram(file, *labels, name="app_request_seconds"):
    return file.allocate(file.family(SECONDS, name), labels, SIZE)


def counter(file, *labels):
    return file.allocate(file.family(HITS, "app_hits_total"), labels, 1)


def read(path, reader=None, **options):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return (reader or Reader()).read(descriptor, **options)
    finally:
        os.close(descriptor)


def figures(path, **options):
    """
    Return name -> labels -> doubles, as another process would read them.
    """
    return {family.name: dict(zip(family.keys, family.rows, strict=True)) for family in read(path, **options).families}


def test_what_is_written_is_what_is_read(file):
    """
    Every kind of metric comes back with its description, its labels and its figures.
    """
    observe(histogram(file, "/a"), 0.5)
    counter(file, "/b")[0] = 7.5
    file.allocate(file.family(PLAIN, "plain_total"), (), 1)[0] = 2
    latest = file.allocate(file.family(TEMPERATURES["latest"], "temperature"), ("hall",), 2)
    latest[0], latest[1] = -3.5, 1000.0

    contents = read(file.path)

    assert (os.getpid(), 3) == (contents.pid, contents.slot)
    assert [SECONDS, HITS, PLAIN, TEMPERATURES["latest"]] == [family.spec for family in contents.families]
    assert {
        "app_request_seconds": {("/a",): (1.0, 0.5, 0.0, 1.0, 0.0, 0.0)},
        "app_hits_total": {("/b",): (7.5,)},
        "plain_total": {(): (2.0,)},
        "temperature": {("hall",): (-3.5, 1000.0)},
    } == figures(file.path)


@pytest.mark.parametrize("name", ["queue", "queue_ms"])
def test_a_unit_comes_back(file, name):
    """
    The unit that a metric was given is read with it, whatever its name on the page says.
    """
    spec = Metric("queue", "gauge", "Waiting.", unit="plates")
    file.allocate(file.family(spec, name), (), 1)

    assert ["plates"] == [family.spec.unit for family in read(file.path).families]


@pytest.mark.parametrize("label", ["", " ", '"', "\\", "\n", "\0", "é", "\U0001f600", "\ud800", "x" * 100_000, '"],["'])
def test_any_label_comes_back(file, label):
    """
    A label value may be any text, of any length, and changes nothing about the cell after it.
    """
    counter(file, label)[0] = 1
    counter(file, "after")[0] = 2

    assert {(label,): (1.0,), ("after",): (2.0,)} == figures(file.path)["app_hits_total"]


def test_a_cell_is_zero_aligned_and_of_its_size(file):
    """
    A cell is a writable memoryview of doubles at a multiple of eight, all zero, wherever its labels end.
    """
    for length in range(9):
        cell = histogram(file, "x" * length)

        assert ("d", SIZE, [0.0] * SIZE) == (cell.format, len(cell), cell.tolist())
        assert 0 == ctypes.addressof(ctypes.c_char.from_buffer(cell)) % 8


def test_the_same_cell_is_given_again(file):
    """
    A label set has one cell, and a metric under one name has one number.
    """
    counter(file, "/a")[0] = 5

    assert [5.0] == counter(file, "/a").tolist()
    assert {("/a",): (5.0,)} == figures(file.path)["app_hits_total"]


def test_cells_stay_in_place_while_the_file_grows(file):
    """
    A cell's memoryview is good after the file has grown through all sizes of chunks, to its last one.
    """
    cells = [counter(file, f"/{number}") for number in range(30_000)]
    for number, cell in enumerate(cells):
        cell[0] = number

    assert {(f"/{number}",): (float(number),) for number in range(30_000)} == figures(file.path)["app_hits_total"]
    assert os.stat(file.path).st_size % CHUNK == 0


def test_a_cell_larger_than_a_chunk_has_one_of_its_own(file):
    """
    A label set or a histogram that is longer than a chunk is kept like any other.
    """
    wide = Metric("wide", "histogram", "Wide.", buckets=tuple(map(float, range(20_000))))
    cell = file.allocate(file.family(wide, "wide"), (), 20_003)
    observe(cell, 7.0, wide.buckets)
    counter(file, "/after")[0] = 1

    assert (1.0, 7.0) == figures(file.path)["wide"][()][:2]
    assert {("/after",): (1.0,)} == figures(file.path)["app_hits_total"]


def test_space_is_there_before_it_is_written(file):
    """
    The blocks of a chunk are reserved when it is mapped: writing its pages needs no more of the disk.
    """
    assert os.stat(file.path).st_blocks * 512 >= os.stat(file.path).st_size == CHUNK


def test_a_file_ends_at_its_limit(tmp_path):
    """
    A full file says so, as often as it is asked, and keeps what it has.
    """
    file = CellFile.create(tmp_path / "a.cells", limit=2 * CHUNK)
    given = []

    def fill():
        while True:
            given.append(counter(file, f"/{len(given)}"))

    for _ in range(3):
        with pytest.raises(CellSpaceError, match=f"has reached its limit of {2 * CHUNK} bytes"):
            fill()

    assert len(given) == len(figures(file.path)["app_hits_total"]) > 1000
    assert 2 * CHUNK == os.stat(file.path).st_size
    file.close()


def test_a_closed_file_takes_nothing_more(file):
    """
    An allocation after the end is an error of the same class, and a cell that somebody still holds can be written.
    """
    cell = counter(file, "/a")
    cell[0] = 1
    file.close()
    cell[0] = 2
    with pytest.raises(CellSpaceError, match="closed"):
        counter(file, "/b")
    with pytest.raises(CellSpaceError, match="closed"):
        file.family(PLAIN, "plain_total")
    with pytest.raises(CellSpaceError, match="closed"):
        file.allocate_exemplars(0, ("/a",), 1)

    assert -1 == file.descriptor


FULL = """
import os, signal, sys
from obskit.metrics.cell_file import CellFile, CellSpaceError
from obskit.metrics.reader import Reader
from workers import HITS
file = CellFile.create(sys.argv[1] + "/a.cells")
number = file.family(HITS, "hits_total")
cells = []
try:
    while True:
        cells.append(file.allocate(number, (f"/{len(cells)}",), 1))
except CellSpaceError as error:
    what = error
for _ in range(3):  # and it stays that way
    try:
        file.allocate(number, ("x" * 2000,), 1)
    except CellSpaceError:
        pass
for cell in cells:
    cell[0] = 1
[family] = Reader().read(file.descriptor).families
print(what.errno, len(family.keys) == len(cells) > 500, set(family.rows))
"""


# macOS has no call that reserves space, nor have some file systems; zeros are written then.
RESERVED = ["", "import os\ndel os.posix_fallocate\n"]


@pytest.mark.parametrize("way", RESERVED)
def test_a_full_quota_leaves_the_file_whole(tmp_path, way):
    """
    Where the system allows no more bytes, the allocation is refused, and every cell that was given out counts.
    """

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5 * CHUNK, 5 * CHUNK))

    assert f"{errno.EFBIG} True {{(1.0,)}}" == run(way + FULL, tmp_path, before=limit)


@pytest.mark.parametrize("way", RESERVED)
@pytest.mark.parametrize("mount", MOUNTS["full"])
def test_a_full_disk_leaves_the_file_whole(tmp_path, mount, way):
    """
    On a disk that is full, the allocation is refused, and every cell that was given out counts: no SIGBUS.
    """
    assert f"{errno.ENOSPC} True {{(1.0,)}}" == run(way + FULL, tmp_path, mount=mount)


REFUSED = """
import sys
from obskit.metrics.cell_file import CellFile, CellSpaceError
try:
    CellFile.create(sys.argv[1] + "/a.cells")
except CellSpaceError as error:
    print(error.errno, error.filename)
"""


@pytest.mark.parametrize("mount", MOUNTS["read-only"])
def test_a_read_only_disk_is_told(tmp_path, mount):
    """
    A file that cannot be made is an error of the same class, and says where.
    """
    assert f"{errno.EROFS} {tmp_path}/a.cells" == run(REFUSED, tmp_path, mount=mount)


def test_a_forbidden_directory_is_told(tmp_path):
    """
    A directory without the right to write is an error of the same class, and no file is left.
    """
    tmp_path.chmod(0o500)

    def work():
        if os.geteuid() == 0:
            for folder in (tmp_path, *tmp_path.parents[:-2]):
                folder.chmod(folder.stat().st_mode | 0o055)
            os.setuid(65534)
        with pytest.raises(CellSpaceError) as caught:
            CellFile.create(tmp_path / "a.cells")
        return caught.value.errno

    assert str(errno.EACCES) == in_child(work)
    tmp_path.chmod(0o700)
    assert [] == list(tmp_path.iterdir())


def test_a_file_that_is_there_is_left_alone(tmp_path):
    """
    A worker never writes into a file that he did not make, nor through a link.
    """
    (tmp_path / "a").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "other")
    for name in ("a", "link"):
        with pytest.raises(CellSpaceError) as caught:
            CellFile.create(tmp_path / name)

        assert errno.EEXIST == caught.value.errno
    assert "precious" == (tmp_path / "a").read_text()
    assert not (tmp_path / "other").exists()


def test_updates_of_many_threads_are_exact(file):
    """
    Eight threads times 2,000 updates under the cell's lock are 16,000, in sum, count and buckets, for another process.
    """
    cell, lock = histogram(file, "/a"), threading.Lock()

    def update():
        for number in range(2000):
            with lock:
                observe(cell, (0.0625, 0.5, 5.0, 50.0)[number % 4])

    threads = [threading.Thread(target=update) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    [told] = {in_child(lambda: figures(file.path)["app_request_seconds"][("/a",)])}
    assert str((16_000.0, 4000 * 55.5625, 4000.0, 4000.0, 4000.0, 4000.0)) == told


def test_allocations_of_many_threads_are_cells_of_their_own(file):
    """
    Threads that make label sets at the same time get each their own, and one for the same.
    """

    def work(name):
        for number in range(500):
            counter(file, f"/{name}/{number}")[0] = 1
            counter(file, f"/{number}")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 4 * 500 + 500 == len(figures(file.path)["app_hits_total"])
    assert 2000 == sum(value for (value,) in figures(file.path)["app_hits_total"].values())


def test_no_reader_sees_half_an_update(file, fork):
    """
    While another process updates without a pause, 500 different readings each have sum, count and buckets of the same
    observations; where the system stops the writer in mid-update for long, count and buckets still.
    """
    cells = [histogram(file, f"/{number}") for number in range(40)]

    def work(worker):
        number = 0
        while True:
            observe(cells[number % 40], 0.25)
            number += 1

    fork(work)  # the child writes the parent's cells: the mapping is shared
    reader, last, moved = Reader(), [0.0] * 40, 0
    while moved < 500:
        contents = reader.read(file.descriptor)
        rows = contents.families[0].rows
        counts = [row[0] for row in rows]

        assert counts == [sum(row[2:]) for row in rows]
        assert contents.repaired >= sum(counts) - sum(row[1] for row in rows) / 0.25 >= 0
        assert all(map(float.__ge__, counts, last))
        moved += counts != last
        last = counts


@pytest.mark.parametrize("stores", [0, 1, 2, 3])
def test_a_writer_killed_in_mid_update_leaves_a_whole_cell(tmp_path, fork, stores):
    """
    Killed after any of the three stores of an update, the count is what the buckets add up to.
    """

    def work(worker):
        cell = histogram(CellFile.create(tmp_path / "a.cells"), "/a")
        observe(cell, 0.5)
        for index, amount in ((3, 1.0), (1, 0.5), (0, 1.0))[:stores]:
            cell[index] += amount
        worker.say("written")
        signal.pause()

    worker = fork(work)
    worker.hear()
    for final in (False, True):
        contents = read(tmp_path / "a.cells", final=final)
        count, total, *buckets = contents.families[0].rows[0]

        assert (1 + (stores > 0), [0, 1 + (stores > 0), 0, 0]) == (count, buckets)
        assert 0.5 + 0.5 * (stores > 1) == total
        assert (stores in (1, 2)) == contents.repaired
        if not final:
            worker.kill()


def test_a_record_that_is_half_written_is_not_seen(tmp_path, fork):
    """
    A writer that dies while he writes a record leaves a file that ends before it.
    """

    def work(worker):
        file = CellFile.create(tmp_path / "a.cells")
        counter(file, "/a")[0] = 1
        at = file._used[0]
        file._chunk[at : at + 30] = encode_cell(0, ("/b",), bytes(8))[0][:30]
        os.kill(os.getpid(), signal.SIGKILL)

    fork(work).wait()

    assert {("/a",): (1.0,)} == figures(tmp_path / "a.cells")["app_hits_total"]


def test_exemplars_come_back_and_torn_ones_do_not(file):
    """
    Each bucket has the last exemplar that was put there; one that is half written is left out.
    """
    histogram(file, "/a")
    exemplars = file.allocate_exemplars(file.family(SECONDS, "app_request_seconds"), ("/a",), 4)
    for value in (0.2, 0.3):
        exemplars.put(1, TRACE, value, 1000.0 + value)
    exemplars.put(2, TRACE, 2.0, 1002.0)
    reader = Reader()
    whole = read(file.path, reader, exemplars=True).families[0].exemplars
    exemplars._view[2 * 56 + 5] ^= 1
    torn = read(file.path, reader, exemplars=True).families[0].exemplars

    assert {0: {1: Exemplar(TRACE, 0.3, 1000.3), 2: Exemplar(TRACE, 2.0, 1002.0)}} == whole
    assert {0: {1: Exemplar(TRACE, 0.3, 1000.3)}} == torn
    assert {} == read(file.path).families[0].exemplars


def test_a_forked_child_lets_go(tmp_path, fork):
    """
    A child that lives on does not hold its parent's lock, can write nothing into its file, and can make its own.
    """
    probe = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB); print('free')"

    def parent(worker):
        file = CellFile.create(tmp_path / "a.cells")
        counter(file, "/a")[0] = 1
        if os.fork():
            worker.say("forked")
            signal.pause()
        with pytest.raises(CellSpaceError):
            counter(file, "/b")
        counter(CellFile.create(tmp_path / "child.cells"), "/c")[0] = 1
        worker.say(os.getpid())
        signal.pause()

    worker = fork(parent)
    said = {worker.hear(), worker.hear()} - {"forked"}
    worker.kill()
    try:
        assert "free" == run(probe, tmp_path / "a.cells")
        assert {"app_hits_total": {("/a",): (1.0,)}} == figures(tmp_path / "a.cells")
        assert {"app_hits_total": {("/c",): (1.0,)}} == figures(tmp_path / "child.cells")
    finally:
        os.kill(int(said.pop()), signal.SIGKILL)


def test_a_file_takes_few_descriptors_and_gives_them_back(tmp_path):
    """
    Descriptors are not inherited by programs, and are all closed when the last cell is forgotten.
    """
    before = set(os.listdir("/dev/fd"))
    file = CellFile.create(tmp_path / "a.cells")
    cells = [counter(file, f"/{number}") for number in range(5000)]
    during = {int(name) for name in set(os.listdir("/dev/fd")) - before}
    inheritable = [number for number in during if _is_open(number) and os.get_inheritable(number)]
    file.close()
    del cells

    assert [] == inheritable
    assert before == set(os.listdir("/dev/fd"))


def _is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def test_only_what_has_changed_is_taken_again(file):
    """
    A cell that has not changed is the same object in the next reading; the changed and the new are others.
    """
    cells = [histogram(file, f"/{number}") for number in range(1000)]
    for cell in cells:
        observe(cell, 0.5)
    reader = Reader()
    first = list(read(file.path, reader).families[0].raws)
    observe(cells[7], 0.5)
    observe(histogram(file, "/new"), 5.0)
    second = list(read(file.path, reader).families[0].raws)

    assert [7] == [number for number, raw in enumerate(first) if second[number] is not raw]
    assert (2.0, 1.0, 0.0, 2.0, 0.0, 0.0) == figures(file.path)["app_request_seconds"][("/7",)]
    assert (1.0, 5.0, 0.0, 0.0, 1.0, 0.0) == figures(file.path)["app_request_seconds"][("/new",)]


def test_another_file_in_the_same_place_is_read_anew(tmp_path):
    """
    What was learnt of a file is not believed of the next.
    """
    reader = Reader()
    for name in ("/a", "/b"):
        file = CellFile.create(tmp_path / "a.cells")
        counter(file, name)[0] = 1

        assert [(name,)] == list(read(file.path, reader).families[0].keys)
        file.close()
        os.unlink(file.path)


def test_sums_may_be_anything_and_counts_may_not(file):
    """
    A histogram's sum may be negative, infinite or no number, as what was observed was.
    """
    for number, value in enumerate((-5.0, float("inf"), float("nan"))):
        cell = histogram(file, f"/{number}")
        observe(cell, 0.5)
        cell[1] = value

    rows = figures(file.path)["app_request_seconds"]
    assert ["-5.0", "inf", "nan"] == [str(row[1]) for row in rows.values()]
    assert [1.0] * 3 == [row[0] for row in rows.values()]


def parts(*records, used=None):
    """
    Make a file of these records.
    """
    body = b"".join(records)
    return encode_header(0, HEADER.size + len(body) if used is None else used) + body


def with_crc(head, offset, packed):
    """
    Change a field of a header, checksum included.
    """
    changed = head[:offset] + packed + head[offset + len(packed) :]
    return (
        changed[: USED_OFFSET - 8] + struct.pack("=I4x", zlib.crc32(changed[: USED_OFFSET - 8])) + changed[USED_OFFSET:]
    )


def doubles(*values):
    return struct.pack(f"={len(values)}d", *values)


def cell(*values, labels=("/a",), family=0):
    return encode_cell(family, labels, doubles(*values))[0]


COUNTER, HISTOGRAM = encode_family(HITS, "hits_total"), encode_family(SECONDS, "seconds")
DESCRIPTION = {
    "name": "hits_total",
    "spec": "hits_total",
    "kind": "counter",
    "help": "Hits.",
    "labels": ["path"],
    "buckets": [],
    "workers": "sum",
    "prefixed": True,
}
BROKEN = {
    "nothing": (b"", "truncated"),
    "half a header": (parts()[:20], "truncated"),
    "text": (b"worker,figures\n" * 100, "foreign"),
    "zeros": (bytes(CHUNK), "foreign"),
    "the other byte order": (with_crc(parts(), 12, struct.pack("=I", 0x04030201)), "foreign"),
    "a newer version": (with_crc(parts(), 8, struct.pack("=I", 2)), "newer"),
    "version 0": (with_crc(parts(), 8, struct.pack("=I", 0)), "corrupt"),
    "a header that was changed": (parts()[:20] + b"\xff" + parts()[21:], "corrupt"),
    "fewer bytes than are used": (parts(COUNTER, cell(1.0))[:-8], "truncated"),
    "more bytes than can be": (parts(used=2**60), "corrupt"),
    "an odd number of bytes": (parts(COUNTER, used=HEADER.size + 3), "corrupt"),
    "an end within a record": (parts(COUNTER, used=HEADER.size + 16), "corrupt"),
    "an unknown record": (parts(encode_json(b"WHAT", {})), "corrupt"),
    "a record of no size": (parts(RECORD_HEADER.pack(CELL_KIND, 0) + bytes(64)), "corrupt"),
    "a record of an odd size": (parts(RECORD_HEADER.pack(CELL_KIND, 9) + bytes(64)), "corrupt"),
    "text that was changed": (parts(COUNTER.replace(b"hits", b"hats")), "corrupt"),
    "text that is no JSON": (parts(encode_json(FAMILY_KIND, "").replace(b'""', b"{{")), "corrupt"),
    "JSON that is no metric": (parts(encode_json(FAMILY_KIND, [1, 2])), "corrupt"),
    "a metric without a name": (parts(encode_json(FAMILY_KIND, {**DESCRIPTION, "name": None})), "corrupt"),
    "a metric with a bad name": (parts(encode_json(FAMILY_KIND, {**DESCRIPTION, "name": "no name"})), "corrupt"),
    "a metric of an unknown kind": (parts(encode_json(FAMILY_KIND, {**DESCRIPTION, "kind": "poll"})), "corrupt"),
    "a unit that is no word": (parts(encode_json(FAMILY_KIND, {**DESCRIPTION, "unit": "a b"})), "corrupt"),
    "a unit that is no text": (parts(encode_json(FAMILY_KIND, {**DESCRIPTION, "unit": 5})), "corrupt"),
    "a gauge that adds up oddly": (parts(encode_json(FAMILY_KIND, {**DESCRIPTION, "workers": "avg"})), "corrupt"),
    "a metric with odd labels": (parts(encode_json(FAMILY_KIND, {**DESCRIPTION, "labels": 5})), "corrupt"),
    "buckets that go down": (parts(encode_json(FAMILY_KIND, {**DESCRIPTION, "buckets": [2, 1]})), "corrupt"),
    "buckets of text": (parts(encode_json(FAMILY_KIND, {**DESCRIPTION, "buckets": ["x"]})), "corrupt"),
    "a cell of no metric": (parts(cell(1.0)), "corrupt"),
    "a cell of another size": (parts(COUNTER, cell(1.0, 2.0, 3.0)), "corrupt"),
    "cells of two sizes": (parts(COUNTER, cell(1.0), cell(1.0, 2.0)), "corrupt"),
    "a cell with more labels": (parts(COUNTER, cell(1.0, labels=("/a", "/b"))), "corrupt"),
    "labels that are numbers": (parts(COUNTER, cell(1.0, labels=(1,))), "corrupt"),
    "labels that are a text": (parts(COUNTER, cell(1.0, labels="a")), "corrupt"),
    "labels that were changed": (parts(COUNTER, cell(1.0).replace(b"/a", b"/b")), "corrupt"),
    "a counter below zero": (parts(COUNTER, cell(-1.0)), "corrupt"),
    "a counter that is no number": (parts(COUNTER, cell(float("nan"))), "corrupt"),
    "a counter whose rest is no number": (parts(COUNTER, cell(1.0, float("nan"))), "corrupt"),
    "a histogram whose rest is no number": (
        parts(HISTOGRAM, cell(1.0, 0.5, 1.0, 0.0, 0.0, 0.0, float("nan"))),
        "corrupt",
    ),
    "a bucket below zero": (parts(HISTOGRAM, cell(1.0, 0.5, 2.0, -1.0, 0.0, 0.0)), "corrupt"),
    "a bucket that is no number": (parts(HISTOGRAM, cell(1.0, 0.5, float("nan"), 0.0, 0.0, 0.0)), "corrupt"),
    "an infinite bucket": (parts(HISTOGRAM, cell(float("inf"), 0.5, float("inf"), 0.0, 0.0, 0.0)), "corrupt"),
    "half an observation": (parts(HISTOGRAM, cell(1.0, 0.5, 0.5, 0.0, 0.0, 0.0)), "corrupt"),
    "more observations than buckets have": (parts(HISTOGRAM, cell(9.0, 0.5, 1.0, 0.0, 0.0, 0.0)), "corrupt"),
    "folded names that are no texts": (parts(encode_json(b"DONE", [1])), "corrupt"),
    "exemplars of no cell": (parts(COUNTER, encode_json(b"EXEM", "xxxxxxxxxxxxxx")), "corrupt"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_says_what_is_wrong(tmp_path, what):
    """
    A file that is truncated, foreign, newer or corrupt raises one error that says which, and nothing else.
    """
    content, reason = BROKEN[what]
    (tmp_path / "a.cells").write_bytes(content)
    for final in (False, True):
        with pytest.raises(CellFileError, match=f"^{reason}: ") as caught:
            read(tmp_path / "a.cells", final=final)

        assert reason == caught.value.reason


def test_nested_text_is_no_crash(tmp_path):
    """
    JSON that is nested beyond the interpreter's depth is a corrupt file.
    """
    text = b"[" * 200_000
    body = struct.pack("=II", zlib.crc32(text), len(text)) + text
    (tmp_path / "a.cells").write_bytes(parts(RECORD_HEADER.pack(FAMILY_KIND, RECORD_HEADER.size + len(body)) + body))

    with pytest.raises(CellFileError, match="corrupt"):
        read(tmp_path / "a.cells")


def test_a_damaged_length_is_no_allocation(tmp_path):
    """
    A sparse file that claims more than any worker writes is refused before it is read.
    """
    path = tmp_path / "a.cells"
    path.write_bytes(parts(used=64 * MAX_FILE_BYTES))
    os.truncate(path, 64 * MAX_FILE_BYTES)

    with pytest.raises(CellFileError, match="corrupt"):
        read(path)


def test_a_pipe_is_no_file(tmp_path):
    """
    What is no regular file is foreign.
    """
    reader, writer = os.pipe()
    try:
        with pytest.raises(CellFileError, match="foreign"):
            Reader().read(reader)
    finally:
        os.close(reader)
        os.close(writer)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """
    Return the bytes of a small file with one of everything.
    """
    file = CellFile.create(tmp_path_factory.mktemp("sound") / "a.cells")
    for path in ("/a", "/b"):
        observe(histogram(file, path), 0.5)
        file.allocate_exemplars(file.family(SECONDS, "app_request_seconds"), (path,), 4).put(1, TRACE, 0.5, 1000.0)
        counter(file, path)[0] = 3
    for how, spec in TEMPERATURES.items():
        file.allocate(file.family(spec, spec.name), ("hall",), 1 + (how == "latest"))[0] = ABSENT
    with open(file.path, "rb") as content:
        packed = content.read(file._used[0])
    file.close()
    return packed


@pytest.mark.parametrize("seed", range(20))
def test_random_damage_never_does_more_than_raise(tmp_path, sound, seed):
    """
    Flipped bytes, bits, holes, copies and cuts give a reading or the one error, with a fresh reader and a used one.
    """
    chance, outcomes, used = random.Random(seed), set(), Reader()
    path = tmp_path / "a.cells"
    for _ in range(150):
        damaged = bytearray(sound)
        for _ in range(chance.choice((1, 1, 2, 10))):
            at, length = chance.randrange(len(damaged)), chance.choice((1, 4, 8, 64))
            match chance.randrange(5):
                case 0:
                    damaged[at] ^= 1 << chance.randrange(8)
                case 1:
                    damaged[at : at + length] = chance.randbytes(length)
                case 2:
                    damaged[at : at + length] = bytes(length)
                case 3:
                    source = chance.randrange(len(damaged))
                    damaged[at : at + length] = damaged[source : source + length]
                case 4:
                    del damaged[max(at, HEADER.size) :]
        path.write_bytes(damaged)
        for reader in (used, Reader()):
            try:
                outcomes.add(type(read(path, reader, final=chance.random() < 0.5, exemplars=True)).__name__)
            except CellFileError as error:
                outcomes.add(error.reason)

    assert (
        {"FileContents", "corrupt", "truncated"}
        <= outcomes
        <= {"FileContents", "corrupt", "truncated", "foreign", "newer"}
    )
