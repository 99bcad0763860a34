"""
The SQLite doctor, on real files in every state that files get into.
"""

import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import obskit
from forked import in_child
from obskit.context import current
from obskit.db import SqliteReport, doctor, sqlite_doctor
from obskit.db.connections import survey_connections
from obskit.db.query_watch import thresholds, watching
from obskit.errors import SqliteDoctorError
from obskit.observation import FunctionOperation
from obskit.operation import HttpOperation
from obskit.sqlite_doctor import backup, inspection
from obskit.sqlite_doctor import doctor as file_doctor
from obskit.sqlite_doctor.advice import LARGE_WAL_BYTES, advise
from obskit.sqlite_doctor.report import Advice, ConnectionPragmas, Index, Table, age, size
from obskit.testing import RecordingSink, isolated_runtime


@contextmanager
def opened(path, **options):
    with closing(sqlite3.connect(path, isolation_level=None, **options)) as connection:
        yield connection


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shop.db"


def made(path, *statements, plants=2000):
    """
    Make a database with a table of plants, an index, and what the statements do.
    """
    with opened(path) as db:
        db.execute("CREATE TABLE plants (id INTEGER PRIMARY KEY, name TEXT, price REAL)")
        db.execute("CREATE INDEX plants_name ON plants (name)")
        rows = ((f"plant {number:06}", number / 7) for number in range(plants))
        db.execute("BEGIN")
        db.executemany("INSERT INTO plants (name, price) VALUES (?, ?)", rows)
        db.execute("COMMIT")
        for statement in statements:
            db.execute(statement)
    return path


def codes(report):
    return [advice.code for advice in report.advice]


def state(folder):
    """
    Return the content and the time of each file in a folder.
    """
    return {
        file.name: (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns) for file in folder.iterdir()
    }


# What is found in a database that is well.


def test_sizes_and_pragmas_are_those_of_the_file(path):
    """
    Every figure is the one that SQLite and the file system give.
    """
    made(path, "PRAGMA user_version = 7", "PRAGMA application_id = 42", "DELETE FROM plants WHERE id > 1000")
    report = sqlite_doctor(path)
    with opened(path) as db:
        pages, free, bytes_a_page = (
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )

    assert ("ok", None, str(path)) == (report.status, report.problem, report.path)
    assert (pages, free, bytes_a_page) == (report.page_count, report.free_pages, report.page_size)
    assert free > 0
    assert pages * bytes_a_page == report.size_bytes == path.stat().st_size
    assert ("delete", "none", "UTF-8") == (report.journal_mode, report.auto_vacuum, report.encoding)
    assert (7, 42) == (report.user_version, report.application_id)
    assert (None, None) == (report.wal_bytes, report.journal_bytes)
    assert sqlite3.sqlite_version == report.sqlite_version
    assert report.is_healthy


def test_tables_and_indexes(path):
    """
    Tables come with rows and bytes, the largest first, and indexes with columns and bytes; together they are the file.
    """
    made(
        path,
        'CREATE TABLE "a ""b"" é" (c)',
        "CREATE UNIQUE INDEX u ON plants (price, lower(name)) WHERE price > 1",
        "CREATE VIRTUAL TABLE notes USING fts5 (text)",
        "CREATE VIEW v AS SELECT * FROM plants",
    )
    report = sqlite_doctor(path)
    tables, indexes = {table.name: table for table in report.tables}, {index.name: index for index in report.indexes}

    assert "plants" == report.tables[0].name
    assert (2000, "exact", "table") == (tables["plants"].rows, tables["plants"].rows_are, tables["plants"].kind)
    assert (0, "exact") == (tables['a "b" é'].rows, tables['a "b" é'].rows_are)
    assert (None, "unknown", "virtual") == (tables["notes"].rows, tables["notes"].rows_are, tables["notes"].kind)
    assert "v" not in tables
    assert ("plants", ("name",), False, False) == (
        indexes["plants_name"].table,
        indexes["plants_name"].columns,
        indexes["plants_name"].is_unique,
        indexes["plants_name"].is_partial,
    )
    assert (("price", "<expression>"), True, True) == (
        indexes["u"].columns,
        indexes["u"].is_unique,
        indexes["u"].is_partial,
    )
    schema = report.page_size
    measured = sum(thing.size_bytes for thing in (*report.tables, *report.indexes) if thing.size_bytes)
    assert report.size_bytes - schema == measured
    assert 0 < tables["plants"].unused_bytes < tables["plants"].size_bytes


def test_rows_are_counted_to_a_bound(path, monkeypatch):
    """
    Beyond it the estimate of ANALYZE is taken, and where there is none the bound itself.
    """
    monkeypatch.setattr(inspection, "MAX_COUNTED_ROWS", 100)
    before = sqlite_doctor(made(path)).tables[0]
    with opened(path) as db:
        db.execute("ANALYZE")
    after = sqlite_doctor(path).tables[0]

    assert (100, "at least") == (before.rows, before.rows_are)
    assert (2000, "estimated") == (after.rows, after.rows_are)


def test_what_time_runs_out_for_is_said(path, monkeypatch):
    """
    Without time small tables are still counted; what needs longer is named, and is unknown.
    """
    monkeypatch.setattr(inspection, "_STEPS", 100)
    report = sqlite_doctor(made(path, "CREATE TABLE few (a)"), timeout_seconds=0.0)
    rows = {table.name: (table.rows, table.rows_are) for table in report.tables}

    assert {"plants": (None, "unknown"), "few": (0, "exact")} == rows
    assert ("rows of plants", "sizes of tables") == report.unfinished
    assert {None} == {table.size_bytes for table in report.tables}
    assert "ok" == report.status


def test_without_dbstat_sizes_are_unknown(path):
    """
    A table of that name hides SQLite's own: what is left is said, and the rest is there.
    """
    report = sqlite_doctor(made(path, "CREATE TABLE dbstat (a)"))

    assert {None} == {table.size_bytes for table in report.tables}
    assert ["sizes of tables (no such column: name)"] == list(report.unfinished)
    assert 2000 == next(table.rows for table in report.tables if table.name == "plants")


def test_analyze_never_ran(path):
    """
    Without statistics there is no age.
    """
    report = sqlite_doctor(made(path))

    assert (0, None) == (report.analyzed_tables, report.analyze_age_at_least_seconds)


