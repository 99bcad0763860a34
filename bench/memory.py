"""
Watch the memory of a process that serves many requests with everything on: it must stand still.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time

import psutil

from bench.applications import FRAMEWORKS, build, driver
from bench.figures import keep

LIMIT_MB = 2.0


def serve(framework: str, warm_up: int, requests: int) -> list[float]:
    """
    Return the resident megabytes after the warm-up, and after all requests.
    """
    import obskit

    with open(os.devnull, "w") as nowhere:
        app = obskit.instrument(build(framework), service="bench", log_stream=nowhere)
        drive, process = driver(framework), psutil.Process()
        sizes = []
        for count in (warm_up, requests - warm_up):
            drive.run(app, count, time.perf_counter_ns)
            gc.collect()
            sizes.append(process.memory_info().rss / 1024 / 1024)
        obskit.shutdown()
    return sizes


def main(arguments: list[str]) -> None:
    """
    Serve with each framework in a fresh process, print a table, and fail where one grows.
    """
    parser = argparse.ArgumentParser(prog="python -m bench memory")
    parser.add_argument("-f", "--framework", action="append", choices=FRAMEWORKS)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--warm-up", type=int, default=20_000)
    parser.add_argument("--child", action="store_true")
    options = parser.parse_args(arguments)
    if options.child:
        print(json.dumps(serve(options.framework[0], options.warm_up, options.requests)))
        return
    print(
        f"{'framework':14}{'after ' + str(options.warm_up):>16}{'after ' + str(options.requests):>16}{'grown MB':>10}"
    )
    grown = []
    for framework in options.framework or FRAMEWORKS:
        sizes = ["--requests", str(options.requests), "--warm-up", str(options.warm_up)]
        command = [sys.executable, "-m", "bench", "memory", *sizes, "-f", framework, "--child"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        before, after = json.loads(done.stdout.splitlines()[-1])
        print(f"{framework:14}{before:14.1f}{after:14.1f}{after - before:10.2f}", flush=True)
        keep(f"{framework}: MB", after)
        if after - before > LIMIT_MB:
            grown.append(framework)
    if grown:
        raise SystemExit(f"grew by more than {LIMIT_MB} MB: {', '.join(grown)}")
