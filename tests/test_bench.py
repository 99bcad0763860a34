"""
The comparison of a benchmark with what it was: its arithmetic, and whose library is measured.
"""

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# An obskit that is there at once, or not at all.
PLANTED = {
    "fast": "def configure(**settings):\n    pass\n",
    "broken": "raise SystemExit('planted')\n",
}


@pytest.fixture
def pair(monkeypatch):
    """
    Import the module as `python -m bench pair` does, from the root.
    """
    monkeypatch.syspath_prepend(str(ROOT))
    from bench import pair

    return pair


@pytest.fixture
def library(tmp_path):
    """
    Plant an obskit in a folder, and give the folder.
    """

    def plant(kind):
        (tmp_path / "obskit").mkdir()
        (tmp_path / "obskit" / "__init__.py").write_text(PLANTED[kind])
        return tmp_path

    return plant


def area(freedom, end, steps=20_000):
    """
    Integrate the density of Student's t from minus to plus `end`, by Simpson's rule.
    """
    scale = math.gamma((freedom + 1) / 2) / math.sqrt(freedom * math.pi) / math.gamma(freedom / 2)
    width = end / steps
    weights = [1 if place in (0, steps) else 2 + place % 2 * 2 for place in range(steps + 1)]
    heights = [(1 + (place * width) ** 2 / freedom) ** (-(freedom + 1) / 2) for place in range(steps + 1)]
    return 2 * scale * width / 3 * sum(weight * height for weight, height in zip(weights, heights, strict=True))


def test_the_table_of_t_leaves_five_percent_outside(pair):
    """
    Between minus and plus each value of the table lie 95 % of Student's t.
    """
    assert [0.95] * len(pair.T) == [round(area(freedom, end), 4) for freedom, end in enumerate(pair.T, start=1)]


def test_the_interval_is_that_of_the_paired_logarithms(pair):
    """
    Ratios of 1.1, 1.1 × 1.02 and 1.1 / 1.02 have the geometric mean 1.1, and t × ln 1.02 / √3 to either side.
    """
    before = [10.0, 200.0, 3.0]
    after = [10.0 * 1.1, 200.0 * 1.1 * 1.02, 3.0 * 1.1 / 1.02]
    margin = math.exp(4.303 * math.log(1.02) / math.sqrt(3))

    assert (1.1, 1.1 / margin, 1.1 * margin) == pytest.approx(pair.ratio(before, after))


@pytest.mark.parametrize(("low", "slower"), [(1.0199, False), (1.02, False), (1.0201, True)])
def test_a_figure_is_slower_when_all_of_its_interval_lies_above_the_limit(pair, low, slower):
    """
    An interval that reaches down to 1.02 proves nothing.
    """
    assert slower == pair.Ratio(1.1, low, 1.2).slower


def test_figures_that_some_run_lacks_are_not_compared(pair):
    """
    A figure that one side does not have, or that is not above zero in each run, has no ratio.
    """
    before = [{"a": 1.0, "b": 1.0, "gone": 1.0}, {"a": 1.0, "b": -0.1, "gone": 1.0}]
    after = [{"a": 1.0, "b": 1.0, "new": 1.0}, {"a": 1.0, "b": 1.0, "new": 1.0}]

    assert ["a"] == list(pair.compare(before, after))


def test_what_is_slower_is_the_last_line_and_fails(pair, capsys):
    """
    Each figure has a line with its interval, and the command ends with those that are slower.
    """
    ratios = {"a, plain": pair.Ratio(1.3, 1.25, 1.35), "b": pair.Ratio(1.0, 0.99, 1.01)}

    with pytest.raises(SystemExit) as ended:
        pair._print(ratios, {"a, plain", "b", "c"})

    assert "all of the interval is above 1.02: a, plain" == ended.value.code
    assert [
        "a, plain 1.300 1.250 .. 1.350",
        "b 1.000 0.990 .. 1.010",
        "c not compared: it is not above zero in every run",
    ] == [re.sub(" +", " ", line) for line in capsys.readouterr().out.splitlines()[1:]]


def test_a_benchmark_measures_the_library_of_the_folder_that_is_named(pair, library):
    """
    The library comes from there, and not from where it is installed.
    """
    figures = pair.measure("imports", ["--replicas", "1"], library("fast"))

    cases = ["import obskit", "obskit.configure()", "without metrics", "metrics and lines", "disabled"]

    assert [f"{case}: ms" for case in cases] == list(figures)
    assert all(0 < milliseconds for milliseconds in figures.values())


def test_a_benchmark_that_fails_ends_the_comparison(pair, library):
    """
    What it printed is shown, with the command and the library.
    """
    folder = library("broken")

    with pytest.raises(SystemExit, match=f"planted(.|\n)*failed with the library in {re.escape(str(folder))}$"):
        pair.measure("primitives", [], folder)


def test_an_unknown_commit_is_named(pair, tmp_path):
    """
    A name that git does not know is an error before anything is measured.
    """
    with pytest.raises(SystemExit, match="git knows no commit 'nowhere'"):
        pair.libraries("nowhere", tmp_path)


@pytest.mark.parametrize("arguments", [[], ["http"], ["kills", "--before", "HEAD"]])
def test_what_is_missing_is_said(arguments):
    """
    A benchmark without figures, or no commit, is a usage error.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench", "pair", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert 2 == done.returncode
    assert done.stderr.startswith("usage: python -m bench pair")
