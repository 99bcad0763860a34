"""
Records: the few requests, queries, jobs and errors that are worth reading later, AI calls and events, in own files.
"""

import gc
import json
import os
import sqlite3
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta

import pytest

import obskit
from contract.drivers import Request as Sent
from contract.drivers import environ_of
from forked import in_child
from obskit.ai.ai_operation import AiOperation
from obskit.ai.token_kinds import Usage
from obskit.cli.front import main
from obskit.history.record_reader import read_errors, read_records
from obskit.history.record_slot import RecordSlot, record_files
from obskit.history.record_tables import FILES, KINDS, ErrorRecord, Record
from obskit.history.record_users import hashed_user, users_key
from obskit.history.record_writer import PER_SECOND, QUEUE_SIZE, RecordWriter
from obskit.operation import Event, HttpOperation
from obskit.recorder import recorder
from obskit.redaction.redactor import Redactor
from obskit.sinks.components import _tell_of_version
from obskit.sinks.metrics_by_kind.requests import Watch
from obskit.sinks.metrics_sink import MetricsSink
from obskit.sinks.records import RecordsSink
from obskit.storage.periods import Span
from obskit.testing import FakeClock, RecordingSink, isolated_runtime
from obskit.time.clock import Deadline

EVER = Span(0, 1e11)
DAY = 86_400.0
SECRET = "sk-ant-api03-" + "Zx81" * 20
KEEP = dict.fromkeys(FILES, timedelta(days=30))


def fail(error):
    raise error


def refuse(*problem):
    raise AssertionError(problem)


def files_in(folder):
    return record_files(folder, KEEP, 1 << 30)


@pytest.fixture
def read(tmp_path):
    return lambda kind="request", **asked: read_records(files_in(tmp_path), kind, EVER, on_error=fail, **asked)


@pytest.fixture
def writer(tmp_path):
    writer = RecordWriter(lambda: tmp_path, files_in, refuse)
    yield writer
    writer.stop(Deadline(5))


def record(kind="request", at=5.0, key="/", seconds=0.1, **fields):
    return Record(kind, at, key, seconds, False, None, None, fields)


def put(writer, *records):
    for one in records:
        writer.put(one.kind if isinstance(one, Record) else "error", lambda at, row: row[0], (one,))


def dropped():
    return {reason: count for (part, reason), count in recorder.dropped.items() if part == "records"}


# The writer


def test_a_record_comes_back_as_it_was_put(writer, read):
    """
    What is put is read again, of its kind alone, the latest first, or the slowest, or those of one route.
    """
    first, second = record(at=1.0, seconds=3.0, status=200), record(at=2.0, key="/b", seconds=1.0)
    put(writer, first, second, record("event", key="shop.closed", seconds=None))
    writer.stop(Deadline(5))

    assert [[second, first], [first], [second]] == [read(), read(slowest=1), read(key="/b")]
    assert ["shop.closed"] == [one.key for one in read("event")]


def test_errors_are_one_row_each(writer, tmp_path):
    """
    Errors of one fingerprint are added up, within a writing and over several, with first, last, routes and an example.
    """
    for at in (3.0, 9.0, 6.0):
        put(writer, ErrorRecord("f", "KeyError", "shop.py sell", at, at, 1, {f"/{at:g}": 1}, {"at": at}))
        if at == 9.0:
            writer.stop(Deadline(5))
    writer.stop(Deadline(5))
    [found] = read_errors(files_in(tmp_path), EVER, on_error=fail)

    assert found[:6] == ("f", "KeyError", "shop.py sell", 3.0, 9.0, 3)
    assert (found.routes, found.example) == ({"/3": 1, "/9": 1, "/6": 1}, {"at": 9.0})


def test_what_is_too_much_is_dropped_and_counted(tmp_path):
    """
    Beyond the limit of its kind in a second, or where too many wait, a record is dropped with its reason.
    """
    with isolated_runtime(service="shop"):
        writer = RecordWriter(lambda: tmp_path, files_in, refuse)
        put(writer, *[record()] * (PER_SECOND["request"] + 2), record("job", key="nightly"))
        writer._waiting.extend([writer._waiting[0]] * QUEUE_SIZE)
        put(writer, record("ai", key="m"))

        assert {"rate_limit": 2, "queue_full": 1} == dropped()
        writer.stop(Deadline(5))


