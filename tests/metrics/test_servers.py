"""
What several workers count, any of them says: under real servers whose workers are killed, recycled and replaced.
"""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from free_ports import free_port
from obskit.metrics.cell_format import VERSION
from obskit.workers.instance_folders import instance_path
from obskit.workers.instances import instance_of

HERE = Path(__file__).parent
PATIENCE_SECONDS = 40
GUNICORN = ("gunicorn", "--bind=127.0.0.1:{port}", "--no-control-socket", "--log-level=warning")
RECYCLED = (*GUNICORN, "--workers=4", "--max-requests=50")
GTHREAD = ("--worker-class=gthread", "--threads=2")
UVICORN = ("uvicorn", "--port={port}", "--log-level=warning")
# Servers that start a worker anew when one is killed.
KILLED = {
    "gunicorn sync": (*RECYCLED, "counted:wsgi"),
    "gunicorn sync preload": (*RECYCLED, "--preload", "counted:wsgi"),
    "gunicorn gthread": (*RECYCLED, *GTHREAD, "counted:wsgi"),
    "gunicorn gthread preload": (*RECYCLED, *GTHREAD, "--preload", "counted:wsgi"),
    "uvicorn": (*UVICORN, "--workers=4", "counted:asgi"),
}
UNHURT = {
    "gunicorn sync": (*RECYCLED, "counted:wsgi"),
    "hypercorn": ("hypercorn", "--workers=2", "--bind=127.0.0.1:{port}", "counted:asgi"),
    "granian": ("granian", "--workers=2", "--interface=wsgi", "--port={port}", "counted:wsgi"),
}
CLIENTS = 3


def installed(servers):
    """
    Leave out servers whose library is not installed.
    """
    return [name for name in servers if find_spec(name.split()[0])]


TWO_WORKERS = (*GUNICORN, "--workers=2", "counted:wsgi")
needs_gunicorn = pytest.mark.parametrize("two_workers", [TWO_WORKERS] if find_spec("gunicorn") else [])


