"""
Files by hour, day and month: a name tells its span, all of them have a cap, and the oldest go first.
"""

import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from obskit.storage.own_sqlite import OwnDatabase, Schema
from obskit.storage.periods import PeriodFiles, Span, is_short, span_at

PERIODS = ("hour", "day", "month")
SCHEMA = Schema(("CREATE TABLE rows (x)",))


def at(*moment):
    return datetime(*moment, tzinfo=UTC).timestamp()


NOW = at(2026, 11, 30, 17, 30)


def files_of(folder, period="day", max_bytes=1_000, **given):
    return PeriodFiles(folder, period, max_bytes, **given)


def put(files, moment, size=100, writer="1", beside=""):
    path = files.path_at(moment, writer)
    path.parent.mkdir(exist_ok=True)
    path = path.with_name(f"{path.name}{beside}")
    path.write_bytes(bytes(size))
    return path


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


# Names and spans


@pytest.mark.parametrize(
    ("period", "name", "span"),
    [
        ("hour", "2026-11-30T17.a.sqlite3", (at(2026, 11, 30, 17), at(2026, 11, 30, 18))),
        ("day", "2026-11-30.a.sqlite3", (at(2026, 11, 30), at(2026, 12, 1))),
        ("month", "2026-11.a.sqlite3", (at(2026, 11, 1), at(2026, 12, 1))),
    ],
)
def test_a_name_tells_its_span(period, name, span):
    """
    And a moment its name.
    """
    files = files_of(Path("history"), period)

    assert Path("history") / name == files.path_at(NOW, "a")
    assert span_at(period, NOW) == span
    assert (Span(*span), "a") == files.parse(name)


@pytest.mark.parametrize("period", PERIODS)
def test_spans_follow_each_other_without_a_gap(period):
    """
    From 1970 on, over leap years and their ends: where one ends the next begins, and names sort as spans do.
    """
    files = files_of(Path("x"), period)
    steps = {"hour": 30_000, "day": 30_000, "month": 2_000}[period]
    end, names = at(2019, 12, 31) if period == "hour" else 0.0, []
    for _ in range(steps):
        span = span_at(period, end)
        names.append(files.path_at(end, "a").name)
        assert end == span.start
        end = span.end

    assert sorted(set(names)) == names


@pytest.mark.parametrize("period", PERIODS)
def test_names_and_spans_are_one_to_one(period):
    """
    Whatever moment, the name that is made of it is read as the span that holds it.
    """
    chance, files = random.Random(7), files_of(Path("x"), period)
    for _ in range(2_000):
        moment = chance.uniform(at(1, 1, 2), at(9999, 12, 31, 23, 59, 59))
        span, writer = files.parse(files.path_at(moment, "w-1_x").name)
        assert span.start <= moment < span.end
        assert "w-1_x" == writer
        assert span == span_at(period, span.start) == span_at(period, span.end - 1e-3)


@pytest.mark.parametrize("moment", [float("inf"), float("nan"), 1e18, -1e18])
def test_a_moment_without_a_year_has_no_file(moment):
    """
    It is an error that says so.
    """
    with pytest.raises(ValueError, match=r"moment|NaN"):
        span_at("day", moment)


@pytest.mark.parametrize("writer", ["", "a.b", "../a", "A", "a b", "é", "x" * 61, "a\n"])
def test_a_writers_name_is_no_way_out(writer):
    """
    What cannot be part of a name, or be read back, is refused.
    """
    with pytest.raises(ValueError, match="cannot be part of a file's name"):
        files_of(Path("x")).path_at(NOW, writer)


@pytest.mark.parametrize(
    "name",
    [
        *("2026-11-30.sqlite3", "2026-11.a.sqlite3", "2026-11-30T17.a.sqlite3", "2026-02-30.a.sqlite3", "x.a.sqlite3"),
        *("2026-11-30.a.sqlite3-wal", "2026-11-30.a.sqlite", "2026-13-01.a.sqlite3", "2026-1-1.a.sqlite3", ""),
        *("0000-01-01.a.sqlite3", " 2026-11-30.a.sqlite3", "2026-11-30.a.sqlite3\n", "2026-11-30.a.b.sqlite3"),
        "\u0662026-11-30.a.sqlite3",
    ],
)
def test_other_names_are_no_files_of_a_day(name):
    """
    Nor are those of other periods.
    """
    assert files_of(Path("x")).parse(name) is None