def test_analyze_is_at_least_as_old_as_the_last_write(path):
    """
    SQLite keeps no time of it, but it was a write.
    """
    made(path, "ANALYZE")
    an_hour_ago = time.time() - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))
    report = sqlite_doctor(path)

    assert 1 == report.analyzed_tables
    assert 3600 <= report.analyze_age_at_least_seconds < 3700
    assert "1 tables, at least 60 min ago" in report.render()


def test_quick_check_is_made_when_asked_for(path):
    """
    Only then is it known that the file is sound.
    """
    made(path)

    assert sqlite_doctor(path).quick_check is None
    assert ("ok",) == sqlite_doctor(path, quick_check=True).quick_check


@pytest.mark.parametrize("name", ["a b.db", "a?b#c%20d.db", "é.db", "file:x.db", "-x.db"])
def test_any_name_of_a_file(tmp_path, monkeypatch, name):
    """
    Names that mean something in an address are names, also where they are relative.
    """
    made(tmp_path / name)
    monkeypatch.chdir(tmp_path)

    assert "ok" == sqlite_doctor(name).status
    assert 2000 == sqlite_doctor(tmp_path / name).tables[0].rows


# It changes nothing.


def test_nothing_is_changed(path):
    """
    Content, times and companions of the file are as before, whatever is asked for but writing.
    """
    made(path)
    before = state(path.parent)
    sqlite_doctor(path, quick_check=True)
    sqlite_doctor(path, try_write=True)

    assert before == state(path.parent)


def test_in_wal_mode_the_file_is_not_changed(path):
    """
    With a WAL that waits for its checkpoint, file and WAL are as before, and what is in the WAL is seen.
    """
    made(path, "PRAGMA journal_mode = WAL")
    with opened(path) as db:
        db.execute("DELETE FROM plants WHERE id > 10")
        before = state(path.parent)
        report = sqlite_doctor(path, quick_check=True)
        after = state(path.parent)

        assert 10 == report.tables[0].rows
        assert report.wal_bytes == (path.parent / "shop.db-wal").stat().st_size > 0
        assert {name: before[name] for name in ("shop.db", "shop.db-wal")} == {
            name: after[name] for name in ("shop.db", "shop.db-wal")
        }


def test_the_locks_of_this_process_are_kept(path):
    """
    While a connection of this process holds the write lock, no other process gets it after an examination.

    Whoever opens and closes the file by itself drops it.
    """
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    with opened(made(path)) as db:
        db.execute("BEGIN IMMEDIATE")
        sqlite_doctor(path, quick_check=True)
        other = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)

        assert "database is locked" in other.stderr


def test_no_hook_sees_its_queries(path):
    """
    With sqlite3 instrumented, what the doctor asks is not among the application's queries.
    """
    made(path)
    sink = RecordingSink()
    with isolated_runtime(sinks=[sink]):
        obskit.instrument_sqlite3()
        try:
            sqlite_doctor(path, quick_check=True).optimize().backup(path.parent / "copy.db")
        finally:
            obskit.uninstrument_sqlite3()

    assert [] == sink.operations


@pytest.fixture
def in_a_request():
    operation = HttpOperation("GET", "/admin")
    token = current.set(operation)
    yield operation
    current.reset(token)


@pytest.mark.parametrize(
    "act",
    [
        sqlite_doctor,
        lambda path: doctor.optimize(path),
        lambda path: doctor.backup(path, f"{path}.copy"),
    ],
)
def test_not_in_a_request(path, act, in_a_request):
    """
    A request that asks for any of it is told where to do it; once it has ended, its threads may.
    """
    made(path)
    with pytest.raises(SqliteDoctorError, match=r"this is a GET request.*scheduled job"):
        act(str(path))
    in_a_request.ended = True

    assert act(str(path)) is not None


def test_in_a_job(path):
    """
    A function that is observed, outside of requests, may ask.
    """
    token = current.set(FunctionOperation("nightly"))
    try:
        assert "ok" == sqlite_doctor(made(path)).status
    finally:
        current.reset(token)


# Files that are not well.


def test_a_missing_file_stays_missing(path):
    """
    It is reported, and not created.
    """
    report = sqlite_doctor(path, try_write=True)

    assert ("missing", ["missing"], False) == (report.status, codes(report), report.is_healthy)
    assert not path.exists()


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: os.mkfifo(path)])
def test_what_is_no_file(path, make):
    """
    A folder or a pipe is not waited for.
    """
    make(path)

    assert ("unreadable", "not a file") == (sqlite_doctor(path).status, sqlite_doctor(path).problem)


def test_an_empty_file(path):
    """
    It is a database without a page.
    """
    path.touch()
    report = sqlite_doctor(path, quick_check=True)

    assert ("empty", 0, ()) == (report.status, report.size_bytes, report.tables)
    assert "empty" in codes(report)


@pytest.mark.parametrize(
    "content",
    [
        b"id,name\n1,Monstera\n" * 100,
        random.Random(7).randbytes(8192),
        b"SQLite format 4\0" + bytes(4080),
        b"\0" * 8192,
        b"x",
    ],
    ids=["text", "encrypted", "other version", "zeros", "one byte"],
)
def test_what_is_no_database(path, content):
    """
    Another format, and a file that is encrypted, is reported as no database, and nothing raises.
    """
    path.write_bytes(content)
    report = sqlite_doctor(path, quick_check=True, try_write=True)

    assert ("not_a_database", False) == (report.status, report.is_healthy)
    assert "not-a-database" in codes(report)
    assert len(content) == report.size_bytes


@pytest.mark.parametrize("where", [100, 4096 + 8, 3 * 4096, 8 * 4096, 20 * 4096])
@pytest.mark.parametrize("length", [1, 64, 4096, 40_000])
def test_a_damaged_file(path, where, length):
    """
    Whatever bytes are lost, there is a report; where SQLite's check finds it, the file is corrupt.
    """
    made(path)
    chance = random.Random(where + length)
    content = bytearray(path.read_bytes())
    content[where : where + length] = chance.randbytes(length)
    path.write_bytes(content)
    report = sqlite_doctor(path, quick_check=True)
    quickly = sqlite_doctor(path)

    assert report.status in ("ok", "corrupt", "not_a_database")
    assert (report.status == "ok") == (report.quick_check == ("ok",))
    assert quickly.status in ("ok", report.status)
    assert isinstance(report.render(), str)
    if length >= 4096:
        assert "corrupt" == report.status
        assert "corrupt" == codes(report)[0]


