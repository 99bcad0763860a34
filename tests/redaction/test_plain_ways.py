"""
What is decided by the signs of a text, or by one pass through a value, hides what the long way hides.
"""

import io
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from secrets_planted import AROUND, CARDS, DSNS, HEADERS, INNOCENT, INNOCENT_KEYS, JWT, KEYS, OPAQUE, SECRET, TOKENS

from obskit.logs.plain_values import plain_sizes
from obskit.logs.rendering import SizeBudget, render
from obskit.logs.writer import Writer
from obskit.recorder import Recorder
from obskit.redaction.driver_errors import QUOTED_HINTS
from obskit.redaction.redactor import Redactor
from obskit.redaction.signs import _DECISIVE, _HINTS, _LONG_HINTS, MIN_CARD_DIGITS
from obskit.settings import Settings

redactor = Redactor()
PLANTED = [around.format(SECRET) for around in (*AROUND, *DSNS, *HEADERS)]
PIECES = [*KEYS, *INNOCENT_KEYS, *CARDS, *TOKENS.values(), *PLANTED, *INNOCENT, *_HINTS, *_LONG_HINTS, *QUOTED_HINTS]
MOMENTS = ["2026-11-30T09:00:00Z", "2026-11-30 09:00:00.123456+00:00", "550e8400-e29b-41d4-a716-446655440000"]
SIGNS = st.text("=:@_-IJB'<%\"({)}],;&? \n\t0123456789abcwdT/.\\\xa0é\ud800", max_size=12)
texts = st.lists(
    st.sampled_from([*PIECES, *MOMENTS]) | SIGNS | st.sampled_from(PIECES).map(lambda piece: piece[:9]), max_size=5
).map("".join)
whole_texts = st.one_of(
    st.from_regex(r"\A\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d{1,7})?[A-Z+-]?(\d\d:\d\d)?\Z"),
    st.from_regex(r"\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z"),
)
names = st.sampled_from([*KEYS, *INNOCENT_KEYS, "value", "name", "netloc", "is?password"]) | SIGNS
numbers = st.integers() | st.sampled_from([4111111111111111, 2**53, -(2**53), 2**64]) | st.floats() | st.booleans()
plain = texts | numbers | st.none() | st.sampled_from(["-p", "--token", "hunter2", "user:pwd@host"])
values = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(names | st.integers(), inner, max_size=4)
        | st.tuples(names, inner)
        | st.tuples(names, inner).map(list)
    ),
    max_leaves=12,
)
slowly = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def shown(body):
    return json.loads(render(body))


def by_all_rules(text):
    return redactor._redact_any_length(text)


@slowly
@given(texts | whole_texts)
def test_what_the_signs_leave_out_no_rule_would_find(text):
    """
    A text with a sign, or with the digits of a card, comes out as all rules leave it; none does in a third way.
    """
    shown = redactor.text(text)
    is_decided = len(text) >= 7 and (
        not set(text).isdisjoint(_DECISIVE) or sum(map(str.isascii, filter(str.isdigit, text))) >= MIN_CARD_DIGITS
    )

    assert shown in ([by_all_rules(text)] if is_decided else [text, by_all_rules(text)])


@pytest.mark.parametrize("text", [*PLANTED, *TOKENS.values(), *CARDS, *(f"x {JWT} {token}" for token in CARDS)])
def test_a_planted_secret_is_found_among_known_texts(text):
    """
    What was remembered of texts without a secret spares none that has one.
    """
    own = Redactor()
    for known in (*INNOCENT, *MOMENTS, *INNOCENT_KEYS):
        own.text(known)

    assert by_all_rules(text) == own.text(text) != text


def test_a_name_that_was_known_as_a_field_hides_nothing_in_a_text():
    """
    The parameter `is?password` is no secret; what a text assigns to `password` behind a question mark is.
    """
    own = Redactor()
    own.query("is?password=x")

    assert "is?password=[redacted:password]" == own.text(f"is?password={SECRET}")


@pytest.mark.parametrize("by_value", [True, False])
def test_known_names_show_what_new_ones_do(by_value):
    """
    Fields are added by the short way as by the long one, whatever they hold.
    """
    writer = Writer(Settings(log_stream=io.StringIO(), redact_values=by_value), Recorder())

    @slowly
    @example({"sessions": 2**53, "session_count": ["\ud800"]})
    @example({"sessions": 2**53, "session_count": {"sessions": "\ud800"}})
    @given(st.dictionaries(names, values, max_size=4))
    def compare(fields):
        writer.known_names.clear()
        writer.unchanged_names.clear()
        first, then = {}, {}
        writer.add(first, fields)
        writer.add(then, fields)

        assert shown(first) == shown(then)

    compare()


@slowly
@given(values)
def test_a_plain_value_is_as_large_as_its_conversion(value):
    """
    The size of a plain list or dict is what its conversion would have taken of the budget.
    """
    value = json.loads(json.dumps(value, default=str).replace("\\ud800", ""))  # of which a conversion makes more
    writer = Writer(Settings(log_stream=io.StringIO()), Recorder())
    budget, body = SizeBudget(), {}
    before = budget.remaining
    writer.add_field(body, "field", value, budget)
    sizes = plain_sizes(writer.redactor)  # by the names that are known now
    size = sizes.of_dict(value) if type(value) is dict else sizes.of_list(value) if type(value) is list else 0

    assert size in (0, before - budget.remaining)


def test_plain_values_share_the_budget_of_the_line():
    """
    What is too much for a line is cut at the same place, whether its names are known or not.
    """
    writer = Writer(Settings(log_stream=io.StringIO()), Recorder())
    fields = {f"field{number}": [["x" * 50_000], {"a": OPAQUE[:20], "b": 1}] for number in range(30)}
    first, then = {}, {}
    writer.add(first, fields)
    writer.add(then, fields)

    assert shown(first) == shown(then)
    assert b" characters cut]" in render(then)


def test_a_list_that_holds_itself_is_no_plain_value():
    """
    What contains itself is left to the long way.
    """
    endless = [1]
    endless.append(endless)

    assert 0 == plain_sizes(redactor).of_list(endless)


def test_what_a_record_has_itself_is_judged_each_time():
    """
    A logger's own field `message` or `level` does not make the same attribute of a record a field.
    """
    writer = Writer(Settings(log_stream=io.StringIO()), Recorder())
    writer.add({}, {"message": "a", "asctime": "b", "level": "c", "exception": "d", "value": "e", "path": "f"})

    assert {"path": "extra_path"} == writer.known_names
