"""
A rule as files have it: everything rendered for one page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from obskit.export.cases import Case
from obskit.export.rule_tests import LabelsOf


@dataclass(frozen=True)
class WrittenRule:
    """
    One alert.

    Attributes:
        name: Of the alert.
        severity: How bad it is.
        area: What it is about; each has its files.
        expression: PromQL.
        for_seconds: How long it must hold.
        keep_firing_seconds: How long it goes on once it does not hold any more.
        every_seconds: How often it is judged; 0: as often as the server judges.
        labels: Of the alert, as templates.
        labels_of: Of the alert of a label set, filled in.
        summary: One sentence without figures.
        description: What is shown with it, as a template.
        runbook: Where it says what to do; nothing: the page that is written beside the rules.
        shown: What to look at, in PromQL.
        metrics: The names of what it needs, on the page.
        waits_for: What must have happened before it has figures; nothing: a scrape or two.
        cases: What it is tried with.
    """

    name: str
    severity: str
    area: str
    expression: str
    for_seconds: float
    keep_firing_seconds: float
    every_seconds: float
    labels: Mapping[str, str]
    labels_of: LabelsOf
    summary: str
    description: str
    runbook: str
    shown: str
    metrics: tuple[str, ...]
    waits_for: str
    cases: tuple[Case, ...] = field(default=(), repr=False)