@pytest.mark.parametrize("problem", ["no folder", "folder is a file", "cannot be read"])
def test_what_cannot_be_stored_is_counted(tmp_path, problem):
    """
    Whatever hinders storing, nothing is raised and what is lost is counted; later records are stored where they can be.
    """
    place = {"folder": None if problem == "no folder" else tmp_path}
    if problem == "folder is a file":
        place["folder"] = tmp_path / "file"
        place["folder"].touch()
    with isolated_runtime(service="shop", strict=False):
        writer = RecordWriter(lambda: place["folder"], files_in, lambda *problem: None)
        if problem == "cannot be read":
            writer.put("request", lambda at, row: fail(ValueError()), ())
        else:
            put(writer, record(), ErrorRecord("f", "KeyError", "", 1.0, 1.0, 1, {}, {}))
        writer.stop(Deadline(5))

        assert ({"unreadable": 1} if problem == "cannot be read" else {"unusable": 2}) == dropped()
        place["folder"] = tmp_path
        put(writer, record())
        writer.stop(Deadline(5))
        assert 1 == len(read_records(files_in(tmp_path), "request", EVER, on_error=fail))


def test_a_damaged_file_is_set_aside(tmp_path, read):
    """
    A file that is no database any more is put aside, which is told, and writing goes on.
    """
    told = []
    for _ in range(2):
        writer = RecordWriter(lambda: tmp_path, files_in, lambda *problem: told.append(problem[0]))
        put(writer, record())
        writer.stop(Deadline(5))
        [file] = files_in(tmp_path)["records"].files()
        if not told:
            file.path.write_bytes(os.urandom(8192))

    assert (["damaged"], 1) == (told, len(read()))


def test_any_text_is_stored(writer, read):
    """
    Half a character, a NUL and a value that is no JSON do not keep the others from being stored.
    """
    put(writer, record(key="/\udcff"), record(key="/\0", value=object(), when=timedelta(1)), record(key="/c"))
    writer.stop(Deadline(5))

    assert {"/?", "/\0", "/c"} == {one.key for one in read()}


def test_each_process_has_its_own_file(tmp_path):
    """
    A forked child takes a slot of its own, leaves what waits to its parent, and all is read.
    """
    with isolated_runtime(service="shop"):
        writer = RecordWriter(lambda: tmp_path, files_in, refuse)
        put(writer, record(key="/before"))
        writer.stop(Deadline(5))
        put(writer, record(key="/parent"))
        slot = writer._slot_or_open()

        def child():
            writer.start_over()
            put(writer, record(key="/child"))
            writer.stop(Deadline(5))

        in_child(child)
        writer.stop(Deadline(5))
        keys = Counter(one.key for one in read_records(files_in(tmp_path), "request", EVER, on_error=fail))

        assert ({"/before": 1, "/parent": 1, "/child": 1}, 0) == (keys, slot.number)


def test_files_are_of_a_day_and_for_this_user_alone(tmp_path, writer):
    """
    Each kind of file is one a day and slot, with mode 0600.
    """
    slot = RecordSlot(tmp_path, files_in(tmp_path), refuse)
    row = ("request", 1.0, "/", 0.1, False, None, None, "{}")
    for at in (0.0, DAY):
        slot.write(at, {name: [row] for name in FILES}, [])
    slot.close()
    found = [file for files in files_in(tmp_path).values() for file in files.files()]

    assert ["1970-01-01", "1970-01-02"] * 3 == [file.path.name[:10] for file in found]
    assert {0o600} == {file.path.stat().st_mode & 0o777 for file in found}


def test_people_read_the_views(writer, tmp_path):
    """
    Each kind has a view, whose columns say what they are.
    """
    put(writer, *[record(kind, key="k") for kind in KINDS], ErrorRecord("f", "E", "", 1.0, 1.0, 1, {}, {}))
    writer.stop(Deadline(5))
    found = {}
    for files in files_in(tmp_path).values():
        for file in files.files():
            db = sqlite3.connect(file.path)
            for [view] in db.execute("SELECT name FROM sqlite_master WHERE type = 'view'").fetchall():
                found[view] = found.get(view, 0) + len(db.execute(f"SELECT * FROM {view}").fetchall())
            db.close()

    assert dict.fromkeys(("requests", "queries", "jobs", "ais", "events", "errors"), 1) == found


