"""
Prove that each public name has a mark, and that each mark has a name.
"""

import re
from fnmatch import fnmatchcase

import pytest
import stability
from pages import ROOT

REFERENCE = ROOT / "docs" / "reference"


def lines_of(part):
    listing = (REFERENCE / "surface.txt").read_text("utf-8")
    return listing.partition(f"\n[{part}]\n")[2].partition("\n\n")[0].splitlines()


def marks_of(part):
    """
    Read the rows of one table of the page: name -> mark and reason.
    """
    page = (REFERENCE / "stability.md").read_text("utf-8")
    table = page.partition(f"\n## {stability.TITLES[part]}\n")[2].partition("\n## ")[0]
    return {
        name: (mark, why) for name, mark, why in re.findall(r"^\| `(.+)` \| (\w+) \| (.*) \|$", table, re.MULTILINE)
    }


@pytest.mark.parametrize("part", stability.TITLES)
def test_each_name_has_a_mark(part):
    """
    What the listing has, or the class that it belongs to, is stable or provisional, and what is provisional says why.
    """
    marks = marks_of(part)
    subjects = [re.split(r"[(:]", line)[0] for line in lines_of(part)]

    assert [] == [name for name in subjects if name not in marks and name.rpartition(".")[0] not in marks]
    assert {("stable", False), ("provisional", True)} >= {(mark, bool(why.strip())) for mark, why in marks.values()}


@pytest.mark.parametrize("part", stability.PROVISIONAL)
def test_each_pattern_marks_something(part):
    """
    No pattern is about names that are gone.
    """
    names = [*marks_of(part)]

    assert [] == [
        pattern for pattern in stability.PROVISIONAL[part] if not any(fnmatchcase(name, pattern) for name in names)
    ]


@pytest.mark.parametrize(
    ("page", "part"), [("api.md", "names"), ("settings.md", "settings"), ("metrics.md", "metrics")]
)
def test_a_provisional_name_is_marked_where_it_is_described(page, part):
    """
    The page that describes a name says that it is provisional, of these alone.
    """
    text = (REFERENCE / page).read_text("utf-8")
    described = re.findall(r"^### (obskit\..+)$((?:\n(?!###).*)*)", text, re.MULTILINE) or re.findall(
        r"^\| `(.+?)` \|(.*)$", text, re.MULTILINE
    )
    marked = {name for name, body in described if "[Provisional](stability.md)" in body}

    assert {name for name, _ in described if stability.reason(part, name) is not None} == marked != set()
