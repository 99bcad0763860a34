"""
Old files are compressed and deleted beside whoever writes, and whoever does it may be killed at any moment.
"""

import errno
import fcntl
import gzip
import os
import stat
import subprocess
import sys
import threading
from datetime import timedelta

import pytest

from obskit.errors import ConfigurationError
from obskit.logs.log_file import LogFile
from obskit.logs.rotated_files import ABANDONED_SECONDS, RotatedFiles
from obskit.recorder import recorder
from obskit.testing import FakeClock

NOON = 1_793_707_200.0  # 2026-11-03T12:00:00Z
DAY = 86_400
TEXT = b"".join(b'{"number": %d}\n' % number for number in range(500))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "app.jsonl"


def keeper(path, keep_files=None, keep_days=None, compress=False, clock=None):
    return RotatedFiles(str(path), keep_files, keep_days, compress, clock or FakeClock(NOON))


def put_aside(path, *days):
    """
    Leave an old file for each day, counted back from now.
    """
    keep = keeper(path)
    for back in days:
        with open(keep.path_for(NOON - back * DAY), "wb") as file:
            file.write(TEXT)


def names(path):
    return sorted(os.listdir(path.parent))


def text_of(file):
    return gzip.decompress(file.read_bytes())


def wait_for_tidying():
    for thread in threading.enumerate():
        if thread.name == "obskit-old-files":
            thread.join(30)


def name(day, ending=""):
    return f"app.jsonl.202611{day:02}T120000.000000Z{ending}"


def test_only_the_newest_are_kept(path):
    """
    Of five old files the two newest stay, whether they are compressed or not; what is no old file is not touched.
    """
    put_aside(path, 4, 3, 2, 1, 0)
    for other in ("app.jsonl", "app.jsonl.1", "app.jsonl.bak", "other.jsonl", name(3).replace("app", "apq")):
        (path.parent / other).touch()
    os.rename(path.parent / name(2), path.parent / name(2, ".gz"))
    left = keeper(path, keep_files=2).run_once()

    assert not left
    others = ["app.jsonl", "app.jsonl.1", "app.jsonl.bak", "other.jsonl", name(3).replace("app", "apq")]

    assert sorted([*others, name(3), name(2, ".gz")]) == names(path)


def test_files_are_deleted_after_so_many_days(path):
    """
    A file goes when its last line is older than that, and one that is as old stays.
    """
    put_aside(path, 2, 1, 0)
    clock = FakeClock(NOON + DAY)
    keeper(path, keep_days=2, clock=clock).run_once()
    on_the_day = names(path)
    clock.advance(1)
    keeper(path, keep_days=2, clock=clock).run_once()

    assert ([name(2), name(3)], [name(3)]) == (on_the_day, names(path))


def test_old_files_are_compressed(path):
    """
    The compressed file has the same bytes, rights and time, and its place is the old one's, with `.gz`.
    """
    put_aside(path, 0)
    plain = path.parent / name(3)
    plain.chmod(0o604)
    os.utime(plain, (NOON, NOON))
    keeper(path, compress=True).run_once()
    packed = path.parent / name(3, ".gz")

    assert [packed.name] == names(path)
    assert (TEXT, 0o604, NOON) == (text_of(packed), stat.S_IMODE(packed.stat().st_mode), packed.stat().st_mtime)
    assert packed.stat().st_size < len(TEXT) / 3


@pytest.mark.parametrize("given", [{"compress": True}, {"keep_files": 1}, {"keep_days": 1}])
def test_what_somebody_may_write_to_is_left_alone(path, given):
    """
    A file whose writer has not moved on yet waits for him, and is dealt with when he has.
    """
    put_aside(path, 2, 0)
    with open(path.parent / name(1)) as writer:
        fcntl.flock(writer, fcntl.LOCK_SH)
        left = keeper(path, **given).run_once()
        waiting = name(1) in names(path)
    then = keeper(path, **given).run_once()

    assert (True, True, False) == (left, waiting, then)
    assert name(1) not in names(path)


def test_a_writer_that_says_nothing_does_not_hold_a_file_for_ever(path):
    """
    A process that has been silent since the file was put aside looks before it writes: after an hour its lock is of
    no matter.
    """
    put_aside(path, 0)
    old = path.parent / name(3)
    clock = FakeClock(old.stat().st_ctime + ABANDONED_SECONDS)
    with open(old) as writer:
        fcntl.flock(writer, fcntl.LOCK_SH)
        before = keeper(path, compress=True, clock=clock).run_once()
        clock.advance(1)
        after = keeper(path, compress=True, clock=clock).run_once()

    assert (True, False, [name(3, ".gz")]) == (before, after, names(path))