def test_users_are_hashed_with_a_key_of_the_folder(tmp_path):
    """
    A user is the same in all processes, another in another folder, and the key is this user's alone.
    """
    other = tmp_path / "other"
    other.mkdir()
    keys = [users_key(tmp_path), users_key(tmp_path), users_key(other)]
    hashes = [hashed_user(key, "ann") for key in keys]

    assert (True, False, 16) == (hashes[0] == hashes[1], hashes[0] == hashes[2], len(hashes[0]))
    assert 0o600 == (tmp_path / "users.key").stat().st_mode & 0o777


# Which are kept


class Kept:
    """
    A runtime whose records can be read.
    """

    def __init__(self, runtime, writer, sink, watch, folder):
        self.runtime, self.writer, self.sink, self.watch, self.folder = runtime, writer, sink, watch, folder

    def records(self, kind="request"):
        self.writer._write()
        return read_records(files_in(self.folder), kind, EVER, on_error=fail)

    def errors(self):
        self.writer._write()
        return read_errors(files_in(self.folder), EVER, on_error=fail)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(params=["memory", "shared"])
def kept(request, tmp_path, clock):
    given = {} if request.param == "memory" else {"metrics_dir": str(tmp_path / "cells")}
    folder = tmp_path / "history"
    folder.mkdir()
    writer = RecordWriter(lambda: folder, files_in, refuse)
    sink = RecordsSink(writer, Redactor(), 1.0, lambda user: f"<{user}>")
    with isolated_runtime(service="shop", clock=clock, sinks=[sink], slow_query_ms=50, **given) as runtime:
        [metrics] = [one for one in recorder._sinks if isinstance(one, MetricsSink)]
        watch = Watch(sink.look, sink.slow_seconds)
        metrics.watch_requests(watch)
        recorder.rebind(HttpOperation)
        yield Kept(runtime, writer, sink, watch, folder)
        writer.stop(Deadline(5))


def served(clock, *, seconds=0.01, path="/", work=lambda: None, status="200 OK", error=None):
    def app(environ, start_response):
        work()
        clock.advance(seconds)
        if error is not None:
            raise error
        start_response(status, [])
        return [b"ok"]

    try:
        body = obskit.instrument(app)(environ_of(Sent(path)), lambda status, headers, exc_info=None: None)
        list(body)
        body.close()
    except KeyError:
        pass


def test_slow_failed_and_one_ordinary_request_are_kept(kept, clock):
    """
    Of requests the slow and the failed are kept, and one ordinary of a route and minute; each once.
    """
    for _ in range(3):
        served(clock)
        served(clock, path="/slow", seconds=2.0)
        served(clock, path="/busy", status="503 Busy")
        served(clock, path="/fails", error=KeyError("x"))
    found = Counter(one.fields["path"] for one in kept.records())
    kept.watch.open()
    for _ in range(3):
        served(clock)

    assert {"/": 1, "/slow": 3, "/busy": 3, "/fails": 3} == found
    assert 2 == sum(one.fields["path"] == "/" for one in kept.records())


def test_an_exception_after_the_status_is_kept_once(kept, clock):
    """
    A reply that was cut short is kept although its status was 200.
    """

    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"a"
        raise KeyError("x")

    for _ in range(3):
        body = obskit.instrument(app)(environ_of(Sent("/cut")), lambda status, headers, exc_info=None: None)
        with pytest.raises(KeyError):
            list(body)

    assert [(True, True, "KeyError")] * 3 == [
        (one.failed, one.fields["aborted"], one.fields["exception"]) for one in kept.records()
    ]


def queries(*seconds):
    def work():
        for took in seconds:
            with obskit.observe_db(table=f"t{took:g}", operation="select", system="sqlite"):
                work.clock.advance(took)

    return work


def test_a_request_has_the_way_there(kept, clock):
    """
    A slow request has its 20 slowest queries, without the quick ones, and a failed one the last 5 of those beside.
    """
    work = queries(0.001, *[0.06 + number / 1000 for number in range(25)], 0.002)
    work.clock = clock
    served(clock, path="/slow", work=work)
    served(clock, path="/fails", work=work, error=KeyError("x"))
    fails, slow = kept.records()  # of which the last ones that are noted are five

    assert [round(0.084 - number / 1000, 6) for number in range(20)] == [
        round(one["seconds"], 6) for one in slow.fields["queries"]
    ]
    assert [f"select t{0.06 + number / 1000:g}" for number in range(20, 25)] == [
        one["summary"] for one in fails.fields["latest_queries"]
    ]
    assert 27 == slow.fields["db_queries"]


def fails_here():
    raise KeyError("order 17")


def fails_there():
    raise KeyError("order 18")


