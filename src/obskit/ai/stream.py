"""
Follow the events of a stream, in any of the wire formats, to what a whole reply would have said.

Only figures and names are kept: of text, its length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Fold = Callable[["Progress", Any], None]


class Progress:
    """
    Hold what a stream has told so far.

    Attributes:
        reply: The parts of a reply that `usage.read()` looks at, as raw JSON; None before any came.
        characters: Of output, for an estimate.
        is_told: True once the usage is final.
        is_done: True once the provider has said that this is all.
        failure: The provider's name for what ended it, where that came as an event.
    """

    __slots__ = ("characters", "chunks", "failure", "finish_reason", "is_done", "is_told", "reply", "unfinished")

    def __init__(self, choices: int = 1) -> None:
        self.reply: dict[str, Any] | None = None
        self.characters = self.chunks = 0
        self.is_told = self.is_done = False
        self.failure: str | None = None
        self.finish_reason: str | None = None
        self.unfinished = choices


def fold_message(stream: Progress, data: Any) -> None:
    """
    Take an event of Anthropic's messages. Their usage is cumulative: what comes later stands.
    """
    stream.chunks += 1
    kind = data["type"]
    if kind == "content_block_delta":
        delta = data["delta"]
        text = delta.get("text") or delta.get("partial_json") or delta.get("thinking")
        if text:
            stream.characters += len(text)
    elif kind == "message_delta":
        if stream.reply is None:
            stream.reply = {"usage": {}}
        told = {name: value for name, value in (data.get("usage") or {}).items() if value is not None}
        stream.reply["usage"].update(told)
        stream.finish_reason = (data.get("delta") or {}).get("stop_reason") or stream.finish_reason
        stream.is_told = stream.finish_reason is not None and "output_tokens" in told
    elif kind == "message_start":
        message = data["message"]
        stream.reply = {**_without_text(message), "usage": dict(message.get("usage") or {})}
    elif kind == "message_stop":
        stream.is_done = True


def fold_chat(stream: Progress, data: Any) -> None:
    """
    Take a chunk of OpenAI's chat completions, or of the older completions. Usage comes last, and only if asked for.
    """
    stream.chunks += 1
    for choice in data.get("choices") or ():
        delta = choice.get("delta")
        if delta:
            text = delta.get("content")
            if text:
                stream.characters += len(text)
            elif len(delta) > 1 or "role" not in delta:
                stream.characters += _length_of(delta)
        elif "text" in choice:
            stream.characters += len(choice["text"])
        if choice.get("finish_reason"):
            stream.finish_reason = choice["finish_reason"]
            stream.unfinished -= 1
            stream.is_done = stream.unfinished <= 0
    if stream.reply is None:
        stream.reply = _without_text(data)
    if data.get("usage"):
        # The tier, which decides the price, need not be in the chunk that has the usage.
        told = {name: value for name, value in _without_text(data).items() if value is not None}
        stream.reply = {**stream.reply, **told}
        stream.is_told = True


def _length_of(delta: Mapping[str, Any]) -> int:
    calls = (call.get("function") or {} for call in delta.get("tool_calls") or ())
    return len(delta.get("refusal") or "") + sum(len(call.get("arguments") or "") for call in calls)


def fold_response(stream: Progress, data: Any) -> None:
    """
    Take an event of OpenAI's responses: the last one carries the whole reply.
    """
    stream.chunks += 1
    delta = data.get("delta")
    if delta is not None:
        if isinstance(delta, str):
            stream.characters += len(delta)
        return
    kind = data.get("type")
    if kind == "error":
        stream.failure = str(data.get("code") or "error")
    response = data.get("response")
    if response is not None:
        stream.reply = _without_text(response)
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            stream.is_done = True
            stream.is_told = bool(response.get("usage"))
            stream.finish_reason = finish_reason_of(response)
            if kind == "response.failed":
                stream.failure = str((response.get("error") or {}).get("code") or "failed")


def _without_text(reply: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in reply.items() if name not in ("content", "choices", "output", "input")}


def fold_whole(stream: Progress, data: Any) -> None:
    """
    Take events of a kind that is not known: whichever carries usage is the reply.
    """
    stream.chunks += 1
    if data.get("usage"):
        stream.reply = _without_text(data)
        stream.is_told = stream.is_done = True


def finish_reason_of(reply: Any) -> str | None:
    """
    Read why a whole reply ended, as its provider calls it.
    """
    found = reply.get("stop_reason")
    if found is None and reply.get("choices"):
        found = reply["choices"][0].get("finish_reason")
    if found is None and "output" in reply:
        found = (reply.get("incomplete_details") or {}).get("reason") or reply.get("status")
    return found if isinstance(found, str) else None
