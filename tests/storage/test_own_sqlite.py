"""
A SQLite file of our own outlives what happens to files: damage, kills, locks, full disks, links and other versions.
"""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import pytest

import obskit
from forked import in_child
from obskit.recorder import recorder
from obskit.storage import own_sqlite
from obskit.storage.own_sqlite import InUseError, OwnDatabase, Schema, reading
from obskit.storage.private_files import FileLock, NotAFileError, open_existing
from obskit.testing import FakeClock, isolated_runtime

NOW = 1_800_000_000.0
FIRST = "CREATE TABLE rows (x INTEGER, text TEXT); CREATE INDEX by_x ON rows (x)"
SECOND = "ALTER TABLE rows ADD COLUMN unit TEXT NOT NULL DEFAULT 's'"
SCHEMA = Schema((FIRST, SECOND))
ROWS = 600


@pytest.fixture(autouse=True)
def clock():
    recorder.reset()
    recorder.wall_clock = FakeClock(NOW)
    yield
    recorder.reset()


@pytest.fixture
def told():
    return []


@pytest.fixture
def make(tmp_path, told):
    made = []

    def make(path=tmp_path / "state" / "rows.sqlite3", schema=SCHEMA, **given):
        made.append(OwnDatabase(path, schema, lambda *problem: told.append(problem), remember_loss, **given))
        return made[-1]

    yield make
    for database in made:
        database.close()


def remember_loss(db):
    db.execute("INSERT INTO rows (x, text) VALUES (-1, 'lost')")


def add(database, *numbers):
    with database.exclusively():
        database.transaction(lambda db: db.executemany("INSERT INTO rows (x, text) VALUES (?, 'a')", zip(numbers)))


def numbers_in(database):
    with database.exclusively():
        return [x for (x,) in database.transaction(lambda db: db.execute("SELECT x FROM rows ORDER BY x").fetchall())]


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


# As it should be


def test_rows_stay(make):
    """
    What was written is read by another, and after closing.
    """
    one = make()
    add(one, 1, 2)

    assert [1, 2] == numbers_in(make())
    one.close()
    assert [1, 2] == numbers_in(one)


def test_nothing_is_made_before_it_is_used(make, tmp_path):
    """
    Nor by closing it.
    """
    database = make()
    database.close()
    database.before_fork()
    database.after_fork()

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("umask", [0, 0o077])
def test_every_file_is_this_users_alone(make, umask):
    """
    The log and the locks too, whatever the umask.
    """
    before = os.umask(umask)
    try:
        database = make()
        add(database, 1)
    finally:
        os.umask(before)
    folder = database.path.parent

    assert ["", "-shm", "-wal", ".lock"] == [name.removeprefix("rows.sqlite3") for name in names_in(folder)]
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)


def test_no_hook_sees_it(make, sink):
    """
    With SQLite's hook on, it makes no query of the application's.
    """
    with isolated_runtime(sinks=[sink]):
        obskit.instrument_sqlite3()
        try:
            add(make(), 1)
        finally:
            obskit.uninstrument_sqlite3()

        assert [] == sink.operations


def test_a_name_with_signs_is_the_files_own(make, tmp_path):
    """
    What a URI gives a meaning to is part of the name.
    """
    database = make(tmp_path / "a?mode=memory#b%20c" / "d e&f.sqlite3")
    add(database, 1)

    assert database.path.stat().st_size > 0


# Turns