def test_errors_are_grouped_by_class_and_place(kept, clock):
    """
    Errors that differ in message and line are one, those of other functions or classes others; no message is kept.
    """
    for work in (fails_here, fails_here, fails_there):
        served(clock, path="/sell", work=work)
    found = {error.place.rpartition(" ")[2]: error for error in kept.errors()}

    assert {"fails_here": 2, "fails_there": 1} == {name: error.times for name, error in found.items()}
    assert "order 17" not in json.dumps([error.example for error in found.values()])


def test_slow_queries_ai_calls_jobs_and_events_are_kept(kept, clock):
    """
    A slow query has its statement and route, an AI call tokens and dollars, a job how it ended, an event its fields.
    """

    def work():
        obskit.bind(user="ann", feature="search")
        work_of_queries()
        plan, op = recorder.plan(AiOperation), AiOperation("labels", "acme", "house-model")
        plan.begin(op)
        op.tokens, op.cost_usd = Usage(input=11, output=7), 0.25
        plan.end(op)
        recorder.emit(Event("shop.closed", "ERROR", "closed", {"shelf": 7}))

    work_of_queries = queries(0.06)
    work_of_queries.clock = clock
    served(clock, work=work)
    with pytest.raises(ValueError, match="x"), obskit.job("nightly"):
        raise ValueError("x")
    [query], [call], [job], [request] = map(kept.records, ("query", "ai", "job", "request"))
    events = {one.key: one for one in kept.records("event")}

    assert (0.06, "select t0.06") == (query.seconds, query.fields["query_summary"])
    assert ("house-model", "<ann>", "search", 11, 7, 0.25) == (
        *(call.key, call.user, call.fields["feature"]),
        *(call.fields[name] for name in ("input_tokens", "output_tokens", "cost_usd")),
    )
    assert ("nightly", True, "ValueError") == (job.key, job.failed, job.fields["error"])
    assert (7, request.correlation_id) == (events["shop.closed"].fields["shelf"], events["shop.closed"].correlation_id)
    assert ("<ann>", call.correlation_id) == (request.user, request.correlation_id)


def test_no_secret_is_stored(kept, clock):
    """
    Secrets in paths, bound fields and events are not in any file.
    """

    def work():
        obskit.bind(user="ann", feature=SECRET, token="t0ken-never")
        recorder.emit(Event("shop.closed", "ERROR", f"with {SECRET}", {"api_key": "k3y-never"}))

    served(clock, path=f"/{SECRET}", work=work, status="500 Oops")
    kept.writer.stop(Deadline(5))
    stored = b"".join(path.read_bytes() for path in kept.folder.rglob("*") if path.is_file())

    assert (True, []) == (
        b"shop.closed" in stored,
        [secret for secret in (SECRET, "t0ken-never", "k3y-never") if secret.encode() in stored],
    )


def test_what_waits_holds_no_operation(kept, clock):
    """
    Rows that wait to be written lead to no request.
    """
    served(clock, path="/fails", error=KeyError("x"))
    gc.collect()

    requests = [one for one in gc.get_objects() if issubclass(type(one), HttpOperation)]  # others' `__class__` may act
    assert [] == [type(one) for one in requests if one.path == "/fails"]
    assert 1 == len(kept.records())


def test_an_ordinary_request_costs_a_comparison(kept):
    """
    Between the request's figures and its rare fields there is one comparison of what the request's own cell says.
    """
    served_before = kept.watch.above(("GET", "/", 200), is_within_cap=True)
    kept.watch.note(("GET", "/", 200))

    assert (-1.0, 1.0, -1.0, 1.0) == (
        served_before,
        kept.watch.above(("GET", "/", 200), is_within_cap=True),
        kept.watch.above(("GET", "/", 500), is_within_cap=True),
        kept.watch.above(("GET", "/new", 200), is_within_cap=False),
    )
    assert float("inf") == Watch().above(("GET", "/", 500), is_within_cap=True)


# The history of a runtime


def test_history_keeps_records_and_reads_them(tmp_path, clock):
    """
    With the history on, a process that serves keeps records, which `records()` reads with the keys' own names.
    """
    given = {"service": "shop", "history": True, "serving": True, "history_dir": str(tmp_path / "history")}
    with isolated_runtime(**given, clock=clock):
        served(clock, path="/slow", seconds=2.0)
        served(clock, path="/fails", error=KeyError("x"))
    with isolated_runtime(**given, clock=clock):  # whose wall clock goes on from now
        clock.advance(10)
        slow, fails = sorted(obskit.history.records(since="1h"), key=lambda one: one["status"])
        [error] = obskit.history.records("error")
        [slowest] = obskit.history.records(slowest=1)

    assert ("/slow", 200, 2.0) == (slow["path"], slow["status"], slow["seconds"])
    assert (True, "KeyError", "KeyError", 1) == (fails["failed"], fails["exception"], error["type"], error["times"])
    assert slow == slowest


