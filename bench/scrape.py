"""
Render the metrics page beside `prometheus_client`, over the same series, and watch who has to wait meanwhile.

Both print the same bytes, or the benchmark fails. What waits is a task of an asyncio application that wants to run
every millisecond, while a thread renders; how long it waits with nothing else to do is of the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from time import perf_counter

import prometheus_client
from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from obskit.catalogue.http import DURATION
from obskit.metrics.cells import HistogramCell
from obskit.metrics.exposition import Layout, Section, page
from obskit.metrics.family import Histogram
from obskit.settings import HTTP_BUCKETS

FORMATS = {"text": "", "OpenMetrics": "application/openmetrics-text; version=1.0.0"}
LINES = len(HTTP_BUCKETS) + 3  # +Inf, sum, count
OBSERVED = (0.003, 0.03, 0.03, 0.3, 30.0)
TICK = 0.001

Render = Callable[[], bytes]


class Series:
    """
    Hold a histogram of so many label sets twice: in obskit's cells, and in `prometheus_client`'s.
    """

    def __init__(self, count: int) -> None:
        spec = replace(DURATION, buckets=HTTP_BUCKETS)
        self.layout = Layout(spec.name, "histogram", spec.help, spec.labels, spec.buckets)
        ours = Histogram(spec)
        ours.max_label_sets = count
        self.handles: dict[tuple[str, ...], HistogramCell] = {}
        self.registry = CollectorRegistry()
        theirs = prometheus_client.Histogram(
            spec.name, spec.help, spec.labels, buckets=spec.buckets, registry=self.registry
        )
        for number in range(count):
            labels = ("GET", f"/things/{{thing_id}}/parts/{number}")
            self.handles[labels] = ours.labels(*labels)
            for index, seconds in enumerate(OBSERVED):
                for _ in range(1 + (number + index) % 3):
                    self.handles[labels].observe(seconds)
                    theirs.labels(*labels).observe(seconds)

    def render(self, accept: str, packed: bool = False) -> bytes:
        """
        Render with obskit.
        """
        return b"".join(page([Section(self.layout, self._cells())], accept=accept, packed=packed)[1])

    def _cells(self) -> Iterator[tuple[tuple[str, ...], list[float]]]:
        for labels, cell in self.handles.items():
            buckets, total = cell.read()
            yield labels, [0, total, *buckets]

    def render_theirs(self, accept: str) -> bytes:
        """
        Render with `prometheus_client`.
        """
        return choose_encoder(accept)[0](self.registry)


def seconds(render: Render) -> float:
    """
    Time one page.
    """
    started = perf_counter()
    render()
    return perf_counter() - started


def compare(series: Series, rounds: int) -> None:
    """
    Print a line for each format: medians of rounds in which both take turns.
    """
    for name, accept in FORMATS.items():
        ours, theirs = partial(series.render, accept), partial(series.render_theirs, accept)
        first = seconds(ours)
        if ours() != theirs():
            raise SystemExit("the pages differ")
        spent = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
        own, other = (statistics.median(column) for column in zip(*spent, strict=True))
        count = len(series.handles)
        print(
            f"{count:10}  {name:14}{first * 1e3:10.1f}{own * 1e3:10.1f}{other * 1e3:10.1f}"
            f"{own / count / LINES * 1e6:10.2f}{other / own:10.1f}",
            flush=True,
        )


async def stalls(render: Render | None, rounds: int) -> list[float]:
    """
    Give the longest wait of the task, beyond its millisecond, in each round.
    """
    waits: list[float] = []

    async def tick() -> None:
        while True:
            due = perf_counter() + TICK
            await asyncio.sleep(TICK)
            waits.append(perf_counter() - due)

    longest = []
    ticker = asyncio.create_task(tick())
    for _ in range(rounds):
        await asyncio.sleep(10 * TICK)
        waits.clear()
        await (asyncio.sleep(0.05) if render is None else asyncio.to_thread(render))
        await asyncio.sleep(5 * TICK)  # so that a wait that is not over yet is seen
        longest.append(max(waits))
    ticker.cancel()
    return longest


def main(arguments: list[str]) -> None:
    """
    Print two tables: what a page takes, and how long others wait for it.
    """
    parser = argparse.ArgumentParser(prog="python -m bench scrape")
    parser.add_argument("--label-sets", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(arguments)
    disable_created_metrics()  # the only series that obskit has none of
    counts = options.label_sets or [500, 5000]
    print(
        f"{'label sets':>10}  {'format':14}{'first ms':>10}{'ms':>10}{'theirs ms':>10}{'us/line':>10}{'x faster':>10}"
    )
    for count in counts:
        series = Series(count)
        compare(series, options.rounds)
    openmetrics = FORMATS["OpenMetrics"]
    watched: dict[str, Render | None] = {
        "nothing": None,
        "text": partial(series.render, ""),
        "text, gzip": partial(series.render, "", packed=True),
        "OpenMetrics, gzip": partial(series.render, openmetrics, packed=True),
        "prometheus_client, text": partial(series.render_theirs, ""),
    }
    print(f"\n{f'while rendering {count} label sets':34}{'stall ms, median':>18}{'longest':>10}")
    for name, render in watched.items():
        longest = asyncio.run(stalls(render, options.rounds))
        print(f"{name:34}{statistics.median(longest) * 1e3:18.2f}{max(longest) * 1e3:10.2f}", flush=True)
