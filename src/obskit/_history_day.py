"""
Days of an application that serves requests, by a clock that is moved: how much its history is on disk.

Each request is served, and each sampling taken, as in a real process; only the clock and the client are made up.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, NamedTuple

from obskit._moved_clock import FakeClock, advance
from obskit.api import instrument, set_route
from obskit.errors import ConfigurationError

SERVICE = "history-day"
STEP_SECONDS = 10
DAY_SECONDS = 86_400
# A Thursday, at 00:00 UTC.
_BEGINNING = 1_799_971_200.0
_FAILED_SHARE = 0.01
# Of a logarithm: the slowest of 100 requests takes five times as long as usual.
_SPREAD = 0.7
_LOGS = ("-wal", "-shm", "-journal")


class Size(NamedTuple):
    """
    Bytes on disk of one kind.

    Attributes:
        file_bytes: Of its files.
        log_bytes: Of SQLite's logs beside them, of which there is one for each file that is being written.
    """

    file_bytes: int
    log_bytes: int


class Traffic:
    """
    Requests to endpoints of which the n-th gets 1/n of what the first does, some failed, in times that vary.

    Args:
        clock: Moved by what a request takes, and moved back: other requests are served meanwhile.
        requests_per_second: Of all endpoints together.
        endpoints: How many there are.
    """

    def __init__(self, clock: FakeClock, requests_per_second: float, endpoints: int) -> None:
        self._clock, self._random = clock, random.Random(7)
        self._per_step = round(requests_per_second * STEP_SECONDS)
        self._numbers = range(endpoints)
        self._weights = [1 / (number + 1) for number in self._numbers]
        self._app: Callable[..., Any] = instrument(self._answer)

    def serve(self) -> None:
        """
        Serve the requests of one step.
        """
        for number in self._random.choices(self._numbers, self._weights, k=self._per_step):
            environ = {
                "REQUEST_METHOD": "GET",
                "SCRIPT_NAME": "",
                "PATH_INFO": f"/things/{number}",
                "SERVER_NAME": "testserver",
                "SERVER_PORT": "80",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "wsgi.url_scheme": "http",
                "day.number": number,
            }
            began = self._clock.now
            with closing(self._app(environ, _start)) as body:
                for _ in body:
                    pass
            self._clock.now = began

    def _answer(self, environ: Mapping[str, Any], start_response: Callable[..., object]) -> Iterator[bytes]:
        number, chance = environ["day.number"], self._random
        set_route(f"/things/{number}/{{part}}")
        self._clock.now += 0.005 * (1 + number % 10) * chance.lognormvariate(0, _SPREAD)
        start_response("500 Oh" if chance.random() < _FAILED_SHARE else "200 OK", [])
        return iter((b"{}",))


def _start(status: str, headers: object, exc_info: object = None) -> None: ...


def sizes_of_days(
    isolated_runtime: Callable[..., AbstractContextManager[object]],
    days: float,
    requests_per_second: float,
    endpoints: int,
    **settings: Any,
) -> dict[str, Size]:
    """
    Serve for some days, and return the bytes on disk by kind, with logs and locks, while the application still runs.

    Args:
        isolated_runtime: That of `obskit.testing`.
        days: How many, from midnight on.
        requests_per_second: Of all endpoints together; each is served.
        endpoints: How many there are.
        **settings: Others of `obskit.configure()`.

    Raises:
        ConfigurationError: One is out of range.
    """
    if not 0.1 <= requests_per_second <= 1e6 or not 1 <= endpoints <= 1e6:
        raise ConfigurationError(
            f"requests_per_second={requests_per_second!r}, endpoints={endpoints!r}: expected 0.1 to 1e6, and 1 to 1e6"
        )
    clock = FakeClock(1000.0)
    began = _BEGINNING - clock.now
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w", encoding="ascii") as nowhere:
        given: dict[str, Any] = {"serving": True, "history": True, "access_log": False, "log_stream": nowhere}
        given |= {"service": SERVICE, "state_dir": folder, **settings}
        with isolated_runtime(clock=clock, wall_clock=lambda: began + clock.now, **given):
            traffic = Traffic(clock, requests_per_second, endpoints)
            for _ in range(round(days * DAY_SECONDS / STEP_SECONDS)):
                traffic.serve()
                advance(f"{STEP_SECONDS}s")
            return _sizes(Path(folder) / SERVICE / "history")


def _sizes(folder: Path) -> dict[str, Size]:
    """
    Return the bytes of each folder's files; those beside the folders are under the empty name.
    """
    found: dict[str, Size] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            *above, name = path.relative_to(folder).parts
            kind, size = above[0] if above else "", path.stat().st_size
            files, logs = found.get(kind, Size(0, 0))
            is_log = name.endswith(_LOGS)
            found[kind] = Size(files + size * (not is_log), logs + size * is_log)
    return found