def test_what_does_not_serve_keeps_nothing(tmp_path):
    """
    A process that only emits events, such as a command, makes no file and drops nothing.
    """
    with isolated_runtime(service="shop", history=True, history_dir=str(tmp_path / "history")):
        recorder.emit(Event("shop.closed", "ERROR", "closed", {}))
        with obskit.job("nightly"):
            pass

        assert {} == dropped()
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "asked",
    [
        {"kind": "wish"},
        {"slowest": 0},
        {"latest": 0},
        {"kind": "job", "endpoint": "/"},
        {"kind": "error", "slowest": 1},
    ],
    ids=str,
)
def test_a_question_that_has_no_answer_is_an_error(tmp_path, asked):
    """
    What cannot be asked is refused with what can.
    """
    with isolated_runtime(service="shop", history=True), pytest.raises(obskit.errors.HistoryError, match="records"):
        obskit.history.records(**asked)


# What is asked for


def test_an_exception_after_the_status_is_an_error(kept, clock):
    """
    An exception is grouped with its like although the status that had been sent was 200.
    """

    def app(environ, start_response):
        start_response("200 OK", [])
        yield b"a"
        raise KeyError("x")

    body = obskit.instrument(app)(environ_of(Sent("/cut")), lambda status, headers, exc_info=None: None)
    with pytest.raises(KeyError):
        list(body)

    assert ["KeyError"] == [error.type for error in kept.errors()]


def test_what_was_bound_is_read_in_the_request(kept, clock):
    """
    A user that is an object is read at the end of its request, not in the thread that writes; one that cannot be read
    leaves the record without it.
    """

    read_in = []

    class User:
        def __str__(self):
            read_in.append(threading.current_thread())
            return "ann"

    class Broken:
        def __str__(self):
            raise KeyError("x")

    served(clock, path="/ann", seconds=2.0, work=lambda: obskit.bind(user=User()))
    in_request = read_in.copy()
    served(clock, path="/broken", seconds=2.0, work=lambda: obskit.bind(user=Broken()))

    assert {"/ann": "<ann>", "/broken": None} == {one.fields["path"]: one.user for one in kept.records()}
    assert in_request == read_in
    assert {threading.current_thread()} == set(read_in)


def test_equal_queries_are_never_compared_further(kept, clock):
    """
    Of queries that took as long, one with an error and others without, 20 are kept.
    """

    def work():
        for number in range(30):
            with suppress(KeyError), obskit.observe_db(table="t", operation="select", system="sqlite"):
                clock.advance(0.1)
                if number % 2:
                    raise KeyError("x")

    served(clock, path="/slow", work=work)
    [slow] = kept.records()

    assert 20 == len(slow.fields["queries"])


@pytest.mark.parametrize(
    "value", [float("nan"), {(1, 2): 3}, ["x" * 1000] * 200, {"a": float("inf")}], ids=["nan", "key", "long", "inner"]
)
def test_every_record_is_plain_json_of_bounded_length(writer, read, value):
    """
    What JSON has no word for, and what is long, is stored in a form that any reader takes.
    """
    put(writer, record("event", key="e", seconds=None, value=value, other=1))
    writer.stop(Deadline(5))
    [found] = read("event")

    assert 1 == found.fields["other"]
    assert len(json.dumps(found.fields, allow_nan=False)) < 70_000


def test_each_ai_call_is_kept(writer, read):
    """
    AI calls have no limit a second, since they are added up to dollars.
    """
    put(writer, *[record("ai", key="m")] * 1000)
    writer.stop(Deadline(5))

    assert 1000 == len(read("ai", latest=2000))


@pytest.mark.parametrize(("ordinary", "together", "kept_of"), [(0, 9, (0, 0)), (2, 9, (2, 2)), (5, 7, (5, 2))])
def test_some_ordinary_requests_are_looked_at(ordinary, together, kept_of):
    """
    Of each kind so many, and of all together so many, until it is opened again.
    """
    watch = Watch(print, 1.0, ordinary=ordinary, together=together)
    found = []
    for key in ("GET", "/", 200), ("GET", "/b", 200):
        found.append(0)
        while watch.above(key, is_within_cap=True) < 0 and watch.note(key):
            found[-1] += 1

    assert kept_of == tuple(found)
    watch.open()
    assert (ordinary > 0) == (watch.above(("GET", "/", 200), is_within_cap=True) < 0)


