"""
Render the metrics page beside `prometheus_client`, over the same series, and watch who has to wait meanwhile.

Both print the same lines, or the benchmark fails. Who waits is a task of an application under uvicorn that wants to
run every millisecond, while another process scrapes; how long it waits with nobody scraping is of the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Any
from wsgiref.util import setup_testing_defaults

import prometheus_client
from prometheus_client import CollectorRegistry, disable_created_metrics, make_asgi_app
from prometheus_client.exposition import choose_encoder

import obskit
from bench.figures import keep

FORMATS = {"text": "", "OpenMetrics": "application/openmetrics-text; version=1.0.0"}
DURATION, REQUESTS = "bench_request_duration_seconds", "bench_requests_total"
HELP = "As the requests of an application."
LABELS = ("method", "endpoint")
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0)
LINES = len(BUCKETS) + 4  # +Inf, sum, count, and the counter
OBSERVED = (0.003, 0.03, 0.03, 0.3, 30.0)
TICK = 0.001
# Scrapes one after another, each on its own connection, and says so after each.
_SCRAPER = """
import sys, urllib.request
for _ in range(int(sys.argv[2])):
    request = urllib.request.Request(sys.argv[1], headers={"Accept-Encoding": sys.argv[3], "Accept": sys.argv[4]})
    print(len(urllib.request.urlopen(request).read()), flush=True)
    sys.stdin.readline()
"""

Render = Callable[[], bytes]
App = Callable[..., Any]


class Series:
    """
    Histograms of so many label sets, and counters beside them, twice: obskit's, and those of `prometheus_client`.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.registry = CollectorRegistry()
        obskit.configure(
            service="bench", registry=CollectorRegistry(), access_log=False, max_label_sets=count, log_stream=sys.stderr
        )
        self._app = obskit.instrument(not_found)
        ours = obskit.histogram(DURATION, HELP, LABELS, buckets=BUCKETS)
        our_counter = obskit.counter(REQUESTS, HELP, (*LABELS, "status"))
        theirs = prometheus_client.Histogram(DURATION, HELP, LABELS, buckets=BUCKETS, registry=self.registry)
        counter = prometheus_client.Counter(REQUESTS, HELP, (*LABELS, "status"), registry=self.registry)
        for number in range(count):
            labels = {"method": "GET", "endpoint": f"/things/{{thing_id}}/parts/{number}"}
            for index, seconds in enumerate(OBSERVED):
                for _ in range(1 + (number + index) % 3):
                    ours.observe(seconds, **labels)
                    our_counter.inc(**labels, status="200")
                    theirs.labels(**labels).observe(seconds)
                    counter.labels(**labels, status="200").inc()

    def render(self, accept: str) -> bytes:
        """
        Ask obskit for its page, as a WSGI server does.
        """
        environ: dict[str, Any] = {"HTTP_ACCEPT": accept}
        setup_testing_defaults(environ)
        environ["PATH_INFO"] = "/metrics"
        return b"".join(self._app(environ, lambda status, headers, error=None: None))

    def render_theirs(self, accept: str) -> bytes:
        """
        Render with `prometheus_client`.
        """
        return choose_encoder(accept)[0](self.registry)


