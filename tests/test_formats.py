"""
Files of every version that was released are read, and the page of formats says which versions there are.
"""

import json
import os
import re
import shutil
import sqlite3
from pathlib import Path

import kept_files
import pytest

from obskit import __version__
from obskit.ai.budget_file import SCHEMA
from obskit.ai.ledger import Ledger
from obskit.history import instance_mark
from obskit.history.files import SeriesFiles
from obskit.history.instance_mark import InstanceMark
from obskit.history.lanes import add_up
from obskit.history.reader import FileReader
from obskit.history.record_reader import read_errors, read_records
from obskit.history.record_slot import record_files
from obskit.history.record_tables import RECORDS
from obskit.history.settings import KEEP
from obskit.history.tables import SERIES
from obskit.metrics import cell_format
from obskit.metrics.cell_format import HEADER, CellFileError, decode_header
from obskit.metrics.directory import Directory
from obskit.metrics.reader import Reader
from obskit.storage import appended_records, state_folder
from obskit.storage.periods import Span
from obskit.storage.state_folder import Occupant, read_occupant

ROOT = Path(__file__).parents[1]
KEPT = Path(__file__).parent / "kept"
RELEASES = sorted(path.name for path in KEPT.iterdir())
# By the name on the page: the version that is written, and the first that is read.
FORMATS = {
    "cells": (cell_format.VERSION, cell_format.OLDEST_VERSION),
    "budgets": (SCHEMA.version, 1),
    "marker": (state_folder.FORMAT, 1),
    "events": (appended_records.FORMAT, 1),
    "series": (SERIES.version, 1),
    "records": (RECORDS.version, 1),
    "kept": (instance_mark.FORMAT, 1),
}
SPECS = {spec.name: spec for spec, *_ in kept_files.CELLS}


@pytest.fixture(params=[*RELEASES, "now"])
def kept(request, tmp_path):
    """
    A copy of the files of a release, or of those that the script keeps now; of this user alone, as they were.
    """
    folder = tmp_path / "kept"
    if request.param == "now":
        kept_files.main([str(folder)])
    else:
        shutil.copytree(KEPT / request.param, folder)
    for path in [folder, *folder.rglob("*")]:
        os.chmod(path, 0o700 if path.is_dir() else 0o600)
    return folder


def test_figures_of_workers_are_read(kept):
    """
    Each value of a worker's file with its row, unit and labels; and folded and worker's add up.
    """
    (path,) = (kept / "cells").glob("worker-*")
    with open(path, "rb") as file:
        families = Reader().read(file.fileno(), final=True).families
    merged = Directory(kept / "cells").snapshot()

    assert [(spec, [labels], [doubles]) for spec, labels, doubles in kept_files.CELLS] == [
        (family.spec, family.keys, family.rows) for family in families
    ]
    assert {"sold_total": {("rose",): (6.0,)}, "wait_seconds": {(): (4.0, 1.5, 2.0, 2.0, 0.0)}} == {
        name: family.cells for name, family in merged.families.items()
    }
    assert 0 == merged.unreadable


def test_budgets_are_read_and_written(kept):
    """
    What was spent counts on, and a reply that is awaited is known; in files of former formats too.
    """
    paths, found, pending = sorted(kept.glob("ai-budgets*.sqlite3")), [], []
    for path in paths:
        ledger = Ledger(path, lambda *problem: None, lambda crossing: None)
        ledger.expect_reply("resp_2", ("day", "openai", "gpt-5"), ())
        ledger.write()
        found.append(ledger.figures("daily", kept_files.START, kept_files.START).spent)
        pending += [ledger.pending_reply(name, may_wait=True) for name in ("resp_1", "resp_2")]
        ledger.close()

    assert [kept_files.USD] * len(paths) == found
    assert {("night", "openai", "gpt-5"), ("day", "openai", "gpt-5")} <= {reply.labels for reply in pending if reply}


