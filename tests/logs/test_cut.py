"""
A line that is too long is cut to one that fits, is one JSON object, and says where it was cut.
"""

import json
import traceback

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from obskit.logs.line_truncation import truncate_line
from obskit.logs.rendering import render

LIMIT = 4096


def parsed(fields, limit=LIMIT):
    """
    Cut a line, see that it fits and has its end, and read it.
    """
    short = truncate_line(render(fields), limit)

    assert len(short) <= limit
    assert short.find(b"\n") == len(short) - 1
    return json.loads(short)


def failing():
    """
    Return a traceback that Python wrote.
    """
    try:
        {}["order 17"]
    except KeyError:
        return traceback.format_exc()


def long_traceback(frames, message="no such plant"):
    """
    Write a traceback of distinct frames.
    """
    body = "".join(
        f'  File "/srv/shop/module_{number}.py", line {number}, in step_{number}\n    return step_{number + 1}(plant)\n'
        for number in range(frames)
    )
    return f"Traceback (most recent call last):\n{body}ValueError: {message}\n"


def test_of_a_traceback_the_outer_frames_go_first():
    """
    The class, the message, the innermost frames and all other fields stay, and the mark says how many frames went.
    """
    fields = {
        "timestamp": "2026-11-03T12:00:00.000000Z",
        "level": "ERROR",
        "message": "checkout failed",
        "exception": {"type": "ValueError", "message": "no such plant", "traceback": long_traceback(500)},
        "order": 17,
    }
    line = parsed(fields)
    text = line["exception"].pop("traceback")
    start, mark, *frames, end = text.splitlines()

    assert {**fields, "exception": {"type": "ValueError", "message": "no such plant"}} == line
    assert ("Traceback (most recent call last):", "ValueError: no such plant") == (start, end)
    assert f"  [{500 - len(frames) // 2} outer frames cut]" == mark
    assert 20 < len(frames)
    assert "    return step_500(plant)" == frames[-1]


def test_a_traceback_that_python_wrote_is_cut_in_the_same_way():
    """
    Its frames have marks below the code, and stay whole.
    """
    link = "\nDuring handling of the above exception, another exception occurred:\n\n"
    text = parsed({"traceback": long_traceback(400) + link + failing()})["traceback"]

    assert text.endswith(link + failing())


def test_of_a_chain_each_exception_keeps_its_end():
    """
    The cause of an exception keeps its class and message too, where there is room.
    """
    link = "\nThe above exception was the direct cause of the following exception:\n\n"
    text = parsed({"traceback": link.join(long_traceback(200, f"number {number}") for number in range(3))})["traceback"]

    assert ["ValueError: number 0", "ValueError: number 1", "ValueError: number 2"] == [
        line for line in text.splitlines() if line.startswith("ValueError")
    ]
    assert 3 == text.count("outer frames cut]")


def test_the_first_of_a_very_long_chain_go():
    """
    Of fifty exceptions the last ones stay, and it says how many went.
    """
    link = "\nDuring handling of the above exception, another exception occurred:\n\n"
    text = parsed({"traceback": link.join(long_traceback(50, f"number {number}") for number in range(50))})["traceback"]

    assert text.endswith("ValueError: number 49\n")
    assert "earlier exceptions cut]\n" in text.splitlines(keepends=True)[0]


def test_a_long_message_does_not_cost_the_innermost_frame():
    """
    Of an exception whose message is a whole document, the start of the message and the innermost frame stay.
    """
    text = parsed({"traceback": long_traceback(100, "at " + "x" * 50_000)})["traceback"]

    assert "ValueError: at xxx" in text
    assert "characters cut]" in text
    assert "    return step_100(plant)" in text


def test_the_longest_strings_are_cut():
    """
    What is short stays, and what is cut says by how much.
    """
    line = parsed({"message": "m" * 300, "body": "b" * 9000, "other": "o" * 9000, "order": 17})
    kept = line["body"].count("b")

    assert ("m" * 300, 17) == (line["message"], line["order"])
    assert f"{'b' * kept} [{9000 - kept} characters cut]" == line["body"]
    assert line["body"].replace("b", "o") == line["other"]


def test_long_lists_and_objects_are_cut():
    """
    Of many items the first stay, with a mark that says how many went.
    """
    line = parsed({"ids": list(range(5000)), "by_name": {f"plant-{number}": number for number in range(5000)}})

    assert list(range(len(line["ids"]) - 1)) == line["ids"][:-1]
    assert f"[{5000 - len(line['ids']) + 1} items cut]" == line["ids"][-1]
    assert f"[{5000 - len(line['by_name']) + 1} fields cut]" == line["by_name"]["cut"]


def test_of_too_many_fields_the_smallest_stay():
    """
    A line of a thousand fields keeps those that fit, and says how many went.
    """
    line = parsed({"level": "INFO", **{f"field_{number}": "v" * 40 for number in range(1000)}, "last": 1})

    assert ("INFO", 1) == (line["level"], line["last"])
    assert f"[{1002 - len(line) + 1} fields cut]" == line["cut"]


def test_a_line_that_is_no_object_loses_its_end():
    """
    A line for the console is cut between characters, and keeps its newline.
    """
    short = truncate_line("é".encode() * 5000 + b"\n", LIMIT)

    assert len(short) <= LIMIT
    assert short.decode().endswith("é [cut]\n")


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=80), inner, max_size=30),
    max_leaves=200,
)


@settings(deadline=None)  # the machine may be busy
@given(st.dictionaries(st.text(max_size=300), values, max_size=60), st.integers(200, 5000))
@example({"\x1b" * 300: "\u2028" * 5000}, 200)
@example({"a": [[[["x" * 80] * 30] * 30] * 30]}, 200)
@example({"x" * 300: 1}, 200)
@example({"traceback": "Traceback (most recent call last):\n" * 300}, 200)
@example({"traceback": 'Traceback (most recent call last):\n  File "' * 300}, 200)
def test_whatever_the_line_what_is_cut_fits_and_parses(fields, limit):
    """
    Each line, cut to each size, is one JSON object of that size at most.
    """
    assert isinstance(parsed(fields, limit), dict)


@pytest.mark.parametrize("size", [10, 100, 4000])
def test_a_message_is_not_cut_more_than_it_must(size):
    """
    At least half of the room is used.
    """
    assert len(truncate_line(render({"message": "x" * 100_000, "small": "y" * size}), LIMIT)) > LIMIT / 2