def test_two_that_compress_at_once_do_it_once(path):
    """
    Who finds another at work on a file leaves it to him.
    """
    put_aside(path, 0)
    part = path.parent / f".{name(3)}.gz.part"
    with open(part, "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        left = keeper(path, compress=True).run_once()
        untouched = (path.parent / name(3)).read_bytes()

    assert (True, TEXT) == (left, untouched)


def test_what_a_killed_process_has_half_compressed_is_done_anew(path):
    """
    The rest of an attempt is overwritten, and is deleted with its file.
    """
    put_aside(path, 1, 0)
    for day in (2, 3):
        (path.parent / f".{name(day)}.gz.part").write_bytes(b"\x1f\x8b half of it")
    keeper(path, compress=True, keep_files=1).run_once()

    assert ([name(3, ".gz")], TEXT) == (names(path), text_of(path.parent / name(3, ".gz")))


def test_what_a_killed_process_has_not_renamed_gets_its_name(path):
    """
    A compressed file that has its plain name still is named, and not compressed again.
    """
    put_aside(path, 0)
    old = path.parent / name(3)
    old.write_bytes(gzip.compress(TEXT))
    keeper(path, compress=True).run_once()

    assert ([name(3, ".gz")], TEXT) == (names(path), text_of(path.parent / name(3, ".gz")))


def test_a_disk_that_is_full_leaves_the_file_as_it_was(path):
    """
    A file that cannot be compressed stays, and nothing of the attempt.
    """
    put_aside(path, 0)
    source = """
import resource, sys
from obskit.logs.rotated_files import RotatedFiles
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
RotatedFiles(sys.argv[1], None, None, True, lambda: 0.0).run_once()
"""
    done = subprocess.run([sys.executable, "-c", source, str(path)], capture_output=True, text=True, timeout=60)

    assert "File too large" in done.stderr
    assert ([name(3)], TEXT) == (names(path), (path.parent / name(3)).read_bytes())


COMPRESS = """
import sys
from obskit.logs.rotated_files import RotatedFiles
print(flush=True)
RotatedFiles(sys.argv[1], None, None, True, lambda: 0.0).run_once()
"""


def test_who_compresses_may_be_killed_at_any_moment(path):
    """
    However often it is killed, each file is there once at each moment, with all its lines, and is compressed at last.
    """
    put_aside(path, 5, 4, 3, 2, 1, 0)
    read = []
    for attempt in range(15):
        with subprocess.Popen([sys.executable, "-c", COMPRESS, str(path)], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            threading.Event().wait(attempt / 500)  # nothing to wait for: it is at some point of its work
            process.kill()
        files = [path.parent / file for file in names(path) if not file.startswith(".")]
        read.append(
            [
                text if text[:2] != b"\x1f\x8b" else gzip.decompress(text)
                for text in (file.read_bytes() for file in files)
            ]
        )
    keeper(path, compress=True).run_once()

    assert [[TEXT] * 6] * 15 == read
    assert [True] * 6 == [file.endswith(".gz") for file in names(path)]


def test_a_log_file_has_its_old_files_tidied(path):
    """
    A file that starts anew has a thread compress the last one and delete the surplus; the thread then ends.
    """
    file = LogFile(path, rotate_bytes=10_000, keep_files=3, gzip=True)
    for _ in range(20):
        file.write(TEXT)
    wait_for_tidying()
    file.close()

    assert [".gz"] * 3 == [found[-3:] for found in names(path) if found != "app.jsonl"]


def test_a_restart_tidies_what_the_last_run_left(path):
    """
    Old files are dealt with when a log file is opened, not only when one starts anew.
    """
    put_aside(path, 1, 0)
    file = LogFile(path, keep_files=1, gzip=True)
    wait_for_tidying()
    file.close()

    assert ["app.jsonl", name(3, ".gz")] == names(path)


def test_a_day_without_a_new_file_has_them_tidied_too(path):
    """
    Files that grow too old while the present one is not full are deleted on the next day.
    """
    clock = FakeClock(NOON)
    put_aside(path, 1)
    file = LogFile(path, keep_files=None, keep_days=2, clock=clock)
    file.write(TEXT)
    clock.advance(2 * DAY)
    file.write(TEXT)
    wait_for_tidying()
    file.close()

    assert ["app.jsonl"] == names(path)


@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "dangling link", "socket"])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_what_is_no_file_is_left_alone_and_stops_nobody(path, kind, ending):
    """
    Something else that has an old file's name neither holds the thread nor ends its work, and is still there.
    """
    put_aside(path, 0, 2)
    other, elsewhere = path.parent / name(2, ending), path.parent / "elsewhere"
    elsewhere.write_text("theirs")
    make = {
        "fifo": lambda: os.mkfifo(other),
        "folder": lambda: os.mkdir(other),
        "link": lambda: os.symlink(elsewhere, other),
        "dangling link": lambda: os.symlink(path.parent / "nowhere", other),
        "socket": lambda: os.mknod(other, 0o600 | stat.S_IFSOCK),
    }
    make[kind]()
    keeper(path, keep_files=1, compress=True, keep_days=2).run_once()

    assert sorted(["elsewhere", other.name, name(3, ".gz")]) == names(path)
    assert "theirs" == elsewhere.read_text()


