"""
Measure what a line costs beside what its peers take for the same one, in one process, round by round.

In each round all take their turn, by the time of the processor; the ratio is the median of the rounds' ratios.

The peers are set up as their documentation says for speed: structlog with `BytesLogger`, `orjson`, `merge_contextvars`
and a timestamp, python-json-logger with `orjson` under a `StreamHandler`. All write to the null device.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import statistics
from collections.abc import Callable, Iterator
from itertools import cycle, repeat
from time import thread_time_ns
from typing import BinaryIO, NamedTuple

import orjson
import structlog
from pythonjsonlogger.orjson import OrjsonFormatter

import obskit
from bench.figures import keep
from obskit.context import current
from obskit.logs import JsonFormatter, JsonHandler
from obskit.operation import Operation

Call = Callable[[], object]
# What people log: lists, objects, and texts that look as if they could hold a secret; `path` is a name of ours.
MIX: dict[str, object] = {
    "items": [1, 2, 3],
    "order": {"id": 17, "state": "paid"},
    "ref": "ord-2024-000917",
    "path": "/var/lib/shop/7.bin",
    "at": "2026-11-30T09:00:00Z",
    "url": "https://shop.example/items/7?page=2",
}
# More than are remembered of any kind of text.
UNLIKE = 10_007
FIELDS = {"order": 17, "customer": "c-9", "total": 12.5, "items": 3}
IDENTITY = "4bf92f3577b34da6a3ce929d0e0e4736"


class Row(NamedTuple):
    """
    Compare a line with a peer's.
    """

    line: str
    call: Call
    peer: str
    peer_call: Call


def _nothing() -> None:
    return None


def _structlog(nowhere: BinaryIO) -> structlog.typing.FilteringBoundLogger:
    structlog.contextvars.bind_contextvars(correlation_id=IDENTITY)
    logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.BytesLogger(nowhere),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    ).bind()
    return logger


def _own_line(log: structlog.typing.FilteringBoundLogger) -> Call:
    return lambda: log.info("order placed", order=17, customer="c-9", total=12.5, items=3)


def _mix(log: structlog.typing.FilteringBoundLogger) -> Call:
    return lambda: log.info("order placed", **MIX)


def _unlike() -> Iterator[dict[str, object]]:
    """
    Yield the mix for ever, no two alike within what is remembered.
    """
    seconds = [f"2026-11-30T{n // 3600 % 24:02}:{n // 60 % 60:02}:{n % 60:02}Z" for n in range(UNLIKE)]
    return cycle(
        {
            "items": [n, 2, 3],
            "order": {"id": n, "state": "paid"},
            "ref": f"ord-2024-{n:06}",
            "path": f"/var/lib/shop/{n}.bin",
            "at": second,
            "url": f"https://shop.example/items/{n}?page=2",
        }
        for n, second in enumerate(seconds)
    )


def _unlike_mix(log: structlog.typing.FilteringBoundLogger) -> Call:
    mixes = _unlike()
    return lambda: log.info("order placed", **next(mixes))


def _record(name: str, handler: logging.Handler) -> logging.Logger:
    logger = logging.getLogger(f"bench.{name}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [handler]
    return logger


def _formatted(formatter: logging.Formatter) -> logging.Handler:
    handler = logging.StreamHandler(open(os.devnull, "w"))
    handler.setFormatter(formatter)
    return handler


def _with_extra(logger: logging.Logger) -> Call:
    return lambda: logger.info("order placed", extra=FIELDS)


def _with_arguments(logger: logging.Logger) -> Call:
    return lambda: logger.info("order %s of %s placed", 17, "c-9")


def _mix_as_extra(logger: logging.Logger) -> Call:
    return lambda: logger.info("order placed", extra=MIX)


def _off(log: structlog.typing.FilteringBoundLogger) -> Call:
    return lambda: log.debug("order placed", order=17, customer="c-9", total=12.5, items=3)


def _rows(nowhere: BinaryIO) -> Iterator[Row]:
    theirs, ours = _structlog(nowhere), obskit.get_logger("bench.own")
    # What a request would have made current.
    request = Operation()
    request.correlation_id = IDENTITY
    current.set(request)
    yield Row("own line", _own_line(ours), "structlog", _own_line(theirs))
    yield Row("own line, level off", _off(ours), "structlog, level off", _off(theirs))
    pjl = _record("pjl", _formatted(OrjsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s")))
    handled, formatted = _record("handled", JsonHandler()), _record("formatted", _formatted(JsonFormatter()))
    yield Row("own line, mix", _mix(ours), "structlog", _mix(theirs))
    yield Row("own line, mix, none alike", _unlike_mix(ours), "structlog", _unlike_mix(theirs))
    kinds: dict[str, Callable[[logging.Logger], Call]] = {
        "extra": _with_extra,
        "arguments": _with_arguments,
        "mix": _mix_as_extra,
    }
    for kind, calls in kinds.items():
        yield Row(f"record, {kind}", calls(handled), "python-json-logger", calls(pjl))
        yield Row(f"by JsonFormatter, {kind}", calls(formatted), "python-json-logger", calls(pjl))


def _nanoseconds(call: Call, times: int) -> float:
    started = thread_time_ns()
    for _ in repeat(None, times):
        call()
    return (thread_time_ns() - started) / times


def measure(row: Row, rounds: int, times: int) -> tuple[float, float, float]:
    """
    Return the medians, in nanoseconds, of a line and of its peer's, and of their ratio in each round.
    """
    calls = [_nothing, row.call, row.peer_call]
    spent = []
    for number in range(rounds + 2):
        turn = dict.fromkeys(random.sample(calls, 3), 0.0)
        for call in turn:
            turn[call] = _nanoseconds(call, times)
        if number > 1:
            spent.append((turn[row.call] - turn[_nothing], turn[row.peer_call] - turn[_nothing]))
    line, peer = (statistics.median(column) for column in zip(*spent, strict=True))
    return line, peer, statistics.median(mine / theirs for mine, theirs in spent)


def main(arguments: list[str]) -> None:
    """
    Print a table, with redaction by key alone and by value too.
    """
    parser = argparse.ArgumentParser(prog="python -m bench logs")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--times", type=int, default=500)
    parser.add_argument("--pin", type=int, default=0)
    options = parser.parse_args(arguments)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.pin})
    print(f"{'redaction':12}{'line':28}{'beside':24}{'ns':>8}{'theirs':>8}{'ratio':>7}")
    for redaction, by_value in (("by key", False), ("and value", True)):
        with open(os.devnull, "wb") as nowhere:
            obskit.configure(service="bench", metrics=False, log_stream=nowhere, redact_values=by_value)
            for row in _rows(nowhere):
                line, peer, ratio = measure(row, options.rounds, options.times)
                print(f"{redaction:12}{row.line:28}{row.peer:24}{line:8.0f}{peer:8.0f}{ratio:7.2f}", flush=True)
                keep(f"{row.line}, redacted {redaction}", ratio)
            obskit.shutdown()
