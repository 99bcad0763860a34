"""
Kill a worker each second, and see whether the page still tells what was answered.

Real servers with four workers, clients that visit as fast as they are answered, one more that scrapes ten times a
second. A request counts as answered when its client has the whole reply. One whose worker is killed between the count
and the last byte, or the other way round, cannot agree: those are the requests in flight at a kill, at most one a kill
that were answered and not counted, and at most as many as got no answer that were counted all the same.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter

from obskit.metrics.cell_format import VERSION
from obskit.workers.instance_folders import instance_path
from obskit.workers.instances import instance_of

SERVICE, APP = "bench-kills", "bench.visited:"
RECYCLED = ["--bind=127.0.0.1:{port}", "--no-control-socket", "--workers=4", "--max-requests=50", APP + "wsgi"]
SERVERS = {
    "gunicorn": RECYCLED,
    "gunicorn --preload": ["--preload", *RECYCLED],
    "uvicorn": ["--port={port}", "--workers=4", "--no-access-log", APP + "asgi"],
}
CLIENTS = 3
_count = re.compile(r"^(http_request(?:s_total|_duration_seconds_count){[^}]*}) (\S+)$", re.MULTILINE).findall
_progress = re.compile(r"^http_requests_in_progress{[^}]*} (\S+)$", re.MULTILINE).findall


class Run:
    """
    A server, and what its clients saw.

    Attributes:
        answered: Replies, by the process that gave them.
        unanswered: Requests that were sent and got no whole reply.
        killed: Workers that were killed.
        scrapes: Pages that came.
        decreases: Counters of one page that were less than on the one before.
        files: How many files the workers' directory had, each time it was looked at.
    """

    def __init__(self, server: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        name = server.split()[0]
        arguments = [argument.format(port=self.port) for argument in SERVERS[server]]
        environ = {**os.environ, "OBSKIT_SERVICE": SERVICE, "OBSKIT_ACCESS_LOG": "0"}
        environ["PYTHONPATH"] = os.pathsep.join([os.path.dirname(os.path.dirname(__file__)), *filter(None, sys.path)])
        quiet = subprocess.DEVNULL
        command = [sys.executable, "-m", name, *arguments]
        self.process = subprocess.Popen(command, env=environ, stdout=quiet, stderr=quiet, start_new_session=True)
        self.place = instance_path(SERVICE, instance_of(name, self.process.pid), VERSION)
        self.answered: Counter[int] = Counter()
        self.killed: set[int] = set()
        self.unanswered = self.scrapes = 0
        self.decreases: list[str] = []
        self.files: list[int] = []
        self._lock, self._over = threading.Lock(), threading.Event()

    def get(self, path: str) -> str:
        """
        Ask on a connection of its own.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            with connection.getresponse() as reply:
                return reply.read().decode()
        finally:
            connection.close()

    def patient(self, path: str) -> str:
        """
        Ask until there is an answer.
        """
        while self.process.poll() is None:
            try:
                return self.get(path)
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
        raise SystemExit("the server has ended")

    def visit(self) -> None:
        """
        Run a client.
        """
        while not self._over.is_set():
            try:
                pid = int(self.get("/"))
            except ConnectionRefusedError:  # nobody has seen it
                continue
            except (OSError, http.client.HTTPException, ValueError):
                with self._lock:
                    self.unanswered += 1
            else:
                with self._lock:
                    self.answered[pid] += 1

    def scrape(self) -> None:
        """
        Scrape as Prometheus does, without a pause.
        """
        before: dict[str, float] = {}
        while not self._over.wait(0.1):
            try:
                page = self.get("/metrics")
            except (OSError, http.client.HTTPException):
                continue
            now = {series: float(value) for series, value in _count(page)}
            self.decreases += [series for series, value in before.items() if now.get(series, 0.0) < value]
            before = now
            self.scrapes += 1
            self.files.append(len(os.listdir(self.place)))

    def kill(self) -> None:
        """
        Kill one of the workers that have answered lately.
        """
        with self._lock:
            pids = [pid for pid in self.answered if pid not in self.killed][-4:]
        random.shuffle(pids)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:  # it was recycled
                continue
            self.killed.add(pid)
            return

    def last(self) -> dict[str, float]:
        """
        Return the sums of the counters once nothing is in progress.
        """
        while True:
            page = self.patient("/metrics")
            if not any(map(float, _progress(page))):
                break
        sums: dict[str, float] = {}
        for series, value in _count(page):
            name = series.partition("{")[0]
            sums[name] = sums.get(name, 0.0) + float(value)
        return sums

    def go(self, seconds: float) -> dict[str, float]:
        """
        Visit, scrape and kill for so long; give the last page's sums.
        """
        self.patient("/health/live")
        threads = [threading.Thread(target=work) for work in [self.visit] * CLIENTS + [self.scrape]]
        for thread in threads:
            thread.start()
        for _ in range(round(seconds)):
            time.sleep(1.0)
            self.kill()
        self._over.set()
        for thread in threads:
            thread.join()
        return self.last()

    def end(self) -> None:
        """
        End the server, and remove what it leaves.
        """
        self.process.terminate()
        try:
            self.process.wait(20)
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            shutil.rmtree(self.place, ignore_errors=True)


def main(arguments: list[str]) -> None:
    """
    Print a table.
    """
    parser = argparse.ArgumentParser(prog="python -m bench kills")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--server", action="append", choices=list(SERVERS))
    options = parser.parse_args(arguments)
    columns = ("kills", "workers", "answered", "counted", "no answer", "amiss", "scrapes", "decreases", "files", "most")
    print(f"{'server':20}" + "".join(f"{column:>11}" for column in columns))
    for server in options.server or SERVERS:
        run = Run(server)
        try:
            sums = run.go(options.seconds)
            files = len(os.listdir(run.place))
        finally:
            run.end()
        answered, counted = run.answered.total(), int(sums["http_requests_total"])
        if sums["http_request_duration_seconds_count"] != counted:
            raise SystemExit(f"the histogram has {sums['http_request_duration_seconds_count']} of {counted} requests")
        # Beyond what was in flight at a kill.
        amiss = max(0, answered - len(run.killed) - counted, counted - answered - run.unanswered)
        row = (len(run.killed), len(run.answered), answered, counted, run.unanswered, amiss, run.scrapes)
        rest = (len(run.decreases), files, max(run.files))
        print(f"{server:20}" + "".join(f"{figure:11}" for figure in (*row, *rest)), flush=True)