class Server:
    """
    A server that runs, and where its workers' figures are.
    """

    def __init__(self, process, port, kind, output, service):
        self.process, self.port, self.output = process, port, output
        self.place = instance_path(service, instance_of(kind, process.pid), VERSION)

    def get(self, path="/", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", path, headers={"Connection": "close", **headers})
            with connection.getresponse() as reply:
                assert reply.status == 200, reply.status
                return reply.read().decode()
        finally:
            connection.close()

    def visit(self, path="/", **headers):
        return json.loads(self.get(path, **headers))

    def until(self, condition):
        """
        Ask until there is an answer that is true, whatever breaks meanwhile.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                if answer := condition():
                    return answer
            except (OSError, http.client.HTTPException):
                pass
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.poll()}: {self.output.read_text()[-3000:]}")
            time.sleep(0.01)

    def page(self):
        return Page(self.until(lambda: self.get("/metrics")))


class Page:
    """
    The samples of a page.
    """

    def __init__(self, text):
        self.text = text
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def total(self, name, **labels):
        return sum(
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels(self, name, label):
        return {sample.labels.get(label) for sample in self.samples if sample.name == name}


@contextmanager
def serving(arguments, tmp_path, program=("-m", "{server}"), service="shop", **environ):
    """
    Start a server in a session of its own; yield it once it answers.
    """
    port = free_port()
    server, *rest = arguments
    command = [sys.executable, *(part.format(port=port, server=server) for part in (*program, *rest))]
    output = tmp_path / f"output-{port}.txt"
    path = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    given = {**os.environ, "PYTHONPATH": path, "OBSKIT_SERVICE": service, "XDG_RUNTIME_DIR": str(tmp_path), **environ}
    with open(output, "wb") as file:
        process = subprocess.Popen(command, cwd=HERE, env=given, stdout=file, stderr=file, start_new_session=True)
    server = Server(process, port, server, output, service)
    try:
        server.until(lambda: server.get("/health/live"))
        yield server
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        shutil.rmtree(server.place, ignore_errors=True)


class Load:
    """
    Visit from several threads, and count what was answered, and what was sent and never answered.
    """

    def __init__(self, server):
        self.server, self.pids, self.failed = server, Counter(), 0
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._visit) for _ in range(CLIENTS)]

    def _visit(self):
        while not self._stop.is_set():
            try:
                pid = self.server.visit()["pid"]
            except (OSError, http.client.HTTPException):
                with self._lock:
                    self.failed += 1
            else:
                with self._lock:
                    self.pids[pid] += 1

    @property
    def answered(self):
        with self._lock:
            return self.pids.total()

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)


class Scraper:
    """
    Scrape ten times a second, and note each counter that is less than it was.
    """

    COUNTERS = ("http_requests_total", "visits_total", "http_request_duration_seconds_count")

    def __init__(self, server):
        self.server, self.pages, self.back = server, 0, []
        self._stop, self._thread = threading.Event(), threading.Thread(target=self._scrape)

    def _scrape(self):
        before = Counter()
        while not self._stop.wait(0.1):
            try:
                page = Page(self.server.get("/metrics"))
            except (OSError, http.client.HTTPException):  # the worker was killed meanwhile
                continue
            now = {(s.name, *sorted(s.labels.items())): s.value for s in page.samples if s.name in self.COUNTERS}
            self.back += [(key, value, now.get(key)) for key, value in before.items() if now.get(key, 0) < value]
            before, self.pages = now, self.pages + 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join(PATIENCE_SECONDS)


def kill_one(load):
    """
    Kill a worker that answers, as soon as 60 more visits were answered; give its id.
    """
    before = load.answered
    load.server.until(lambda: load.answered >= before + 60)
    for pid in sorted(load.pids, reverse=True):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # recycled
            continue
        return pid
    raise AssertionError("no worker lives")


@pytest.mark.parametrize("name", installed(KILLED))
def test_what_killed_workers_counted_stays(tmp_path, name):
    """
    Workers are killed under load, and each page has at least what the one before had. In the end requests and own
    counters are those that were answered; only those in flight at a kill, one a thread of the killed worker and those
    that got no answer, may be missing or be there. Nothing is in progress, and the gauges of the dead are gone.
    """
    with serving(KILLED[name], tmp_path) as server:
        with Load(server) as load, Scraper(server) as scraper:
            killed = [kill_one(load) for _ in range(3)]
            server.until(lambda: scraper.pages >= 5)
        in_flight = len(killed) * (2 if "gthread" in name else 1)
        gone = set(map(str, killed))
        page = server.until(
            lambda: (
                (p := server.page()).total("http_requests_in_progress") == 0
                and p.labels("seen", "pid").isdisjoint(gone)
                and p
            )
        )
        files = os.listdir(server.place)

    assert [] == scraper.back
    for counter in ("http_requests_total", "http_request_duration_seconds_count", "visits_total"):
        assert load.answered - in_flight <= page.total(counter) <= load.answered + load.failed
    assert len(page.labels("seen", "pid")) <= 4
    assert len(files) <= 20, files


@pytest.mark.parametrize("name", installed(UNHURT))
def test_every_answered_request_is_counted(tmp_path, name):
    """
    Where no worker is killed, though some are recycled, the figures are exact.
    """
    with serving(UNHURT[name], tmp_path) as server:
        with Load(server) as load, Scraper(server) as scraper:
            server.until(lambda: load.answered >= 400 and scraper.pages >= 5)
        page = server.until(lambda: (p := server.page()).total("http_requests_in_progress") == 0 and p)

    assert [] == scraper.back
    assert 0 == load.failed
    assert [load.answered] * 2 == [page.total("http_requests_total"), page.total("visits_total")]


@needs_gunicorn
def test_a_reload_keeps_the_counts(tmp_path, two_workers):
    """
    After SIGHUP new workers go on where the old ones stopped.
    """
    with serving(two_workers, tmp_path) as server:
        old = {server.visit()["pid"] for _ in range(10)}
        server.process.send_signal(signal.SIGHUP)
        visits = 10
        while server.visit()["pid"] in old:
            visits += 1
        visits += 1
        page = server.until(lambda: (p := server.page()).labels("seen", "pid").isdisjoint(map(str, old)) and p)

    assert visits == page.total("http_requests_total")


@needs_gunicorn
def test_a_server_that_replaces_itself_starts_anew(tmp_path, two_workers):
    """
    After SIGUSR2 both servers have figures of their own, and once the old one is gone the pages are the new one's.
    """
    program = tmp_path / "serve.py"  # since `-m gunicorn` finds gunicorn's `http` for Python's the second time
    program.write_text("from gunicorn.app.wsgiapp import run\nrun()\n")
    with serving(two_workers, tmp_path, program=(str(program),)) as server:
        first = server.visit()["server"]
        server.process.send_signal(signal.SIGUSR2)
        visits = Counter({first: 1})

        def answered():
            visits.update([server.visit()["server"]])
            return len(visits) > 1

        server.until(answered)
        (new,) = set(visits) - {first}
        try:
            os.kill(first, signal.SIGTERM)
            server.process.wait(PATIENCE_SECONDS)
            page = Page(server.get("/metrics"))
        finally:
            os.kill(new, signal.SIGTERM)
            shutil.rmtree(instance_path("shop", instance_of("gunicorn", new), VERSION), ignore_errors=True)

    assert visits[new] == page.total("http_requests_total")


@needs_gunicorn
def test_two_servers_of_one_shell_do_not_mix(tmp_path, two_workers):
    """
    Two servers of one service that the same process started each say what they answered themselves.
    """
    with serving(two_workers, tmp_path) as one, serving(two_workers, tmp_path) as other:
        for server, visits in ((one, 6), (other, 9)):
            for _ in range(visits):
                server.visit()
        counted = [server.page().total("http_requests_total") for server in (one, other)]

    assert [6, 9] == counted


@needs_gunicorn
def test_a_directory_is_named_by_hand(tmp_path, two_workers):
    """
    `metrics_dir` takes the files of workers, private; a file there that is none of ours is set aside and counted.
    """
    folder = tmp_path / "metrics"
    with serving(two_workers, tmp_path, OBSKIT_METRICS_DIR=str(folder)) as server:
        for _ in range(8):
            server.visit()
        (folder / f"worker-7-7-{'7' * 16}.cells").write_bytes(b"somebody else's" * 100)
        server.page()
        page = server.until(
            lambda: (p := server.page()).total("obskit_metrics_files_set_aside_total", reason="foreign") and p
        )
        names = os.listdir(folder)

    assert 0o40700 == os.stat(folder).st_mode
    assert 8 == page.total("http_requests_total")
    assert 1 == page.total("obskit_metrics_files_set_aside_total")
    assert 1 == len([name for name in names if name.endswith(".bad")])


@needs_gunicorn
@pytest.mark.parametrize("trouble", ["it cannot be made", "it is full"])
def test_without_a_directory_each_worker_answers_for_itself(tmp_path, two_workers, trouble):
    """
    Where figures cannot be shared, requests are served, each worker warns once, and its page says so.
    """
    (tmp_path / "file").write_text("no directory")
    given = {"OBSKIT_METRICS_DIR": str(tmp_path / ("file/metrics" if trouble == "it cannot be made" else "metrics"))}
    if trouble == "it is full":
        given |= {"SHOP_FILE_SIZE": "4096", "OBSKIT_ACCESS_LOG": "0"}  # the lines are in a file, too
    with serving(two_workers, tmp_path, **given) as server:
        pids = Counter()
        server.until(lambda: pids.update([server.visit()["pid"]]) or len(pids) == 2)  # a page may make one warn, too
        page = server.page()
        warning = "each worker answers for itself alone"
        server.until(lambda: server.output.read_text().count(warning) == len(pids))

    assert 1 == page.total("obskit_metrics_degraded")
    assert page.total("http_requests_total") in pids.values()


@needs_gunicorn
def test_prometheus_clients_own_metrics_name_their_worker(tmp_path, two_workers):
    """
    What only one worker can say carries its label `worker`, a slot that the process figures have too.
    """
    with serving(two_workers, tmp_path) as server:
        for _ in range(8):
            server.visit()
        page = server.page()

    (worker,) = page.labels("theirs_total", "worker")
    assert worker in page.labels("obskit_process_threads", "worker") <= {"0", "1"}


@needs_gunicorn
def test_prometheus_clients_directory_is_merged(tmp_path, two_workers):
    """
    With `PROMETHEUS_MULTIPROC_DIR`, metrics of prometheus_client are those of all workers, without the label.
    """
    (tmp_path / "theirs").mkdir()
    with serving(two_workers, tmp_path, PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "theirs")) as server:
        visits = [server.visit()["pid"]]
        server.until(lambda: visits.append(server.visit()["pid"]) or len(set(visits)) == 2)
        page = server.page()

    assert {None} == page.labels("theirs_total", "worker")
    assert [len(visits)] * 2 == [page.total(name) for name in ("theirs_total", "http_requests_total")]


@needs_gunicorn
def test_one_worker_asks_a_gauges_query_for_all(tmp_path, two_workers):
    """
    One worker runs the query, a label that vanishes from its answer does from all pages, and when it dies another asks.
    """
    asked = tmp_path / "asked.txt"

    def askers():
        return asked.read_text().split() if asked.exists() else []

    def pages():
        """
        Return a page of each worker.
        """
        found = {}

        def both():
            page = server.page()
            found[page.labels("theirs_total", "worker").pop()] = page
            return len(found) == 2

        server.until(both)
        return found.values()

    with serving(two_workers, tmp_path, SHOP_ASKED=str(asked)) as server:
        server.until(lambda: "late" in server.page().labels("asked", "when"))
        first = set(askers())
        late = [page.labels("asked", "when") for page in pages()]
        server.visit()
        os.kill(int(askers()[0]), signal.SIGKILL)
        server.until(lambda: len(set(askers())) == 2)

    assert 1 == len(first)
    assert [{"late"}, {"late"}] == late


@needs_gunicorn
def test_exemplars_come_from_every_worker(tmp_path, two_workers):
    """
    In OpenMetrics, whichever worker is asked gives the trace of a request that one of them answered.
    """
    trace = "ab" * 16
    with serving(two_workers, tmp_path, SHOP_TRACES="1") as server:
        server.visit(traceparent=f"00-{trace}-{'cd' * 8}-01")
        pages = {}

        def both():
            text = server.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
            pages[re.search(r'theirs_total\{worker="(\d+)"\}', text)[1]] = text
            return len(pages) == 2

        server.until(both)

    assert [1, 1] == [text.count(f'# {{trace_id="{trace}"}}') for text in pages.values()]


RESTARTED = """
import os, sys
import obskit

runtime = obskit.configure(service="shop", metrics_dir=sys.argv[1], access_log=False)
visits, seconds = obskit.counter("visits_total", "Visits."), obskit.histogram("visit_seconds", "Seconds.")
for restart in range(200):
    child = os.fork()
    if not child:
        visits.inc()
        seconds.observe(0.25)
        os._exit(0)  # as if killed
    os.waitpid(child, 0)
_, body = runtime._page("", False, None)
sys.stdout.write(body.decode())
"""


def test_two_hundred_restarts_leave_a_handful_of_files(tmp_path):
    """
    Workers that die without a word are added up to the last count, and their files do not pile up.
    """
    folder = tmp_path / "metrics"
    text = subprocess.check_output([sys.executable, "-c", RESTARTED, str(folder)], text=True)

    assert 200 == Page(text).total("visits_total")
    assert [200, 50] == [Page(text).total(f"visit_seconds_{of}") for of in ("count", "sum")]
    assert len(os.listdir(folder)) <= 6, os.listdir(folder)
