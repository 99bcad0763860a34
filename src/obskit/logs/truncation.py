"""
Shorten a line that is too long for where it goes: it stays one JSON object, and says where it was cut.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from obskit.logs.rendering import render

# Strings are cut down to so many characters; where that does not do, whole fields go.
_LEAST = 64
# A traceback says more than other strings, and may be so many times as long.
_WEIGHT = 3
# A list or an object inside of a line keeps an item for so many characters that a string may have.
_PER_ITEM = 8
_START = "Traceback (most recent call last):\n"
_links = re.compile(
    r"\n\n(?:During handling of the above exception|The above exception was the direct cause)[^\n]*\n\n"
)
_frames = re.compile(r'(?m)^(?=  File ")')
_ending = re.compile(r"(?m)^(?! )")


def cut(line: bytes, limit: int) -> bytes:
    """
    Give a line of at most so many bytes, with its newline.

    Of a traceback the outer frames go first: the class, the message and the innermost frames stay. Other strings lose
    their end, the longest first. What is no JSON object, such as a line for the console, loses its end.
    """
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        fields = None
    if not isinstance(fields, dict):
        mark = b" [cut]\n"
        return line[: limit - len(mark)].decode("utf-8", "ignore").encode() + mark
    longest = limit  # no string may be as long
    while longest > _LEAST:
        longest = longest * 3 // 4
        short = render({name: _shortened(value, longest) for name, value in fields.items()})
        if len(short) <= limit:
            return short
    return _fewer(fields, limit)


def _fewer(fields: dict[str, Any], limit: int) -> bytes:
    """
    Leave out the largest fields.
    """
    small = {name: _shortened(value, _LEAST) for name, value in fields.items()}
    room = limit - 100  # for the braces and the mark
    for name in sorted(small, key=lambda name: len(render({name: small[name]}))):
        room -= len(render({name: small[name]}))
        if room < 0:
            del small[name]
    left_out = f"[{len(fields) - len(small)} fields cut]"
    return render({**small, "cut": left_out})


def _shortened(value: Any, longest: int) -> Any:
    if isinstance(value, str):
        return shorten(value, longest)
    if isinstance(value, dict):
        kept = list(value.items())[: max(longest // _PER_ITEM, 1)]
        more = {"cut": f"[{len(value) - len(kept)} fields cut]"} if len(kept) < len(value) else {}
        return {**{shorten(name, longest): _shortened(inner, longest) for name, inner in kept}, **more}
    if isinstance(value, list):
        kept = value[: max(longest // _PER_ITEM, 1)]
        mark = [f"[{len(value) - len(kept)} items cut]"] if len(kept) < len(value) else []
        return [*(_shortened(inner, longest) for inner in kept), *mark]
    return value


def shorten(text: str, longest: int) -> str:
    """
    Cut a string to about so many characters; a traceback to some times as many.
    """
    if len(text) <= longest:
        return text
    if _START in text:
        return shorten_traceback(text, longest * _WEIGHT)
    return f"{text[:longest]} [{len(text) - longest} characters cut]"


def shorten_traceback(text: str, longest: int) -> str:
    """
    Cut a traceback to about so many characters: of each exception in a chain the outer frames go, and the first
    exceptions of a long chain; what stays of the last is its innermost frames, its class and its message.
    """
    if len(text) <= longest:
        return text
    links = [link[0] for link in _links.finditer(text)]
    parts = _links.split(text)
    kept = ""
    while parts:
        # What came first is the cause, and gets what is left.
        room = longest - len(kept) if len(parts) == 1 or not kept else (longest - len(kept)) // 2
        part = _outer_cut(parts.pop(), room * 2 // 3 if parts and not kept else room)
        kept = part + kept
        if not parts:
            break
        if len(kept) + 2 * _LEAST >= longest:
            return f"[{len(parts)} earlier exceptions cut]\n\n{kept}"
        kept = links.pop() + kept
    return kept


def _outer_cut(text: str, longest: int) -> str:
    """
    Cut one exception's part of a traceback.
    """
    if len(text) <= longest:
        return text
    start, *frames = _frames.split(text)
    if not frames:
        return f"{text[:longest]} [{max(len(text) - longest, 0)} characters cut]"
    last = frames.pop()
    ends = _ending.search(last)
    at = ends.start() if ends else len(last)
    last, ending = last[:at], last[at:]
    if len(ending) > longest // 2:
        ending = f"{ending[: longest // 2]} [{len(ending) - longest // 2} characters cut]\n"
    inner, room = [last], longest - len(start) - len(last) - len(ending)
    while frames and len(frames[-1]) <= room:
        room -= len(frames[-1])
        inner.append(frames.pop())
    if frames:
        start += f"  [{len(frames)} outer frames cut]\n"
    return start + "".join(reversed(inner)) + ending
