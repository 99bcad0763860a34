"""
Rules as Prometheus reads them: a file an area, and a file of tests beside it; tests of days have one of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from obskit.export.cases import EVALUATION_SECONDS
from obskit.export.rule_tests import document_of_tests, unit_test
from obskit.export.written_rule import WrittenRule
from obskit.export.yaml_text import Value, yaml_text
from obskit.signals.matching import quoted
from obskit.signals.page import Page
from obskit.time.durations import duration_text

HEAD = "Written by `python -m obskit export prometheus`: change the application, and write it again."
FOLDER = "rules"


def rule_files(rules: Iterable[WrittenRule], page: Page, runbooks_url: str) -> dict[str, str]:
    """
    Return the files of rules and of their tests, by path.
    """
    found = {}
    for area, of_area in groupby(sorted(rules, key=lambda rule: (rule.area, rule.name)), lambda rule: rule.area):
        here = list(of_area)
        name = f"{area}.rules.yml"
        found[f"{FOLDER}/{name}"] = commented({"groups": list(_groups(f"{page.service} {area}", here, runbooks_url))})
        for seconds, tests in _tests(here, page).items():
            suffix = "" if seconds == EVALUATION_SECONDS else f"_{duration_text(seconds)}"
            found[f"{FOLDER}/{area}{suffix}.test.yml"] = commented(document_of_tests(name, tests, seconds))
    return found


def _groups(name: str, rules: Iterable[WrittenRule], runbooks_url: str) -> Iterator[Value]:
    """
    Yield a group of those that are judged as often as the server judges, and one for each other pace.
    """
    for seconds, of_pace in groupby(sorted(rules, key=lambda rule: rule.every_seconds), lambda it: it.every_seconds):
        every = duration_text(seconds)
        pace = {"name": f"{name} every {every}", "interval": every} if seconds else {"name": name}
        yield {**pace, "rules": [_alert(rule, runbooks_url) for rule in of_pace]}


def commented(document: Value) -> str:
    """
    Return a document that says who wrote it.
    """
    return f"# {HEAD}\n{yaml_text(document)}"


def _alert(rule: WrittenRule, runbooks_url: str) -> Mapping[str, Value]:
    durations = (("for", rule.for_seconds), ("keep_firing_for", rule.keep_firing_seconds))
    return {
        "alert": rule.name,
        "expr": rule.expression,
        **{name: duration_text(seconds) for name, seconds in durations if seconds},
        "labels": dict(rule.labels),
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            "runbook_url": rule.runbook or f"{runbooks_url}/{rule.name}.md",
        },
    }


def _tests(rules: Iterable[WrittenRule], page: Page) -> dict[float, list[Value]]:
    """
    Return the tests by how often they evaluate: a file is evaluated alike.
    """
    found: dict[float, list[Value]] = {}
    for rule in rules:
        selector = f"alertname={quoted(rule.name)}, severity={quoted(rule.severity)}"
        for case in rule.cases:
            title = f"{rule.name}, {rule.severity}: {case.title}"
            test = unit_test(title, selector, case, page, rule.labels_of)
            found.setdefault(case.evaluation_seconds, []).append(test)
    return found
