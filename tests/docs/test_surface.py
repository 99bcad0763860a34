"""
Prove that the listing of what applications build on is complete, and that its lines stand for themselves.
"""

import re

import pytest
import surface
from pages import ROOT

import obskit
from obskit import catalogue
from obskit.logs.rendering import RESERVED_FIELDS


def part(title):
    """
    Read the lines of one part of the committed listing.
    """
    text = (ROOT / "docs" / "reference" / "surface.txt").read_text("utf-8")
    return text.partition(f"\n[{title}]\n")[2].partition("\n\n")[0].splitlines()


@pytest.mark.parametrize("title", surface.PARTS)
def test_a_line_is_one_thing(title):
    """
    Each line stands for itself, once, and tells nothing of this machine or of where a thing lies.
    """
    lines = part(title)

    assert len(lines) == len(set(lines)) > 0
    assert [line for line in lines if re.search(r" at 0x|ForwardRef|: [a-z_.]+\.[A-Z]", line)] == []


def test_every_name_is_listed():
    """
    Each public name of the package is the subject of a line.
    """
    listed = {re.split(r"[(:]", line)[0] for line in part("names")}

    assert {f"obskit.{name}" for name in obskit.__all__} <= listed


def test_every_metric_and_field_is_listed():
    """
    The metrics of the catalogue, and the fields that lines reserve, are the subjects of the lines of their parts.
    """
    assert {metric.name for metric in catalogue.CATALOGUE} == {line.partition(":")[0] for line in part("metrics")}
    assert {line.partition(":")[0] for line in part("line fields")} == RESERVED_FIELDS
