"""
Write small files of the present formats, which every later version has to read: once for each release.

    python scripts/kept_files.py tests/kept/0.1.0
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path

from obskit.ai.budget_file import SCHEMA
from obskit.ai.ledger import Ledger
from obskit.ai.reservations import ReservationRequest
from obskit.catalogue import Metric
from obskit.history.files import SeriesFiles
from obskit.history.instance_mark import InstanceMark
from obskit.history.record_slot import RecordSlot, record_files, stored_row
from obskit.history.record_tables import ErrorRecord, Record
from obskit.history.sampler import InstanceTotals, Known
from obskit.history.series_slot import SeriesSlot
from obskit.history.settings import KEEP
from obskit.metrics.cell_file import CellFile
from obskit.metrics.cell_format import HEADER, decode_header, doubles_per_cell
from obskit.metrics.directory import FOLDED_FILE, Directory
from obskit.metrics.snapshots import FamilySnapshot
from obskit.storage.appended_records import RecordWriter
from obskit.storage.state_folder import MARKER, StateFolder

# What is in the cells: row, label set, and its doubles. The test of the kept files has the same figures.
CELLS: tuple[tuple[Metric, tuple[str, ...], tuple[float, ...]], ...] = (
    (Metric("sold_total", "counter", "Sold.", ("crop",), unit="plants"), ("rose",), (3.0,)),
    (Metric("queue", "gauge", "Waiting."), (), (2.0,)),
    (Metric("loaded_timestamp_seconds", "gauge", "When loaded.", workers="latest"), (), (7.0, 1_800_000_000.0)),
    (Metric("wait_seconds", "histogram", "Wait.", buckets=(0.1, 1.0)), (), (2.0, 0.75, 1.0, 1.0, 0.0)),
)
START, USD = 1_800_000_000.0, 0.25


def write_cells(file: CellFile) -> None:
    """
    Write the figures into a worker's file.
    """
    for spec, labels, doubles in CELLS:
        cell = file.allocate(file.family(spec, spec.name), labels, doubles_per_cell(spec))
        for index, value in reversed(list(enumerate(doubles))):
            cell[index] = value


def keep_cells(folder: Path) -> None:
    """
    Write the file of a worker, and one into which that of a dead worker was folded.
    """
    with tempfile.TemporaryDirectory() as temporary:
        directory = Directory(Path(temporary) / "cells")
        dead = directory.join()
        write_cells(dead)
        dead.close()
        directory.fold()
        file = directory.join()
        write_cells(file)
        content = Path(file.path).read_bytes()
        used = decode_header(content[: HEADER.size])[4]
        folder.mkdir(parents=True)
        (folder / f"worker-0-1-{'0' * 16}.cells").write_bytes(content[:used])  # without the space that is free
        shutil.copy(directory.path / FOLDED_FILE, folder)
        file.close()


def keep_budgets(path: Path) -> None:
    """
    Write a budgets' file with a call that was settled, and a reply that is awaited.
    """
    with tempfile.TemporaryDirectory() as temporary:
        ledger = Ledger(Path(temporary) / "state" / path.name, lambda *problem: None, lambda crossing: None)
        amounts = ledger.reserve([ReservationRequest("daily", START, 0.5, 1.0, False)], START)
        ledger.settle(tuple(amounts), [USD])
        ledger.expect_reply("resp_1", ("night", "openai", "gpt-5"), ())
        ledger.write()
        ledger.close()
        db = sqlite3.connect(ledger.path)
        db.execute("VACUUM INTO ?", (str(path),))
        db.close()


def keep_former_budgets(path: Path, version: int) -> None:
    """
    Write a budgets' file of a former version.
    """
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript("".join(SCHEMA.steps[:version]))
    db.execute("INSERT INTO spent VALUES ('daily', ?, ?, ?, 0, 0)", (START, START, USD))
    db.execute(f"PRAGMA user_version = {version}")
    db.close()


def keep_state(folder: Path) -> None:
    """
    Write the file that says whose folder it is, and a file of events.
    """
    with tempfile.TemporaryDirectory() as temporary:
        state = StateFolder(temporary, "shop")
        state.open()
        shutil.copy(state.path / MARKER, folder)
    events = folder / "events"
    events.mkdir()
    RecordWriter(events).append({"name": "toy.rung", "message": "The bell was rung."})
    (kept,) = events.iterdir()
    kept.rename(events / "1-000000000000.records")


def keep_series(folder: Path) -> None:
    """
    Write a series file with two samplings of the figures, and the file that says how far they were sampled.
    """
    with tempfile.TemporaryDirectory() as temporary:
        files = SeriesFiles(Path(temporary))
        slot = SeriesSlot(*files.claim_slot(), files, lambda *problem: None)
        totals = InstanceTotals("shop-1", Known({}, 0))
        for number in (1, 2):
            found = {
                spec.name: FamilySnapshot(spec, [labels], [tuple(number * double for double in doubles)])
                for spec, labels, doubles in CELLS
                if spec.workers != "latest"
            }
            totals.store(found, slot, int(START) + 10 * number)
        slot.close()
        (file,) = files.by_step[files.every].files()
        kept = folder / "history" / file.path.parent.name
        kept.mkdir(parents=True)
        db = sqlite3.connect(file.path)
        db.execute("VACUUM INTO ?", (str(kept / file.path.name),))
        db.close()
    InstanceMark("shop-1", "/var/lib/shop/history", 2).write(folder / "cells")


def keep_records(folder: Path) -> None:
    """
    Write a file of records with a request and an error.
    """
    with tempfile.TemporaryDirectory() as temporary:
        files = record_files(Path(temporary), KEEP, 1 << 20)
        slot = RecordSlot(Path(temporary), files, lambda *problem: None)
        request = Record("request", START, "/plants/<id>", 1.5, True, None, "id-1", {"status": 500})
        error = ErrorRecord("f00d", "KeyError", "shop.py sell", START, START, 2, {"/plants/<id>": 2}, {"status": 500})
        slot.write(START, {"records": [stored_row(request)]}, [error])
        slot.close()
        (file,) = files["records"].files()
        kept = folder / "history" / file.path.parent.name
        kept.mkdir(parents=True)
        db = sqlite3.connect(file.path)
        db.execute("VACUUM INTO ?", (str(kept / file.path.name),))
        db.close()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="which is made")
    folder: Path = parser.parse_args(arguments).folder
    keep_cells(folder / "cells")
    keep_budgets(folder / "ai-budgets.sqlite3")
    for version in range(1, SCHEMA.version):
        keep_former_budgets(folder / f"ai-budgets-{version}.sqlite3", version)
    keep_state(folder)
    keep_series(folder)
    keep_records(folder)


if __name__ == "__main__":
    main()
