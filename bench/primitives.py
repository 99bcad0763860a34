"""
Measure single pieces beside what they stand in for, or beside the least that any of their kind must do.

Each ratio is of one run: the piece, its floor and what both stand on take turns, block by block.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import repeat
from time import perf_counter, perf_counter_ns
from typing import Any, BinaryIO, NamedTuple
from uuid import uuid4

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram

import obskit
from bench.figures import keep
from obskit.correlation_ids import new_id
from obskit.integrations.sqlite3 import TimedConnection
from obskit.observation import observe
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.runtime import current_runtime
from obskit.sinks.log_sink import LogSink

Call = Callable[[], object]
LABELS = ("method", "endpoint", "status")
VALUES = ("GET", "/items/{item_id}", "200")
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SECONDS = 0.02
THEIRS = "their bound observe() + inc()"


class Row(NamedTuple):
    """
    Compare a piece with its floor.

    Attributes:
        without: What the piece does besides, whose time is taken off.
    """

    piece: str
    call: Call
    floor: str
    floor_call: Call
    without: Call | None = None


def _nothing() -> None:
    return None


def _rows(nowhere: BinaryIO, shared: bool) -> Iterator[Row]:
    registry = CollectorRegistry()
    theirs = Histogram("their_seconds", "d", LABELS, buckets=BOUNDS, registry=registry)
    their_counter = Counter("their_count", "c", LABELS, registry=registry)
    observe_theirs, inc_theirs = theirs.labels(*VALUES).observe, their_counter.labels(*VALUES).inc
    ours = obskit.histogram("bench_seconds", "Seconds.", LABELS, buckets=BOUNDS)
    bound, cell, named = ours.labels(*VALUES).observe, ours.cell, dict(zip(LABELS, VALUES, strict=True))
    request, finish = HttpOperation("GET", "/items/7"), _request_step()
    request.endpoint, request.status, request.duration_seconds = VALUES[1], 200, SECONDS

    def observe_and_inc() -> None:
        observe_theirs(SECONDS)
        inc_theirs()

    def timed() -> None:
        started = perf_counter()
        observe_theirs(perf_counter() - started)

    def timed_and_counted() -> None:
        started = perf_counter()
        observe_theirs(perf_counter() - started)
        inc_theirs()

    yield Row("bound observe()", lambda: bound(SECONDS), THEIRS, observe_and_inc)
    yield Row("look-up and observe()", lambda: cell(VALUES).observe(SECONDS), THEIRS, observe_and_inc)
    yield Row("a request's figures", lambda: finish(request), THEIRS, observe_and_inc)
    if shared:
        return
    yield Row(
        "observe(**labels)",
        lambda: ours.observe(SECONDS, **named),
        "their labels(*values).observe()",
        lambda: theirs.labels(*VALUES).observe(SECONDS),
    )
    yield Row("correlation id", new_id, "uuid4().hex", lambda: uuid4().hex)
    yield Row("access line", _access_line(), "structlog, orjson, one write", _structlog_line(nowhere))
    yield Row("@observe, each call", observe(_nothing), "clock pair, observe(), inc()", timed_and_counted, _nothing)
    plain, hooked = sqlite3.connect(":memory:"), sqlite3.connect(":memory:", factory=TimedConnection)
    for connection in (plain, hooked):
        connection.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT)")
    query = "SELECT name FROM items WHERE id = ?"
    yield Row(
        "sqlite3 hook, each query",
        lambda: hooked.execute(query, (7,)),
        "clock pair, observe()",
        timed,
        lambda: plain.execute(query, (7,)),
    )


def _request_step() -> Callable[[HttpOperation], None]:
    """
    Return what the end of a request does to the metrics, once it is settled where they lie.
    """
    (sink,) = [sink for sink in recorder._sinks if sink.name == "metrics"]
    for _ in range(2):  # the first request settles it
        start, finish = sink.bind(HttpOperation)
        assert start is not None
        assert finish is not None
        start(HttpOperation("GET", "/"))
    return finish


def _access_line() -> Call:
    runtime = current_runtime()
    assert runtime is not None
    write: Any = LogSink(runtime.writer).bind(HttpOperation)[1]
    operation = HttpOperation("GET", "/items/7")
    operation.endpoint, operation.status, operation.duration_seconds = "/items/{item_id}", 200, SECONDS
    operation.correlation_id, operation.bytes_sent = new_id(), 18
    return lambda: write(operation)


def _structlog_line(nowhere: BinaryIO) -> Call:
    logger = structlog.wrap_logger(
        structlog.BytesLogger(nowhere),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        cache_logger_on_first_use=True,
    ).bind()
    identity = new_id()

    def line() -> None:
        logger.info(
            "request",
            logger="access",
            service="bench",
            correlation_id=identity,
            method="GET",
            path="/items/7",
            endpoint="/items/{item_id}",
            status=200,
            duration_ms=20.0,
            bytes_sent=18,
            client=None,
            user_agent=None,
        )

    return line


def nanoseconds(call: Call, times: int) -> float:
    """
    Time so many calls in a row, and give what one takes.
    """
    started = perf_counter_ns()
    for _ in repeat(None, times):
        call()
    return (perf_counter_ns() - started) / times


def measure(row: Row, blocks: int, block: int) -> tuple[float, float, float]:
    """
    Return the medians, in nanoseconds, of the piece and of its floor, and of their ratio in each block.
    """
    calls = {"piece": row.call, "floor": row.floor_call, "empty": _nothing, "without": row.without or _nothing}
    spent: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for number in range(blocks + 2):
        random.shuffle(order)
        for name in order:
            taken = nanoseconds(calls[name], block)
            if number > 1:
                spent[name].append(taken)
    pieces, floors = (
        [more - less for more, less in zip(spent[name], spent[base], strict=True)]
        for name, base in (("piece", "without"), ("floor", "empty"))
    )
    ratios = [piece / floor for piece, floor in zip(pieces, floors, strict=True)]
    return statistics.median(pieces), statistics.median(floors), statistics.median(ratios)


def main(arguments: list[str]) -> None:
    """
    Print a table.
    """
    parser = argparse.ArgumentParser(prog="python -m bench primitives")
    parser.add_argument("--blocks", type=int, default=60)
    parser.add_argument("--block", type=int, default=2000)
    parser.add_argument("--pin", type=int, default=0)
    parser.add_argument("--shared", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.pin})
    where = {"metrics_dir": options.shared} if options.shared else {}
    print(f"{'piece':26}{'floor':32}{'piece ns':>10}{'floor ns':>10}{'x floor':>9}")
    with open(os.devnull, "wb") as nowhere:
        obskit.configure(service="bench", registry=CollectorRegistry(), log_stream=nowhere, **where)
        for row in _rows(nowhere, bool(where)):
            piece, floor, ratio = measure(row, options.blocks, options.block)
            print(f"{row.piece:26}{row.floor:32}{piece:10.0f}{floor:10.0f}{ratio:9.2f}", flush=True)
            keep(f"{row.piece}{', in files' if where else ''}", ratio)
        obskit.shutdown()
    if not where:
        print("\nwith the figures of several workers in files, as prometheus_client's multiprocess mode has them")
        with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
            os.mkdir(f"{folder}/theirs")
            environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": f"{folder}/theirs"}
            command = [sys.executable, "-m", "bench", "primitives", *arguments, "--shared", f"{folder}/ours"]
            subprocess.run(command, env=environ, check=True)