def test_a_file_that_fails_does_not_stop_the_others(path):
    """
    A file that cannot be compressed is counted and stays; those before and after it are compressed, others deleted.
    """
    put_aside(path, 0, 1, 2, 3)
    part = path.parent / f".{name(2)}.gz.part"
    part.mkdir()
    recorder.strict = False
    keeper(path, keep_files=3, compress=True).run_once()
    failures = recorder.errors.pop("logs")

    assert 1 == failures
    assert [part.name, name(1, ".gz"), name(2), name(3, ".gz")] == names(path)


@pytest.mark.parametrize("kind", ["link", "fifo", "of another"])
def test_a_part_is_made_anew_and_no_link_is_followed(path, kind):
    """
    What lies where the compressed file is made is removed, and not written through, whatever it is.
    """
    put_aside(path, 0)
    part, elsewhere = path.parent / f".{name(3)}.gz.part", path.parent / "elsewhere"
    elsewhere.write_text("theirs")
    make = {
        "link": lambda: os.symlink(elsewhere, part),
        "fifo": lambda: os.mkfifo(part),
        "of another": lambda: os.link(elsewhere, part),
    }
    make[kind]()
    keeper(path, compress=True).run_once()

    assert {"elsewhere", name(3, ".gz")} == set(names(path))
    assert ("theirs", TEXT) == (elsewhere.read_text(), text_of(path.parent / name(3, ".gz")))


# Archives


def archivist(path, **given):
    """
    Return what keeps old files, with an archive in a folder of its own from the second day on.
    """
    keep = {"keep_files": None, "keep_days": None, "compress": False, "clock": FakeClock(NOON), **given}
    settings = {"archive": str(path.parent / "archive"), "archive_after": timedelta(days=2), **keep}
    return RotatedFiles(str(path), **settings)


def archived(path):
    return sorted(os.listdir(path.parent / "archive"))


def test_old_files_are_put_away_compressed_when_they_are_old(path):
    """
    A file of the age goes to the archive as a whole compressed file; younger ones stay as they are.
    """
    put_aside(path, 0, 1, 2, 3, 4)
    keep = archivist(path)
    keep.run_once()
    away = path.parent / "archive"

    assert [name(1), name(2), name(3), "archive"] == names(path)
    assert [f"app.jsonl.202610{day}T120000.000000Z.gz" for day in (30, 31)] == archived(path)
    assert [TEXT, TEXT] == [text_of(away / file) for file in archived(path)]
    assert NOON == keep.next_due


def test_files_are_compressed_when_they_have_an_age(path):
    """
    `gzip` with an age leaves the files of the last days as they are; the next one to be is noted.
    """
    put_aside(path, 0, 1, 2)
    keep = keeper(path, compress=timedelta(hours=30))
    keep.run_once()

    assert [name(1, ".gz"), name(2), name(3)] == names(path)
    assert NOON - DAY + 30 * 3600 == keep.next_due


def test_what_is_too_much_is_put_away_and_not_deleted(path):
    """
    With an archive `keep_files` counts those beside the log, and costs no file; `keep_days` deletes there too.
    """
    put_aside(path, 0, 1, 2, 3, 4, 5)
    archivist(path, keep_files=1, archive_after=timedelta(days=100)).run_once()
    before = len(archived(path))
    archivist(path, keep_files=1, keep_days=4).run_once()

    assert ([name(3), "archive"], 5, 4) == (names(path), before, len(archived(path)))


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_nothing_in_the_archive_is_overwritten(path, monkeypatch, is_elsewhere):
    """
    A file that has the name already stays, and so does the one that would take its place; the others go there.
    """
    if is_elsewhere:
        monkeypatch.setattr(os, "rename", onto_another_file_system(path.parent / "archive"))
    put_aside(path, 3, 4)
    (path.parent / "archive").mkdir()
    theirs = path.parent / "archive" / "app.jsonl.20261030T120000.000000Z.gz"
    theirs.write_text("theirs")
    recorder.strict = False
    archivist(path).run_once()
    failures = recorder.errors.pop("logs")

    assert (1, "theirs") == (failures, theirs.read_text())
    assert ["app.jsonl.20261030T120000.000000Z.gz", "archive"] == names(path)
    assert 2 == len(archived(path))


def onto_another_file_system(folder):
    """
    Have a rename into a folder fail as one to another file system does.
    """
    rename = os.rename

    def refuse(source, target):
        if os.path.dirname(source) != os.path.dirname(target):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    return refuse