def test_the_folders_service_and_its_events_are_read(kept, tmp_path):
    """
    Whose folder it is, and each event that comes into it.
    """
    followed, lost = tmp_path / "events", []
    followed.mkdir()
    follower = appended_records.RecordFollower(followed, lambda: "", lambda *given: lost.append(given))
    for path in (kept / "events").iterdir():
        os.rename(path, followed / path.name)
        os.utime(followed / path.name)
    records = follower.read()

    assert Occupant("shop", None) == read_occupant(kept)
    assert [("toy.rung", "The bell was rung.")] == [(record["name"], record["message"]) for record in records]
    assert [] == lost


def test_series_are_read(kept):
    """
    What was counted and measured in each step, and how far an instance was sampled.
    """
    errors = []
    reader = FileReader(SeriesFiles(kept / "history"), errors.append)
    points = {name: list(reader.points(name, Span(0, 1e11), 10)) for name in reader.names(Span(0, 1e11))}

    assert [3.0, 3.0] == [it.point.value for it in points["sold_total"]]
    assert [2.0, 4.0] == [it.point.value for it in points["queue"]]
    assert [(2, 0.75, [1, 1, 0])] * 2 == [
        (it.point.n, it.point.value, add_up([it.point.lanes], 3)) for it in points["wait_seconds"]
    ]
    assert InstanceMark("shop-1", "/var/lib/shop/history", 2) == InstanceMark.read(kept / "cells")
    assert [] == errors


def test_records_are_read(kept):
    """
    A request and an error, each as it was stored.
    """
    errors, ever = [], Span(0, 1e11)
    files = record_files(kept / "history", KEEP, 1 << 20)
    [request] = read_records(files, "request", ever, on_error=errors.append)
    [error] = read_errors(files, ever, on_error=errors.append)

    assert ("/plants/<id>", 1.5, True, {"status": 500}) == (
        request.key,
        request.seconds,
        request.failed,
        request.fields,
    )
    assert ("KeyError", "shop.py sell", 2, {"/plants/<id>": 2}) == (error.type, error.place, error.times, error.routes)
    assert [] == errors


def versions(folder):
    """
    Yield the format and version of each kept file.
    """
    for path in folder.rglob("*.cells"):
        yield "cells", int.from_bytes(path.read_bytes()[8:12], "little")
    for path in folder.rglob("*.sqlite3"):
        with sqlite3.connect(path) as db:
            name = "records" if path.parent.name.endswith("-day") else "series"
            yield "budgets" if path.parent == folder else name, db.execute("PRAGMA user_version").fetchone()[0]
        db.close()
    yield "kept", json.loads((folder / "cells" / "kept.json").read_text())["format"]
    yield "marker", json.loads((folder / "service.json").read_text())["format"]
    for path in (folder / "events").iterdir():
        yield "events", json.loads(path.read_text().splitlines()[0])["format"]


def test_a_file_of_each_version_is_kept():
    """
    Every version that is read, the present one included, lies among the kept files, and so do files of this release.
    """
    found = {version for release in RELEASES for version in versions(KEPT / release)}

    assert {(name, each) for name, (last, first) in FORMATS.items() for each in range(first, last + 1)} == found
    assert __version__ in RELEASES


def test_the_version_before_is_read():
    """
    Where a format has a second version, its first reader of the two reads both.
    """
    assert [] == [name for name, (last, first) in FORMATS.items() if first > max(1, last - 1)]


@pytest.mark.parametrize(("version", "reason"), [(cell_format.VERSION + 1, "newer"), (0, "corrupt")])
def test_cells_of_an_unknown_version_are_not_read(version, reason, monkeypatch):
    """
    A newer file is left to whoever wrote it, and one that is older than what is read is set aside.
    """
    monkeypatch.setattr(cell_format, "VERSION", version)
    head = cell_format.encode_header(0, HEADER.size)
    monkeypatch.undo()

    with pytest.raises(CellFileError) as refused:
        decode_header(head)
    assert refused.value.reason == reason


def test_the_page_says_the_versions():
    """
    The table of docs/reference/formats.md has each format, what is written and what is read.
    """
    text = (ROOT / "docs/reference/formats.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z]+)` \| .* \| (\d+) \| (\d+) \|$", text, re.MULTILINE)

    assert {name: (int(last), int(first)) for name, last, first in rows} == FORMATS