@pytest.mark.parametrize("keep", [100, 512, 4096, 4097, 50_000])
def test_a_file_that_was_cut(path, keep):
    """
    A database whose end is missing is corrupt, or no database.
    """
    made(path)
    os.truncate(path, keep)
    report = sqlite_doctor(path, quick_check=True)

    assert report.status in ("corrupt", "not_a_database")
    assert not report.is_healthy


def test_more_pages_than_there_is_file(path):
    """
    A header that claims four thousand million pages is found out, without memory for them.
    """
    made(path)
    content = bytearray(path.read_bytes())
    content[28:32] = (2**32 - 2).to_bytes(4, "big")
    path.write_bytes(content)

    assert "corrupt" == sqlite_doctor(path, quick_check=True).status


def test_a_huge_file(path):
    """
    A file of hundreds of gigabytes, which are a hole, is examined in the time that it is given, and not copied.
    """
    made(path)
    pages = 100_000_000
    with path.open("r+b") as file:
        file.seek(28)
        file.write(pages.to_bytes(4, "big"))
        file.truncate(pages * 4096)
    report = sqlite_doctor(path, timeout_seconds=1.0)

    assert (pages, 409_600_000_000) == (report.page_count, report.size_bytes)
    assert "409.6 GB" in report.render()
    assert "disk" in codes(report)
    with pytest.raises(SqliteDoctorError, match=r"it has 409\.6 GB, and .* are free"):
        report.backup(path.parent / "copy.db")


def test_a_locked_database(path):
    """
    While another connection holds an exclusive lock the file is seen from outside, and nothing else is done.
    """
    with opened(made(path)) as db:
        db.execute("BEGIN EXCLUSIVE")
        report = sqlite_doctor(path)

        assert ("locked", "database is locked", path.stat().st_size) == (
            report.status,
            report.problem,
            report.size_bytes,
        )
        assert "locked" in codes(report)
        with pytest.raises(SqliteDoctorError, match="was not optimised: database is locked"):
            report.optimize()


def test_a_copy_does_not_wait_for_ever(path, monkeypatch):
    """
    A lock that stays ends the copy, and nothing of it is left.
    """
    monkeypatch.setattr(backup, "_LOCK_SECONDS", 0.0)
    with opened(made(path)) as db:
        db.execute("BEGIN EXCLUSIVE")
        before = {file.name for file in path.parent.iterdir()}
        with pytest.raises(SqliteDoctorError, match="locked"):
            doctor.backup(str(path), path.parent / "copy.db")

        assert before == {file.name for file in path.parent.iterdir()}


def test_try_write_says_who_is_in_the_way(path):
    """
    Reading goes on while another connection writes; whether the lock can be had is known only by trying.
    """
    with opened(made(path)) as db:
        free = sqlite_doctor(path, try_write=True)
        db.execute("BEGIN IMMEDIATE")
        asked, tried = sqlite_doctor(path), sqlite_doctor(path, try_write=True)

    assert (True, "the write lock was taken and given back") == (free.can_write, free.can_write_because)
    assert ("ok", True) == (asked.status, asked.can_write)
    assert ("ok", False, "database is locked") == (tried.status, tried.can_write, tried.can_write_because)
    assert "not-writable" in codes(tried)


@pytest.fixture
def foreign():
    """
    Yield a folder, and be somebody without the rights of its owner until the end of the test.
    """
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    if os.getuid() == 0:
        os.seteuid(0)
    folder.chmod(0o755)
    shutil.rmtree(folder)


def become_somebody():
    if os.geteuid() == 0:
        os.seteuid(65534)  # nobody: root may write everywhere


def test_a_file_that_may_not_be_written(foreign):
    """
    It can be read; writing is refused with the reason, and by optimize() too.
    """
    path = made(foreign / "shop.db")
    path.chmod(0o444)
    become_somebody()
    report = sqlite_doctor(path)

    assert ("ok", False, "this user may not write to the file") == (
        report.status,
        report.can_write,
        report.can_write_because,
    )
    with pytest.raises(SqliteDoctorError, match="readonly database"):
        report.optimize()


def test_a_folder_that_may_not_be_written(foreign):
    """
    Without a place for its journal a database that may be written cannot be.
    """
    path = made(foreign / "shop.db")
    path.chmod(0o666)
    foreign.chmod(0o555)
    become_somebody()
    report = sqlite_doctor(path)

    assert ("ok", False) == (report.status, report.can_write)
    assert f"may not write to {foreign}" in report.can_write_because


def test_a_wal_database_where_nothing_may_be_written(foreign):
    """
    It cannot even be read, since the -shm file cannot be made; the report says so.
    """
    path = made(foreign / "shop.db", "PRAGMA journal_mode = WAL")
    foreign.chmod(0o555)
    become_somebody()
    report = sqlite_doctor(path)

    assert ("unreadable", False) == (report.status, report.can_write)
    assert "-shm" in next(advice.text for advice in report.advice if advice.code == "unreadable")


def test_a_file_that_may_not_be_read(foreign):
    """
    It is unreadable, and its size is known.
    """
    path = made(foreign / "shop.db")
    path.chmod(0)
    foreign.chmod(0o555)
    become_somebody()
    report = sqlite_doctor(path, quick_check=True)

    assert ("unreadable", path.stat().st_size) == (report.status, report.size_bytes)


def test_a_journal_that_a_crash_left(path):
    """
    What a read-only connection cannot roll back is reported; a connection that may write puts it right.
    """
    made(path)
    crash = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 5")
db.execute("BEGIN")
db.execute("UPDATE plants SET name = name || name")
os._exit(1)
"""
    subprocess.run([sys.executable, "-c", crash, path])
    report = sqlite_doctor(path)

    assert report.journal_bytes > 0
    assert "unreadable" == report.status
    assert "rollback journal of a crash" in report.advice[0].text
    assert True is sqlite_doctor(path, try_write=True).can_write
    assert ("ok", ("ok",)) == (sqlite_doctor(path).status, sqlite_doctor(path, quick_check=True).quick_check)


def test_a_name_that_is_no_text(path):
    """
    Bytes that are no UTF-8 in a name of the schema do not stop the report.
    """
    made(path, "CREATE TABLE zzzz (a)", "PRAGMA writable_schema = ON")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"zzzz", b"zz\xff\xfe"))
    report = sqlite_doctor(path)

    assert "ok" == report.status
    assert 2000 == next(table.rows for table in report.tables if table.name == "plants")
    assert json.loads(report.to_json())


# A writer at work.

WRITER = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=float(sys.argv[2]))
print("ready", flush=True)
written = 0
try:
    while True:
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO plants (name, price) VALUES ('new', 1)")
        db.execute("INSERT INTO plants (name, price) VALUES ('new', 2)")
        db.execute("COMMIT")
        written += 1
        if written == 3:
            print("writing", flush=True)
except sqlite3.Error as error:
    print(error, flush=True)
"""


