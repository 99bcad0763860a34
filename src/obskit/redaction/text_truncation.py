"""
Truncate texts without showing the beginning of a secret.

There is one rule, for every place that shows a text. More is searched than is shown, so that a secret at the cut is
found whole. Where the search itself ends inside of a text, the word that it may have split is left out, since half of a
secret may not look like one.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# What is searched beyond what is shown, in characters: longer than any secret, but for keys in blocks.
LOOKAHEAD = 4_096
# What any text may have: log stores refuse lines of a megabyte.
MAX_TEXT = 1_000_000

# The last word of a text, from its end; with it go digits, since a card's number has blanks.
_last_word = re.compile(r"\S*+[\d\s-]*+").match


def redact_and_truncate(text: str, limit: int, redact: Callable[[str], str]) -> tuple[str, int]:
    """
    Redact a text, and return as much of it as the limit allows.

    Args:
        text: Of any length; what comes behind `limit` and LOOKAHEAD costs nothing.
        limit: In characters.
        redact: Puts a marker for each secret. Of a text that is cut it sees LOOKAHEAD characters more than are shown.

    Returns:
        At most `limit` characters, and how many are missing.
    """
    missing = 0
    if len(text) <= limit + LOOKAHEAD:
        shown = redact(text)
    else:
        seen = text[: limit + LOOKAHEAD]
        word = _length_of_last_word(seen)
        if word <= LOOKAHEAD:
            shown = redact(seen[: len(seen) - word])
        else:  # little else might be left: it is looked at before its end goes
            word = LOOKAHEAD
            shown = redact(seen)[:-LOOKAHEAD]
        missing = len(text) - len(seen) + word
    return shown[:limit] if len(shown) > limit else shown, missing + max(len(shown) - limit, 0)


def redact_with_mark(text: str, limit: int, redact: Callable[[str], str]) -> str:
    """
    Redact and truncate a text; a mark within the limit says how many characters are missing.
    """
    shown, missing = redact_and_truncate(text, limit, redact)
    if not missing:
        return shown
    missing += max(len(shown) + len(_mark(missing)) - limit, 0)
    return shown[: limit - len(_mark(missing))] + _mark(missing)


def _mark(missing: int) -> str:
    return f" [{missing} characters cut]"


def _length_of_last_word(text: str) -> int:
    # From the end: a search for a word at the end would read each word once for each of its letters.
    found = _last_word(text[: -LOOKAHEAD - 2 : -1])
    return found.end() if found is not None else 0
