"""
A length of time is read as it was meant, or not at all.
"""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obskit.errors import ConfigurationError, DurationError
from obskit.time.durations import LONGEST_SECONDS, duration_text, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("90s", 90.0),
        ("15m", 900.0),
        ("1h", 3600.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("14d", 1_209_600.0),
        ("2w", 1_209_600.0),
        ("1m500ms", 60.5),
        (" 10s ", 10.0),
        ("0s", 0.0),
        (timedelta(minutes=15), 900.0),
        (timedelta(0), 0.0),
    ],
)
def test_a_duration_is_read(text, seconds):
    """
    Text with units, the largest first, and a `timedelta` are lengths of time.
    """
    assert seconds == seconds_of(text)


@pytest.mark.parametrize("bare", [15, 15.0, 0, -3, "15", " 15 ", "1.5", "+2"])
def test_a_bare_number_has_two_readings(bare):
    """
    A number without a unit is an error that names the setting, and shows it as seconds and as minutes.
    """
    with pytest.raises(DurationError) as caught:
        seconds_of(bare, "history_every")

    number = str(bare).strip()
    assert f"history_every={bare!r} has no unit" in str(caught.value)
    assert f'"{number}s"' in str(caught.value)
    assert f'"{number}m"' in str(caught.value)


class Unsayable:
    """
    An object whose text cannot be had.
    """

    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "wrong",
    [
        *("", " ", "m", "fifteen minutes", "15 m", "15min", "15M", "30m1h", "1h1h", "1m5", "1e3s", "-5m", "5m ago"),
        *("\u0663s", "1,5h", "infs", "nans", "1h\n30m", ".5s", "5.s", "99999999999999999999d"),
        *(True, None, b"15m", [15], float("nan"), float("inf"), object()),
        *("200000d", timedelta(days=-1), timedelta.max),
    ],
)
def test_what_is_no_duration_is_refused(wrong):
    """
    Whatever else is given is a configuration error, whose message stays short.
    """
    with pytest.raises(DurationError) as caught:
        seconds_of(wrong, "x")

    assert isinstance(caught.value, ConfigurationError)
    assert len(str(caught.value)) < 300


def test_what_has_no_text_is_refused():
    """
    An error's text is made of any value, also of one whose own cannot be had.
    """
    with pytest.raises(DurationError, match="a value of Unsayable is no length of time"):
        seconds_of(Unsayable())
    with pytest.raises(DurationError, match="a value of int has no unit"):
        seconds_of(10**5000)


@given(st.integers(0, int(LONGEST_SECONDS * 1000)))
def test_what_is_written_is_read_back(milliseconds):
    """
    Each length of time, to the millisecond, comes back from its text.
    """
    assert milliseconds == round(seconds_of(duration_text(milliseconds / 1000)) * 1000)


@given(st.text(max_size=12) | st.from_regex(r"[0-9.]{1,4}(w|d|h|m|s|ms)[0-9]{0,3}[a-z]{0,2}"))
def test_no_text_breaks_it(text):
    """
    A text is a length of time within the bounds, or the one error.
    """
    try:
        seconds = seconds_of(text)
    except DurationError:
        return

    assert 0 <= seconds <= LONGEST_SECONDS


@given(st.timedeltas(timedelta(0), timedelta(seconds=LONGEST_SECONDS)))
def test_a_timedelta_is_its_seconds(length):
    """
    A `timedelta` has one reading.
    """
    assert length.total_seconds() == seconds_of(length)