@contextmanager
def writing(path, timeout=0.0):
    """
    Start another process that writes without a pause.
    """
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, path, str(timeout)], stdout=subprocess.PIPE, text=True
    ) as writer:
        try:
            assert "ready\n" == writer.stdout.readline()
            assert "writing\n" == writer.stdout.readline()
            yield writer
            assert writer.poll() is None
        finally:
            writer.kill()
            said = writer.stdout.read()
    assert "" == said


def test_a_live_writer_is_not_disturbed(path):
    """
    In WAL mode another process goes on writing, without waiting a moment, through examinations and copies.
    """
    made(path, "PRAGMA journal_mode = WAL")
    with writing(path):
        reports = [sqlite_doctor(path, quick_check=True) for _ in range(5)]
        copies = [reports[0].backup(path.parent / f"copy {number}.db") for number in range(5)]

    assert {("ok", ("ok",))} == {(report.status, report.quick_check) for report in reports}
    rows = [report.tables[0].rows for report in reports]
    assert rows == sorted(rows)
    assert rows[0] > 2000
    for copy in copies:
        with opened(copy.path) as db:
            assert 0 == db.execute("SELECT count(*) % 2 FROM plants").fetchone()[0]
            assert "ok" == db.execute("PRAGMA integrity_check").fetchone()[0]


def test_a_copy_is_made_while_a_rollback_journal_is_written(path):
    """
    Writers with a timeout wait for the copy; the copy is of one moment.
    """
    made(path)
    with writing(path, timeout=60.0):
        copy = doctor.backup(str(path), path.parent / "copy.db")

    with opened(copy.path) as db:
        assert 0 == db.execute("SELECT count(*) % 2 FROM plants").fetchone()[0]