# Listing


def test_files_are_listed_oldest_first_with_all_that_is_theirs(tmp_path):
    """
    The log, locks and what was damaged count; links, folders and what has another name do not.
    """
    files = files_of(tmp_path)
    for moment, writer in ((NOW, "2"), (at(2026, 1, 1), "1"), (NOW, "1")):
        put(files, moment, 100, writer)
    for number, beside in enumerate(
        ("-wal", "-shm", "-journal", ".lock", ".new", ".new-journal", ".broken-18-7", ".broken-18-7-wal"), 1
    ):
        put(files, NOW, 10**number, "2", beside)
    put(files, at(2026, 2, 1), 7, "gone", "-wal")
    (tmp_path / "2026-03-01.a.sqlite3").symlink_to(tmp_path / "2026-01-01.1.sqlite3")
    (tmp_path / "2026-03-02.a.sqlite3").mkdir()
    (tmp_path / "notes.txt").write_text("mine")

    assert [
        ("2026-01-01.1.sqlite3", 100),
        ("2026-02-01.gone.sqlite3", 7),
        ("2026-11-30.1.sqlite3", 100),
        ("2026-11-30.2.sqlite3", 111_111_210),
    ] == [(file.path.name, file.size_bytes) for file in files.files()]
    assert [] == files_of(tmp_path / "missing").files()


def test_the_files_of_a_stretch_are_those_that_touch_it(tmp_path):
    """
    One that ends where it begins does not.
    """
    files = files_of(tmp_path)
    for day in (27, 28, 29, 30):
        put(files, at(2026, 11, day))

    assert ["2026-11-28.1.sqlite3", "2026-11-29.1.sqlite3"] == [
        file.path.name for file in files.overlapping(Span(at(2026, 11, 28), at(2026, 11, 30)))
    ]


# Trimming


def test_the_oldest_go_until_all_are_small_enough(tmp_path):
    """
    With whatever lies beside them; the log counts.
    """
    files = files_of(tmp_path, max_bytes=500)
    for day in (26, 27, 28, 29, 30):
        put(files, at(2026, 11, day), 100)
        put(files, at(2026, 11, day), 100, beside="-wal")
        put(files, at(2026, 11, day), 0, beside=".lock")
    trimmed = files.trim(NOW)

    assert ["2026-11-26", "2026-11-27", "2026-11-28"] == [path.name[:10] for path in trimmed.removed]
    assert (400, []) == (trimmed.size_bytes, trimmed.left)
    assert {"2026-11-29", "2026-11-30"} == {name[:10] for name in names_in(tmp_path)}
    assert ([], [], 400) == files.trim(NOW)


def test_what_is_written_now_stays(tmp_path):
    """
    However large it is: whoever writes is told the size.
    """
    files = files_of(tmp_path, max_bytes=50)
    path = put(files, NOW, 100)
    other = put(files, NOW, 100, "2")

    assert ([], [], 200) == files.trim(NOW)
    assert path.exists()
    assert other.exists()


def test_what_is_old_goes_though_there_is_room(tmp_path):
    """
    Its age counts from its end.
    """
    files = files_of(tmp_path, keep=timedelta(days=2))
    for day in (27, 28, 29):
        put(files, at(2026, 11, day), 10)

    assert [] == files.trim(at(2026, 11, 29, 23)).removed
    assert ["2026-11-27.1.sqlite3"] == [path.name for path in files.trim(at(2026, 11, 30)).removed]


def test_nothing_else_is_unlinked(tmp_path):
    """
    Neither files of other names and periods, nor what a link leads to, nor the same name with another ending.
    """
    files = files_of(tmp_path, max_bytes=0, keep=timedelta(0))
    outside = tmp_path.parent / "outside"
    outside.write_text("mine")
    put(files, at(2026, 1, 1))
    for name in (
        "notes.txt",
        "2026-01.1.sqlite3",
        "2026-01-01.1.sqlite3.bak",
        "2026-01-01.10.sqlite3x",
        "service.json",
    ):
        (tmp_path / name).write_text("mine")
    (tmp_path / "2026-01-02.1.sqlite3").symlink_to(outside)
    before = set(names_in(tmp_path))
    files.trim(NOW)

    assert {"2026-01-01.1.sqlite3"} == before - set(names_in(tmp_path))
    assert "mine" == outside.read_text()


