"""
A registry without checks for each test, and the databases that checks ask.
"""

import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

import servers
from free_ports import free_port
from obskit.health.registry import registry
from obskit.testing import isolated_runtime
from obskit.web.request import Request


@pytest.fixture(autouse=True)
def no_checks():
    """
    Each test declares its own.
    """
    for name in list(registry.checks):
        registry.remove(name)
    yield
    for name in list(registry.checks):
        registry.remove(name)


@pytest.fixture
def isolated():
    with isolated_runtime(details_token="s3same") as isolated:
        yield isolated


@pytest.fixture
def ask(isolated):
    """
    Ask a health route of the isolated runtime; `authorised` shows the token.
    """

    def asked(path="/health/ready", *, authorised=False, method="GET", accept=None):
        headers = {"authorization": "Bearer s3same" if authorised else None, "accept": accept}
        return isolated.runtime.routes.answer(Request(method, path, "", headers.get, "192.0.2.1"))

    return asked


def wait_until(condition):
    """
    Wait for what another thread or process does.
    """
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        threading.Event().wait(0.005)


@pytest.fixture
def until():
    return wait_until


class Gate:
    """
    A check that hangs until it is let go; it counts its runs.
    """

    def __init__(self):
        self.runs = 0
        self.open = threading.Event()

    def __call__(self):
        self.runs += 1
        self.open.wait(60)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


class RedisServer:
    """
    A Redis that can be stopped and started again, on one port.
    """

    def __init__(self, program, folder, *options):
        self.port = free_port()
        self._command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        self._command += options
        self._process = None

    def start(self):
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                self._process.poll()
        raise RuntimeError("Redis does not answer")

    def stop(self):
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None


class RedisSentinel(RedisServer):
    """
    A Sentinel that watches one server, by the name `plants`.
    """

    def __init__(self, program, folder, watched):
        super().__init__(program, folder)
        config = Path(folder) / "sentinel.conf"
        config.write_text(f"port {self.port}\nbind 127.0.0.1\nsentinel monitor plants 127.0.0.1 {watched} 1\n")
        self._command = [program, str(config), "--sentinel"]


@pytest.fixture
def redis_others(tmp_path, redis_server):
    """
    Yield a Sentinel of that server, and a cluster of one node.
    """
    program = str(servers.redis())
    sentinel = RedisSentinel(program, str(tmp_path), redis_server.port)
    cluster = RedisServer(program, str(tmp_path), "--cluster-enabled", "yes")
    sentinel.start()
    cluster.start()
    yield sentinel, cluster
    sentinel.stop()
    cluster.stop()


@pytest.fixture
def redis_server(tmp_path):
    pytest.importorskip("redis")
    program = servers.redis()
    if program is None:
        pytest.skip("there is no Redis")
    server = RedisServer(str(program), str(tmp_path))
    server.start()
    yield server
    server.stop()
