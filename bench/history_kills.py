"""
Kill a worker now and then, the one that samples every other time, and in the end the whole server at once: the history
must have what the workers' files say, to the last request, in steps of each length, and what the clients saw but for
requests in flight at a kill.

What the server had not stored is taken by the next process of the service; before, at most one interval is missing.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

import psutil

from bench.figures import keep
from bench.kills import CLIENTS, SERVERS, SERVICE, Run
from obskit.history.files import HOUR_SECONDS, MINUTE_SECONDS, SeriesFiles
from obskit.history.reader import FileReader
from obskit.metrics.directory import Directory
from obskit.storage.periods import Span
from obskit.testing import FakeClock, advance, isolated_runtime

EVERY = 10
COUNTER, HISTOGRAM = "http_requests_total", "http_request_duration_seconds"
_EVER = Span(0, 1e11)


class KeptRun(Run):
    """
    A server that keeps its history.
    """

    def sampler(self) -> int | None:
        """
        Return the process that holds the lead of the instance; None where that is not known at this moment.
        """
        try:
            inode = (self.place / "leader").stat().st_ino
            locks = Path("/proc/locks").read_text("ascii").splitlines()
        except OSError:
            return None
        found = [line.split() for line in locks if "FLOCK" in line]
        return next((int(words[4]) for words in found if words[5].rpartition(":")[2] == str(inode)), None)

    def kill_worker(self, pid: int | None) -> bool:
        """
        Kill a worker; None: one that is there.
        """
        workers = [child.pid for child in psutil.Process(self.process.pid).children()]
        pid = pid or random.choice(workers)
        if pid not in workers:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # it was recycled
            return False
        self.killed.add(pid)
        return True

    def serve(self, seconds: float, kill_every: float) -> int:
        """
        Visit and kill for so long; return how many of those that were killed had sampled.
        """
        self.patient("/health/live")
        clients = [threading.Thread(target=self.visit) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        samplers = 0
        for number in range(int(seconds / kill_every)):
            time.sleep(kill_every)
            sampler = None if number % 2 else self.sampler()
            samplers += self.kill_worker(sampler) and sampler is not None
        self._over.set()
        for client in clients:
            client.join()
        return samplers

    def kill_all(self) -> None:
        """
        Kill the server with all its workers.
        """
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)


def counted_in_cells(place: Path) -> tuple[int, int]:
    """
    Return what the workers' files say: observations of the time of requests, of which their number is made as well.
    """
    observed = int(sum(row[0] for row in Directory(place).snapshot().families[HISTOGRAM].rows))
    return observed, observed


def counted_in_history(files: SeriesFiles, step: int) -> tuple[int, int]:
    """
    Return what the history has in steps of one length.
    """
    reader = FileReader(files, _fail)
    requests = sum(it.point.value or 0.0 for it in reader.points(COUNTER, _EVER, step))
    return int(requests), sum(it.point.n or 0 for it in reader.points(HISTOGRAM, _EVER, step))


def _fail(error: Exception) -> None:
    raise error


def run(server: str, seconds: float, kill_every: float) -> None:
    """
    Print a line, and fail where anything differs.
    """
    state = tempfile.mkdtemp()
    os.environ |= {"OBSKIT_HISTORY": "1", "OBSKIT_HISTORY_EVERY": f"{EVERY}s", "OBSKIT_STATE_DIR": state}
    files = SeriesFiles(Path(state) / SERVICE / "history", EVERY)
    served = KeptRun(server)
    try:
        samplers = served.serve(seconds, kill_every)
        page = served.last()
        ended = time.time()
        served.kill_all()
        cells, kills = counted_in_cells(served.place), len(served.killed)
        sampled = max(it.at + it.step for it in FileReader(files, _fail).samplings(_EVER, EVERY))
        before = counted_in_history(files, EVERY)
        settings = {"service": SERVICE, "serving": True, "history": True, "history_every": f"{EVERY}s"}
        with isolated_runtime(clock=FakeClock(), state_dir=state, **settings):
            advance("70s")
        found = [counted_in_history(files, step) for step in (EVERY, MINUTE_SECONDS, HOUR_SECONDS)]
    finally:
        served.end()
        shutil.rmtree(state)
    answered = served.answered.total()
    amiss = max(0, answered - kills - cells[0], cells[0] - answered - served.unanswered)
    figures = (kills, samplers, len(served.answered), answered, served.unanswered, cells[0], found[0][0], amiss)
    print(
        f"{server:20}" + "".join(f"{figure:11}" for figure in figures) + f"{max(0.0, ended - sampled):11.1f}",
        flush=True,
    )
    keep(f"history_kills, {server}: missing", cells[0] - before[0])
    if {cells} != set(found) or amiss or cells[0] != int(page[COUNTER]):
        raise SystemExit(f"the cells have {cells}, the page {page}, the history {found}, {amiss} amiss")
    if ended - sampled > 2 * EVERY:
        raise SystemExit(
            f"{ended - sampled:.1f} s were not sampled, more than an interval and the one that was not over"
        )


def main(arguments: list[str]) -> None:
    """
    Print a table.
    """
    parser = argparse.ArgumentParser(prog="python -m bench history_kills")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--kill-every", type=float, default=20)
    parser.add_argument("--server", action="append", choices=list(SERVERS))
    options = parser.parse_args(arguments)
    columns = ("kills", "samplers", "workers", "answered", "no answer", "cells", "history", "amiss", "gap s")
    print(f"{'server':20}" + "".join(f"{column:>11}" for column in columns))
    for server in options.server or SERVERS:
        run(server, options.seconds, options.kill_every)
