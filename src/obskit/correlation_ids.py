"""
Correlation ids and trace ids: how they are made, and which of those that others send are well formed.
"""

from __future__ import annotations

import random
import re
from itertools import repeat

from obskit.forks import at_fork

ID_HEADER = "X-Correlation-ID"
ID_HEADER_LOWER = "x-correlation-id"

# `uuid.UUID()` is not a check: it drops hyphens and braces, so 60 KB of them pass. A fullmatch with a length is.
valid_id = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}").fullmatch
# W3C Trace Context, level 2: version 00-fe, 16 bytes of trace id, 8 of span id, flags; neither id all zero. Version 00
# has no more than that; later ones may.
_valid_traceparent = re.compile(
    r"(?:00(?!.{54})|(?!ff|00)[0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?"
).fullmatch

# A generator of its own: an application that seeds `random` must not make ids repeat, nor two forked workers.
_random = random.Random()
at_fork(after_in_child=_random.seed)
# Makes 32 hexadecimal digits, not a secret. A chain of C iterators: a Python function costs three times as much, and
# formatting the number twice as much as writing its bytes.
new_id = map(bytes.hex, map(int.to_bytes, map(_random.getrandbits, repeat(128)), repeat(16))).__next__


def trace_id_of(traceparent: str) -> str | None:
    """
    Read the trace id of a `traceparent` header; None where it breaks the W3C rules.
    """
    match = _valid_traceparent(traceparent)
    return match[1] if match else None
