"""
No line is lost that can be kept: queued ones outlive the orderly end of real servers, those of files any end.
"""

import http.client
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from lossy import LINES

HERE = Path(__file__).parent
PATIENCE_SECONDS = 60
SERVERS = {
    "gunicorn, sync": "gunicorn --worker-class sync --workers 2 --bind fd://{fd} lossy_wsgi:app",
    "gunicorn, sync, preload": "gunicorn --worker-class sync --workers 2 --preload --bind fd://{fd} lossy_wsgi:app",
    "gunicorn, gthread": "gunicorn --worker-class gthread --threads 2 --workers 2 --bind fd://{fd} lossy_wsgi:app",
    "gunicorn, gthread, preload": (
        "gunicorn --worker-class gthread --threads 2 --workers 2 --preload --bind fd://{fd} lossy_wsgi:app"
    ),
    "uvicorn": "uvicorn --fd {fd} lossy_asgi:app",
    "uvicorn, 2 workers": "uvicorn --fd {fd} --workers 2 lossy_asgi:app",
}


class Receiver(socketserver.ThreadingTCPServer):
    """
    Take lines, and say so after each; of the application's the first is held until `go` is set.
    """

    daemon_threads = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Connection)
        self.numbers, self.held, self.go = [], threading.Event(), threading.Event()


class _Connection(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            number = json.loads(line).get("number")
            if number is not None:
                self.server.held.set()
                self.server.go.wait(PATIENCE_SECONDS)
                self.server.numbers.append(number)
            self.wfile.write(b".")


@contextmanager
def receiving():
    """
    Yield a receiver; on leaving, whatever was sent to it has been read.
    """
    with Receiver() as receiver:  # which waits for its threads
        thread = threading.Thread(target=receiver.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.go.set()
            receiver.shutdown()
            thread.join()


@contextmanager
def running(command, **given):
    """
    Yield a process that leads a group of its own, and leave none of the group.
    """
    process = subprocess.Popen([sys.executable, *command], start_new_session=True, **given)
    try:
        yield process
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # all have ended, as they should
        process.wait()


@pytest.mark.parametrize("name", [name for name in SERVERS if find_spec(name.partition(",")[0])])
def test_what_is_queued_outlives_the_end_of_a_server(name, tmp_path):
    """
    A worker with 5,000 lines in its queue, and a network that has taken none of them when SIGTERM comes, sends them
    all before it ends, each once and in order.
    """
    with receiving() as receiver, socket.create_server(("127.0.0.1", 0)) as listening:
        port, told = receiver.server_address[1], tmp_path / "told"
        command = ["-m", *SERVERS[name].format(fd=listening.fileno()).split()]
        environ = {**os.environ, "RECEIVER_PORT": str(port), "XDG_RUNTIME_DIR": str(tmp_path)}
        with (
            told.open("wb") as output,
            running(
                command, cwd=HERE, env=environ, pass_fds=[listening.fileno()], stdout=output, stderr=output
            ) as server,
        ):
            # The socket listens already, so the request waits for the server, and nobody has to.
            client = http.client.HTTPConnection(*listening.getsockname(), timeout=PATIENCE_SECONDS)
            client.request("GET", "/", headers={"Connection": "close"})
            status = client.getresponse().status
            client.close()
            receiver.held.wait(PATIENCE_SECONDS)
            before = list(receiver.numbers)
            server.send_signal(signal.SIGTERM)
            receiver.go.set()
            server.wait(PATIENCE_SECONDS)

    assert (200, []) == (status, before), told.read_text()
    assert list(range(LINES)) == receiver.numbers, told.read_text()


def numbers_in(folder, name):
    """
    List the numbers of a file's lines and of those that it was rotated into, each of which must parse.
    """
    lines = [line for path in folder.glob(f"{name}*") for line in path.read_text().splitlines()]
    return [json.loads(line)["number"] for line in lines]


def test_what_a_file_has_taken_outlives_a_kill(tmp_path):
    """
    Killed in the middle of writing, a process leaves every line whose call has returned in its files, however often
    these were rotated: 5,000 were acknowledged here, and at most the one beyond what was is there too.
    """
    with running([HERE / "lossy.py", tmp_path], stdout=subprocess.PIPE) as process:
        acknowledged = [int(process.stdout.readline()) for _ in range(LINES)]
        process.kill()
        acknowledged += map(int, process.stdout.read().split())
        process.stdout.close()
    general, security = numbers_in(tmp_path, "app"), numbers_in(tmp_path, "security")
    written = sorted(general + security)

    assert list(range(len(acknowledged))) == acknowledged
    assert written[: len(acknowledged)] == acknowledged
    assert len(written) <= len(acknowledged) + 1
    assert len(list(tmp_path.glob("app*"))) > 2
    assert {0} == {number % 5 for number in security}
