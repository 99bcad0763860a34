"""
Serve an application on a real socket, in a thread, and be a client that can leave.
"""

import http.client
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

# What a stack must have to be served -> the libraries that do; wsgiref is the standard library's.
SERVERS = {"wsgi": ("wsgiref",), "asgi": ("uvicorn",), "trio": ("hypercorn", "trio")}


class ThreadingServer(socketserver.ThreadingMixIn, WSGIServer):
    """
    Serve each request in a thread, and wait for all of them when closed.
    """

    daemon_threads = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def wsgi_server(app: Any) -> tuple[int, Callable[[], None], Callable[[], None]]:
    server = ThreadingServer(("127.0.0.1", 0), QuietHandler)
    server.set_app(app)

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return server.server_port, lambda: server.serve_forever(poll_interval=0.01), stop


def asgi_server(app: Any) -> tuple[int, Callable[[], None], Callable[[], None]]:
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))

    def run() -> None:
        server.run(sockets=[listening])
        listening.close()

    def stop() -> None:
        server.should_exit = True

    return listening.getsockname()[1], run, stop


def trio_server(app: Any) -> tuple[int, Callable[[], None], Callable[[], None]]:
    import trio
    from hypercorn.config import Config
    from hypercorn.trio import serve

    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = Config.from_mapping(bind=[f"fd://{listening.detach()}"], errorlog=None, graceful_timeout=10)
    stopped = threading.Event()

    async def told() -> None:
        await trio.to_thread.run_sync(stopped.wait)

    return port, lambda: trio.run(partial(serve, app, config, shutdown_trigger=told)), stopped.set


@contextmanager
def serving(server: str, app: Any) -> Iterator[int]:
    """
    Yield the port; on leaving, every request has ended.
    """
    port, run, stop = {"wsgi": wsgi_server, "asgi": asgi_server, "trio": trio_server}[server](app)
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield port
    finally:
        stop()
        thread.join(30)
    assert not thread.is_alive()


def get(port: int, path: str) -> tuple[http.client.HTTPResponse, bytes]:
    """
    Read a reply to its end.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Connection": "close"})
    with connection.getresponse() as reply:
        body = reply.read()
    connection.close()
    return reply, body


def get_and_leave(port: int, path: str, size: int) -> bytes:
    """
    Read so much of a reply, then reset the connection as a crashed client does.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n".encode())
        received = b""
        while len(received) < size:
            received += client.recv(65536)
    return received
