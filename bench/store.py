"""
Read and add up the figures of four workers, beside `prometheus_client`'s `MultiProcessCollector`, over the same series.

Four processes keep each series twice, in obskit's files and in `prometheus_client`'s, and live while both are read.
Both say the same, or the benchmark fails. A reading of obskit's costs by what has changed since the one before, so
between two readings the workers update none of the label sets, a tenth of them, or all. Who has to wait is watched as
`scrape` does it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import IO

from bench.scrape import stalls
from obskit.catalogue.http import DURATION
from obskit.metrics.directory import Directory, Snapshot
from obskit.metrics.exposition import Layout, Section, page
from obskit.settings import HTTP_BUCKETS

WORKERS = 4
SPEC = replace(DURATION, buckets=HTTP_BUCKETS)
OBSERVED = (0.003, 0.03, 0.3, 30.0)
SHARES = (0, 10, 1)  # one in so many changes; 0: none


def work(path: Path, count: int) -> None:
    """
    Be a worker: update one in so many label sets whenever a number comes, and answer when it is done.
    """
    from prometheus_client import CollectorRegistry, Histogram

    file = Directory(path / "ours").join()
    number = file.family(SPEC, SPEC.name)
    theirs = Histogram(SPEC.name, SPEC.help, SPEC.labels, buckets=SPEC.buckets, registry=CollectorRegistry())
    cells = []
    for series in range(count):
        labels = ("GET", f"/things/{{thing_id}}/parts/{series}")
        cells.append((file.allocate(number, labels, len(HTTP_BUCKETS) + 3), theirs.labels(*labels).observe))
    for turn, line in enumerate(sys.stdin):
        share = int(line)
        for cell, observe in cells[turn % share :: share] if share else ():
            for seconds in OBSERVED:
                cell[2 + sum(bound < seconds for bound in HTTP_BUCKETS)] += 1
                cell[1] += seconds
                cell[0] += 1
                observe(seconds)
        print(json.dumps(len(cells)), flush=True)


class Workers:
    """
    Hold the processes.
    """

    def __init__(self, path: Path, count: int) -> None:
        self.stack = ExitStack()
        theirs = path / "theirs"
        theirs.mkdir()
        environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(theirs)}
        command = [sys.executable, "-m", "bench", "store", "--worker", str(path), "--label-sets", str(count)]
        self.pipes: list[tuple[IO[str], IO[str]]] = []
        for _ in range(WORKERS):
            process = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert process.stdin is not None
            assert process.stdout is not None
            self.stack.enter_context(process)
            self.pipes.append((process.stdin, process.stdout))

    def update(self, share: int) -> None:
        """
        Have all of them update, and wait for it.
        """
        for stdin, _ in self.pipes:
            print(share, file=stdin, flush=True)
        for _, stdout in self.pipes:
            stdout.readline()


def seconds(call: Callable[[], object]) -> float:
    """
    Time a call.
    """
    started = perf_counter()
    call()
    return perf_counter() - started


def compare(path: Path, count: int, rounds: int) -> None:
    """
    Print a line for each share: medians of rounds in which both take turns.
    """
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    workers, directory, registry = Workers(path, count), Directory(path / "ours"), CollectorRegistry()
    collector = MultiProcessCollector(registry, str(path / "theirs"))
    layout = Layout(SPEC.name, "histogram", SPEC.help, SPEC.labels, SPEC.buckets)

    def pages(snapshot: Snapshot) -> bytes:
        family = snapshot.families[SPEC.name]
        return b"".join(page([Section(layout, zip(family.keys, family.rows, strict=True))])[1])

    with workers.stack:
        workers.update(1)
        first = seconds(directory.snapshot)
        if sorted(pages(directory.snapshot()).splitlines()) != sorted(generate_latest(registry).splitlines()):
            raise SystemExit("the pages differ")
        for share in SHARES:
            spent = []
            for _ in range(rounds):
                workers.update(share)
                merged = seconds(directory.snapshot)
                workers.update(share)
                rendered = seconds(lambda: pages(directory.snapshot()))
                theirs = seconds(lambda: list(collector.collect())), seconds(lambda: generate_latest(registry))
                spent.append((merged, rendered, *theirs))
            own, whole, other, others = (statistics.median(column) * 1e3 for column in zip(*spent, strict=True))
            changed = f"1 in {share}" if share > 1 else ("all" if share else "none")
            print(
                f"{count:10}  {changed:8}{first * 1e3:10.1f}{own:10.1f}{other:11.1f}{other / own:10.1f}"
                f"{whole:10.1f}{others:11.1f}{others / whole:10.1f}",
                flush=True,
            )

        nothing, waits = asyncio.run(stalls(None, rounds)), []
        for _ in range(rounds):
            workers.update(1)
            waits += asyncio.run(stalls(lambda: pages(directory.snapshot()), 1))
        for stdin, _ in workers.pipes:
            stdin.close()
    print(f"{count:10}  {'fold':8}{'':10}{seconds(directory.fold) * 1e3:10.1f}")
    print(
        f"{count:10}  all changed: another task waits {statistics.median(waits) * 1e3:.1f} ms, {max(waits) * 1e3:.1f} "
        f"at most; with nothing to wait for {statistics.median(nothing) * 1e3:.1f}, {max(nothing) * 1e3:.1f} at most",
        flush=True,
    )


def main(arguments: list[str]) -> None:
    """
    Print a table.
    """
    parser = argparse.ArgumentParser(prog="python -m bench store")
    parser.add_argument("--label-sets", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--worker", type=Path)
    options = parser.parse_args(arguments)
    if options.worker:
        work(options.worker, options.label_sets[0])
        return
    print(
        f"{'label sets':>10}  {'changed':8}{'first ms':>10}{'ms':>10}{'theirs ms':>11}{'x faster':>10}"
        f"{'page ms':>10}{'theirs ms':>11}{'x faster':>10}"
    )
    for count in options.label_sets or [500, 5000]:
        with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
            compare(Path(folder), count, options.rounds)
