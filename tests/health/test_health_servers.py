"""
A check that hangs, behind real servers and real sockets.
"""

import http.client
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from free_ports import free_port

HERE = Path(__file__).parent
PROBES = 1000
SERVERS = {
    "gunicorn sync": ("gunicorn", ["-w", "1", "-k", "sync", "-b", "127.0.0.1:{}", "served:wsgi"]),
    "gunicorn gthread": (
        "gunicorn",
        ["-w", "1", "-k", "gthread", "--threads=4", "-b", "127.0.0.1:{}", "served:wsgi"],
    ),
    "uvicorn": ("uvicorn", ["--lifespan", "off", "--port", "{}", "served:asgi"]),
}


@pytest.fixture(params=SERVERS)
def port(request, until):
    module, arguments = SERVERS[request.param]
    pytest.importorskip(module)
    port = free_port()
    command = [sys.executable, "-m", module, *(word.format(port) for word in arguments)]
    environ = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, cwd=HERE, env=environ, **quiet)
    until(lambda: answers(port))
    yield port
    server.kill()
    server.wait(30)


def answers(port):
    try:
        return get(port, "/")[0] == 200
    except OSError:
        return False


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def test_a_hanging_check_costs_one_thread_and_holds_nobody(port):
    """
    While a check hangs for a minute, 1,000 probes and the application's own requests beside them are all answered, and
    there is one run, in one thread.
    """
    served, stop = [], threading.Event()

    def use():
        while not stop.is_set():
            served.append(get(port, "/")[0])

    user = threading.Thread(target=use)
    user.start()
    try:
        codes = {get(port, "/health/ready")[0] for _ in range(PROBES)}
        live = get(port, "/health/live")[0]
    finally:
        stop.set()
        user.join()

    runs, threads = get(port, "/")[1].decode().split(" ")
    of_checks = [name for name in threads.split(",") if name != "obskit-refresh"]  # it is of workers that share figures

    assert ({503}, 200, {200}) == (codes, live, set(served))
    assert ("1", ["obskit-health-hang"]) == (runs, of_checks)