@pytest.mark.parametrize(("given", "expected"), [({}, 1), ({"history_keep_ordinary": "3/min"}, 3)], ids=str)
def test_settings_say_how_many_ordinary_requests_and_how_users_are_named(tmp_path, clock, given, expected):
    """
    `history_keep_ordinary` says how many, and with `history_users="plain"` a user is named as it was bound.
    """
    shared = {"service": "shop", "history": True, "serving": True, "history_dir": str(tmp_path / "history"), **given}
    for users in ("hashed", "plain"):
        with isolated_runtime(**shared, history_users=users, clock=clock):
            for _ in range(5):
                served(clock, path=f"/{users}", work=lambda: obskit.bind(user="ann"))
    found = read_records(files_in(tmp_path / "history"), "request", EVER, on_error=fail)
    key = users_key(tmp_path / "history")

    assert {("/hashed", hashed_user(key, "ann")): expected, ("/plain", "ann"): expected} == Counter(
        (one.fields["path"], one.user) for one in found
    )


@pytest.mark.parametrize("rate", ["", "1", "1/d", "-1/s", "1001/s", 1, "1/min "])
def test_a_rate_that_is_none_is_refused(rate):
    """
    What says no number a second, minute or hour is a mistake, with an example.
    """
    with pytest.raises(obskit.ConfigurationError, match="'1/min'"):
        obskit.configure(service="shop", history=True, history_keep_ordinary=rate)


def test_another_process_reads_verifies_and_exports_records(tmp_path, writer, capsys):
    """
    Who opens the folder asks for records too; the command counts their files, exports each once, and finds damage.
    """
    now = time.time() - 5
    put(writer, record(at=now, key="/b", status=500), record("event", at=now, key="e", seconds=None))
    put(writer, ErrorRecord("f", "KeyError", "shop.py sell", now, now, 1, {"/b": 1}, {}))
    writer.stop(Deadline(5))
    opened = obskit.history.open(tmp_path)
    ask = ["history", "export", "--dir", str(tmp_path)]
    exported = [main(ask), *map(json.loads, capsys.readouterr().out.splitlines())]

    assert [["/b"], ["e"]] == [
        [one["endpoint"] for one in opened.records()],
        [e["name"] for e in opened.records("event")],
    ]
    assert [0, "request", "event", "error", None] == [exported[0], *(one.get("record") for one in exported[1:])]
    assert 0 == main(["history", "verify", "--dir", str(tmp_path)])
    assert "2 files were read" in capsys.readouterr().out
    [file] = files_in(tmp_path)["records"].files()
    file.path.write_bytes(os.urandom(8192))
    assert 1 == main(["history", "verify", "--dir", str(tmp_path)])
    assert file.path.name in capsys.readouterr().out


def test_a_new_version_is_told_once(tmp_path):
    """
    The first process of another version emits an event; the first version of all, and others of the same, say nothing.
    """
    given, seen = {"service": "shop", "history": True, "history_dir": str(tmp_path / "history")}, RecordingSink()
    for version in ("1.0", "1.0", "1.1", "1.1", None, "1.0"):
        with isolated_runtime(**given, serving=False, version=version, sinks=[seen]) as isolated:
            writer = isolated.runtime._assembly.part("records")._writer
            writer._takes = lambda: True
            writer._step()  # as its thread does each second where it serves

    assert [("1.0", "1.1"), ("1.1", "1.0")] == [
        (event.fields["version_before"], event.fields["version"])
        for event in seen.events
        if event.name == "service.deploy"
    ]


def test_a_version_is_noted_once_its_event_is_stored(tmp_path):
    """
    Where a process ends, or cannot store the event, before it is in a file, the next one tells of the version.
    """
    seen, stored = RecordingSink(), iter([False, True])
    with isolated_runtime(service="shop", sinks=[seen]):
        for version in ("1.0", "1.1", "1.1", "1.1"):
            with suppress(OSError):
                _tell_of_version(lambda: tmp_path, version, lambda: next(stored))

    assert ["1.1", "1.1"] == [event.fields["version"] for event in seen.events if event.name == "service.deploy"]
    assert [] == list(stored)
