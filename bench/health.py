"""
Measure a health probe that is answered from memory, as a ratio to the floor of the HTTP benchmark, and a scrape of all
of the machine's figures in milliseconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from bench.applications import build, driver
from bench.figures import keep
from bench.http import floor


def blocks(runs: dict[str, Callable[[], None]], rounds: int, block: int) -> dict[str, list[float]]:
    """
    Return the microseconds of one call, for each block; the runs take turns.
    """
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.perf_counter_ns()
            for _ in range(block):
                run()
            spent[name].append((time.perf_counter_ns() - started) / block / 1000)
    return spent


def probes(rounds: int, block: int) -> None:
    """
    Print what a probe takes, through the WSGI middleware, with none to ten checks.
    """
    import obskit

    app = obskit.instrument(build("wsgi", 0), service="bench", log_stream=open(os.devnull, "w"))
    bare, drive = app.app, driver("wsgi")
    measured = floor(bare, "wsgi")
    drive.run(app, 500, time.perf_counter_ns)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/health/ready", "REMOTE_ADDR": "127.0.0.1", "HTTP_ACCEPT": "*/*"}

    def probe() -> None:
        app(environ, lambda status, headers: None)

    print(f"{'checks':>8}{'floor us':>10}{'probe us':>10}{'x floor':>9}")
    for count in (0, 1, 10):
        for number in range(len(obskit.health.registry.checks), count):
            obskit.health.add(f"check-{number}", lambda: None, every=86_400)
        probe()
        floors, found, parts = [], [], []
        for _ in range(rounds):
            plain = drive.run(bare, block, time.perf_counter_ns) / block / 1000
            whole = drive.run(measured, block, time.perf_counter_ns) / block / 1000
            floors.append(whole - plain)
            found += blocks({"probe": probe}, 1, block)["probe"]
            parts.append(found[-1] / whole)
        typical, took = statistics.median(floors), statistics.median(found)
        print(f"{count:8}{typical:10.2f}{took:10.2f}{took / typical:9.2f}", flush=True)
        keep(f"probe, {count} checks", statistics.median(parts))
    obskit.shutdown()


def figures(rounds: int) -> None:
    """
    Print what the machine's figures take, on the page and as data.
    """
    import obskit
    from obskit.sinks.scrape_time import READERS

    def page() -> None:
        for read in READERS.values():
            read()

    def data() -> None:
        obskit.system.snapshot()

    print(f"\n{'figures':12}{'ms, median':>12}{'longest':>10}")
    for name, spent in blocks({"page": page, "snapshot": data}, rounds, 1).items():
        print(f"{name:12}{statistics.median(spent) / 1000:12.3f}{max(spent[1:]) / 1000:10.3f}", flush=True)
        keep(f"{name}: us", statistics.median(spent))


def main(arguments: list[str]) -> None:
    """
    Print two tables.
    """
    parser = argparse.ArgumentParser(prog="python -m bench health")
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--block", type=int, default=200)
    options: Any = parser.parse_args(arguments)
    probes(options.rounds, options.block)
    figures(options.rounds)
