"""
Hash statements, so that those that differ only in values and layout have one fingerprint.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

_DIGEST_BYTES = 8

# A list with more items than this, or several rows, makes a statement a batch.
MAX_ITEMS = 20

# What stands between two commas: words, and what parentheses hold. None of it is ever given back, so time is linear.
_inner = r"(?:[^ ()]++ |\( (?:[^ ()]++ )*+\) )*+"
_item = rf"((?:[^ (),\[\]]++ |\( {_inner}\) )++)"
_row = r"\([^()]*+(?:\([^()]*+(?:\([^()]*+\)[^()]*+)*+\)[^()]*+)*+\)"
_parameters = re.compile(r"(?<![^ ])(?:%s|%\(\w+\)s|[?$:]\w++|@@?\w++)(?![^ ])").sub
_in_lists = re.compile(rf"(\bin \( |\[ ){_item}(?:, \2)*+(?:([\])])|(?:, .{{0,200}}+)?\Z)").sub
_values_lists = re.compile(rf"\bvalues (?:row )?+({_row})(?: , (?:row )?+{_row})*+(?: ,(?: \([^()]*+)?+\Z)?+").sub
_runs = re.compile(r"\?(?: , \?)++").sub
# As some databases are given several rows, or one of arrays.
_other_rows = re.compile(r"union all select \?|from unnest \(|\Ainsert all into ").search
# What takes a whole list as one parameter, whose length no text tells: it is written for many. `<> ALL(?)` is a filter.
_list_parameter = re.compile(
    r"(?<![^ ])(?:= (?:any|some)|unnest|list_contains|json_each|json_table|openjson|string_split"
    r"|jsonb?_(?:array_elements(?:_text)?|to_recordset)) \( (?:\( |cast \( )*+\?(?![^ ])"
).search


class Shape(NamedTuple):
    """
    What statements that differ in values alone have in common.

    Attributes:
        fingerprint: 16 hexadecimal digits.
        is_batch: Whether this one is about more than `MAX_ITEMS` things, or about several rows.
    """

    fingerprint: str
    is_batch: bool


def shape(tokens: Sequence[str], operation: str) -> Shape:
    """
    Hash the tokens of a masked statement to 16 hexadecimal digits, the same in every process and version of Python.

    The lists of an IN, of an array and of VALUES count as one item where all are alike, parameters as values, and the
    names of savepoints and cursors, which programs make up, do not count.
    """
    normal = " ".join(_without_generated_names(tokens, operation)).lower()
    normal = _parameters("?", normal)
    is_batch = _list_parameter(normal) is not None or (operation == "insert" and _other_rows(normal) is not None)

    def first_item(found: re.Match[str]) -> str:
        nonlocal is_batch
        head, item, end = found.groups()
        is_batch = is_batch or found[0].count(", " + item) >= MAX_ITEMS
        return f"{head}{item}{end or (')' if head[0] == 'i' else ']')}"

    def first_row(found: re.Match[str]) -> str:
        nonlocal is_batch
        is_batch = is_batch or found.end() > found.end(1)
        return f"values {_runs('?', found[1])}"

    if " in ( " in normal or "[ " in normal:
        normal = _in_lists(first_item, normal + " ").removesuffix(" ")
    if "values (" in normal or "values row (" in normal:
        normal = _values_lists(first_row, normal)
    digest = blake2b(normal.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
    return Shape(digest, is_batch)


def _without_generated_names(tokens: Sequence[str], operation: str) -> Sequence[str]:
    if not has_generated_name(tokens, operation):
        return tokens
    return (tokens[0], "?", *tokens[2:]) if operation == "declare" else (operation, "?")


def has_generated_name(tokens: Sequence[str], operation: str) -> bool:
    """
    Return whether a statement names a savepoint, a cursor or a prepared statement, whose names programs generate.
    """
    if operation == "rollback":
        return len(tokens) > 2  # ROLLBACK, ROLLBACK WORK; ROLLBACK TO a
    return operation in ("close", "deallocate", "declare", "fetch", "move", "release", "savepoint")
