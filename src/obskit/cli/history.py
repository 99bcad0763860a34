"""
Look at what is kept of figures: how much, since when, and whether its files are whole; and write it as JSON lines.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from obskit.cli.services import add_service_arguments, state_folder_of
from obskit.cli.usage import UsageError, print_result
from obskit.errors import ObskitError
from obskit.history.files import SeriesFiles
from obskit.history.keeping import size_of
from obskit.history.queries import History, every_of, open_folder
from obskit.history.record_slot import record_files
from obskit.history.record_tables import RECORDS
from obskit.history.settings import KEEP
from obskit.history.tables import SERIES
from obskit.storage.own_sqlite import Schema, reading
from obskit.storage.periods import PeriodFile, PeriodFiles
from obskit.time.durations import seconds_of
from obskit.time.timestamps import to_the_second


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add what can be asked for.
    """
    parser.add_argument("act", choices=("status", "verify", "export"), help="what to do")
    parser.add_argument("--dir", metavar="FOLDER", help="the history folder; default: that of the service")
    parser.add_argument("--since", metavar="TIME", default="24h", help="how far back, such as 7d; default: 24h")
    add_service_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON; `export` always does")


def run(wanted: argparse.Namespace) -> int:
    """
    Do what is asked; return 1 where something was found.
    """
    folder = Path(wanted.dir) if wanted.dir is not None else state_folder_of(wanted).path / "history"
    if not folder.is_dir():
        raise UsageError(f"no history in {folder}: it is made by the first process that serves with history=True")
    try:
        seconds_of(wanted.since, "--since")
    except ObskitError as error:
        raise UsageError(str(error)) from error
    unread: list[str] = []
    history = open_folder(folder, lambda error: unread.append(str(error)))
    match wanted.act:
        case "status":
            value = _status(folder, history, wanted.since, unread)
        case "verify":
            value = _verified(folder)
        case _:
            for row in history.export(since=wanted.since):
                print(json.dumps(row, allow_nan=False))
            return 1 if unread else 0
    print_result(wanted, value, _text(value))
    return 1 if value["findings"] else 0


def _status(folder: Path, history: History, since: str, unread: list[str]) -> dict[str, Any]:
    """
    Return how much there is of each kind, and which part of the time was seen.
    """
    files = SeriesFiles(folder, every_of(folder))
    kinds, every = {}, [*files.by_step.values(), *_records(folder)]
    for kind in every:
        found = kind.files()
        first = to_the_second(found[0].span.start) if found else None
        kinds[kind.folder.name] = {"files": len(found), "size_bytes": size_of([kind]), "since": first}
    covers = history.covers(since=since)
    return {
        "folder": str(folder),
        "kinds": kinds,
        "size_bytes": size_of(every),
        "slots": len(files.slots()),
        "seen_share": round(covers.share, 4),
        "covers": covers.to_dict(),
        "findings": sorted(set(unread)),
    }


def _verified(folder: Path) -> dict[str, Any]:
    """
    Read each file whole.
    """
    files = SeriesFiles(folder, every_of(folder))
    found = [(file, SERIES) for kind in files.by_step.values() for file in kind.files()]
    found += [(file, RECORDS) for kind in _records(folder) for file in kind.files()]
    findings = [finding for file, schema in found for finding in _damage_of(file, schema)]
    findings += [f"{path.name} was damaged, and set aside" for path in sorted(folder.rglob("*.broken-*"))]
    return {"folder": str(folder), "files": len(found), "findings": findings}


def _records(folder: Path) -> list[PeriodFiles]:
    return list(record_files(folder, KEEP, 0).values())


def _damage_of(file: PeriodFile, schema: Schema) -> Iterator[str]:
    try:
        with reading(file.path, schema) as db:
            told = [row[0] for row in db.execute("PRAGMA integrity_check(3)").fetchall()]
        if told != ["ok"]:
            yield f"{file.path.name}: {'; '.join(map(str, told))}"
    except (OSError, sqlite3.Error) as error:
        yield f"{file.path.name}: {error}"


def _text(value: dict[str, Any]) -> str:
    lines = [f"History in {value['folder']}"]
    for name, kind in value.get("kinds", {}).items():
        since = kind["since"] or "nothing yet"
        lines.append(f"  {name}: {kind['files']} files, {kind['size_bytes'] / 1e6:.1f} MB, since {since}")
    if "seen_share" in value:
        lines.append(f"  seen: {value['seen_share']:.1%} of the time asked for, by {value['slots']} slots")
    if "files" in value:
        lines.append(f"  {value['files']} files were read")
    lines += [f"  found: {finding}" for finding in value["findings"]] or ["  nothing was found"]
    return "\n".join(lines)
