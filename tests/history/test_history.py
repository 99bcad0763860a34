"""
The history of a runtime: off it is not there, on it is kept by whoever serves, and no request pays for it.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import pytest

import obskit
from forked import in_child
from obskit import history
from obskit.cli.front import main
from obskit.errors import ConfigurationError, HistoryError
from obskit.history.files import SeriesFiles
from obskit.history.reader import FileReader
from obskit.history.settings import KEEP, HistorySettings
from obskit.recorder import recorder
from obskit.runtime import current_runtime
from obskit.signals import increase, level, quantile, rate
from obskit.storage.periods import Span
from obskit.testing import FakeClock, RecordingSink, advance, isolated_runtime

EVER = Span(0, 1e11)
NOON = 1_800_014_400.0


def shop(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"soup"]


def ask(app, path="/soup"):
    """
    Ask an application over WSGI, and return its answer.
    """
    environ, told = {}, []
    setup_testing_defaults(environ)
    environ["PATH_INFO"] = path
    body = app(environ, lambda status, headers, exc_info=None: told.append(status))
    content = b"".join(body)
    getattr(body, "close", lambda: None)()
    return told, content


@pytest.fixture
def kept(tmp_path):
    """
    Starts a runtime that keeps its history, at noon of a clock that tests move.
    """

    def start(**given):
        clock = FakeClock(1000.0)
        wall = given.pop("wall_clock", lambda: NOON + clock.now - 1000.0)
        settings = {"service": "shop", "serving": True, "state_dir": str(tmp_path), "history": True, **given}
        return isolated_runtime(clock=clock, wall_clock=wall, **settings)

    return start


def folder_of(tmp_path):
    return tmp_path / "shop" / "history"


def plates_in(folder, every=10):
    found = []
    reader = FileReader(SeriesFiles(folder, every), found.append)
    return sum(it.point.value for it in reader.points("plates_total", EVER, every))


def points_of(signal, since="30m", step="5m"):
    found = history.series(signal, since=since, step=step).points
    return {labels: [value for _, value in points] for labels, points in found.items()}


# Off


def test_off_nothing_of_it_is_imported_or_made(tmp_path):
    """
    A runtime without a history knows its settings, and no more: no module, no thread, no folder.
    """
    code = (
        "import obskit, sys, threading\n"
        "obskit.configure(service='shop', serving=True)\n"
        "print([name for name in sys.modules if name.startswith('obskit.history.')])\n"
        "print([thread.name for thread in threading.enumerate() if 'history' in thread.name])\n"
    )
    environ = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    environ["OBSKIT_STATE_DIR"] = str(tmp_path)
    found = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)

    assert ["['obskit.history.settings', 'obskit.history.components']", "[]"] == found.stdout.splitlines()
    assert not (tmp_path / "shop" / "history").exists()


def test_who_does_not_serve_keeps_nothing(tmp_path, kept):
    """
    What only imports the application, such as a command or a test run, makes no file and no thread.
    """
    with kept(serving=False):
        advance("10m")
        plates = obskit.counter("plates_total", "Plates.")
        plates.inc()

    assert [] == list(tmp_path.iterdir())


def instructions(app):
    """
    Count the instructions of a request in this thread.
    """
    counted = 0

    def count(frame, event, arg):
        nonlocal counted
        frame.f_trace_opcodes = True
        counted += event == "opcode"
        return count

    for _ in range(3):  # what is done first, and once, is over
        ask(app)
    before = sys.gettrace()
    sys.settrace(count)
    try:
        ask(app)
    finally:
        sys.settrace(before)
    return counted


def calls_of_c(app):
    """
    Count the calls of functions in C of a request in this thread.
    """
    counted = []

    def count(frame, event, arg):
        if event == "c_call":
            counted.append(arg)

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        ask(app)
    finally:
        sys.setprofile(before)
    return len(counted)


def cellar(environ, start_response):
    with obskit.observe_db(table="bottles", operation="select", system="sqlite"):
        pass
    return shop(environ, start_response)


@pytest.mark.parametrize("served", [shop, cellar], ids=["plain", "with a query"])
@pytest.mark.parametrize("is_shared", [False, True])
def test_a_request_pays_nothing(tmp_path, kept, is_shared, served):
    """
    An ordinary request, or one with a quick query, takes as many byte-code instructions and calls of C with a history,
    records included, as without one, whether other workers read its figures or not.
    """
    found = []
    for is_on in (False, False, True):  # the first runtime of a process does more
        cells = {"metrics_dir": str(tmp_path / f"cells-{len(found)}")} if is_shared else {}
        with kept(history=is_on, **cells):
            app = obskit.instrument(served)
            # The least of a few: now and then a second ends, or something is collected.
            found.append(tuple(min(count(app) for _ in range(3)) for count in (instructions, calls_of_c)))

    assert found[1] == found[2]
    assert min(found[1]) > 10


# On


def test_every_metric_has_a_history(tmp_path, kept):
    """
    Requests and own metrics, as signals ask for them; totals are exact, and what was seen is known.
    """
    plates = obskit.counter("plates_total", "Plates.", labels=("kind",))
    with kept():
        app = obskit.instrument(shop)
        for index in range(180):
            for _ in range(3):
                ask(app)
            plates.inc(index % 2, kind="soup")
            advance("10s")
        rates = points_of(rate("http_requests_total", by=["status"]))
        slow = points_of(quantile(0.5, "http_request_duration_seconds"))
        memory = points_of(level("obskit_process_resident_memory_bytes"))
        totals = history.totals(increase("http_requests_total", by=["status"]), since="1h")
        covered = history.covers(since="1h")

    assert pytest.approx([0.3] * 4) == rates[("status", "200"),][1:5]
    assert [6, 6] == [len(points) for points in (*slow.values(), *memory.values())]
    assert {(("status", "200"),): 540.0} == totals
    assert ((NOON, NOON + 1800.0),) == covered.spans
    assert 0.5 == covered.share
    assert plates_in(folder_of(tmp_path)) == 90.0
    assert {0o700} == {path.stat().st_mode & 0o777 for path in folder_of(tmp_path).rglob("*") if path.is_dir()}
    assert {0o600} == {path.stat().st_mode & 0o777 for path in folder_of(tmp_path).rglob("*") if path.is_file()}


def test_a_graceful_end_loses_nothing(tmp_path, kept):
    """
    What was counted since the last sampling is stored at the end, and the next process goes on beside it.
    """
    plates = obskit.counter("plates_total", "Plates.")
    for _ in range(3):
        with kept():
            plates.inc(7)
            advance("25s")
            plates.inc(2)

    assert 27.0 == plates_in(folder_of(tmp_path))


def test_what_is_flushed_is_counted_once(tmp_path, kept):
    """
    A flush stores what was counted since the last sampling, and neither the next one nor the end counts it again.
    """
    plates = obskit.counter("plates_total", "Plates.")
    with kept():
        plates.inc(7)
        advance("25s")
        plates.inc(2)
        current_runtime().flush()
        current_runtime().flush()
        flushed = plates_in(folder_of(tmp_path))
        plates.inc()
        advance("25s")

    assert (9.0, 10.0) == (flushed, plates_in(folder_of(tmp_path)))


def test_nothing_of_it_is_in_the_applications_figures(kept):
    """
    Its own files are no database of the application's, whichever hooks are on.
    """
    obskit.instrument_sqlite3()
    try:
        with kept() as isolated:
            advance("3m")
            history.covers(since="1h")
            families = obskit.metrics.snapshot().families
            pages = isolated.lines
    finally:
        obskit.uninstrument_sqlite3()

    assert [] == [name for name, family in families.items() if name.startswith("database_") and family.keys]
    assert [] == [line for line in pages if line["level"] in ("WARNING", "ERROR")]


def test_a_gap_is_told(kept):
    """
    A stretch in which nothing was sampled is not covered, to one interval.
    """
    moments = [NOON]
    clock = FakeClock(1000.0)
    with isolated_runtime(
        clock=clock, wall_clock=lambda: moments[0] + clock.now, service="shop", serving=True, history=True
    ):
        advance("5m")
        moments[0] += 1200.0
        advance("5m")
        covered = history.covers(since="1h")

    [(_, end), (start, _)] = covered.spans
    assert 1180 <= start - end <= 1220


@pytest.mark.parametrize("seconds", [-1800.0, -30.0, 45.0, 7200.0, -200_000.0])
def test_a_clock_that_jumps_loses_nothing(tmp_path, seconds):
    """
    Forward or back, far or near: every plate is counted once, and the jump is an event.
    """
    jump, clock, sink = [0.0], FakeClock(1000.0), RecordingSink()
    plates = obskit.counter("plates_total", "Plates.")
    settings = {"service": "shop", "serving": True, "state_dir": str(tmp_path), "history": True, "sinks": [sink]}
    with isolated_runtime(clock=clock, wall_clock=lambda: NOON + jump[0] + clock.now, **settings):
        for index in range(400):
            plates.inc()
            advance("10s")
            if index == 200:
                jump[0] = seconds
        [event] = [event for event in sink.events if event.name == "history.clock"]

    assert seconds == event.fields["seconds"]
    assert {10: 400.0, 60: 400.0, 3600: 400.0} == {
        step: sum(
            it.point.value
            for it in FileReader(SeriesFiles(folder_of(tmp_path)), print).points("plates_total", EVER, step)
        )
        for step in (10, 60, 3600)
    }


# Faults


def remove(folder):
    shutil.rmtree(folder)


def put_a_file(folder):
    shutil.rmtree(folder)
    folder.write_text("mine")


def put_a_link(folder):
    shutil.move(folder, folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))


def give_to_another_service(folder):
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    (folder / "service.json").write_text(json.dumps({"format": 1, "service": "bakery", "project": None}))


def limit_files(folder):
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def put_back(folder):
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif (folder / "service.json").exists() and "bakery" in (folder / "service.json").read_text():
        shutil.rmtree(folder)


@pytest.mark.parametrize("fault", [remove, put_a_file, put_a_link, give_to_another_service, limit_files])
def test_the_application_does_not_notice_a_fault(tmp_path, kept, fault):
    """
    Whatever becomes of the folder: answers are the same, it is said at most once, and what was counted meanwhile is
    stored when it can be again, without help.
    """
    plates, sink = obskit.counter("plates_total", "Plates."), RecordingSink()
    with kept(sinks=[sink], strict=False):
        app = obskit.instrument(shop)
        answers = [ask(app)]
        plates.inc(5)
        advance("1m")
        fault(folder_of(tmp_path))
        try:
            for _ in range(12):
                plates.inc()
                advance("10s")
                answers.append(ask(app))
        finally:
            put_back(folder_of(tmp_path))
        plates.inc(3)
        advance("1m")
        answers.append(ask(app))
        told = [event.message for event in sink.events if event.name == "history.state"]

    assert [(["200 OK"], b"soup")] * 14 == answers
    assert (0 if fault is remove else 1) == len(told)
    assert (20.0 if fault is limit_files else 15.0) == plates_in(folder_of(tmp_path))  # else 5 went with the folder


def test_two_services_do_not_share_a_folder(tmp_path, kept):
    """
    The second one is told, once, and keeps nothing there.
    """
    sink, shared = RecordingSink(), str(tmp_path / "shared")
    with kept(history_dir=shared):
        advance("1m")
    with kept(service="bakery", history_dir=shared, sinks=[sink], strict=False):
        advance("5m")
        [told] = [event.message for event in sink.events if event.name == "history.state"]

    assert "it has the history of 'shop': give 'bakery' a history_dir of its own" in told


def test_a_forked_child_keeps_a_history_of_its_own(tmp_path, kept):
    """
    A child that serves has a slot beside its parent's, and counts what it counts itself, once; the parent goes on.
    """
    plates = obskit.counter("plates_total", "Plates.")

    def serve():
        plates.inc(3)
        advance("30s")
        obskit.shutdown()
        return dict(recorder.errors)

    with kept():
        plates.inc(5)
        advance("20s")
        told = in_child(serve)
        plates.inc(2)
        advance("20s")

    assert "{}" == told
    assert 10.0 == plates_in(folder_of(tmp_path))
    assert {0, 1} == SeriesFiles(folder_of(tmp_path)).slots()


def test_forks_among_samplings_harm_nobody(tmp_path, kept):
    """
    Whenever a process is forked, in whichever thread, its samplings go on, and nothing is doubled or lost.
    """
    plates, over = obskit.counter("plates_total", "Plates."), threading.Event()
    told = []

    def fork():
        while not over.is_set():
            told.append(in_child(lambda: "fine"))

    with kept(serving=True):
        forking = threading.Thread(target=fork)
        forking.start()
        for _ in range(60):
            plates.inc()
            advance("10s")
        over.set()
        forking.join()
        errors = dict(recorder.errors)

    assert ({"fine"}, {}) == (set(told), errors)
    assert 60.0 == plates_in(folder_of(tmp_path))


# Wrong use


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"history": "perhaps"}, "history"),
        ({"history_dir": "relative/path"}, "history_dir"),
        ({"history_every": 10}, "history_every"),
        ({"history_every": "7s"}, "history_every"),
        ({"history_every": "1m"}, "history_every"),
        ({"history_keep": {"10s": "1m"}}, "history_keep"),
        ({"history_keep": {"1y": "10d"}}, "history_keep"),
        ({"history_keep": "14d"}, "history_keep"),
        ({"history_keep": {"1m": 14}}, "history_keep"),
        ({"history_max_bytes": 5}, "history_max_bytes"),
        ({"history_max_bytes": "much"}, "history_max_bytes"),
    ],
)
def test_settings_out_of_range_are_refused(given, why):
    """
    When they are read, with their name and what is expected.
    """
    with pytest.raises(ConfigurationError, match=rf"^{why}=.*expected"):
        HistorySettings.read(given)


# Of no setting is any of these right.
WRONG = (
    *(object(), -1, 0, 1e300, float("nan"), float("inf"), 1 << 70, b"x", [], (1,), "\0", "/\0", "~/x", "-5s", "0s"),
    *("99999999999999d", "9/min9", "1/min\n", "nonsense", timedelta.max, timedelta(0), {"1m": None}, {"1m": "0s"}),
    *({"1m": "99999999999999d"}, {"1m": timedelta.max}, {1: "1d"}),
)


@pytest.mark.parametrize("name", [field.name for field in fields(HistorySettings)])
def test_what_is_right_for_no_setting_is_refused_by_each(name):
    """
    By whichever there is: with its name and what is expected, and by no other error.
    """
    for value in WRONG:
        if not (name == "history" and value == 0):
            with pytest.raises(ConfigurationError, match=rf"^{name}=.*expected"):
                HistorySettings.read({name: value})


def test_what_is_not_named_keeps_its_default():
    """
    One length of `history_keep` says nothing of the others.
    """
    found = HistorySettings.read({"history_keep": {"1m": "30d"}}).history_keep

    assert {**KEEP, "1m": found["1m"]} == found
    assert 30 == found["1m"].days


def test_a_history_needs_metrics():
    """
    It keeps their figures, so one without them is refused.
    """
    with (
        pytest.raises(ConfigurationError, match="history=True keeps the figures of metrics"),
        isolated_runtime(history=True, metrics=False),
    ):
        pass


def test_a_folder_may_be_named_from_where_one_is(tmp_path, kept, monkeypatch, capsys):
    """
    A relative path is as good, to read and on the command line.
    """
    plates = obskit.counter("plates_total", "Plates.")
    with kept():
        plates.inc(3)
        advance("1m")
        monkeypatch.chdir(tmp_path / "shop")
        totals = history.open("history").totals(increase("plates_total"), since="1h")
        statuses = [main(["history", act, "--dir", "history"]) for act in ("status", "verify")]

    assert {(): 3.0} == totals
    assert [0, 0] == statuses


def test_a_state_folder_that_cannot_be_used_is_counted_and_said_once(tmp_path, kept):
    """
    Each sampling that has to wait counts; what was counted meanwhile is stored once there is a folder.
    """
    plates, sink, place = obskit.counter("plates_total", "Plates."), RecordingSink(), tmp_path / "place"
    place.write_text("in the way")
    with kept(state_dir=str(place), sinks=[sink], strict=False):
        plates.inc(3)
        advance("1m")
        dropped = recorder.dropped["history", "unusable"]
        place.unlink()
        plates.inc(2)
        advance("1m")
        told = [event.name for event in sink.events if event.name in ("state.folder", "history.state")]

    assert 6 == dropped
    assert ["state.folder"] == told
    assert 5.0 == plates_in(place / "shop" / "history")


def test_questions_that_have_no_answer_are_refused(tmp_path, kept):
    """
    Without a history, of too many steps, of steps that are too short, of what does not add up, of a folder that has
    none.
    """
    with pytest.raises(HistoryError, match="history=True"):
        history.covers()
    with pytest.raises(HistoryError, match="is no folder"):
        history.open(tmp_path / "nothing")
    with pytest.raises(HistoryError, match="by its folder or by service="):
        history.open()
    with kept():
        advance("1m")
        for since, step in (("30d", "10s"), ("1h", "1s")):
            with pytest.raises(HistoryError, match="at most 5000 steps"):
                history.series(rate("http_requests_total"), since=since, step=step)
        with pytest.raises(HistoryError, match="adds up what is counted"):
            history.totals(level("obskit_process_threads"))
        before = history.series(rate("http_requests_total"), since="400d", step="1d")

    assert {} == before.points
    assert before.covers.share < 0.001


# The command


def test_the_command_looks_at_a_folder(tmp_path, kept, capsys):
    """
    It says how much there is, reads every file, and writes each point once; damage is found.
    """
    plates = obskit.counter("plates_total", "Plates.")
    with kept():
        for _ in range(30):
            plates.inc()
            advance("10s")
        state, found = ["--state-dir", str(tmp_path)], []
        for act in (["status", "--json"], ["verify", "--json"], ["export", "--since", "1h"]):
            found.append((main(["history", *act, *state]), capsys.readouterr().out))
    [minutes] = SeriesFiles(folder_of(tmp_path)).by_step[60].files()
    minutes.path.write_bytes(b"x" * 5000)
    damaged = main(["history", "verify", *state]), capsys.readouterr().out
    rows = [json.loads(line) for line in found[2][1].splitlines()]

    assert [0, 0, 0] == [status for status, _ in found]
    assert {
        *("series-10s", "series-1m", "series-1h", "series-1d"),
        *("records-day", "ai-day", "events-day"),
    } == set(json.loads(found[0][1])["kinds"])
    assert (2, []) == tuple(json.loads(found[1][1])[name] for name in ("files", "findings"))
    assert 30.0 == sum(row["increase"] for row in rows if row.get("metric") == "plates_total")
    assert ["covers"] == list(rows[-1])
    assert (1, True) == (damaged[0], "file is not a database" in damaged[1])


def test_the_command_makes_nothing(tmp_path, capsys):
    """
    Where there is no history, it says so.
    """
    assert 2 == main(["history", "status", "--dir", str(tmp_path / "none")])
    assert "no history in" in capsys.readouterr().err
    assert [] == list(Path(tmp_path).iterdir())


def test_nothing_is_left_when_it_ends(kept):
    """
    No error was counted, and the slot is free again.
    """
    with kept():
        advance("2m")
        errors = dict(recorder.errors)

    assert {} == errors
