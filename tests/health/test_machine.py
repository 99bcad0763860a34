"""
Ready-made checks of what the process stands on, of services, keys, jobs and certificates.
"""

import asyncio
import json
import os
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import psutil
import pytest

from obskit import health, system
from obskit.errors import HealthCheckError
from obskit.health.event_loop_lag import TICK, lag
from obskit.testing import isolated_runtime
from obskit.time.clock import clock
from obskit.web.request import Request


def found(outcome):
    return outcome.status, outcome.reason


def test_disk(tmp_path):
    """
    The share that is used is judged by two limits.
    """
    used = health.disk(tmp_path, warn_percent=100, fail_percent=100)().details["used_percent"]

    assert 0 < used < 100
    assert ["pass", "warn", "fail"] == [
        health.disk(tmp_path, warn_percent=warn, fail_percent=fail)().status
        for warn, fail in ((100, 100), (used / 2, 100), (0, used / 2))
    ]


@pytest.mark.parametrize("check", [health.memory, health.file_descriptors, health.threads, health.load, health.cpu])
def test_figures_of_this_machine(check):
    """
    Each answers on a machine that is well, and warns once the limit is below what is found.
    """
    fields = {"warn_percent": 0.0} if check in (health.memory, health.file_descriptors, health.cpu) else {"warn": 0}
    outcome = check(**fields)()

    assert outcome.status in ("warn", "pass" if "note" in outcome.details else "warn")
    assert "fail" != check()().status


def refused(error):
    def ask(*args, **kwargs):
        raise error

    return ask


@pytest.mark.parametrize("error", [PermissionError(13, "no", "/proc/stat"), psutil.AccessDenied(1), RuntimeError("no")])
@pytest.mark.parametrize("name", ["memory", "cpu", "load", "threads", "file_descriptors", "disk"])
def test_a_figure_that_the_platform_refuses_is_no_failure(monkeypatch, name, error):
    """
    Android, gVisor and `hidepid` tell less: what nobody may read says nothing of the service.
    """
    for asked in ("cpu_times", "virtual_memory", "Process"):
        monkeypatch.setattr(psutil, asked, refused(error))
    monkeypatch.setattr(os, "getloadavg", refused(OSError()))
    monkeypatch.setattr("shutil.disk_usage", refused(PermissionError(13, "no")))
    monkeypatch.setattr(system, "sampler", None)
    monkeypatch.setattr("obskit.health.system_checks.sampler", system.Sampler())
    outcome = getattr(health, name)()()

    assert outcome.status == "pass"
    assert name == "threads" or outcome.details == {"note": "not available on this system"}


def test_storage(tmp_path):
    """
    A directory that can be written to passes and is left empty; one that is gone, full, or crowded does not.
    """
    check = health.storage(tmp_path, min_free_bytes=0, max_files=2, warn_percent=101)
    well = check()
    left = os.listdir(tmp_path)
    for number in range(4):
        (tmp_path / str(number)).touch()

    assert (("pass", None), []) == (found(well), left)
    assert ("warn", "too many files", 3) == (*found(check()), check().details["files"])
    assert ("fail", "too little space") == found(health.storage(tmp_path, min_free_bytes=2**62)())
    assert ("fail", "missing") == found(health.storage(tmp_path / "gone")())


def test_storage_that_takes_nothing(monkeypatch, tmp_path):
    """
    A directory that refuses the test file fails, without its path.
    """
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: (_ for _ in ()).throw(PermissionError(13, "no", "/p")))
    outcome = health.storage(tmp_path)()

    assert ("fail", "cannot be written to", {"error": "PermissionError", "errno": 13}) == (
        *found(outcome),
        dict(outcome.details),
    )


class Shop(BaseHTTPRequestHandler):
    """
    Answer with the status that the path says.
    """

    def do_GET(self):
        self.send_response(int(self.path.strip("/") or 200))
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def shop():
    server = HTTPServer(("127.0.0.1", 0), Shop)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("", None, ("pass", None)),
        ("/302", None, ("pass", None)),
        ("/500", None, ("fail", "answered 500")),
        ("/404", 404, ("pass", None)),
        ("/200", 204, ("fail", "answered 200")),
    ],
)
def test_http(shop, path, status, expected):
    """
    A service is well when its status is below 400, or the one that is expected.
    """
    assert expected == found(health.http(shop + path, status=status)())


def test_http_that_is_down():
    """
    A connection that is refused is raised, and so fails the check.
    """
    with pytest.raises(OSError, match="refused"):
        health.http("http://127.0.0.1:9/")()


def test_http_that_answers_a_byte_now_and_then():
    """
    The time is for all of it, and the failure names the host alone.
    """
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip():
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-")
                while not stop.wait(0.02):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        try:
            with pytest.raises(OSError, match=r"^127\.0\.0\.1: it did not answer in time$"):
                health.http(f"http://user:s3cret@127.0.0.1:{server.getsockname()[1]}/s3cret", timeout=0.3)()
        finally:
            stop.set()
            thread.join(10)


def test_a_url_of_another_kind():
    """
    Only HTTP is asked.
    """
    with pytest.raises(HealthCheckError, match="must start with http"):
        health.http("file:///etc/passwd")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (None, ("skipped", "no key")),
        ("", ("skipped", "no key")),
        ("hello", ("fail", "the key is not well formed")),
        ("sk-ant-api03-" + "a" * 30, ("pass", None)),
    ],
)
def test_ai_provider(monkeypatch, key, expected):
    """
    A key has to be there and look like one; nothing is called.
    """
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("ANTHROPIC_API_KEY", key)

    assert expected == found(health.ai_provider("anthropic")())


