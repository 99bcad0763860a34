"""
Run an example under its real server, send it traffic, and keep all that came back.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from free_ports import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE_SECONDS = 30.0
# Before gunicorn and uvicorn stop, they have answered what they took.
STOPPED = {"gunicorn": 0, "uvicorn": -signal.SIGTERM}
_PORT = {"gunicorn": "--bind=127.0.0.1:{}", "uvicorn": "--port={}"}

Step = tuple[str, str, Mapping[str, Any]]


@dataclass(frozen=True)
class Server:
    """
    A running example: where it answers, and where its output goes.
    """

    url: str
    process: subprocess.Popen[bytes]
    stdout: Path
    stderr: Path

    def lines(self) -> list[dict[str, Any]]:
        """
        Parse standard output: every whole line is JSON.
        """
        return [
            json.loads(line) for line in self.stdout.read_text("utf-8").splitlines(keepends=True) if line[-1] == "\n"
        ]

    def wait_until(self, what: str, condition: Callable[[], Any]) -> Any:
        """
        Ask until there is an answer that is true; give up with what the server said on standard error.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (answer := condition()):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f"no {what}; standard error ends: {self.stderr.read_text('utf-8')[-2000:]}")
            time.sleep(0.02)
        return answer

    def answers(self) -> bool:
        """
        Return whether anything is answered yet.
        """
        try:
            return bool(httpx.get(f"{self.url}/health/live", timeout=PATIENCE_SECONDS).status_code)
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        """
        Ask the server to end, and give its exit code.
        """
        self.process.terminate()
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def running(example: str, output: Path, *options: str) -> Iterator[Server]:
    """
    Start an example with the command of its README and further options, on a free port.
    """
    command = re.search(r"```sh\n(.+)\n```", (EXAMPLES / example / "README.md").read_text("utf-8"))[1].split()
    port = free_port()
    # gunicorn's control socket goes to XDG_RUNTIME_DIR.
    environ = {**os.environ, "VENDING_DATABASE": str(output / "vending.db"), "XDG_RUNTIME_DIR": str(output)}
    stdout, stderr = output / "stdout.jsonl", output / "stderr.txt"
    with stdout.open("wb") as out, stderr.open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, _PORT[command[0]].format(port), *options],
            cwd=EXAMPLES / example,
            env=environ,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}", process, stdout, stderr)
    try:
        server.wait_until("answer", server.answers)
        yield server
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@dataclass(frozen=True)
class Visit:
    """
    What a run of an example gave: replies by step, lines, samples, and how the server ended.
    """

    replies: dict[str, httpx.Response]
    health: httpx.Response
    lines: list[dict[str, Any]]
    samples: list[Sample]
    exit_code: int
    last_words: str

    def statuses(self) -> dict[str, int]:
        """
        Return each step's status.
        """
        return {name: reply.status_code for name, reply in self.replies.items()}

    def line(self, step: str) -> dict[str, Any]:
        """
        Find the one access line of a step by its reply's correlation id.
        """
        wanted = self.replies[step].headers["X-Correlation-ID"]
        (line,) = [line for line in self.lines if line["message"] == "request" and line["correlation_id"] == wanted]
        return line

    def values(self, sample: str, *labels: str) -> dict[tuple[str, ...], float]:
        """
        Return a metric's figures, added up over the labels that are not asked for.
        """
        values: dict[tuple[str, ...], float] = {}
        for found in self.samples:
            if found.name == sample:
                key = tuple(found.labels[label] for label in labels)
                values[key] = values.get(key, 0) + found.value
        return values


def steps(body: str) -> dict[str, Step]:
    """
    List the requests that every example answers; `body` is how it takes a sale: `json` or `data`.
    """
    return {
        "devices": ("GET", "/devices", {}),
        "device": ("GET", "/devices/1", {"headers": {"X-Correlation-ID": "till-7"}}),
        "absent device": ("GET", "/devices/99", {}),
        "sale": ("POST", "/devices/1/sales", {body: {"product": "crisps", "quantity": 2}}),
        "sale of water": ("POST", "/devices/1/sales", {body: {"product": "water", "quantity": 1}}),
        "refused payment": ("POST", "/devices/1/sales", {body: {"product": "crisps", "quantity": 20}}),
        "invalid sale": ("POST", "/devices/1/sales", {body: {"product": "crisps", "quantity": 0}}),
        "stream": ("GET", "/reports/sales.csv", {}),
        "boom": ("GET", "/boom", {}),
        "unmatched": ("GET", "/nowhere/7", {}),
    }


def visit(example: str, output: Path, requests: Mapping[str, Step], wanted: str) -> Visit:
    """
    Run an example, send it these requests one by one, scrape it when `wanted` is on its page, and stop it.
    """
    with running(example, output) as server:
        # httpx's functions connect anew each time: uvicorn closes a connection on which an application failed.
        replies = {
            name: httpx.request(method, server.url + path, **given) for name, (method, path, given) in requests.items()
        }
        ids = {reply.headers["X-Correlation-ID"] for reply in replies.values()}
        server.wait_until("access lines", lambda: ids <= {line.get("correlation_id") for line in server.lines()})
        page = server.wait_until(wanted, lambda: _page_with(wanted, server.url))
        health = httpx.get(server.url + "/health")
        said = len(server.stderr.read_text("utf-8"))
        exit_code = server.stop()
        samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
        return Visit(replies, health, server.lines(), samples, exit_code, server.stderr.read_text("utf-8")[said:])


def _page_with(wanted: str, url: str) -> str | None:
    page = httpx.get(f"{url}/metrics").text
    return page if wanted in page else None
