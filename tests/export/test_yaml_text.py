"""
Whatever is written as YAML is read as it was.
"""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from obskit.export.yaml_text import yaml_text

WORDS = [
    "",
    " ",
    "a: b",
    "a #b",
    "a:",
    "- a",
    "yes",
    "NO",
    "null",
    "~",
    "1",
    "1e3",
    "0x1f",
    "1:30",
    "2026-11-30",
    ".inf",
]
SIGNS = [
    "'",
    '"',
    "\\",
    "\n",
    "a\nb",
    "\t",
    "\x00",
    "\x7f",
    "\x85",
    "\u2028",
    "\ufeff",
    "é",
    "日本",
    "\U0001f600",
    "{{ $labels.a }}",
]
PROMQL = [
    "5m",
    "1h30m",
    'sum by (job) (x{a=~"b|c\\\\d"}) > 0.5',
    "(a or b) and on (job) c",
    "!x",
    "*",
    "&a",
    "%",
    "@",
    "`",
    "?",
    "a, b]",
]
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(codec="utf-8"))
    | st.sampled_from(WORDS),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(st.characters(codec="utf-8")), inside),
    max_leaves=12,
)


@pytest.mark.parametrize("text", [*WORDS, *SIGNS, *PROMQL])
def test_a_text_stays_text(text):
    """
    As a value, as a name and in a list, whatever YAML itself means by such signs.
    """
    value = {"it": text, text: ["first", text, {text: text}]}

    assert value == yaml.safe_load(yaml_text(value))


@settings(max_examples=40, deadline=None)
@given(values)
def test_any_value_is_read_as_it_was(value):
    """
    Whatever lies in whatever.
    """
    assert value == yaml.safe_load(yaml_text(value))


@pytest.mark.parametrize("number", [0, -1, 10**15, 0.5, 1e-05, 1e300, -2.5e-10])
def test_a_number_stays_a_number(number):
    """
    Those without a point in their exponent too, which some readers take for text.
    """
    assert [number] == yaml.safe_load(yaml_text([number]))


def test_a_document_is_made_for_people():
    """
    Blocks, and quotes where they are needed.
    """
    value = {"groups": [{"name": "a", "rules": [{"expr": 'x{job="a"} > 1', "for": "5m", "empty": []}]}], "none": {}}

    assert yaml_text(value) == (
        'groups:\n  - name: a\n    rules:\n      - expr: x{job="a"} > 1\n        for: 5m\n        empty: []\nnone: {}\n'
    )
