"""
Measure what a request costs more with obskit: in one process, in alternating blocks, as a ratio to the floor.

Times are those of the processor, so that a busy machine changes them little.

The floor is what no metric can do without: one clock pair, one bound `Histogram.observe()` and one bound
`Counter.inc()` of `prometheus_client`, with no route and no status. With `--files` the figures of both lie in files
that several workers share: the floor's by the multiprocess mode of `prometheus_client`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from time import perf_counter, process_time_ns
from typing import Any

from bench.applications import FRAMEWORKS, WSGI, build, driver
from bench.figures import keep

VARIANTS: dict[str, dict[str, Any]] = {
    "everything": {},
    "metrics": {"access_log": False, "correlation": False},
    "metrics + id": {"access_log": False},
    "metrics + line": {"correlation": False},
}


def floor(app: Any, framework: str) -> Any:
    """
    Wrap an application in the floor.
    """
    from prometheus_client import CollectorRegistry, Counter, Histogram

    registry = CollectorRegistry()
    bounds = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
    labels = {"labelnames": ("method", "endpoint", "status"), "registry": registry}
    observe = Histogram("floor_seconds", "d", buckets=bounds, **labels).labels("GET", "/", "200").observe
    inc = Counter("floor", "c", **labels).labels("GET", "/", "200").inc

    def wsgi(environ: Any, start_response: Any) -> Any:
        started = perf_counter()
        try:
            return app(environ, start_response)
        finally:
            observe(perf_counter() - started)
            inc()

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        started = perf_counter()
        try:
            await app(scope, receive, send)
        finally:
            observe(perf_counter() - started)
            inc()

    return wsgi if framework in WSGI else asgi


def measure(framework: str, routes: int, blocks: int, block: int, turns: int, **settings: Any) -> dict[str, float]:
    """
    Return the added microseconds of the floor and of obskit, around the very same application, and what part obskit's
    are of all that a request with the floor takes in the same turns.

    Two applications of one source differ by microseconds, since their objects lie elsewhere in memory; so everything
    that is compared runs around one.
    """
    import obskit

    nowhere = open(os.devnull, "w")
    observed = obskit.instrument(build(framework, routes), service="bench", log_stream=nowhere, **settings)
    drive = driver(framework)
    drive.run(observed, 500, process_time_ns)
    front = _middleware(observed)
    bare = front.app
    apps = {"bare": bare, "floor": floor(bare, framework), "obskit": front}
    for app in apps.values():
        drive.run(app, 500, process_time_ns)
    differences: dict[str, list[float]] = {name: [] for name in apps}
    parts: list[list[float]] = [[] for _ in range(turns)]
    order = list(apps)
    for _ in range(blocks):
        times = dict.fromkeys(apps, 0.0)
        for turn in range(turns):
            random.shuffle(order)
            spent_us = {name: drive.run(apps[name], block // turns, process_time_ns) / block / 1000 for name in order}
            parts[turn].append((spent_us["obskit"] - spent_us["bare"]) / spent_us["floor"])
            times = {name: times[name] + spent_us[name] for name in apps}
        for name, spent in times.items():
            differences[name].append(spent - (times["bare"] if name != "bare" else 0.0))
    typical = {name: statistics.median(values) for name, values in differences.items()}
    figures = {"bare_us": typical["bare"], "floor_us": typical["floor"], "added_us": typical["obskit"]}
    return figures | {"part": statistics.mean(map(statistics.median, parts))}


def _middleware(app: Any) -> Any:
    """
    Find the middleware that `instrument()` put around the application; `app` is what it stands around.
    """
    if hasattr(app, "extensions"):
        return app.extensions["obskit"]
    return app.middleware_stack if hasattr(app, "middleware_stack") else app


def main(arguments: list[str]) -> None:
    """
    Run each framework and variant in a fresh process, pinned to one core, and print a table.
    """
    parser = argparse.ArgumentParser(prog="python -m bench http")
    parser.add_argument("-f", "--framework", action="append", choices=FRAMEWORKS)
    parser.add_argument("-v", "--variant", action="append", choices=VARIANTS)
    parser.add_argument("--routes", type=int, default=0)
    parser.add_argument("--blocks", type=int, default=150)
    parser.add_argument("--block", type=int, default=100)
    parser.add_argument("--turns", type=int, default=1, help="how often all take their turn in a block")
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--pin", type=int, default=0)
    parser.add_argument("--files", action="store_true", help="share the figures with other workers")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child is not None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {options.pin})
        settings = VARIANTS[options.variant[0]] | ({"metrics_dir": options.child} if options.files else {})
        sizes = options.blocks, options.block, options.turns
        figures = measure(options.framework[0], options.routes, *sizes, **settings)
        print(json.dumps(figures))
        return
    print(f"{'framework':14}{'variant':16}{'bare us':>9}{'floor us':>10}{'added us':>10}{'x floor':>9}")
    for framework in options.framework or FRAMEWORKS:
        for variant in options.variant or ("everything", "metrics"):
            runs = [_child(arguments, framework, variant, options.files) for _ in range(options.replicas)]
            row = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            print(
                f"{framework:14}{variant:16}{row['bare_us']:9.1f}{row['floor_us']:10.2f}{row['added_us']:10.2f}"
                f"{row['added_us'] / row['floor_us']:9.2f}",
                flush=True,
            )
            keep(f"{framework}, {variant}", row["part"])


def _child(arguments: list[str], framework: str, variant: str, files: bool) -> dict[str, float]:
    kept = [word for word in arguments if word not in ("-f", "-v", *FRAMEWORKS, *VARIANTS)]
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
        command = [sys.executable, "-m", "bench", "http", *kept, "-f", framework, "-v", variant, "--child", ours]
        environ = os.environ | ({"PROMETHEUS_MULTIPROC_DIR": theirs} if files else {})
        done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures
