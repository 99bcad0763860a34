"""
A provider of models: a real HTTP server that speaks both wire formats, and keeps the bill.

What it does with a request stands in the request's header `x-scene`, as JSON, so that any number may run at once:

    input, cache_read, cache_write, cache_write_1h, output, reasoning     what to charge for
    fail       statuses of the first attempts: 429, 529, ...; "drop" closes the connection
    end        of a stream: "whole", "truncate" (ends without its last event), "disconnect", "error" (an error event);
               of a stream of responses also "incomplete" and "failed", which tell their usage
    events     how many deltas of a stream to send before that end
    hold       send only so many deltas, and the rest, or a whole reply, when the test says `provider.go()`
    iterations further rows of Anthropic's beta `usage.iterations`
    tier       the service tier that answers; a stream of chat names it before its usage alone
    limits     headers of rate limits that are sent in place of the usual ones
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Dollars for a million tokens: input, cache_read, cache_write, output. The tests' own, so that none is out of date.
TARIFF = {
    "claude-test": (Fraction(3), Fraction(3, 10), Fraction(15, 4), Fraction(15)),
    "claude-advisor": (Fraction(15), Fraction(3, 2), Fraction(75, 4), Fraction(75)),
    "gpt-test": (Fraction(2), Fraction(1, 5), Fraction(5, 2), Fraction(8)),
    "gpt-5.5": (Fraction(0), Fraction(0), Fraction(0), Fraction(0)),
    "embed-test": (Fraction(1, 50), Fraction(1, 50), Fraction(1, 50), Fraction(0)),
}
WORD = "plate "
KINDS = ("input", "cache_read", "cache_write", "output")


@dataclass(frozen=True)
class Row:
    """
    One line of the bill.

    Attributes:
        tokens: By kind, disjoint.
        told: False where the client never heard of it.
    """

    model: str
    tokens: tuple[int, int, int, int]
    told: bool

    @property
    def usd(self) -> Fraction:
        return sum((n * rate for n, rate in zip(self.tokens, TARIFF[self.model], strict=True)), Fraction(0)) / 10**6


@dataclass
class Provider:
    """
    What was asked and what is charged.

    Attributes:
        url: Of the server.
        bill: What a provider would charge for.
        attempts: Paths of every HTTP request that came, in their order.
    """

    url: str = ""
    bill: list[Row] = field(default_factory=list)
    attempts: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    held: threading.Event = field(default_factory=threading.Event)

    def go(self) -> None:
        self.held.set()

    def tokens(self, told: bool = True) -> dict[str, int]:
        rows = [row.tokens for row in self.bill if row.told is told]
        return {kind: sum(row[i] for row in rows) for i, kind in enumerate(KINDS)}

    def usd(self, told: bool = True) -> Fraction:
        return sum((row.usd for row in self.bill if row.told is told), Fraction(0))


@dataclass
class Scene:
    """
    How one request goes.
    """

    input: int = 100
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 20
    reasoning: int = 0
    fail: tuple[Any, ...] = ()
    end: str = "whole"
    events: int = 5
    hold: int | None = None
    iterations: tuple[dict[str, Any], ...] = ()
    usage: Any = "given"  # anything else is sent as it is
    tier: str = "default"
    limits: dict[str, str] = field(default_factory=dict)

    @property
    def tokens(self) -> tuple[int, int, int, int]:
        return self.input, self.cache_read, self.cache_write, self.output


def headers(**scene: Any) -> dict[str, str]:
    """
    Write the header that sets a scene.
    """
    Scene(**scene)
    return {"x-scene": json.dumps(scene)}


def usual_limits() -> dict[str, str]:
    soon = datetime.now(UTC) + timedelta(seconds=60)
    return {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": soon.isoformat(timespec="seconds"),
        "anthropic-ratelimit-input-tokens-limit": "40000",
        "anthropic-ratelimit-input-tokens-remaining": "39000",
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "1m30s",
        "x-ratelimit-limit-tokens": "90000",
        "x-ratelimit-remaining-tokens": "89000",
        "x-ratelimit-reset-tokens": "500ms",
    }


def anthropic_usage(scene: Scene, output: int) -> Any:
    if scene.usage != "given":
        return scene.usage
    usage: dict[str, Any] = {
        "input_tokens": scene.input,
        "cache_read_input_tokens": scene.cache_read,
        "cache_creation_input_tokens": scene.cache_write,
        "cache_creation": {
            "ephemeral_5m_input_tokens": scene.cache_write - scene.cache_write_1h,
            "ephemeral_1h_input_tokens": scene.cache_write_1h,
        },
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": scene.reasoning},
        "service_tier": "standard" if scene.tier == "default" else scene.tier,
    }
    if scene.iterations:
        usage["iterations"] = list(scene.iterations)
    return usage


def openai_usage(scene: Scene, ins: str, outs: str) -> Any:
    if scene.usage != "given":
        return scene.usage
    whole = scene.input + scene.cache_read + scene.cache_write
    return {
        f"{ins}_tokens": whole,
        f"{outs}_tokens": scene.output,
        "total_tokens": whole + scene.output,
        f"{ins}_tokens_details": {"cached_tokens": scene.cache_read, "cache_write_tokens": scene.cache_write},
        f"{outs}_tokens_details": {"reasoning_tokens": scene.reasoning},
    }


def message(model: str, scene: Scene, content: list[Any], output: int, reason: str | None) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": anthropic_usage(scene, output),
    }


def message_events(model: str, scene: Scene) -> Iterator[dict[str, Any]]:
    yield {"type": "message_start", "message": message(model, scene, [], 1, None)}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for _ in range(scene.events):
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": WORD}}
    if scene.end != "whole":
        return
    yield {"type": "content_block_stop", "index": 0}
    usage = anthropic_usage(scene, scene.output)
    yield {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage}
    yield {"type": "message_stop"}


def chunk(model: str, choices: list[Any], usage: Any = None) -> dict[str, Any]:
    made = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices}
    return made if usage is None else {**made, "usage": usage}


def chat_events(model: str, scene: Scene, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for _ in range(scene.events):
        delta = {"role": "assistant", "content": WORD}
        yield {**chunk(model, [{"index": 0, "delta": delta, "finish_reason": None}]), "service_tier": scene.tier}
    if scene.end != "whole":
        return
    for index in range(asked.get("n") or 1):
        yield chunk(model, [{"index": index, "delta": {}, "finish_reason": "stop"}])
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield {**chunk(model, [], openai_usage(scene, "prompt", "completion")), "service_tier": None}


def response(model: str, scene: Scene, status: str, words: str = WORD) -> dict[str, Any]:
    text = {"type": "output_text", "text": words, "annotations": []}
    output = [{"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [text]}]
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": model,
        "status": status,
        "output": output if status == "completed" else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "service_tier": scene.tier,
        "error": {"code": "server_error", "message": "not now"} if status == "failed" else None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "usage": None if status == "in_progress" else openai_usage(scene, "input", "output"),
    }


def response_events(model: str, scene: Scene) -> Iterator[dict[str, Any]]:
    yield {"type": "response.created", "sequence_number": 0, "response": response(model, scene, "in_progress")}
    item = {"id": "m", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    yield {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": item}
    part = {"type": "output_text", "text": "", "annotations": []}
    place = {"item_id": "m", "output_index": 0, "content_index": 0}
    yield {"type": "response.content_part.added", "sequence_number": 2, **place, "part": part}
    for number in range(scene.events):
        yield {
            "type": "response.output_text.delta",
            "sequence_number": number + 3,
            **place,
            "delta": WORD,
            "logprobs": [],
        }
    status = {"whole": "completed"}.get(scene.end, scene.end)
    if status in ("completed", "incomplete", "failed"):
        last = response(model, scene, status)
        yield {"type": f"response.{status}", "sequence_number": scene.events + 3, "response": last}


def plain(path: str) -> tuple[str, str]:
    """
    Return the path as the SDK's own API has it, and the model where a cloud's path names that.
    """
    path = path.partition("?")[0]
    if "/deployments/" in path:  # Azure
        model, _, rest = path.partition("/deployments/")[2].partition("/")
        return f"/{rest}", model
    if named := re.search(r"/models?/([^/:]+)(?::(?:stream)?rawPredict|/invoke)$", path, re.I):  # Vertex, Bedrock
        return "/messages", named[1]
    return path.partition("/v1")[2] or path, ""


class Handler(BaseHTTPRequestHandler):
    """
    Answer one connection.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    provider: Provider

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        self.provider.attempts.append(self.path)
        self.reply(200, response("gpt-test", Scene(), "completed"), Scene())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.provider.attempts.append(self.path)
        try:
            asked = json.loads(body)
        except ValueError:
            asked = {"model": "gpt-test"}
        scene = Scene(**json.loads(self.headers.get("x-scene") or "{}"))
        attempt = int(self.headers.get("x-stainless-retry-count") or 0)
        if attempt < len(scene.fail):
            self.refuse(scene.fail[attempt], scene)
            return
        path, model = plain(self.path)
        asked.setdefault("model", model)
        if path.endswith("count_tokens"):
            self.reply(200, {"input_tokens": scene.input}, scene)
        elif asked.get("stream"):
            self.stream(path, asked, scene)
        else:
            self.charge(asked["model"], scene, scene.hold is None)
            if scene.hold is not None:
                self.provider.held.wait(30)
            self.reply(200, self.whole(path, asked, scene), scene)

    def whole(self, path: str, asked: dict[str, Any], scene: Scene) -> dict[str, Any]:
        model = asked["model"]
        if path == "/messages":
            text = '{"plates": 1}' if "output_config" in asked or "output_format" in asked else WORD
            return message(model, scene, [{"type": "text", "text": text}], scene.output, "end_turn")
        if path == "/responses":
            return response(model, scene, "completed", '{"plates": 1}' if "text" in asked else WORD)
        if path == "/embeddings":
            row = {"object": "embedding", "index": 0, "embedding": [0.5]}
            usage = {"prompt_tokens": scene.input, "total_tokens": scene.input}
            return {"object": "list", "model": model, "data": [row], "usage": usage}
        usage = openai_usage(scene, "prompt", "completion")
        made = {"id": "c", "object": "chat.completion", "created": 1, "model": model, "usage": usage}
        made["service_tier"] = scene.tier
        if path == "/completions":
            return {**made, "choices": [{"index": 0, "text": WORD, "finish_reason": "stop"}]}
        reason = "length" if scene.end == "length" else "stop"
        answer = {"role": "assistant", "content": '{"plates": 1}'}
        return {**made, "choices": [{"index": 0, "message": answer, "finish_reason": reason}]}

    def stream(self, path: str, asked: dict[str, Any], scene: Scene) -> None:
        model = asked["model"]
        if path == "/messages":
            events = message_events(model, scene)
        elif path == "/responses":
            events = response_events(model, scene)
        else:
            events = chat_events(model, scene, asked)
        is_chat = path in ("/chat/completions", "/completions")
        told = scene.end in ("whole", "incomplete", "failed") and scene.hold is None
        if is_chat:
            told = told and bool((asked.get("stream_options") or {}).get("include_usage"))
        self.charge(model, scene, told)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.common_headers(scene)
        self.end_headers()
        try:
            self.send_events(events, scene, named=not is_chat)
            self.end_stream(scene, is_chat)
        except OSError:
            self.close_connection = True  # the client has gone

    def send_events(self, events: Iterator[dict[str, Any]], scene: Scene, named: bool) -> None:
        for number, event in enumerate(events):
            if number == scene.hold:
                self.provider.held.wait(30)
            self.chunk((f"event: {event['type']}\n" if named else "") + f"data: {json.dumps(event)}\n\n")

    def end_stream(self, scene: Scene, is_chat: bool) -> None:
        if scene.end == "disconnect":
            self.wfile.write(b"400\r\nhalf of a chu")
            self.wfile.flush()
            self.close_connection = True
            return
        if scene.end == "error":
            error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
            self.chunk(f"event: error\ndata: {json.dumps(error)}\n\n")
        elif scene.end == "whole" and is_chat:
            self.chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def charge(self, model: str, scene: Scene, told: bool = True) -> None:
        rows = [Row(model, scene.tokens, told)]
        for step in scene.iterations:
            if step["type"] in ("compaction", "advisor_message"):
                tokens = (
                    step["input_tokens"],
                    step["cache_read_input_tokens"],
                    step["cache_creation_input_tokens"],
                    step["output_tokens"],
                )
                rows.append(Row(step.get("model", model), tokens, told))
        with self.provider.lock:
            self.provider.bill += rows

    def refuse(self, status: Any, scene: Scene) -> None:
        if status == "drop":
            self.close_connection = True
            return
        error = {"type": "rate_limit_error" if status == 429 else "overloaded_error", "message": "not now"}
        self.reply(status, {"type": "error", "error": error}, scene, {"retry-after-ms": "1", "retry-after": "0.001"})

    def reply(self, status: int, body: Any, scene: Scene, more: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self.common_headers(scene)
        self.end_headers()
        self.wfile.write(data)

    def common_headers(self, scene: Scene) -> None:
        for name, value in {"request-id": "req_1", "x-request-id": "req_1", **(scene.limits or usual_limits())}.items():
            self.send_header(name, value)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    # socketserver prints what a vanished client does to its handler.
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None: ...


@contextmanager
def running() -> Iterator[Provider]:
    """
    Serve on a port of its own.
    """
    provider = Provider()
    handler = type("BoundHandler", (Handler,), {"provider": provider})
    server = Server(("127.0.0.1", 0), handler)
    provider.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        provider.go()
        server.shutdown()
        server.server_close()
        thread.join()