def test_two_threads_take_turns(make):
    """
    And neither loses a row.
    """
    database = make()
    threads = [threading.Thread(target=lambda n=n: [add(database, n) for _ in range(50)]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted([*range(4)] * 50) == numbers_in(database)


def test_who_is_interrupted_is_not_interrupted_by_itself(make):
    """
    A finaliser in the middle of a transaction is told, and answered otherwise where it only reads.
    """
    database = make()
    add(database, 1)
    assert database.is_reentrant is False
    with database.exclusively():
        assert database.is_reentrant is True
        assert "otherwise" == database.read_without_waiting(lambda db: "read", lambda: "otherwise")
        with pytest.raises(InUseError), database.exclusively():
            pass
    assert "read" == database.read_without_waiting(lambda db: "read", lambda: "otherwise")


def test_who_only_reads_waits_for_nobody(make):
    """
    Not for another thread, nor for another process that is making the file.
    """
    database = make()
    lock = FileLock(database.path.with_name("rows.sqlite3.lock"))
    database.path.parent.mkdir()
    assert lock.acquire(0.0)
    assert "otherwise" == database.read_without_waiting(lambda db: "read", lambda: "otherwise")
    lock.close()
    assert "read" == database.read_without_waiting(lambda db: "read", lambda: "otherwise")


# Other processes

WRITER = """
    import sys
    from pathlib import Path
    from obskit.storage.own_sqlite import OwnDatabase, Schema

    database = OwnDatabase(Path(sys.argv[1]), Schema((sys.argv[2], sys.argv[3])), lambda *problem: print(problem))
    print("ready", flush=True)
    sys.stdin.readline()
    insert = "INSERT INTO rows (x, text) VALUES (?, hex(randomblob(300)))"
    for x in range(200):
        with database.exclusively():
            database.transaction(lambda db: db.execute(insert, [x]))
            if x % 20 == 19:
                database.disconnect()
    print("done", flush=True)
"""


def writer(path):
    command = [sys.executable, "-c", textwrap.dedent(WRITER), path, FIRST, SECOND]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_processes_that_begin_at_once_lose_nothing(make):
    """
    Three that make, write, close and open the file as they please leave a sound one with every row.
    """
    database = make()
    writers = [writer(database.path) for _ in range(3)]
    for each in writers:
        assert "ready\n" == each.stdout.readline()
    for each in writers:
        each.stdin.write("\n")
        each.stdin.flush()

    assert ["done\n"] * 3 == [each.communicate()[0] for each in writers]
    assert sorted([*range(200)] * 3) == numbers_in(database)
    with reading(database.path, SCHEMA) as db:
        assert [("ok",)] == db.execute("PRAGMA integrity_check").fetchall()


def test_whoever_writes_holds_the_lock(make):
    """
    Two never write, or move the log into the file, at one instant, which SQLite before 3.51.3 does not survive.
    """
    database = make()
    add(database, 1)
    lock = FileLock(database.path.with_name("rows.sqlite3.lock"))
    with database.exclusively():
        assert [False] == database.transaction(lambda db: [lock.acquire(0.0)])
        assert lock.acquire(0.0) is True
        lock.release()
    lock.close()


def test_one_that_stays_locked_is_given_up(make, monkeypatch):
    """
    Whether the lock is ours or SQLite's; once it is free, everything goes on.
    """
    monkeypatch.setattr(own_sqlite, "BUSY_SECONDS", 0.01)
    database = make()
    add(database, 1)
    lock = FileLock(database.path.with_name("rows.sqlite3.lock"))
    other = sqlite3.connect(database.path, isolation_level=None)
    for hold, release in (
        (lambda: lock.acquire(0.0), lock.release),
        (lambda: other.execute("BEGIN EXCLUSIVE"), lambda: other.execute("ROLLBACK")),
    ):
        hold()
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            add(database, 2)
        release()
    other.close()
    lock.close()
    add(database, 3)

    assert [1, 3] == numbers_in(database)


def test_a_file_of_one_writer_has_one(make, monkeypatch):
    """
    A second process is told that it is locked, until the first has closed it or died.
    """
    monkeypatch.setattr(own_sqlite, "BUSY_SECONDS", 0.01)
    first, second = make(has_one_writer=True), make(has_one_writer=True)
    add(first, 1)
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        add(second, 2)
    first.close()
    add(second, 2)

    assert [1, 2] == numbers_in(second)


def test_a_forked_child_leaves_its_parents_connection_alone(make):
    """
    It opens the file again, and its end neither closes the parent's nor gives away its lock.
    """
    for prepared in (True, False):
        database = make()
        add(database, 1)
        connection = database._connection
        if prepared:
            database.before_fork()

        def child(database=database, connection=connection):
            database.start_over()
            add(database, 2)
            return database._connection is connection

        assert "False" == in_child(child)
        if prepared:
            database.after_fork()
        add(database, 3)

        assert 3 == numbers_in(database)[-1]
    assert [1, 1, 2, 2, 3, 3] == numbers_in(database)


def test_a_child_does_not_keep_the_lock_of_its_parent(make, tmp_path):
    """
    Whoever forks in the middle lets go for both; the child has a lock of its own.
    """
    lock = FileLock(tmp_path / "lock")
    assert lock.acquire(0.0)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(writer)
        mine = FileLock(tmp_path / "lock")
        os.read(reader, 1)
        os._exit(0 if not lock.is_held and mine.acquire(0.0) and not lock.acquire(0.0) else 1)
    os.close(reader)
    lock.release()
    os.close(writer)
    _, status = os.waitpid(child, 0)

    assert 0 == os.waitstatus_to_exitcode(status)


# Damage


def full(make):
    """
    Make a file of many pages, with all of its log in it.
    """
    database = make()
    with database.exclusively():
        database.transaction(
            lambda db: db.executemany("INSERT INTO rows (x, text) VALUES (?, ?)", [(x, "a" * 40) for x in range(ROWS)])
        )
    database.close()
    return database


def pages_of(path):
    size = path.stat().st_size
    return range(size // 4096)


def zero_page(path, page):
    with open(path, "r+b") as file:
        file.seek(4096 * page)
        file.write(bytes(4096))


def put_other_tables(path):
    path.unlink()
    db = sqlite3.Connection(str(path))
    db.executescript(f"CREATE TABLE rows (x); PRAGMA user_version = {SCHEMA.version}")
    db.close()


DAMAGES = {
    "other tables": put_other_tables,
    "empty": lambda path: path.write_bytes(b""),
    "one byte": lambda path: path.write_bytes(b"S"),
    "header only": lambda path: os.truncate(path, 100),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut in a page": lambda path: os.truncate(path, path.stat().st_size - 100),
    "no database": lambda path: path.write_bytes(b"this is no database " * 500),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a folder": lambda path: (path.unlink(), path.mkdir(), (path / "in it").write_text("")),
    "a FIFO": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_set_aside(make, told, damage):
    """
    It is renamed, counted and told once, a new one that knows of it takes its place, and others go on with that.
    """
    database = full(make)
    DAMAGES[damage](database.path)
    other = make()
    add(database, ROWS + 1)
    add(other, ROWS + 2)
    [aside] = {name for name in names_in(database.path.parent) if ".broken-" in name and name[-1].isdigit()}

    assert [-1, ROWS + 1, ROWS + 2] == numbers_in(database)
    assert [("damaged", aside)] == told
    assert {"storage": 1} == dict(recorder.errors)


def test_a_log_that_was_removed_takes_nothing_with_it(make, told):
    """
    The one process that writes a file goes on in a log that is beside it, where readers look.
    """
    database = make(has_one_writer=True)
    for number in range(4):
        add(database, number)
        if number % 2:
            os.unlink(f"{database.path}-wal")
    add(database, 4)
    with reading(database.path, SCHEMA) as db:
        found = db.execute("SELECT x FROM rows ORDER BY x").fetchall()

    assert [(0,), (1,), (2,), (3,), (4,)] == found
    assert [] == told


def test_a_zeroed_page_is_never_read_as_nothing(make, told):
    """
    Whichever page it is: either all rows are still there, or the file is set aside.
    """
    whole = full(make)
    content = whole.path.read_bytes()
    found = []
    for page in pages_of(whole.path):
        whole.path.unlink()
        whole.path.write_bytes(content)
        zero_page(whole.path, page)
        found.append(numbers_in(whole))
        whole.close()

    assert len(found) > 5
    assert [[-1]] * len(found) == [rows for rows in found if rows != list(range(ROWS))]
    assert len(found) == len(told)


def test_of_the_files_that_were_set_aside_a_few_are_kept(make, told):
    """
    A disk that damages them again and again is not filled with them.
    """
    database = make()
    for number in range(9):
        recorder.wall_clock.advance(1.0)
        add(database, number)
        database.close()
        database.path.write_bytes(b"x" * 200)
    add(database, 9)
    kept = [name for name in names_in(database.path.parent) if ".broken-" in name]

    assert own_sqlite._KEPT_BROKEN == len(kept)
    assert 9 == len(told)
    assert told[-1][1] in kept


@pytest.mark.parametrize("damage", ["no database", None])
def test_a_kill_at_any_step_leaves_what_the_next_can_use(make, told, tmp_path, damage):
    """
    A process that is killed before any of the calls by which it makes, sets aside and replaces a file leaves neither a
    file that is taken for whole and is not, nor a loss that nobody knows of, nor a lock.
    """
    calls = ("open", "rename", "replace", "unlink", "mkdir", "chmod", "close")
    step, ended = 0, False
    while not ended:
        step += 1
        database = make(tmp_path / f"{step}" / "rows.sqlite3")
        if damage is not None:
            add(database, 1)
            database.close()
            DAMAGES[damage](database.path)
        child = os.fork()
        if not child:
            left = [step]

            def killing(call, left=left):
                def at_last(*given, **named):
                    left[0] -= 1
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return call(*given, **named)

                return at_last

            for name in calls:
                setattr(os, name, killing(getattr(os, name)))
            try:
                add(database, 2)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        ended = os.waitstatus_to_exitcode(status) == 0
        add(database, 3)
        rows = numbers_in(database)

        assert 3 == rows[-1]
        assert (-1 in rows) == (damage is not None)
        assert [] == [name for name in names_in(database.path.parent) if name.endswith((".new", ".replacement"))]
    assert step > 5


def test_a_kill_in_the_middle_of_writing_loses_no_row_that_was_written(make):
    """
    What a transaction has written stays; the file is sound.
    """
    database = make()
    process = writer(database.path)
    assert "ready\n" == process.stdout.readline()
    process.stdin.write("\n")
    process.stdin.flush()
    seen = 0
    while seen < 30:
        try:
            with reading(database.path, SCHEMA) as db:
                seen = len(db.execute("SELECT x FROM rows").fetchall())
        except (OSError, sqlite3.Error):
            continue  # it is not made yet
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    rows = numbers_in(database)

    assert list(range(len(rows))) == rows
    assert len(rows) >= seen


# What is not ours


@pytest.mark.parametrize("there", ["a database", "nothing"])
def test_a_link_is_not_followed(make, told, tmp_path, there):
    """
    Nothing is made, written or renamed at its other end, and the link stays.
    """
    database = make()
    database.path.parent.mkdir()
    if there == "a database":
        other = make(tmp_path / "other" / "theirs.sqlite3")
        add(other, 1)
        other.close()
        database.path.symlink_to(other.path)
    else:
        database.path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError, match="symbolic link"):
        add(database, 2)

    assert database.path.is_symlink()
    assert not (tmp_path / "nowhere").exists()
    assert there == "nothing" or [1] == numbers_in(other)
    assert [] == told


def test_a_database_of_somebody_elses_is_left_alone(make, told):
    """
    It is sound, so it is no damage, and it has no version of ours.
    """
    database = make()
    database.path.parent.mkdir()
    with sqlite3.connect(database.path) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = database.path.read_bytes()
    with pytest.raises(sqlite3.OperationalError, match="obskit did not make it"):
        add(database, 2)

    assert before == database.path.read_bytes()
    assert [] == told


def test_a_file_that_others_may_read_is_closed_to_them(make):
    """
    One that was copied there by hand, say.
    """
    database = make()
    add(database, 1)
    database.close()
    os.chmod(database.path, 0o644)
    add(database, 2)

    assert 0o640 == stat.S_IMODE(database.path.stat().st_mode)


if os.geteuid() == 0:

    def test_a_file_of_another_user_is_not_used():
        """
        Its owner could read what is written, or give something else to read.
        """
        with tempfile.TemporaryDirectory() as place:
            os.chmod(place, 0o777)
            path = Path(place) / "rows.sqlite3"
            database = OwnDatabase(path, SCHEMA, lambda *problem: None)
            add(database, 1)
            database.close()
            os.chmod(path, 0o666)
            os.chown(path, 4243, 4243)

            def use():
                os.setgroups([])
                os.setgid(4242)
                os.setuid(4242)
                add(OwnDatabase(path, SCHEMA, lambda *problem: None), 2)

            told = in_child(use)

            assert "it belongs to user 4243, and this process is user 4242" in told
            assert [1] == numbers_in(database)
            database.close()


# Versions


def test_the_version_before_is_brought_up_to_date(make):
    """
    With its rows; a reader takes it as it is.
    """
    old = make(schema=Schema((FIRST,)))
    add(old, 1)
    old.close()
    with reading(old.path, SCHEMA) as db:
        assert [(1, "a")] == db.execute("SELECT * FROM rows").fetchall()
    new = make()
    add(new, 2)
    with new.exclusively():
        assert [(1, "s"), (2, "s")] == new.transaction(lambda db: db.execute("SELECT x, unit FROM rows").fetchall())


def test_a_later_version_is_left_alone(make, told):
    """
    It is no damage, and whoever reads it is told.
    """
    new = make()
    add(new, 1)
    old = make(schema=Schema((FIRST,)))
    with pytest.raises(sqlite3.OperationalError, match=r"a newer version of obskit wrote it \(format 2\)"):
        add(old, 2)
    with (
        pytest.raises(sqlite3.OperationalError, match="it has format 2, and this obskit reads 1 to 1"),
        reading(new.path, Schema((FIRST,))),
    ):
        pass

    assert [1] == numbers_in(new)
    assert [] == told


def test_a_reader_changes_and_makes_nothing(make, tmp_path):
    """
    What is missing is missing, what is a folder is no file, and nothing can be written.
    """
    with pytest.raises(FileNotFoundError), reading(tmp_path / "missing.sqlite3", SCHEMA):
        pass
    with pytest.raises(NotAFileError), reading(tmp_path, SCHEMA):
        pass
    assert [] == list(tmp_path.iterdir())
    database = make()
    add(database, 1)
    with reading(database.path, SCHEMA) as db, pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM rows")


def test_a_copy_on_a_disk_that_is_read_only_is_read():
    """
    SQLite would make its files beside it, as for any that has a write-ahead log.
    """
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "rows.sqlite3"
        database = OwnDatabase(path, SCHEMA, lambda *problem: None)
        add(database, 1, 2)
        database.close()
        os.chmod(path, 0o444)
        os.chmod(place, 0o555)

        def read():
            if os.geteuid() == 0:
                os.setgroups([])
                os.setuid(4242)
            with reading(path, SCHEMA) as db:
                return db.execute("SELECT count(*) FROM rows").fetchall()

        told = in_child(read)
        os.chmod(place, 0o700)

    assert "[(2,)]" == told


def test_a_step_is_taken_whole_or_not_at_all(make):
    """
    A version that cannot be reached leaves the one before.
    """
    old = make(schema=Schema((FIRST,)))
    add(old, 1)
    old.close()
    with pytest.raises(sqlite3.OperationalError):
        add(make(schema=Schema((FIRST, f"{SECOND}; CREATE TABLE rows (x)"))), 2)

    assert [1] == numbers_in(make(schema=Schema((FIRST,))))


# Disks


def test_a_full_disk_is_told_and_the_rows_stay(make):
    """
    What does not fit raises and is undone; what fits goes on.
    """
    database = make()
    add(database, 1)
    with database.exclusively():
        [pages] = database.connection().execute("PRAGMA page_count").fetchone()
        database.connection().execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            database.transaction(lambda db: db.execute("INSERT INTO rows (x, text) VALUES (2, hex(zeroblob(100000)))"))
    add(database, 3)

    assert [1, 3] == numbers_in(database)


@pytest.mark.parametrize(
    ("kind", "journal", "problem"),
    [
        *(("ext4", "wal", []), ("tmpfs", "wal", [("ephemeral", "tmpfs")])),
        *(("nfs4", "truncate", [("network", "nfs4")]), (None, "wal", [])),
    ],
)
def test_file_systems_are_known(make, told, monkeypatch, kind, journal, problem):
    """
    One that goes with the machine, and one of a network, are told once; on the latter no memory is shared, so no log.
    """
    monkeypatch.setattr(own_sqlite, "filesystem_of", lambda path: kind)
    database = make()
    for x in range(2):
        add(database, x)
        with database.exclusively():
            assert (journal,) == database.connection().execute("PRAGMA journal_mode").fetchone()
        database.close()

    assert problem == told


def test_a_file_that_was_removed_begins_anew(make):
    """
    Also in a process that has it open.
    """
    database = make()
    add(database, 1)
    for path in list(database.path.parent.iterdir()):
        path.unlink()
    add(database, 2)

    assert [2] == numbers_in(database)


def test_a_descriptor_is_left_by_nothing(make, monkeypatch):
    """
    Neither by opening, closing and being refused, nor by damage.
    """
    monkeypatch.setattr(own_sqlite, "BUSY_SECONDS", 0.0)

    def open_ones():
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    database = make()
    add(database, 1)
    database.close()
    before = open_ones()
    for damage in ("empty", "no database", "a folder", "a FIFO"):
        DAMAGES[damage](database.path)
        add(database, 2)
        database.close()
    with pytest.raises(NotAFileError):
        open_existing(database.path.parent)

    assert before == open_ones()