def test_an_archive_may_be_on_another_file_system(path, monkeypatch):
    """
    Where a file cannot be renamed it is copied, with its time and its rights, and then deleted; what a killed process
    had of it is done anew.
    """
    monkeypatch.setattr(os, "rename", onto_another_file_system(path.parent / "archive"))
    put_aside(path, 3)
    old = path.parent / "app.jsonl.20261031T120000.000000Z"
    os.chmod(old, 0o604)
    os.utime(old, (NOON, NOON))
    (path.parent / "archive").mkdir()
    (path.parent / "archive" / f".{old.name}.gz.part").write_text("half of it")
    archivist(path).run_once()
    status = (path.parent / "archive" / f"{old.name}.gz").stat()

    assert (["archive"], [f"{old.name}.gz"]) == (names(path), archived(path))
    assert (0o604, NOON) == (stat.S_IMODE(status.st_mode), status.st_mtime)


def test_what_a_killed_process_had_copied_is_not_there_twice(path):
    """
    A file that is in the archive already, byte by byte, is deleted beside the log.
    """
    put_aside(path, 3)
    archivist(path, archive_after=timedelta(days=100), compress=True).run_once()
    (source,) = path.parent.glob("*.gz")
    (path.parent / "archive").mkdir()
    (path.parent / "archive" / source.name).write_bytes(source.read_bytes())
    archivist(path).run_once()

    assert (["archive"], [source.name]) == (names(path), archived(path))


def test_a_file_that_is_written_is_not_put_away(path):
    """
    A file on which a process has its lock stays, however old its name is.
    """
    put_aside(path, 3)
    old = path.parent / "app.jsonl.20261031T120000.000000Z"
    with open(old, "ab") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        left = archivist(path, clock=FakeClock(os.stat(old).st_ctime)).run_once()
        untouched = old.read_bytes()

    assert (True, TEXT, []) == (left, untouched, archived(path) if (path.parent / "archive").exists() else [])


ARCHIVE = """
import sys
from datetime import timedelta
from obskit.logs.rotated_files import RotatedFiles
print(flush=True)
keep = RotatedFiles(sys.argv[1], None, None, False, lambda: 2e9, sys.argv[2], timedelta(days=1))
keep.run_once()
"""


def test_who_archives_may_be_killed_at_any_moment(path):
    """
    However often it is killed, each file is there once at each moment, beside the log or in the archive.
    """
    put_aside(path, 5, 4, 3, 2, 1, 0)
    archive, read = path.parent / "archive", []
    for attempt in range(15):
        command = [sys.executable, "-c", ARCHIVE, str(path), str(archive)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            threading.Event().wait(attempt / 500)  # nothing to wait for: it is at some point of its work
            process.kill()
        files = [file for folder in (path.parent, archive) for file in folder.glob("app*")]
        read.append(
            [
                text if text[:2] != b"\x1f\x8b" else gzip.decompress(text)
                for text in (file.read_bytes() for file in files)
            ]
        )
    archivist(path, clock=lambda: 2e9).run_once()

    assert [[TEXT] * 6] * 15 == read
    assert (["archive"], 6) == (names(path), len(archived(path)))


def test_a_log_file_puts_its_old_files_away_when_they_are_due(path):
    """
    A process that goes on writing puts a file away when it has the age, however much is left of the day and of the
    present file; the folder has its default place.
    """
    clock = FakeClock(NOON)
    put_aside(path, 0)
    file = LogFile(path, keep_files=None, archive_after=timedelta(hours=2), clock=clock)
    file.write(TEXT)
    wait_for_tidying()
    before = names(path)
    clock.advance(2 * 3600 + 1)
    file.write(TEXT)
    wait_for_tidying()
    file.close()

    assert ["app.jsonl", name(3), "archive"] == before
    assert (["app.jsonl", "archive"], [name(3, ".gz")]) == (names(path), archived(path))


@pytest.mark.parametrize("folder", [".", "file/archive"])
def test_an_archive_that_cannot_be_is_told_at_once(path, folder):
    """
    A folder that cannot be made, or that is the log's own, is an error of whoever asks for it.
    """
    (path.parent / "file").write_text("")

    with pytest.raises(ConfigurationError, match="old log files cannot be put into"):
        LogFile(path, archive_dir=str(path.parent / folder))


def test_no_new_file_has_the_name_of_an_archived_one(path):
    """
    The name of an old file is nobody's in the archive either.
    """
    (path.parent / "archive").mkdir()
    (path.parent / "archive" / name(3, ".gz")).write_bytes(b"")

    assert str(path.parent / "app.jsonl.20261103T120000.000001Z") == archivist(path).path_for(NOON)
