"""
However large a value is, or may become when it is laid open, its line is not; and the line says what it leaves out.
"""

import io
import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import obskit
from obskit.logs import JsonHandler
from obskit.logs.rendering import MAX_LINE_CHARACTERS, VALUE_OVERHEAD, SizeBudget, to_jsonable
from obskit.redaction.redactor import MAX_VALUES, Redactor
from obskit.testing import isolated_runtime

log = obskit.get_logger("shop.room")
foreign = logging.getLogger("shop.room.foreign")
# JSON writes a character in up to six, and there are marks.
LARGEST = 6 * MAX_LINE_CHARACTERS + 10_000


def shared(levels, width=10, leaf="x"):
    """
    Nest lists that hold one list several times: few objects, and width ** levels leaves.
    """
    value = leaf
    for _ in range(levels):
        value = [value] * width
    return value


def lines_of(do, **given):
    """
    Return what is logged as texts, each of which parses.
    """
    out = io.StringIO(newline="")
    foreign.handlers, foreign.propagate = [JsonHandler()], False
    with isolated_runtime(log_stream=out, **given):
        do()
    foreign.handlers = []
    lines = out.getvalue().splitlines()
    assert all(json.loads(line) for line in lines)
    return lines


@pytest.mark.parametrize(
    "leaf",
    ["x", 7, None, "password=hunter2", "\ud800", 10**5000, {"a": "ä" * 1000}],
    ids=lambda leaf: type(leaf).__name__,
)
@pytest.mark.parametrize("schema", ["obskit", "ecs"])
def test_what_is_shared_does_not_unfold(leaf, schema):
    """
    A list of ten lists of ten, ten times over, has ten thousand million leaves and leaves a short line: as a field,
    inside of one, bound, as `extra`, as the message and as an argument that does not fit.
    """
    value = shared(10, leaf=leaf)

    def everywhere():
        log.info("x", odd=value)
        log.info("x", odd=value)
        log.info("x", odd={"inside": (value,)}, more=[value], again=value)
        log.bind(odd=value).info("x")
        log.info(value)
        log.info("nothing fits", value, 1)
        foreign.warning("x", extra={"odd": value})
        foreign.warning(value)

    lines = lines_of(everywhere, log_schema=schema)

    assert 8 == len(lines)
    assert all("items cut]" in line for line in lines)
    assert max(map(len, lines)) < LARGEST
    assert not any("hunter2" in line for line in lines)


def test_the_fields_of_a_line_share_one_room():
    """
    A hundred fields that would each fill a line fill one.
    """
    fields = {f"field_{number}": shared(5) for number in range(100)}

    def twice():
        log.info("x", **fields)
        log.info("x", **fields)
        foreign.warning("x", extra=fields)

    lines = lines_of(twice)

    assert max(map(len, lines)) < LARGEST
    assert [100] * 3 == [sum(name.startswith("field_") for name in json.loads(line)) for line in lines]


dags = st.builds(
    shared,
    st.integers(0, 30),
    st.integers(1, 10),
    st.one_of(st.text(max_size=2000), st.integers(), st.dictionaries(st.text(), st.text(max_size=500), max_size=5)),
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(), dags, max_size=4), st.sampled_from([None, "order"]), st.booleans())
def test_any_line_is_bounded(fields, message, values):
    """
    Whatever is shared by whatever, at any depth, the line parses and is no longer than its room.
    """
    written = lines_of(lambda: log.info(message or list(fields.values()), **fields), redact_values=values)

    assert 1 == len(written)
    assert len(written[0]) < 2 * LARGEST  # the message has a room of its own


def test_the_marks_say_how_much_was_cut():
    """
    Of lists the number of items, of mappings that of fields, of texts that of characters.
    """
    items = to_jsonable(list(range(10)), budget=SizeBudget(4 * VALUE_OVERHEAD))
    fields = to_jsonable({"a": "b", "c": "d", "e": "f"}, budget=SizeBudget(3 * VALUE_OVERHEAD + 2))
    text = to_jsonable(["x" * 100], budget=SizeBudget(2 * VALUE_OVERHEAD + 30))

    assert [0, 1, 2, "[7 items cut]"] == items
    assert {"a": "b", "cut": "[2 fields cut]"} == fields
    assert ["x" * 30 + " [70 characters cut]"] == text


def test_depth_is_bounded_too():
    """
    Sixteen levels are shown, and of what is below them how much it is.
    """
    value = shared(40, width=1)
    shown = to_jsonable(value)
    for _ in range(16):
        shown = shown[0]

    assert "[1 items cut]" == shown[0]


def test_a_long_list_is_cut_before_it_is_redacted():
    """
    Redaction looks at so many values and no more; what it has not seen is not shown.
    """
    rows = [{"n": number} for number in range(100_000)]
    shown = Redactor().value(rows)

    assert rows[0] is shown[0]
    assert f"[{100_000 - MAX_VALUES // 2} items cut]" == shown[-1]
    assert MAX_VALUES // 2 + 1 == len(shown)


def test_redaction_cuts_mappings_and_depth():
    """
    Fields beyond the number are cut, and what is too deep to be looked at.
    """
    redactor = Redactor()
    fields = redactor.value({str(number): number for number in range(MAX_VALUES + 7)})
    deep = redactor.value(shared(40, width=1, leaf="password=hunter2"))

    assert "[7 fields cut]" == fields["cut"]
    assert "[1 items cut]" in str(deep)
    assert "hunter2" not in str(deep)


def test_a_number_of_any_size_is_no_card():
    """
    An integer that cannot be text does not raise, nor costs what stands beside it.
    """
    redactor = Redactor()
    huge = 10**5000

    assert huge is redactor.value(huge)
    assert [huge, "token=[redacted:token]", -huge] == redactor.value([huge, "token=abcdef1", -huge])
    assert {"n": huge, "card": "[redacted:card]"} == redactor.fields({"n": huge, "card": 4111111111111111})


def test_numbers_inside_of_others_stay_numbers():
    """
    A float is shown as large as it is, and an integer that some readers would round as text.
    """
    assert [1e300, -1e20, 0.5, "9007199254740992", None] == to_jsonable([1e300, -1e20, 0.5, 2**53, float("inf")])