def test_one_that_cannot_be_unlinked_is_told_and_the_next_ones_go(tmp_path):
    """
    It is tried again the next time, not for ever.
    """
    files = files_of(tmp_path, max_bytes=100)
    for day in (27, 28, 29):
        put(files, at(2026, 11, day), 100)
    (tmp_path / "2026-11-27.1.sqlite3-shm").mkdir()
    trimmed = files.trim(NOW)

    assert ["2026-11-27.1.sqlite3"] == [path.name for path in trimmed.left]
    assert ["2026-11-28.1.sqlite3", "2026-11-29.1.sqlite3"] == [path.name for path in trimmed.removed]
    assert 100 == trimmed.size_bytes


def test_two_that_trim_at_once_do_no_harm(tmp_path, monkeypatch):
    """
    What another has removed between the look and the unlinking is gone, as it should be.
    """
    files = files_of(tmp_path, max_bytes=0)
    for day in (27, 28):
        put(files, at(2026, 11, day), 100)
    listed = files.files()
    monkeypatch.setattr(files, "files", lambda: listed)
    for file in listed:
        file.path.unlink()

    assert ([file.path for file in listed], [], 0) == files.trim(NOW)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_there_ends_under_the_cap(tmp_path, seed):
    """
    Unless what is written now is larger; and what stays is never older than what went.
    """
    chance = random.Random(seed)
    files = files_of(tmp_path, chance.choice(PERIODS), chance.randrange(2_000))
    for _ in range(chance.randrange(40)):
        moment = NOW - chance.expovariate(1 / (60 * 86_400))
        put(files, moment, chance.randrange(200), chance.choice("123"), chance.choice(["", "", "", "-wal", ".lock"]))
    trimmed = files.trim(NOW)
    stay = files.files()
    old = [file for file in stay if not file.span.start <= NOW < file.span.end]

    assert trimmed.size_bytes == sum(file.size_bytes for file in stay)
    assert old == [] or trimmed.size_bytes <= files.max_bytes
    assert all(files.parse(gone.name)[0] <= file.span for gone in trimmed.removed for file in old)


def test_one_that_is_unlinked_while_it_is_written_begins_anew(tmp_path):
    """
    Its writer notices, and writes to no file that nobody can see.
    """
    files = files_of(tmp_path, max_bytes=0)
    path = files.path_at(at(2026, 11, 29), "1")
    database = OwnDatabase(path, SCHEMA, lambda *problem: None, has_one_writer=True)
    for _ in range(2):
        with database.exclusively():
            database.transaction(lambda db: db.execute("INSERT INTO rows VALUES (1)"))
        assert [path] == files.trim(NOW).removed
        assert [] == os.listdir(tmp_path)
    database.close()


# Room


@pytest.mark.parametrize(
    ("free", "total", "expected"),
    [
        *((0, 0, False), (0, 1 << 40, True), ((1 << 30) - 1, 1 << 40, True), (1 << 30, 1 << 40, False)),
        *((100 << 20, 1 << 30, False), (50 << 20, 1 << 30, True), (900 << 20, 10 << 30, False)),
    ],
)
def test_a_disk_is_short_where_both_are(free, total, expected):
    """
    Little is left of a small disk long before 5 %, and of a large one 5 % is much.
    """
    assert is_short(free, total) is expected


def test_a_folder_that_is_not_there_yet_has_the_room_of_the_one_above(tmp_path, monkeypatch):
    """
    The disk is asked where the folder will be.
    """
    asked = []

    def statvfs(folder, look=os.statvfs):
        asked.append(folder)
        return look(folder)

    monkeypatch.setattr(os, "statvfs", statvfs)
    files_of(tmp_path / "a" / "b").has_room()

    assert [tmp_path] == asked
