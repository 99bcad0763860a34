"""
Truncate a line that is too long for its output: it stays one JSON object, and says where it was cut.
"""

from __future__ import annotations

from typing import Any

import orjson

from obskit.late_patterns import late
from obskit.logs.rendering import render

# The shortest length in characters that strings are truncated to; where that is not enough, whole fields go.
_MIN_TEXT = 64
# A traceback may be longer than other strings by this factor, since it says more.
_TRACEBACK_FACTOR = 3
# A list or an object inside of a line keeps one item for each of these characters that a string may have.
_CHARACTERS_PER_ITEM = 8
_START = "Traceback (most recent call last):\n"
_chain_separators = late(
    r"\n\n(?:During handling of the above exception|The above exception was the direct cause)[^\n]*\n\n"
)
_frames = late(r'(?m)^(?=  File ")')
_first_unindented = late(r"(?m)^(?! )")


def truncate_line(line: bytes, limit: int) -> bytes:
    """
    Truncate a line to a number of bytes, its newline included.

    Of a traceback the outer frames go first: the class, the message and the innermost frames stay. Other strings lose
    their end, the longest first. What is not a JSON object, such as a line for the console, loses its end.
    """
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        fields = None
    if not isinstance(fields, dict):
        mark = b" [cut]\n"
        return line[: limit - len(mark)].decode("utf-8", "ignore").encode() + mark
    max_length = limit  # no string may be as long
    while max_length > _MIN_TEXT:
        max_length = max_length * 3 // 4
        short = render({name: _truncate_value(value, max_length) for name, value in fields.items()})
        if len(short) <= limit:
            return short
    return _drop_largest_fields(fields, limit)


def _drop_largest_fields(fields: dict[str, Any], limit: int) -> bytes:
    shortened = {name: _truncate_value(value, _MIN_TEXT) for name, value in fields.items()}
    remaining = limit - 100  # for the braces and the mark
    for name in sorted(shortened, key=lambda name: len(render({name: shortened[name]}))):
        remaining -= len(render({name: shortened[name]}))
        if remaining < 0:
            del shortened[name]
    left_out = f"[{len(fields) - len(shortened)} fields cut]"
    return render({**shortened, "cut": left_out})


def _truncate_value(value: Any, max_length: int) -> Any:
    if isinstance(value, str):
        return truncate_text(value, max_length)
    if isinstance(value, dict):
        kept = list(value.items())[: max(max_length // _CHARACTERS_PER_ITEM, 1)]
        more = {"cut": f"[{len(value) - len(kept)} fields cut]"} if len(kept) < len(value) else {}
        return {**{truncate_text(name, max_length): _truncate_value(inner, max_length) for name, inner in kept}, **more}
    if isinstance(value, list):
        kept = value[: max(max_length // _CHARACTERS_PER_ITEM, 1)]
        mark = [f"[{len(value) - len(kept)} items cut]"] if len(kept) < len(value) else []
        return [*(_truncate_value(inner, max_length) for inner in kept), *mark]
    return value


def truncate_text(text: str, max_length: int) -> str:
    """
    Truncate a string to about `max_length` characters; a traceback to some times as many.
    """
    if len(text) <= max_length:
        return text
    if _START in text:
        return truncate_traceback(text, max_length * _TRACEBACK_FACTOR)
    return f"{text[:max_length]} [{len(text) - max_length} characters cut]"


def truncate_traceback(text: str, max_length: int) -> str:
    """
    Truncate a traceback to about `max_length` characters: the outer frames of each exception in a chain go, and the
    first exceptions of a long chain. The last one keeps its innermost frames, its class and its message.
    """
    if len(text) <= max_length:
        return text
    links = [link[0] for link in _chain_separators.finditer(text)]
    parts = _chain_separators.split(text)
    kept = ""
    while parts:
        # What came first is the cause, and gets what is left.
        remaining = max_length - len(kept) if len(parts) == 1 or not kept else (max_length - len(kept)) // 2
        part = _drop_outer_frames(parts.pop(), remaining * 2 // 3 if parts and not kept else remaining)
        kept = part + kept
        if not parts:
            break
        if len(kept) + 2 * _MIN_TEXT >= max_length:
            return f"[{len(parts)} earlier exceptions cut]\n\n{kept}"
        kept = links.pop() + kept
    return kept


def _drop_outer_frames(text: str, max_length: int) -> str:
    if len(text) <= max_length:
        return text
    start, *frames = _frames.split(text)
    if not frames:
        return f"{text[:max_length]} [{max(len(text) - max_length, 0)} characters cut]"
    last = frames.pop()
    ends = _first_unindented.search(last)
    at = ends.start() if ends else len(last)
    last, ending = last[:at], last[at:]
    if len(ending) > max_length // 2:
        ending = f"{ending[: max_length // 2]} [{len(ending) - max_length // 2} characters cut]\n"
    inner, remaining = [last], max_length - len(start) - len(last) - len(ending)
    while frames and len(frames[-1]) <= remaining:
        remaining -= len(frames[-1])
        inner.append(frames.pop())
    if frames:
        start += f"  [{len(frames)} outer frames cut]\n"
    return start + "".join(reversed(inner)) + ending
