"""
Ask one worker for the page of four, beside `prometheus_client`'s `MultiProcessCollector` over the same series.

Four processes keep each series twice, in obskit's store and in `prometheus_client`'s multiprocess mode, and live while
both are asked. Both print the same samples, or the benchmark fails. A page of obskit's costs by what has changed since
the one before, so between two pages the workers update none of the label sets, a tenth of them, or all. Who has to
wait is watched as `scrape` does it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any

import obskit
from bench.figures import keep
from bench.scrape import empty, print_stalls, seconds, stalls
from obskit.metrics.directory import Directory
from obskit.metrics.settings import HTTP_BUCKETS

WORKERS = 4
NAME, HELP, LABELS = "parts_seconds", "Seconds.", ("method", "endpoint")
OBSERVED = (0.003, 0.03, 0.3, 30.0)
THEIR_ROUNDS = 3  # of 5,000 label sets they take seconds
SHARES = {"none": 0, "1 in 10": 10, "all": 1}


def own(path: Path, count: int) -> Any:
    """
    Configure obskit as a worker, and give its histogram.
    """
    from prometheus_client import CollectorRegistry

    where = str(path / "ours")
    obskit.configure(
        service="bench", metrics_dir=where, max_label_sets=count, registry=CollectorRegistry(), log_stream=sys.stderr
    )
    return obskit.histogram(NAME, HELP, LABELS, buckets=HTTP_BUCKETS)


def work(path: Path, count: int) -> None:
    """
    Run a worker: update one in so many label sets whenever a number comes, and answer when it is done.
    """
    from prometheus_client import CollectorRegistry, Histogram

    ours = own(path, count)
    theirs = Histogram(NAME, HELP, LABELS, buckets=HTTP_BUCKETS, registry=CollectorRegistry())
    cells = []
    for series in range(count):
        labels = ("GET", f"/things/{{thing_id}}/parts/{series}")
        cells.append((ours.labels(*labels).observe, theirs.labels(*labels).observe))
    for turn, line in enumerate(sys.stdin):
        share = int(line)
        for observers in cells[turn % share :: share] if share else ():
            for observe in observers:
                for duration in OBSERVED:
                    observe(duration)
        print(len(cells), flush=True)


class Workers:
    """
    The processes.
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

    def end(self) -> None:
        """
        Have all of them end, and wait for it.
        """
        for stdin, _ in self.pipes:
            stdin.close()
        self.stack.close()


def compare(path: Path, count: int, rounds: int) -> None:
    """
    Print a line for each share: medians of rounds in which both take turns. Then print who has to wait.
    """
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    workers, registry = Workers(path, count), CollectorRegistry()
    MultiProcessCollector(registry, str(path / "theirs"))
    theirs = partial(generate_latest, registry)
    own(path, count)
    runtime = obskit.configure()  # the one that stands

    def ours() -> bytes:
        return runtime._page("", False, None)[1]

    workers.update(1)
    first = seconds(ours)
    if _samples(ours()) != _samples(theirs()):
        raise SystemExit("the pages differ")
    for name, share in SHARES.items():
        spent: list[float] = []
        others: list[float] = []
        for _ in range(rounds):
            workers.update(share)
            spent.append(seconds(ours))
            if len(others) < THEIR_ROUNDS:
                others.append(seconds(theirs))
        page, other = statistics.median(spent) * 1e3, statistics.median(others) * 1e3
        print(f"{count:10}  {name:10}{first * 1e3:10.1f}{page:10.1f}{other:11.1f}{other / page:10.1f}", flush=True)
        keep(f"{count} label sets, {name}", page / other)
    app = obskit.instrument(empty)
    print(f"{f'while uvicorn shows {count} label sets of four workers':52}{'stall ms, median':>18}{'longest':>10}")
    print_stalls("nobody scrapes", asyncio.run(stalls(app, rounds, None)), 52)
    changed = partial(workers.update, 1)
    print_stalls("text, all have changed", asyncio.run(stalls(app, rounds, ("identity", ""), changed)), 52)
    workers.end()
    directory = Directory(path / "ours", max_label_sets=10 * count)
    print(f"folding what four workers left: {seconds(directory.fold) * 1e3:.1f} ms\n", flush=True)
    obskit.shutdown()


def _samples(page: bytes) -> list[bytes]:
    return sorted(line for line in page.splitlines() if line.startswith(NAME.encode()))


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
    print(f"{'label sets':>10}  {'changed':10}{'first ms':>10}{'page ms':>10}{'theirs ms':>11}{'x faster':>10}")
    for count in options.label_sets or [500, 5000]:
        with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
            compare(Path(folder), count, options.rounds)
