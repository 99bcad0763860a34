"""
An application whose lines go to a slow network by a queue, or to files without one.
"""

import os
import socket
import sys

import obskit

LINES = 5_000
log = obskit.get_logger("lossy")


class Network:
    """
    Send each line to the receiver, and wait until it says that it has taken it.
    """

    def __init__(self):
        self._owner = None

    def write(self, text):
        if self._owner != os.getpid():  # a worker that was forked needs a connection of its own
            self._connection = socket.create_connection(("127.0.0.1", int(os.environ["RECEIVER_PORT"])))
            self._owner = os.getpid()
        self._connection.sendall(text.encode())
        self._connection.recv(1)


def say_all():
    for number in range(LINES):
        log.info("said", number=number)


def wsgi(environ, start_response):
    say_all()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    say_all()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def network_app(application):
    return obskit.instrument(application, service="lossy", log_stream=Network(), log_queue=2 * LINES)


def main(folder):
    """
    Write lines to files, and acknowledge each when its call has returned.
    """
    obskit.configure(
        service="lossy",
        log_file=f"{folder}/app.jsonl",
        log_channels={"lossy.security": {"file": f"{folder}/security.jsonl"}},
        log_rotate_bytes=100_000,
        log_keep_files=None,
    )
    security = obskit.get_logger("lossy.security")
    number = 0
    while True:
        (security if number % 5 == 0 else log).info("said", number=number)
        os.write(1, b"%d\n" % number)
        number += 1


if __name__ == "__main__":
    main(sys.argv[1])
