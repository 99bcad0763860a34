"""
A model for the demo: a local HTTP server that answers as Anthropic's messages do, with made-up text and figures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread
from typing import Any

OVERLOADED_EVERY = 15
# What every prompt of the application begins with is in the model's cache; a token is about four characters.
CACHED_TOKENS = 3000
LIMIT = 4000


class Model(BaseHTTPRequestHandler):
    """
    Answer `POST /v1/messages`, and be overloaded now and then, so that the client has to ask again.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    turns = count(1)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        turn = next(self.turns)
        if turn % OVERLOADED_EVERY == 0:
            self.answer(529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, turn)
            return
        prompt = asked["messages"][-1]["content"]
        text = "Refill " + prompt.rpartition("\n")[2] + " first: it sells best in the morning."
        usage = {
            "input_tokens": len(prompt) // 4,
            "cache_read_input_tokens": CACHED_TOKENS,
            "cache_creation_input_tokens": 0,
            "output_tokens": len(text) // 4,
        }
        message = {"id": f"msg_{turn}", "type": "message", "role": "assistant", "model": asked["model"]}
        content = {"content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": None}
        self.answer(200, {**message, **content, "usage": usage}, turn)

    def answer(self, status: int, body: dict[str, Any], turn: int) -> None:
        data = json.dumps(body).encode()
        reset = datetime.now(UTC) + timedelta(seconds=60)
        headers = {
            "content-type": "application/json",
            "content-length": str(len(data)),
            "request-id": f"req_{turn}",
            "anthropic-ratelimit-requests-limit": str(LIMIT),
            "anthropic-ratelimit-requests-remaining": str(max(LIMIT - turn, 0)),
            "anthropic-ratelimit-requests-reset": reset.isoformat(timespec="seconds"),
            "retry-after-ms": "20",
        }
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """
        Log nothing: the application's lines are what the demo shows.
        """


@contextmanager
def model() -> Iterator[str]:
    """
    Serve on a free port of this machine, and give the address.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