def test_many_threads_may_examine_at_once(path):
    """
    Each examination has a connection of its own.
    """
    made(path, "PRAGMA journal_mode = WAL")
    reports = []
    threads = [threading.Thread(target=lambda: reports.append(sqlite_doctor(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [("ok", 2000)] * 8 == [(report.status, report.tables[0].rows) for report in reports]


# Copies.


def test_a_copy_holds_what_the_database_holds(path):
    """
    The copy has every row, the rights of the original, and its name only; the report of it is as good.
    """
    made(path, "PRAGMA journal_mode = WAL")
    path.chmod(0o640)
    with opened(path) as db:
        db.execute("DELETE FROM plants WHERE id > 1500")  # it is in the WAL only
        copy = sqlite_doctor(path).backup(path.parent / "copy.db")
    (path.parent / "copies").mkdir()
    target = Path(copy.path)

    assert {"shop.db", "copy.db", "copies"} == {file.name for file in path.parent.iterdir()}
    assert (0o640, copy.size_bytes) == (target.stat().st_mode & 0o777, target.stat().st_size)
    assert 1500 == sqlite_doctor(target).tables[0].rows
    assert copy.took_seconds >= 0


@pytest.mark.parametrize(
    ("to", "prepare", "message"),
    [
        ("copy.db", lambda folder: (folder / "copy.db").write_text("mine"), "that is there already"),
        ("shop.db", None, "that is there already"),
        ("folder", lambda folder: (folder / "folder").mkdir(), "that is there already"),
        ("copy.db", lambda folder: (folder / "copy.db-wal").write_text("mine"), "-wal or -journal"),
        ("copy.db", lambda folder: (folder / "copy.db-journal").write_text("mine"), "-wal or -journal"),
        ("nowhere/copy.db", None, "there is no folder"),
    ],
)
def test_a_copy_that_is_refused(path, to, prepare, message):
    """
    What would overwrite, or be spoiled by, another file is refused, and everything stays.
    """
    made(path)
    if prepare:
        prepare(path.parent)
    before = state_of_all(path.parent)
    with pytest.raises(SqliteDoctorError, match=message):
        sqlite_doctor(path).backup(path.parent / to)

    assert before == state_of_all(path.parent)


def state_of_all(folder):
    return {file.name: file.read_bytes() if file.is_file() else None for file in folder.iterdir()}


def test_overwrite_replaces_another_file_and_never_itself(path):
    """
    A copy of yesterday may be replaced; the database may not.
    """
    made(path)
    report = sqlite_doctor(path)
    (path.parent / "copy.db").write_text("yesterday")

    assert 2000 == sqlite_doctor(report.backup(path.parent / "copy.db", overwrite=True).path).tables[0].rows
    with pytest.raises(SqliteDoctorError, match="that is there already"):
        report.backup(path, overwrite=True)


def test_a_copy_of_a_corrupt_database_is_no_copy(path):
    """
    What is not sound gets no name, and yesterday's copy stays.
    """
    made(path)
    content = bytearray(path.read_bytes())
    content[8 * 4096 : 12 * 4096] = bytes(4 * 4096)
    path.write_bytes(content)
    (path.parent / "copy.db").write_text("yesterday")
    with pytest.raises(SqliteDoctorError, match="the copy is not sound, nor is the original"):
        doctor.backup(str(path), path.parent / "copy.db", overwrite=True)

    assert {"shop.db": bytes(content), "copy.db": b"yesterday"} == state_of_all(path.parent)


@pytest.mark.parametrize("content", [None, b"no database" * 500])
def test_a_copy_of_no_database(path, content):
    """
    A missing file and another kind of file cannot be copied.
    """
    if content:
        path.write_bytes(content)
    before = state_of_all(path.parent)
    with pytest.raises(SqliteDoctorError, match=r"was not copied.*(No such file|not a database)"):
        doctor.backup(str(path), path.parent / "copy.db")

    assert before == state_of_all(path.parent)


COPY = """
import os, resource, shutil, signal, sys
from types import SimpleNamespace
from obskit.db import sqlite_doctor
from obskit.errors import SqliteDoctorError
path, to, how = sys.argv[1:]
report = sqlite_doctor(path)
shutil.disk_usage = lambda folder: SimpleNamespace(free=2**40)
if how == "limit":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    report.backup(to)
except SqliteDoctorError as error:
    print(error)
print(sorted(os.listdir(os.path.dirname(to))))
"""
# A disk of one megabyte that is there for one command alone.
SMALL_DISK = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"']


def copied(path, to, how, *before):
    command = [*before, sys.executable, "-W", "error", "-c", COPY, path, to, how]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_file_that_may_not_grow(path):
    """
    Where writing stops in the middle the copy is given up, and nothing of it is left.
    """
    made(path, plants=20_000)
    said = copied(path, path.parent / "copy.db", "limit")

    assert "was not copied" in said
    assert said.endswith("['shop.db']\n")
    assert "ok" == sqlite_doctor(path, quick_check=True).status


def test_a_full_disk(path):
    """
    A disk that seemed to have room and has none ends the copy, and nothing of it is left.

    The disk is a file system of one megabyte where this user may mount one, else a limit on the size of files.
    """
    made(path, plants=50_000)
    disk = path.parent / "disk"
    disk.mkdir()
    try:
        said = copied(path, disk / "copy.db", "full", *SMALL_DISK, disk)
        expected = "database or disk is full"
    except (OSError, subprocess.CalledProcessError):
        said, expected = copied(path, disk / "copy.db", "limit"), "was not copied"

    assert expected in said
    assert said.endswith("[]\n")


# Statistics.


@pytest.mark.parametrize("version", [(3, 0, 0), (99, 0, 0)], ids=["ANALYZE", "PRAGMA optimize"])
def test_optimize_gathers_statistics(path, monkeypatch, version):
    """
    Where they were missing they are there afterwards, and the report says so.
    """
    if version < sqlite3.sqlite_version_info < (3, 46, 0):
        version = (99, 0, 0)  # this SQLite's PRAGMA optimize would look at no table
    monkeypatch.setattr(file_doctor, "_OPTIMIZE_VERSION", version)
    before = sqlite_doctor(made(path))
    after = before.optimize()

    assert "no-statistics" in codes(before)
    assert "no-statistics" not in codes(after)
    assert (0, 1) == (before.analyzed_tables, after.analyzed_tables)


def test_optimize_does_not_make_a_file(path):
    """
    A file that is missing stays missing.
    """
    with pytest.raises(SqliteDoctorError, match="was not optimised: unable to open"):
        doctor.optimize(str(path))

    assert not path.exists()


# Advice.


def text_of(report, code):
    return next(advice.text for advice in report.advice if advice.code == code)


def test_advice_on_statistics(path):
    """
    Missing and stale statistics are named with their figures.
    """
    missing = sqlite_doctor(made(path))
    with opened(path) as db:
        db.execute("ANALYZE")
        db.execute("DELETE FROM plants WHERE id > 1100")
        fresh = sqlite_doctor(path)
        db.execute("UPDATE sqlite_stat1 SET stat = '300 1'")
        stale = sqlite_doctor(path)

    assert "plants has indexes, 1,000 rows or more, and no statistics" in text_of(missing, "no-statistics")
    assert not {"no-statistics", "stale-statistics"} & set(codes(fresh))
    assert "plants has 1,100 rows; when ANALYZE last ran it had 300." in text_of(stale, "stale-statistics")


def test_advice_on_free_pages(path):
    """
    A file that is half empty, and large, is told what VACUUM would give back.
    """
    made(path, "DELETE FROM plants WHERE id > 1000", plants=400_000)
    text = text_of(sqlite_doctor(path), "free-pages")
    report = sqlite_doctor(path)

    assert f"{report.free_pages:,} of {report.page_count:,} pages" in text
    assert size(report.free_pages * report.page_size) in text


def test_advice_on_indexes(path):
    """
    An index that another begins with is named; one that is unique, partial or of another order is not.
    """
    made(
        path,
        "CREATE INDEX wide ON plants (name, price)",
        "CREATE INDEX other ON plants (price, name)",
        "CREATE UNIQUE INDEX once ON plants (price, id)",
        "CREATE INDEX some ON plants (price) WHERE price > 3",
    )
    report = sqlite_doctor(path)

    assert 1 == codes(report).count("redundant-index")
    assert "plants_name (name), " in text_of(report, "redundant-index")
    assert "is the beginning of wide (name, price)" in text_of(report, "redundant-index")


def test_of_two_equal_indexes_one_is_redundant(path):
    """
    They are not both to be dropped.
    """
    report = sqlite_doctor(made(path, "CREATE INDEX twin ON plants (name)"))

    assert 1 == codes(report).count("redundant-index")


def test_advice_on_foreign_keys(path):
    """
    A large table that refers to another, without an index, is named with its rows.
    """
    orders = "CREATE TABLE orders (plant INTEGER REFERENCES plants (id), other INTEGER REFERENCES plants (id))"
    made(path, orders, "INSERT INTO orders SELECT id, id FROM plants", "CREATE INDEX o ON orders (other)")
    report = sqlite_doctor(path)

    assert 1 == codes(report).count("foreign-key-without-index")
    assert "orders (plant) refers to plants" in text_of(report, "foreign-key-without-index")
    assert "reads all 2,000 rows of orders" in text_of(report, "foreign-key-without-index")


@pytest.fixture
def hooked(clock):
    """
    Have queries of connections that are opened from now on timed, by a clock that makes each take a second.
    """
    with isolated_runtime(clock=clock, explain_slow_queries=True, slow_query_ms=500):
        obskit.instrument_sqlite3()
        yield clock
        obskit.uninstrument_sqlite3()


def asked(clock, path, *statements):
    with opened(path) as db:
        db.create_function("nap", 1, lambda seconds: clock.advance(seconds))
        for statement in statements:
            db.execute(statement).fetchall()


def test_advice_on_many_rows_and_slow_queries(path, hooked):
    """
    150,000 rows and 12 slow queries give advice that quotes both, with the statement, its times and its plan.
    """
    made(path, plants=150_000)
    asks = (f"SELECT nap({1 + number / 4}) FROM plants WHERE id > {number} LIMIT 1" for number in range(12))
    asked(hooked, path, "SELECT count(*) FROM plants", *asks)
    asked(hooked, path, "CREATE TABLE other (a)", "DROP TABLE other")
    report = sqlite_doctor(path)

    assert "plants has 150,000 rows in " in text_of(report, "many-rows")
    assert "and 1 index (plants_name)" in text_of(report, "many-rows")
    assert (report.slow_queries, [one.count for one in report.slow_statements]) == (12, [12])
    text = text_of(report, "slow-queries")
    assert text.startswith(
        "12 slow queries of this process name its tables. The most time took `SELECT nap(?) FROM plants WHERE id > ? "
        "LIMIT ?`, asked by "
    )
    assert "12 times, 2,375 ms on average, 3,750 ms at most, 28.5 s together. Its plan: SEARCH plants USING" in text
    assert [advice.severity for advice in report.advice if advice.code == "slow-queries"] == ["warn"]
    assert [line.split()[:4] for line in report.render().splitlines() if "12  " in line][:1] == [
        ["12", "2,375", "ms", "3,750"]
    ]


def test_a_bound_that_is_not_reached_is_no_advice(path, hooked):
    """
    Below its bounds a file is fine, the bounds are arguments, and queries of other tables are not the file's.
    """
    made(path, plants=150)
    other = made(path.with_name("other.db"), "CREATE TABLE shelves (id)", "INSERT INTO shelves VALUES (1)")
    asked(hooked, path, *["SELECT nap(1) FROM plants LIMIT 1"] * 9)
    asked(hooked, other, *["SELECT nap(1), p.id FROM plants p JOIN shelves s LIMIT 1"] * 5)
    few, strict = sqlite_doctor(path), sqlite_doctor(path, large_bytes=1, many_rows=150, many_slow_queries=9)

    assert not {"slow-queries", "many-rows", "large-file"} & set(codes(few))
    assert {"slow-queries", "many-rows", "large-file"} <= set(codes(strict))
    assert (few.slow_queries, sqlite_doctor(other).slow_queries) == (9, 14)
    assert f"The file has {size(path.stat().st_size)}, more than 1 B. plants takes " in text_of(strict, "large-file")


def test_where_nobody_watches_slow_queries_are_unknown(path):
    """
    Without a runtime, or with slow queries off, their number is None, never 0.
    """
    made(path)
    before = sqlite_doctor(path).slow_queries
    with isolated_runtime(slow_query_ms=None, slow_query_warning_ms=None):
        off = sqlite_doctor(path).slow_queries
    with isolated_runtime():
        none = sqlite_doctor(path).slow_queries

    assert (before, off, none) == (None, None, 0)


def test_many_large_tables_are_few_advices(path):
    """
    Five tables have an advice of their own, the largest, and the others are named together.
    """
    tables = [f"CREATE TABLE t{n} AS SELECT * FROM plants LIMIT {100 + n}" for n in range(7)]
    texts = [one.text for one in sqlite_doctor(made(path, *tables), many_rows=100).advice if one.code == "many-rows"]

    assert [text.split(" in ")[0] for text in texts[:5]] == [
        "plants has 2,000 rows",
        *(f"t{n} has {100 + n} rows" for n in (6, 5, 4, 3)),
    ]
    assert texts[5:] == ["100 rows or more have t2, t1, t0, too."]


# What connections have set.


def pragmas(report):
    return [
        (one.connections, one.synchronous, one.foreign_keys, one.busy_timeout_ms, one.cache_size, one.temp_store)
        for one in report.connections
    ]


def test_connections_say_what_they_have_set(path, hooked):
    """
    Those that are open in this thread are asked, each for this file, whatever its factories; equal ones are counted.
    """
    made(path)
    with ExitStack() as stack:
        for file, timeout in ((path, 2), (path, 2), (path.with_name("another.db"), 1), (":memory:", 1)):
            stack.enter_context(opened(file, timeout=timeout))
        other = stack.enter_context(opened(path))
        other.row_factory, other.text_factory = sqlite3.Row, bytes
        for statement in ("synchronous = OFF", "foreign_keys = ON", "cache_size = 77", "temp_store = 2"):
            other.execute(f"PRAGMA {statement}")
        report = sqlite_doctor(path)

    assert pragmas(report) == [(2, "full", False, 2000, -2000, "default"), (1, "off", True, 5000, 77, "memory")]
    assert (report.connections[1].locking_mode, report.connections[1].wal_autocheckpoint_pages) == ("normal", 1000)
    assert report.silent_connections == 0
    assert "  connections 2: synchronous full, foreign_keys off, busy_timeout 2,000 ms" in report.render()
    assert "1 of 3 open connections has `synchronous = OFF`" in text_of(report, "synchronous-off")
    assert json.loads(report.to_json())["connections"][1]["synchronous"] == "off"


def test_connections_of_other_threads_answer_when_they_are_used(path, hooked, monkeypatch):
    """
    One that is used in another thread says what it has set between two statements; nobody else touches it.
    """
    monkeypatch.setattr(doctor, "_ANSWER_SECONDS", 60.0)
    made(path)
    ready, done = threading.Event(), threading.Event()

    def work():
        with opened(path, timeout=3) as db:
            while not done.is_set():
                db.execute("SELECT 1").fetchall()
                ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    report = sqlite_doctor(path)
    done.set()
    thread.join()

    assert (pragmas(report), report.silent_connections) == ([(1, "full", False, 3000, -2000, "default")], 0)
    assert (thresholds.watches_connections, thresholds.surveys) == (True, [])  # as plans are asked for here


def test_nothing_comes_before_the_first_statement(path, hooked):
    """
    The first statement of a connection may have to be the first: it is asked with its second.
    """
    made(path)
    traced = []
    with survey_connections() as survey, opened(path) as db:
        db.set_trace_callback(traced.append)
        for number in range(3):
            db.execute(f"PRAGMA user_version = {number}")
            told = len(survey.found(str(path)))
            traced.append(str(told))

    assert [line for line in traced if line.startswith("PRAGMA user") or line.isdecimal()] == [
        *("PRAGMA user_version = 0", "0", "PRAGMA user_version = 1", "1", "PRAGMA user_version = 2", "1"),
    ]
    assert traced[0] == "PRAGMA user_version = 0"


def test_connections_that_come_and_go_are_told_of(path, hooked):
    """
    One connection a request, each dropped at once, has answered all the same, whatever `id()` the next one has.
    """
    made(path)
    with survey_connections() as survey:
        for number in range(5):
            with opened(path) as db:
                db.execute(f"PRAGMA cache_size = {number // 4 + 1}")
                db.execute("SELECT 1")
            del db
        found = survey.found(str(path))

    assert [(one.connections, one.cache_size) for one in found] == [(4, 1), (1, 2)]
    assert survey.unanswered() == 0


def test_a_connection_that_is_not_used_is_silent(path, hooked, monkeypatch):
    """
    An idle connection of another thread is counted, and left alone.
    """
    monkeypatch.setattr(doctor, "_ANSWER_SECONDS", 0.0)
    made(path)
    traced, held = [], []

    def work():
        held.append(sqlite3.connect(path, check_same_thread=False))
        held[0].set_trace_callback(traced.append)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    report = sqlite_doctor(path)
    held[0].close()
    held.clear()

    assert (report.connections, report.silent_connections, traced) == ((), 1, [])
    assert "1 open ones, to whatever file, have not answered" in report.render()
    assert sqlite_doctor(path).connections is None


def test_asking_changes_nothing(path, hooked):
    """
    What a connection is in the middle of goes on: its transaction, its rows, its counts; and no query is counted.
    """
    seen = []
    with opened(made(path)) as db:
        db.execute("BEGIN")
        db.execute("INSERT INTO plants (name) VALUES ('fern')")
        rows = db.execute("SELECT id FROM plants ORDER BY id")
        first = rows.fetchone()
        before = db.total_changes
        with watching(seen.append):
            report = sqlite_doctor(path)
        after = (db.in_transaction, db.total_changes, rows.fetchone())

    assert (first, after) == ((1,), (True, before, (2,)))
    assert (len(report.connections), seen) == (1, [])


def test_connections_that_cannot_say_are_left_out(path, hooked):
    """
    One that is closed, one whose authorizer refuses, and one whose class is the application's own: nothing raises.
    """

    class Odd(sqlite3.Connection):
        __hash__ = None

        def __eq__(self, other):
            raise TypeError

        def cursor(self, *args):
            raise TypeError

    closed = sqlite3.connect(made(path))
    closed.close()
    with opened(path) as refusing, opened(path, factory=Odd, timeout=1):
        refusing.set_authorizer(lambda *asked: sqlite3.SQLITE_DENY)
        report = sqlite_doctor(path)

    assert (pragmas(report), report.silent_connections) == ([(1, "full", False, 1000, -2000, "default")], 0)


def test_without_a_hook_nothing_is_known_of_connections(path):
    """
    Connections that no hook has opened are unknown: None, not an empty list.
    """
    with opened(made(path)):
        report = sqlite_doctor(path)

    assert (report.connections, report.silent_connections) == (None, 0)


def test_a_child_leaves_the_connections_of_its_parent_alone(path, hooked):
    """
    SQLite connections must not be used behind a fork, so those of before are forgotten there.
    """
    with opened(made(path)):
        found = in_child(lambda: sqlite_doctor(path).connections)

        assert (found, len(sqlite_doctor(path).connections)) == ("None", 1)


HAS = ConnectionPragmas(2, "normal", True, 5000, -2000, 0, "default", "normal", 1000)


@pytest.mark.parametrize(
    ("changes", "journal_mode", "expected", "words"),
    [
        ({}, "wal", [], ""),
        ({"synchronous": "off"}, "wal", ["synchronous-off"], "2 of 3 open connections have"),
        ({"synchronous": "full"}, "wal", ["synchronous-full"], "2 of 3 open connections have"),
        ({"synchronous": "full"}, "memory", [], ""),
        ({"synchronous": "extra", "connections": 1}, "wal", ["synchronous-full"], "1 of 2 open connections has"),
        ({"foreign_keys": False}, "wal", ["foreign-keys-off"], "though orders has foreign keys"),
        ({"busy_timeout_ms": 0}, "wal", ["no-busy-timeout"], "2 of 3 open connections have no busy timeout"),
    ],
)
def test_advice_on_pragmas(changes, journal_mode, expected, words):
    """
    What connections have set is judged by the file that they are for: foreign keys where there are some, FULL in WAL.
    """
    connections = (replace(HAS, **changes), replace(HAS, connections=1))
    report = replace(SOUND, journal_mode=journal_mode, connections=connections)
    found = advise(report, {}, [("orders", ("plant",), "plants")])

    assert [advice.code for advice in found] == expected
    assert all(words in advice.text for advice in found)


# What is done when asked for.


def test_the_schema_is_quoted_when_asked_for(path):
    """
    Tables, indexes, views and triggers come with their text, in this order, as SQLite keeps it.
    """
    made(
        path,
        "CREATE TRIGGER t AFTER INSERT ON plants BEGIN SELECT 1; END",
        "CREATE VIEW few AS SELECT * FROM plants",
        'CREATE TABLE "a ""b""" (c UNIQUE)',
        "CREATE TABLE long (a DEFAULT '" + "x" * 20_000 + "')",
        "ANALYZE",
    )
    report = sqlite_doctor(path, schema=True)
    texts = {text.name: text for text in report.schema}

    assert [(text.kind, text.name) for text in report.schema] == [
        *(("table", 'a "b"'), ("table", "long"), ("table", "plants")),
        *(("index", "plants_name"), ("view", "few"), ("trigger", "t")),
    ]
    assert texts["plants"].sql == "CREATE TABLE plants (id INTEGER PRIMARY KEY, name TEXT, price REAL)"
    assert (texts["plants_name"].table, texts["plants_name"].sql) == (
        "plants",
        "CREATE INDEX plants_name ON plants (name)",
    )
    assert len(texts["long"].sql) == inspection.MAX_SCHEMA_LENGTH + 3
    assert texts["t"].sql in report.render()
    assert sqlite_doctor(path).schema is None
    assert json.loads(report.to_json())["schema"][2]["sql"] == texts["plants"].sql


def test_the_integrity_is_checked_when_asked_for(path):
    """
    An index that lacks a row is found by the whole check alone: quick_check does not hold indexes against tables.
    """
    made(path)
    sound = sqlite_doctor(path, integrity_check=True)
    with opened(path) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_master SET sql = 'CREATE INDEX plants_name ON plants (price)' WHERE type = 'index'")
    damaged = sqlite_doctor(path, quick_check=True, integrity_check=True)

    assert (sound.integrity_check, sound.quick_check, sqlite_doctor(path).integrity_check) == (("ok",), None, None)
    assert "  integrity   ok" in sound.render().splitlines()
    assert (damaged.status, damaged.quick_check, damaged.is_healthy) == ("corrupt", ("ok",), False)
    assert "missing from index plants_name" in damaged.integrity_check[0] == damaged.problem
    assert "corrupt" in codes(damaged)


SOUND = SqliteReport(
    *("/shop.db", "ok", None, "3.51.3", "2026-11-01T00:00:00Z", 0.1),
    size_bytes=10_000_000,
    page_size=4096,
    page_count=2441,
    free_pages=0,
    journal_mode="wal",
    can_write=True,
    disk_free_bytes=10**12,
)


@pytest.mark.parametrize(
    ("changes", "expected", "words"),
    [
        ({}, [], []),
        ({"sqlite_version": "3.51.2"}, ["wal-reset-bug"], ["3.51.2", "3.51.3"]),
        ({"sqlite_version": "3.40.1"}, ["wal-reset-bug"], ["3.40.1"]),
        ({"sqlite_version": "3.50.6"}, ["wal-reset-bug"], ["3.50.6"]),
        ({"sqlite_version": "3.50.7"}, [], []),
        ({"sqlite_version": "3.44.6"}, [], []),
        ({"sqlite_version": "3.40.1", "journal_mode": "delete"}, ["rollback-journal"], ["delete", "WAL"]),
        ({"wal_bytes": LARGE_WAL_BYTES}, [], []),
        ({"wal_bytes": 190_000_000}, ["large-wal"], ["190.0 MB", "10.0 MB"]),
        ({"wal_bytes": 190_000_000, "size_bytes": 900_000_000}, [], []),
        ({"free_pages": 2440, "page_size": 1024}, [], []),
        ({"free_pages": 2440, "page_size": 8192}, ["free-pages"], ["2,440 of 2,441", "100 %", "20.0 MB"]),
        ({"page_size": 1024, "size_bytes": 20_000_000}, ["page-size"], ["1,024 bytes"]),
        ({"disk_free_bytes": 50_000_000}, ["disk"], ["50.0 MB", "10.0 MB"]),
        ({"disk_free_bytes": 50_000_000, "size_bytes": 10}, ["disk"], []),
        ({"can_write": False, "can_write_because": "of the moon"}, ["not-writable"], ["of the moon"]),
        ({"status": "locked", "problem": "database is locked", "journal_mode": None}, ["locked"], ["is locked"]),
        ({"status": "corrupt", "problem": "malformed", "quick_check": ("malformed",)}, ["corrupt"], ["malformed"]),
    ],
)
def test_each_rule(changes, expected, words):
    """
    A rule speaks where its figures say so, quotes them, and is silent elsewhere.
    """
    found = advise(replace(SOUND, **changes), {}, [])

    assert expected == [advice.code for advice in found]
    assert [] == [word for word in words if word not in found[0].text]


def test_advice_has_sources_and_comes_in_order():
    """
    What SQLite's documentation says is linked, and what is critical comes first.
    """
    report = replace(SOUND, status="corrupt", problem="x", sqlite_version="3.8.0", can_write=False, page_size=512)
    found = advise(replace(report, size_bytes=10**8, free_pages=2441, page_count=2441), {}, [])

    assert ["critical", "warn", "warn", "info"] == [advice.severity for advice in found]
    assert {"https://sqlite.org/", ""} >= {advice.source[:19] for advice in found}


# How it is shown.


def test_json_has_everything(path):
    """
    The dictionary is ready for JSON, and has every field of the report.
    """
    report = sqlite_doctor(made(path), quick_check=True)
    found = json.loads(report.to_json())

    assert set(SqliteReport.__dataclass_fields__) | {"is_healthy"} == set(found)
    assert found == json.loads(json.dumps(report.to_dict()))
    assert {"name": "plants", "rows": 2000, "rows_are": "exact"}.items() <= found["tables"][0].items()


def test_the_table(path):
    """
    What people read has the file's state, its figures in columns, and the advice with its source.
    """
    text = sqlite_doctor(made(path, "CREATE TABLE few (a)")).render()
    lines = text.splitlines()

    assert f"{path}: ok" == lines[0]
    assert "  free        0 pages, 0 %" in lines
    assert any(line.split()[:2] == ["plants", "2,000"] for line in lines)
    assert any(line.startswith("  plants_name (name)") for line in lines)
    assert len({len(line) for line in lines[lines.index("") + 1 :][:4]}) == 1
    assert "  https://sqlite.org/lang_analyze.html" in lines
    assert text.endswith("\n")


def test_what_is_not_known_is_a_survey_mark():
    """
    Unknown figures are not shown as zero.
    """
    report = replace(
        SOUND,
        tables=(Table("a", "virtual"), Table("b", "table", 7, "at least"), Table("c", "table", 9, "estimated", 1, 0)),
        indexes=(Index("i", "c", ("d",), False, False),),
        unfinished=("sizes of tables",),
        advice=(Advice("info", "x", "Do it."),),
    )
    lines = [line.split() for line in report.render().splitlines()]

    assert [["a", "?", "?", "?"], ["b", ">=7", "?", "?"], ["c", "~9", "1", "B", "0", "B"]] == [
        line for line in lines if line and line[0] in "abc"
    ]
    assert ["unfinished", "sizes", "of", "tables"] in lines


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (None, "?"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_500_000, "1.5 MB"),
        (2e12, "2.0 TB"),
        (5e15, "5000.0 TB"),
    ],
)
def test_bytes_for_people(count, expected):
    """
    Sizes are in steps of 1000.
    """
    assert expected == size(count)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 days"), (86_400, "24 h")],
)
def test_ages_for_people(seconds, expected):
    """
    Ages are in the unit that there are two of.
    """
    assert expected == age(seconds)


# The command.


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "obskit.db.doctor", *map(str, arguments)],
        capture_output=True,
        text=True,
    )


def test_the_command_prints_a_table(path):
    """
    A healthy file is a success.
    """
    done = command(made(path), "--quick-check", "--try-write", "--timeout", "5")

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith(f"{path}: ok\n")
    assert "quick_check ok" in done.stdout


def test_the_command_does_more_when_asked(path):
    """
    It optimises, copies, checks everything, quotes the schema, and prints JSON.
    """
    done = command(
        made(path), "--integrity-check", "--schema", "--optimize", "--backup", path.parent / "copy.db", "--json"
    )

    assert 0 == done.returncode
    found = json.loads(done.stdout)
    assert (1, ["ok"], 2) == (found["analyzed_tables"], found["integrity_check"], len(found["schema"]))
    assert "checked" in done.stderr
    assert (path.parent / "copy.db").exists()


def test_the_command_fails_where_something_is_wrong(path):
    """
    A file that is not healthy, and what was not done, is status 1.
    """
    missing = command(path)
    refused = command(made(path), "--backup", path)

    assert (1, 1) == (missing.returncode, refused.returncode)
    assert "missing" in missing.stdout
    assert "that is there already" in refused.stderr
