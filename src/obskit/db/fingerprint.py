"""
Give statements that differ only in their values, and in how they are set, one short hash.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b

_DIGEST_BYTES = 8

_item = r"(?:\?|\( \?(?: , \?)*+ \))"
_row = r"\([^()]*+(?:\([^()]*+\)[^()]*+)*+\)"
_parameters = re.compile(r"(?<![^ ])(?:%s|%\(\w+\)s|[?$:]\w++|@@?\w++)(?![^ ])").sub
_in_lists = re.compile(rf"\bin \( {_item}(?: , {_item})*+(?: ,)?+(?: \)|\Z)").sub
_values_lists = re.compile(rf"\bvalues ({_row})(?: , {_row})*+(?: ,(?: \([^()]*+)?+\Z)?+").sub
_array_lists = re.compile(r"\[ \?(?: , \?)++ \]").sub
_runs = re.compile(r"\?(?: , \?)++").sub


def fingerprint(tokens: Sequence[str], operation: str) -> str:
    """
    Hash the tokens of a masked statement to 16 hexadecimal digits, the same in every process and version of Python.

    The lists of an IN, of an array and of VALUES count as one item, parameters as values, and the names of savepoints
    and cursors, which programs make up, do not count.
    """
    normal = " ".join(_without_passing_names(tokens, operation)).lower()
    normal = _parameters("?", normal)
    if " in ( " in normal:
        normal = _in_lists("in ( ? )", normal)
    if "values (" in normal:
        normal = _values_lists(_first_row, normal)
    if "[ ? ," in normal:
        normal = _array_lists("[ ? ]", normal)
    return blake2b(normal.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()


def _first_row(found: re.Match[str]) -> str:
    return f"values {_runs('?', found[1])}"


def _without_passing_names(tokens: Sequence[str], operation: str) -> Sequence[str]:
    if not has_passing_name(tokens, operation):
        return tokens
    return (tokens[0], "?", *tokens[2:]) if operation == "declare" else (operation, "?")


def has_passing_name(tokens: Sequence[str], operation: str) -> bool:
    """
    Tell whether a statement names a savepoint, a cursor or a prepared statement.
    """
    if operation == "rollback":
        return len(tokens) > 2  # ROLLBACK, ROLLBACK WORK; ROLLBACK TO a
    return operation in ("close", "deallocate", "declare", "fetch", "move", "release", "savepoint")
