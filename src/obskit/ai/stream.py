"""
Follow the events of a stream, in any of the wire formats, to what a whole reply would have said.

Only figures and names are kept: of text, its length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

MAX_NAME = 100  # characters, of what a provider names
LONG_DELTA = 200  # characters: few words come at once
Accumulator = Callable[["StreamState", Any], None]


class StreamState:
    """
    What a stream has reported so far.

    Attributes:
        reply: The parts of a reply that `usage.read()` looks at, as raw JSON; None before any came.
        characters: Of output, for an estimate.
        has_usage: True once the usage is final.
        is_done: True once the provider has said that this is all.
        may_continue: True while the provider may have more to say, where the SDK lets that be seen.
        is_doubtful: True where what was told later was less than what had been told before.
        failure: The provider's name for what ended it, where that came as an event.
        choices: How many answers there will be.
        finished: Those that are whole.
    """

    __slots__ = (
        *("characters", "choices", "chunks", "failure", "finish_reason", "finished", "is_done", "is_doubtful"),
        *("may_continue", "has_usage", "reply"),
    )

    def __init__(self, choices: int = 1) -> None:
        self.reply: dict[str, Any] | None = None
        self.characters = self.chunks = 0
        self.has_usage = self.is_done = self.is_doubtful = self.may_continue = False
        self.failure: str | None = None
        self.finish_reason: str | None = None
        self.choices = choices
        self.finished: set[Any] = set()

    def end(self) -> None:
        """
        Record the mark that ends a stream in some formats: the usage so far is final.
        """
        self.is_done = True
        self.has_usage = self.has_usage or bool(self.reply and self.reply.get("usage"))


def accumulate_message(stream: StreamState, data: Any) -> None:
    """
    Add an event of Anthropic's messages. Usage is cumulative: the latest counts.
    """
    stream.chunks += 1
    kind = data["type"]
    if kind == "content_block_delta":
        delta = data["delta"]
        text = delta.get("text") or delta.get("partial_json") or delta.get("thinking") or delta.get("content")
        if text:
            stream.characters += len(text)
    elif kind == "message_delta":
        if stream.reply is None:
            stream.reply = {"usage": {}}
        reported, before = data.get("usage") or {}, stream.reply["usage"]
        if not stream.finished:  # what the start says of the output stands for it
            stream.finished.add("start")
            before = {**before, "output_tokens": reported.get("output_tokens") or 0}
        stream.reply["usage"] = _merged_usage(stream, before, reported)
        delta = data.get("delta") or {}
        stream.finish_reason = delta.get("stop_reason") or stream.finish_reason
        stream.reply["stop_reason"], stream.reply["stop_details"] = stream.finish_reason, delta.get("stop_details")
        if stream.characters:
            stream.reply.setdefault("content", []).append({"type": "text"})
        stream.has_usage = stream.finish_reason is not None and reported.get("output_tokens") is not None
    elif kind == "message_start":
        message = data["message"]
        if stream.reply is not None:  # a further request of the same call
            stream.is_doubtful = True
        stream.reply = {**_without_text(message), "usage": dict(message.get("usage") or {})}
    elif kind == "content_block_start":
        block = data.get("content_block") or {}
        if block.get("type") == "fallback" and stream.reply is not None:  # another model goes on
            stream.reply.setdefault("content", []).append(block)
    elif kind == "message_stop":
        stream.is_done = True


def _merged_usage(stream: StreamState, before: Mapping[str, Any], reported: Mapping[str, Any]) -> dict[str, Any]:
    """
    Merge later usage into earlier: counts only grow, None changes nothing, and a lower count makes it doubtful.
    """
    whole = dict(before)
    for name, value in reported.items():
        known = whole.get(name)
        if value is None or (value == 0 and known):
            continue
        if type(known) is int and type(value) is int and value < known:
            stream.is_doubtful = True
            continue
        whole[name] = value
    return whole


def accumulate_chat(stream: StreamState, data: Any) -> None:
    """
    Add a chunk of OpenAI's chat completions, or of the older completions. Usage comes last, if requested.
    """
    stream.chunks += 1
    for choice in data.get("choices") or ():
        delta = choice.get("delta")
        if delta:
            text = delta.get("content")
            if text:
                stream.characters += len(text) if text.__class__ is str else _characters(text)
            elif len(delta) > 1 or "role" not in delta:
                stream.characters += delta_characters(delta)
        elif choice.get("text"):
            stream.characters += len(choice["text"])
        if choice.get("finish_reason"):
            _finish(stream, choice, data)
    if stream.reply is None:
        stream.reply = _without_text(data)
    if data.get("usage"):
        _take_usage(stream, data, data["usage"])


def _finish(stream: StreamState, choice: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """
    Record the end of one choice, and read the usage that some servers put there.
    """
    stream.finish_reason = choice["finish_reason"]
    stream.finished.add(choice.get("index", len(stream.finished)))
    stream.is_done = len(stream.finished) >= stream.choices
    if choice["finish_reason"] == "error":
        stream.failure = failure_of(choice) or "error"
    usage = choice.get("usage") or (data.get("x_groq") or {}).get("usage")
    if usage and not data.get("usage"):
        _take_usage(stream, data, usage)
    elif stream.is_done and stream.reply and stream.reply.get("usage"):
        stream.has_usage = True


def _take_usage(stream: StreamState, data: Mapping[str, Any], usage: Mapping[str, Any]) -> None:
    # The tier, which decides the price, need not be in the chunk that has the usage.
    reported = {name: value for name, value in _without_text(data).items() if value is not None}
    before = stream.reply or {}
    stream.reply = {**before, **reported, "usage": _merged_usage(stream, before.get("usage") or {}, usage)}
    is_last = not data.get("choices")  # else, in each chunk, it is of what has come so far
    stream.is_done = stream.is_done or is_last
    stream.has_usage = stream.has_usage or stream.is_done


def delta_characters(delta: Mapping[str, Any]) -> int:
    """
    Count the characters of what is no plain text: reasoning, refusals, the arguments of calls, transcripts of sound.
    """
    found = len(delta.get("refusal") or "")
    found += max(_characters(delta.get("reasoning_content")), _characters(delta.get("reasoning")))
    found += _characters(delta.get("content"))
    for call in delta.get("tool_calls") or ():
        found += len((call.get("function") or {}).get("arguments") or "")
        found += len((call.get("custom") or {}).get("input") or "")
    found += len((delta.get("function_call") or {}).get("arguments") or "")
    audio = delta.get("audio")
    return found + (len(audio.get("transcript") or "") if isinstance(audio, Mapping) else 0)


def _characters(text: Any) -> int:
    if isinstance(text, str):
        return len(text)
    if isinstance(text, list):
        return sum(_characters(part) for part in text)
    if isinstance(text, Mapping):
        return sum(_characters(text.get(name)) for name in ("text", "thinking", "content", "value"))
    return 0


def accumulate_response(stream: StreamState, data: Any) -> None:
    """
    Add an event of OpenAI's responses: the last one carries the whole reply.
    """
    stream.chunks += 1
    delta = data.get("delta")
    if delta is not None:
        if isinstance(delta, str):
            size = len(delta)
            if size < LONG_DELTA or data.get("type") != "response.audio.delta":  # sound, in base64
                stream.characters += size
        return
    kind = data.get("type")
    if kind == "error":
        stream.failure = failure_of({"error": data.get("error") or data}) or "error"
    response = data.get("response")
    if response is not None:
        stream.reply = _without_text(response)
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            stream.is_done = True
            stream.has_usage = bool(response.get("usage"))
            stream.finish_reason = finish_reason_of(response)
            if kind == "response.failed":
                stream.failure = failure_of(response) or "failed"


_BILLED = ("type", "container_id", "environment", "action", "svg_usage")


def _without_text(reply: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in reply.items() if name not in ("content", "choices", "output", "input")}
    output = reply.get("output")
    if output and isinstance(output, list):
        found["output"] = [
            {name: item.get(name) for name in _BILLED}
            for item in output
            if isinstance(item, Mapping) and str(item.get("type")).endswith("_call")
        ]
    return found


def accumulate_run(stream: StreamState, data: Any) -> None:
    """
    Add an event of an assistant's run, which the SDK wraps with its name.
    """
    stream.chunks += 1
    inner = data.get("data") or data
    if inner.get("object") == "thread.run":
        stream.reply = _without_text(inner)
        if inner.get("status") in ("completed", "failed", "cancelled", "expired", "incomplete", "requires_action"):
            stream.is_done, stream.finish_reason = True, inner["status"]
            stream.has_usage = bool(inner.get("usage"))
            stream.failure = failure_of(inner)
    elif inner.get("object") == "thread.message.delta":
        stream.characters += _characters([part.get("text") for part in inner["delta"].get("content") or ()])


def accumulate_whole(stream: StreamState, data: Any) -> None:
    """
    Add an event of an unknown format: one that carries usage is the reply.
    """
    stream.chunks += 1
    delta = data.get("delta")
    if isinstance(delta, str):
        stream.characters += len(delta)
    if data.get("usage"):
        stream.reply = _without_text(data)
        stream.has_usage = stream.is_done = True
    elif str(data.get("type")).endswith((".done", ".completed")) or data.get("stop_reason"):
        stream.is_done = True


def finish_reason_of(reply: Any) -> str | None:
    """
    Read why a whole reply ended, as its provider calls it.
    """
    found = reply.get("stop_reason")
    if found is None and reply.get("choices"):
        found = reply["choices"][0].get("finish_reason")
    if found is None and ("output" in reply or reply.get("object") == "thread.run"):
        found = (reply.get("incomplete_details") or {}).get("reason") or reply.get("status")
    return found if isinstance(found, str) else None


def failure_of(reply: Mapping[str, Any]) -> str | None:
    """
    Return the provider's error code in a reply, under whatever HTTP status; None if it reports none.
    """
    error = reply.get("error") or reply.get("last_error")
    if not error:
        choices = reply.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        if isinstance(first, (dict, Mapping)) and first.get("error"):
            error = first["error"]
        else:
            return "failed" if reply.get("status") == "failed" else None
    if not isinstance(error, Mapping):
        return "error"
    for name in ("code", "type"):
        if isinstance(error.get(name), str) and error[name] != "error":
            return str(error[name])[:MAX_NAME]
    return str(error["code"]) if isinstance(error.get("code"), int) else "error"


def characters_of(reply: Mapping[str, Any]) -> int:
    """
    Count the characters of a whole reply's text, for a reply that says that it has none.
    """
    found = _characters(reply.get("content"))
    for choice in reply.get("choices") or ():
        found += _characters(choice.get("text")) + delta_characters(choice.get("message") or {})
    for item in reply.get("output") or ():
        found += _characters(item)
    return found
