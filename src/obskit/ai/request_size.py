"""
Measure the text of a request: attachments in base64 are not text.
"""

from __future__ import annotations

import json
import re
from typing import Any

MAX_DEPTH = 20
MIN_ATTACHMENT_CHARACTERS = 1000  # characters: what is shorter is taken for text
# Of a picture: what Anthropic makes of the largest is 1,600, and OpenAI 1,105 of one in high detail (2026-11).
PICTURE_TOKENS = 2000
# Of other files, for each token: a page of a PDF has some 100,000 and is read as about 2,000.
CHARACTERS_PER_FILE_TOKEN = 50
CHARACTERS_PER_TOKEN = 4  # of English text, by both providers' rule of thumb
_TEXT = ("text", "content", "input", "prompt", "system", "instructions", "arguments")
_is_encoded = re.compile(r"[A-Za-z0-9+/=_-]{500}").match


def text_bytes(body: Any) -> int:
    """
    Return the bytes of a request's text, plus four per token of its attachments; 0 if it is not JSON.
    """
    attached: list[int] = []
    try:
        text = json.dumps(_without_attachments(body, attached, "", MAX_DEPTH), default=_as_text, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return 0
    return len(text.encode("utf-8", "surrogatepass")) + CHARACTERS_PER_TOKEN * sum(attached)


def _as_text(value: Any) -> str:
    return "" if isinstance(value, (bytes, bytearray, memoryview)) else str(value)


def _without_attachments(value: Any, attached: list[int], name: str, depth: int) -> Any:
    """
    Copy JSON without what is attached to it, and note the tokens of that.
    """
    if isinstance(value, str):
        if len(value) < MIN_ATTACHMENT_CHARACTERS or not _is_attachment(value, name):
            return value
        is_picture = value.startswith("data:image/") or name == "image"
        attached.append(PICTURE_TOKENS if is_picture else max(PICTURE_TOKENS, len(value) // CHARACTERS_PER_FILE_TOKEN))
        return ""
    if depth == 0:
        return value
    if isinstance(value, dict):
        media = value.get("media_type") or value.get("mime_type") or ""
        is_picture = isinstance(media, str) and media.startswith("image/")
        return {
            key: _without_attachments(part, attached, "image" if is_picture and key == "data" else str(key), depth - 1)
            for key, part in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_without_attachments(part, attached, name, depth - 1) for part in value]
    return value


def _is_attachment(text: str, name: str) -> bool:
    if text.startswith("data:"):
        return ";base64," in text[:200]
    return name not in _TEXT and _is_encoded(text) is not None
