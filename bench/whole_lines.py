"""
Count what several processes lose or tear when they write lines of 100 bytes to 64 kB to one file, or to one pipe.

Every line has its process and number, so each that is missing, broken or there twice is found. No timing matters here.
"""

from __future__ import annotations

import argparse
import gzip
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

WORKER = """
import random, sys
import orjson
from obskit.logs.log_file import LogFile
from obskit.logs.stream import LineStream

path, process, lines, rotate_bytes, gzip, longest = sys.argv[1:]
if path == "-":
    target = LineStream(sys.stdout)
else:
    target = LogFile(path, rotate_bytes=int(rotate_bytes), keep_files=None, gzip=gzip == "1")
sizes = random.Random(int(process))
sys.stdin.read(1)
for number in range(int(lines)):
    text = "x" * int(100 * (int(longest) / 100) ** sizes.random() - 40)
    target.write(orjson.dumps({"process": int(process), "number": number, "text": text}) + b"\\n")
"""


class Outcome(NamedTuple):
    """
    What became of the lines.
    """

    lost: int
    torn: int
    doubled: int
    files: int
    seconds: float


def old_and_new(path: Path) -> Iterator[bytes]:
    """
    Yield the lines of a log file and of all that it was before, compressed or not.
    """
    for file in sorted(path.parent.glob(path.name + "*")):
        with open(file, "rb") as plain:
            # Who compressed a file may have been stopped before it had its new name.
            compressed = plain.read(2) == b"\x1f\x8b"
        with gzip.open(file) if compressed else open(file, "rb") as lines:
            yield from lines


def count(lines: Iterable[bytes], processes: int, each: int) -> tuple[int, int, int]:
    """
    Return how many lines are missing, how many are no JSON object, and how many are there more than once.
    """
    seen: Counter[tuple[int, int]] = Counter()
    torn = 0
    for line in lines:
        try:
            fields = orjson.loads(line)
            seen[fields["process"], fields["number"]] += 1
        except (orjson.JSONDecodeError, KeyError, TypeError):
            torn += 1
    return processes * each - len(seen), torn, sum(seen.values()) - len(seen)


def run(path: Path | None, processes: int, each: int, rotate_bytes: int, compress: bool, longest: int) -> Outcome:
    """
    Have real processes write at once: to a file, or without one to a pipe that they share.
    """
    started = time.perf_counter()
    common = [str(each), str(rotate_bytes), str(int(compress)), str(longest)]
    reader, writer = os.pipe()
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(path or "-"), str(process), *common],
            stdin=subprocess.PIPE,
            stdout=writer,
        )
        for process in range(processes)
    ]
    os.close(writer)
    for worker in workers:
        worker.stdin.close()  # they start when they all stand
    with open(reader, "rb") as pipe:
        counted = count(pipe, processes, each)
    if any([worker.wait() for worker in workers]):
        raise SystemExit("a worker failed")
    files = 0
    if path is not None:
        counted = count(old_and_new(path), processes, each)
        files = len(list(path.parent.iterdir()))
    return Outcome(*counted, files, time.perf_counter() - started)


def main(arguments: list[str]) -> None:
    """
    Print a row for each run, and the sums.
    """
    parser = argparse.ArgumentParser(prog="python -m bench whole_lines")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--rotate-bytes", type=int, default=1_000_000)
    parser.add_argument("--longest", type=int, default=65_536)
    parser.add_argument("--to", action="append", choices=("file", "gzip", "pipe"))
    options = parser.parse_args(arguments)
    print(f"{'to':8}{'run':>4}{'lines':>9}{'lost':>6}{'torn':>6}{'doubled':>9}{'files':>7}{'seconds':>9}")
    for to in options.to or ("file", "gzip", "pipe"):
        for number in range(options.runs):
            with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as folder:
                path = None if to == "pipe" else Path(folder, "app.jsonl")
                sizes = options.processes, options.lines, options.rotate_bytes
                outcome = run(path, *sizes, to == "gzip", options.longest)
            print(
                f"{to:8}{number + 1:4}{options.processes * options.lines:9}{outcome.lost:6}{outcome.torn:6}"
                f"{outcome.doubled:9}{outcome.files:7}{outcome.seconds:9.1f}",
                flush=True,
            )