def not_found(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """
    Answer what is not obskit's own.
    """
    start_response("404 Not Found", [])
    return []


def seconds(render: Render) -> float:
    """
    Time one page.
    """
    started = perf_counter()
    render()
    return perf_counter() - started


def shared_lines(page: bytes) -> list[bytes]:
    """
    Take the samples that both have; obskit's page has figures of its own besides.
    """
    return [line for line in page.splitlines() if line.startswith((DURATION.encode(), REQUESTS.encode()))]


def compare(series: Series, rounds: int) -> None:
    """
    Print a line for each format: medians of rounds in which both take turns.
    """
    for name, accept in FORMATS.items():
        ours, theirs = partial(series.render, accept), partial(series.render_theirs, accept)
        first = seconds(ours)
        if shared_lines(ours()) != shared_lines(theirs()):
            raise SystemExit("the pages differ")
        spent = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
        own, other = (statistics.median(column) for column in zip(*spent, strict=True))
        print(
            f"{series.count:10}  {name:14}{first * 1e3:10.1f}{own * 1e3:10.1f}{other * 1e3:10.1f}"
            f"{own / series.count / LINES * 1e6:10.2f}{other / own:10.1f}",
            flush=True,
        )
        keep(f"{series.count} label sets, {name}", statistics.median(mine / other for mine, other in spent))


async def empty(scope: Any, receive: Any, send: Any) -> None:
    """
    Answer with nothing.
    """
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@contextmanager
def _own_app(count: int) -> Iterator[App]:
    """
    Return an application that obskit observes, after this many label sets were used.
    """
    runtime = obskit.configure(
        service="bench", registry=CollectorRegistry(), access_log=False, max_label_sets=count, log_stream=sys.stderr
    )
    app: App = obskit.instrument(empty)
    histogram = obskit.histogram("parts_seconds", "Seconds.", LABELS, buckets=BUCKETS)
    for number in range(count):
        for duration in OBSERVED:
            histogram.observe(duration, method="GET", endpoint=f"/things/{{thing_id}}/parts/{number}")
    try:
        yield app
    finally:
        assert runtime.registry is not None
        obskit.shutdown()


async def stalls(
    app: App, rounds: int, scrape: tuple[str, str] | None, change: Callable[[], object] | None = None
) -> list[float]:
    """
    Return the longest wait of the task, beyond its millisecond, in each round; before each something may be changed.
    """
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    waits: list[float] = []

    async def tick() -> None:
        while True:
            due = perf_counter() + TICK
            await asyncio.sleep(TICK)
            waits.append(perf_counter() - due)

    url = f"http://127.0.0.1:{listening.getsockname()[1]}/metrics"
    command = [sys.executable, "-c", _SCRAPER, url, str(rounds + 1), *(scrape or ("identity", ""))]
    pipe = asyncio.subprocess.PIPE
    scraper = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert scraper.stdin is not None
    assert scraper.stdout is not None
    await scraper.stdout.readline()  # the first page writes all texts, and is not counted
    ticker, longest = asyncio.create_task(tick()), []
    for _ in range(rounds):
        if change is not None:
            await asyncio.to_thread(change)
        await asyncio.sleep(10 * TICK)
        waits.clear()
        if scrape is None:
            await asyncio.sleep(0.05)
        else:
            scraper.stdin.write(b"\n")
            await scraper.stdout.readline()
        await asyncio.sleep(5 * TICK)  # so that a wait that is not over yet is seen
        longest.append(max(waits))
    ticker.cancel()
    if scrape is None:
        scraper.kill()
    else:
        scraper.stdin.write(b"\n")
    await scraper.wait()
    server.should_exit = True
    await serving
    listening.close()
    return longest


def print_stalls(name: str, longest: list[float], width: int = 34) -> None:
    """
    Print the median of the rounds, and the longest of all.
    """
    print(f"{name:{width}}{statistics.median(longest) * 1e3:18.2f}{max(longest) * 1e3:10.2f}", flush=True)


def main(arguments: list[str]) -> None:
    """
    Print two tables: how long others wait for a page, and what it takes.
    """
    parser = argparse.ArgumentParser(prog="python -m bench scrape")
    parser.add_argument("--label-sets", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(arguments)
    disable_created_metrics()  # the only series that obskit has none of
    counts = options.label_sets or [500, 5000]
    watch(counts[-1], options.rounds)
    print(
        f"\n{'label sets':>10}  {'format':14}{'first ms':>10}{'ms':>10}{'theirs ms':>10}{'us/line':>10}{'x faster':>10}"
    )
    for count in counts:
        compare(Series(count), options.rounds)
        obskit.shutdown()


def watch(count: int, rounds: int) -> None:
    """
    Print who waits how long; obskit's first, while nothing of `prometheus_client`'s fills the memory.
    """
    print(f"{f'while uvicorn shows {count} label sets':34}{'stall ms, median':>18}{'longest':>10}")
    watched: dict[str, tuple[str, str] | None] = {
        "nobody scrapes": None,
        "text": ("identity", ""),
        "text, gzip": ("gzip", ""),
        "OpenMetrics, gzip": ("gzip", FORMATS["OpenMetrics"]),
    }
    with _own_app(count) as app:
        for name, scrape in watched.items():
            print_stalls(name, asyncio.run(stalls(app, rounds, scrape)))
    theirs: App = make_asgi_app(Series(count).registry)
    print_stalls("prometheus_client, text", asyncio.run(stalls(theirs, min(rounds, 5), ("identity", ""))))
    obskit.shutdown()
