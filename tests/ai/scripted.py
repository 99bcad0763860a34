"""
Serve exactly the replies that a test writes down.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Script:
    """
    What is answered: JSON, a list of events for a stream, or a function of the path and the request's JSON.

    Attributes:
        url: Of the server.
        reply: What is answered; bytes are sent as sound.
        asked: The paths that were asked for, and with what.
    """

    def __init__(self) -> None:
        self.url = ""
        self.reply: Any = None
        self.asked: list[tuple[str, Any]] = []


def _event(event: Any) -> bytes:
    if isinstance(event, str):
        return f"data: {event}\n\n".encode()
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    script: Script

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        self.answer(None)

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            self.answer(json.loads(raw))
        except ValueError:
            self.answer({})

    def answer(self, asked: Any) -> None:
        script = self.script
        script.asked.append((self.path, asked))
        reply = script.reply(self.path, asked) if callable(script.reply) else script.reply
        kind, status = "application/json", 200
        if isinstance(reply, int):
            status, data = reply, b'{"error": {"message": "no", "type": "no"}}'
        elif isinstance(reply, list):
            kind, data = "text/event-stream", b"".join(map(_event, reply))
        elif isinstance(reply, bytes):
            kind, data = "audio/mpeg", reply
        else:
            data = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None: ...


@contextmanager
def running() -> Iterator[Script]:
    """
    Serve on a port of its own.
    """
    script = Script()
    server = _Server(("127.0.0.1", 0), type("BoundHandler", (_Handler,), {"script": script}))
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def chat(usage: Any, text: str = "hello", **more: Any) -> dict[str, Any]:
    """
    Make a chat completion.
    """
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return {
        **{"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o"},
        **{"usage": usage, "choices": [choice], **more},
    }


def chunk(text: str = "", *, usage: Any = None, end: str | None = None, **more: Any) -> dict[str, Any]:
    """
    Make a chunk of a chat completion; without text and end, one with usage alone.
    """
    choices = [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": end}]
    made = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
    return {**made, "choices": choices if text or end else [], **({"usage": usage} if usage else {}), **more}


def response(usage: Any, status: str = "completed", **more: Any) -> dict[str, Any]:
    """
    Make a response.
    """
    return {
        **{"id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5", "status": status, "output": []},
        **{"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None, "usage": usage, **more},
    }


def message(usage: Any, model: str = "claude-opus-4-8", stop: str = "end_turn", **more: Any) -> dict[str, Any]:
    """
    Make a message.
    """
    return {
        **{"id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_reason": stop},
        **{"stop_sequence": None, "content": [{"type": "text", "text": "hello"}], "usage": usage, **more},
    }


def message_events(usage: Any, model: str = "claude-opus-4-8", stop: str = "end_turn", **more: Any) -> list[Any]:
    """
    Make the events of a streamed message.
    """
    begun = message({**usage, "output_tokens": 1}, model, content=[], **more) | {"stop_reason": None}
    return [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None, **more}, "usage": usage},
        {"type": "message_stop"},
    ]
