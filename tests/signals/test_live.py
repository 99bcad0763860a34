"""
The same verdict on what a real server scraped: with staleness as it comes, and times as they come.
"""

import json
import threading
from contextlib import ExitStack
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from obskit.catalogue import http
from obskit.signals import MemorySamples, first, increase, level, matches, mean, quantile, rate, ratio
from obskit.signals.page import put_in_force, put_out_of_force
from obskit.signals.windows import Span
from signals import prometheus
from signals.histories import EVERY, History
from signals.test_verdicts import PAGE, START, edges, starts_late, stretched

pytestmark = pytest.mark.timeout(600)  # the first waits until all is scraped
SCRAPES, JOBS, WINDOW = 50, [f"live-{seed}" for seed in range(5)], 8.0
put_in_force(PAGE)
CONDITIONS = {
    "errors": ratio(
        rate(http.REQUESTS.name, where={"status": matches("5..")}).shifted(WINDOW, 0.0),
        rate(http.REQUESTS.name).shifted(WINDOW, 0.0),
    ).at_least(requests=20, failures=5)
    > "5%",
    "quantile": quantile(0.95, http.DURATION.name).shifted(WINDOW, 0.0).at_least(requests=20, failures=5) > "2s",
    "mean": mean(http.DURATION.name).shifted(WINDOW, 0.0).at_least(requests=20) > "700ms",
    "increase": increase(http.EXCEPTIONS.name, by=["exception"]).shifted(WINDOW, 0.0) > 2,
    "first": replace(first(http.EXCEPTIONS.name, by=["exception"]), span=Span(WINDOW), before_seconds=20.0) > 0,
    "level": level("health_status") < 0.25,
}
put_out_of_force()


def pages_of(history):
    """
    Return what the page of a history is at each scrape, as text; None where it does not answer.
    """
    start = min(at for samples in history.series.values() for at, _ in samples) // EVERY * EVERY + history.phase
    lines = {}
    for (name, labels), samples in history.series.items():
        written = "{" + ",".join(f"{label}={json.dumps(value)}" for label, value in labels) + "}"
        for at, value in samples:
            lines.setdefault(round((at - start) / EVERY), []).append(f"{name}{written} {value!r}")
    return ["\n".join([*lines[place], ""]) if place in lines else None for place in range(SCRAPES)]


class Pages(ThreadingHTTPServer):
    """
    A page of each history, `/live-0` and so on for each server that reads them; the next one at each scrape.
    """

    daemon_threads = True

    def __init__(self, readers):
        super().__init__(("127.0.0.1", 0), Page)
        pages = {job: pages_of(History(seed, START, SCRAPES)) for seed, job in enumerate(JOBS)}
        self.left = {f"/{reader}/{job}": list(pages[job]) for reader in readers for job in JOBS}
        self.lock, self.are_read = threading.Lock(), threading.Event()

    def next_page(self, path):
        with self.lock:
            page = self.left[path].pop(0) if self.left[path] else None
            if not any(self.left.values()):
                self.are_read.set()
        return page


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        text = self.server.next_page(self.path)
        body = (text or "").encode()
        self.send_response(503 if text is None else 200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """
        Write no line.
        """


def configuration(reader, port):
    jobs = [
        {"job_name": job, "metrics_path": f"/{reader}/{job}", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        for job in JOBS
    ]
    return json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs})


@pytest.fixture(scope="module")
def scraped(tmp_path_factory):
    """
    Serve the histories until all servers have scraped them, and yield the servers' addresses, by version.
    """
    programs = {prometheus.version_of(folder): folder for folder in prometheus.found()}
    readers = {".".join(map(str, version)): (version, folder) for version, folder in programs.items()}
    with ExitStack() as stack:
        pages = stack.enter_context(Pages(readers))
        thread = threading.Thread(target=pages.serve_forever, daemon=True)
        thread.start()
        addresses = {}
        for reader, (version, folder) in readers.items():
            text = configuration(reader, pages.server_port)
            at = prometheus.running(folder, tmp_path_factory.mktemp("live"), text, {})
            addresses[version] = stack.enter_context(at)
        assert pages.are_read.wait(240)
        yield addresses
        pages.shutdown()


def samples_of(address, job):
    """
    Return what a server scraped of a job, as it has it, and when it did.
    """
    series = {}
    for found in prometheus.answer(address, "query", query=f'{{job="{job}"}}[10m]'):
        labels = {name: text for name, text in found["metric"].items() if name not in ("job", "instance")}
        name = labels.pop("__name__")
        series[name, tuple(sorted(labels.items()))] = [(at, float(value)) for at, value in found["values"]]
    tries = [at for at, _ in series.pop(("up", ()))]
    own = {key: values for key, values in series.items() if not key[0].startswith("scrape_")}
    return MemorySamples(own, "1s"), tries


if prometheus.found():

    @pytest.mark.parametrize("name", CONDITIONS)
    @pytest.mark.parametrize("version", [prometheus.version_of(folder) for folder in prometheus.found()], ids=str)
    def test_the_verdict_is_the_same_on_what_was_scraped(scraped, version, name):
        """
        Half a second after each scrape it and we say the same, wherever it is not at the edge itself.
        """
        condition, address = CONDITIONS[name], scraped[version]
        agreed, wrong = 0, []
        for job in JOBS:
            samples, tries = samples_of(address, job)
            moments = [round(tries[0] + 0.5 + place, 3) for place in range(SCRAPES - 1)]

            def ask(query, job=job, moments=moments):
                return prometheus.ask(address, query.replace('job="app"', f'job="{job}"'), moments[0], moments[-1], 1)

            query = condition.promql(PAGE)
            holds, longer, shorter = (set(ask(stretched(query, seconds))) for seconds in (0, 1, -1))
            near = set() if name == "first" else edges(condition, ask)[0]
            unsure = (holds ^ longer) | (holds ^ shorter) | near
            # A scrape that came late by half a second is on the other side of a moment.
            late = [at for at in moments if not any(0.1 < at - tried < 0.9 for tried in tries)]
            sure = {at for at in moments if not any(0 <= at - moment <= 4 * WINDOW for moment in late)}
            ours = {(job, key, at) for at in moments for key in condition.evaluate(samples, at)}
            agreed += sum(it[2] in sure for it in (ours & holds) - unsure)
            wrong += [
                it
                for it in (ours ^ holds) - unsure
                if it[2] in sure and not (version < (3,) and starts_late(condition, samples, it[2]))
            ]

        assert wrong[:5] == []
        assert agreed