def test_a_provider_nobody_knows():
    """
    It needs a variable.
    """
    with pytest.raises(HealthCheckError, match="known are anthropic, openai; for others give key_variable="):
        health.ai_provider("acme")

    assert "skipped" == health.ai_provider("acme", key_variable="ACME_KEY_OF_NOBODY")().status


def test_a_heartbeat(ask, monkeypatch):
    """
    A job that has not run for longer than its age is late: a warning of the group, since requests can be served.
    """
    nightly = health.heartbeat("nightly-backup", max_age="26h")
    now = time.time()
    seen = []
    for hours in (0, 25, 27):
        monkeypatch.setattr(clock, "wall", lambda hours=hours: now + hours * 3600)
        seen.append(found(nightly()))
    nightly.beat()
    seen.append(found(nightly()))

    assert [("pass", None), ("warn", "nearly late"), ("fail", "has never run"), ("pass", None)] == seen
    assert nightly is health.heartbeat("nightly-backup", max_age="26h")
    assert 200 == ask().status


def test_a_heartbeat_counts_what_raises_nothing():
    """
    As a decorator, of coroutines too, and as a block, a failure is no beat.
    """
    job = health.heartbeat("job", max_age=60)

    @job
    def fails():
        raise ValueError("torn tape")

    @job
    async def works():
        return 5

    with pytest.raises(ValueError, match="torn"):
        fails()
    before = job.last()
    answer = asyncio.run(works())

    assert (None, 5) == (before, answer)
    assert job.last() is not None


def test_a_heartbeat_in_a_file(tmp_path):
    """
    A file carries the beat from one process to another.
    """
    path = str(tmp_path / "backup.ok")
    here = health.heartbeat("backup", max_age="1h", path=path)
    before = here().details["has_run"]
    here.beat()
    os.utime(path, (0, time.time() - 7200))

    assert (False, ("fail", "late")) == (before, found(here()))


@pytest.mark.parametrize("age", ["26", "26 h", "h", 0, -1, True, None])
def test_an_age_that_is_none(age):
    """
    An age is seconds, or a number with a unit.
    """
    with pytest.raises(HealthCheckError, match=r"max_age=.*expected seconds, or such as '15m'"):
        health.heartbeat("job", max_age=age)


def test_event_loop_lag():
    """
    A callback that holds the loop is seen from another thread while it lasts, and afterwards.
    """

    async def serve():
        lag.watch(asyncio.get_running_loop())
        before = health.event_loop()().status
        time.sleep(TICK + 0.2)
        during = health.event_loop()().status
        await asyncio.sleep(TICK + 0.1)
        return before, during, health.event_loop()().status

    states = asyncio.run(serve())
    lag.start_over()

    assert (("pass", "warn", "warn"), "pass") == (states, health.event_loop()().status)


def test_the_snapshot():
    """
    All figures are data; what is there is above zero, and the second look has the processors too.
    """
    first = system.snapshot()

    assert {"memory", "disks", "process"} <= first.keys()
    assert 0 < first["memory"]["used_bytes"] < first["memory"]["total_bytes"]
    assert 0 < first["disks"]["/"]["used_bytes"] < first["disks"]["/"]["total_bytes"]
    assert {"cpu_seconds", "resident_bytes", "threads", "open_fds", "gc_collections", "uptime_seconds"} == first[
        "process"
    ].keys()


def test_processors_memory_and_a_disk_are_one_component():
    """
    One check has three figures, and its reason names those that are elevated, with their limits.
    """
    calm = health.system(cpu=(None, None), memory=(100, None), disk=(100, None))()
    busy = health.system(cpu=None, memory=(0, None), disk=(0, 0))()

    assert ("pass", None) == (calm.status, calm.reason)
    assert {"memory_percent", "disk_percent"} == calm.details.keys() - {"cpu_percent"}
    assert {"memory_percent", "disk_percent"} == busy.details.keys()
    assert "fail" == busy.status
    assert busy.reason.startswith("memory, percent, is ")
    assert "; disk, percent, is " in busy.reason
    assert busy.reason.endswith("limit 0")


@pytest.mark.parametrize("limits", [75, (75,), (75, 90, 95), (75, "90"), (-1, None), (75, 101)])
@pytest.mark.parametrize("name", ["cpu", "memory", "disk"])
def test_limits_that_cannot_be(name, limits):
    """
    Two percents, from 0 to 100.
    """
    with pytest.raises(HealthCheckError, match=f"system\\({name}="):
        health.system(**{name: limits})


def test_details_tell_version_and_uptime():
    """
    The detailed body says which version runs, and for how long, in both of its forms, to whom may know.
    """
    headers = {"authorization": "Bearer s3same"}
    with isolated_runtime(version="1.2", details_token="s3same") as isolated:
        answer = isolated.runtime.routes.answer

        def asked(accept, headers):
            request = Request("GET", "/health/detailed", "", {**headers, "accept": accept}.get, "192.0.2.1")
            return json.loads(answer(request).body)

        own, draft = asked("application/json", headers), asked("application/health+json", headers)
        stranger = asked("application/json", {})

    assert ("1.2", "1.2") == (own["version"], draft["releaseId"])
    assert own["uptime_s"] > 0
    assert draft["checks"]["uptime"][0]["observedValue"] > 0
    assert {"status", "timestamp"} == stranger.keys()
