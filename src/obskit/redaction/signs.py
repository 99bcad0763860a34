"""
Decide by the few signs in a text which secrets it may hold.

Every rule needs some of a few characters, so a text is reduced to these. What is looked for where such signs are is
decided once for each combination of them, and then known: most texts of a kind have the same, such as `://?=`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from obskit.redaction.driver_errors import QUOTED_HINTS

Find = Callable[[str], object]

# Without any of these, and with fewer digits than a card has, no rule applies but those for `Bearer` and `Basic`, ...
_DECISIVE = "=:@_-IJB'<%"
# ... and these tell which rules may apply beside them.
_SIGNS = frozenset(_DECISIVE + '"({')
DIGIT = b"0"
MIN_CARD_DIGITS = 13
# For bytes.translate(): what is no sign becomes a blank.
TO_SIGNS = bytes(ord(DIGIT) if 48 <= code < 58 else code if chr(code) in _SIGNS else 32 for code in range(256))

# What each rule needs as it stands; a hint is looked for only where the signs in it are.
_HINTS = (*("EARER", "-----BEGIN ", "('", '("', "(b'", "'-", '"-', "</", "%3", "%25", "eyJ", "IA", "AIza"),)
# A text of fewer characters has none of the following: they need twenty behind them.
LONG_ENOUGH = 25
_LONG_HINTS = ("ook", ":AA", "ya29.", "hvs.", "SG.", "1//0")

# Whole texts that hold no secret. A moment to the second, in digits and two letters at most, is told by its length, ...
_SECONDS = b"0000-00-0000:00:00"
_is_short: Find = lambda text: len(text) <= len(_SECONDS) + 2  # noqa: E731
# ... other moments, and UUIDs, by their signs.
_moment = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?").fullmatch
_uuid = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_HARMLESS: dict[bytes, Find] = {
    **dict.fromkeys((b"--:", b"--::", b"--:::", b"--::-", b"--::-:"), _moment),
    b"----": _uuid,
}

# Limits of what is known, since texts of others may have any signs.
_MAX_KNOWN = 4_096
_MAX_KNOWN_LENGTH = 24


def sieve(text: str) -> bytes:
    """
    Return the signs of a text, with a DIGIT for each of its digits.
    """
    return b"".join(text.encode("ascii", "ignore").translate(TO_SIGNS).split())


# What is looked for in texts with the same signs, beside `Bearer` and `Basic`: where all fails, no rule applies. These
# are what recognises whole texts that hold no secret; pieces, one of which a text of fewer than LONG_ENOUGH characters
# has; the same for longer ones; what finds the start of a secret; and whether such texts are worth to be remembered.
# No named tuple, which takes four times as long to unpack.
Plan: TypeAlias = tuple[Find | None, tuple[str, ...], tuple[str, ...], tuple[Find, ...], bool]


class Plans(dict[bytes, Plan]):
    """
    The plan for what `sieve()` leaves of a text.

    Args:
        searches: What finds the start of a secret, by the signs of which it needs one; "0": as many digits as a card
            has.
    """

    def __init__(self, searches: Mapping[str, Find]) -> None:
        self._searches = searches
        self._by_signs: dict[bytes, Plan] = {}

    def __missing__(self, sieved: bytes) -> Plan:
        signs = sieved.translate(None, DIGIT)
        if len(sieved) - len(signs) >= MIN_CARD_DIGITS:
            signs += DIGIT
        plan = self._by_signs.get(signs)
        if plan is None:
            plan = self._plan(signs)
            _remember(self._by_signs, signs, plan)
        if sieved == _SECONDS:
            plan = _is_short, *plan[1:]
        _remember(self, sieved, plan)
        return plan

    def _plan(self, signs: bytes) -> Plan:
        present = frozenset(signs.decode())
        if present.isdisjoint(_DECISIVE) and not signs.endswith(DIGIT):
            return None, (), (), (), False

        def possible(*hints: str) -> tuple[str, ...]:
            return tuple(hint for hint in hints if _SIGNS.intersection(hint) <= present)

        quoted = () if present.isdisjoint("'({") else QUOTED_HINTS
        elsewhere = () if present.isdisjoint('=:"') else ("nvalid input",)
        url = ("://", "netloc=") if "@" in present else ()
        hints = possible(*_HINTS, *(quoted or elsewhere), *url)
        searches = tuple(find for needed, find in self._searches.items() if not present.isdisjoint(needed))
        harmless, recurs = _HARMLESS.get(signs.rstrip(DIGIT)), not present.isdisjoint(":=")
        return harmless, hints, hints + possible(*_LONG_HINTS), searches, recurs


def _remember(known: dict[bytes, Plan], signs: bytes, plan: Plan) -> None:
    if len(signs) <= _MAX_KNOWN_LENGTH:
        if len(known) >= _MAX_KNOWN:
            known.clear()
        known[signs] = plan
