"""
The tests that are written beside rules find each mistake that a rule could have.
"""

import re
import subprocess

import pytest

from export.mutants import mutants_of
from obskit.export.cases import cases_of
from obskit.export.rule_tests import INSTANCE, document_of_tests, unit_test
from obskit.export.yaml_text import yaml_text
from obskit.rules.in_force import shipped
from obskit.rules.rule import Outside
from obskit.rules.states import AlertStates
from obskit.signals.page import Page
from obskit.time.durations import duration_text
from signals import prometheus

PAGE = Page("shop")
RULES = [rule for rule in shipped() if not isinstance(rule.condition, Outside)]
# What no test can find, and why.
EQUAL = {
    ("NewException", "comparison ÷ 2"): "a kind is counted in whole numbers: more than 0.5 is more than 0.25",
    ("SuspiciousAPIActivity", "no floor of requests"): "50 that were forbidden are 20 requests",
}


def is_caught(rule, case, condition, for_seconds):
    """
    Return whether a case expects other alerts than a mistaken rule has.
    """
    states, samples, last = AlertStates(condition, for_seconds, rule.keep_firing_seconds), case.scene.samples(), 0
    for at, expected in case.checks:
        for step in range(last, round(at / case.evaluation_seconds) + 1):
            alerts = states.evaluate(samples, step * case.evaluation_seconds)
        last = round(at / case.evaluation_seconds) + 1
        if {key: it.state for key, it in alerts.items()} != expected:
            return True
    return False


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.name}-{rule.severity}")
def test_each_mistake_is_found(rule):
    """
    A comparison that is turned, half or twice the threshold, a third or three times the window, a label or a floor
    that is left out, another time that it must hold, and more: a case of the rule expects otherwise.
    """
    cases = cases_of(rule, PAGE)
    survived = [
        name
        for name, condition, for_seconds in mutants_of(rule, PAGE)
        if not any(is_caught(rule, case, condition, for_seconds) for case in cases)
    ]

    assert survived == [name for of, name in EQUAL if of == rule.name]


if prometheus.found():

    @pytest.mark.parametrize("name", ["HighMemoryUsage", "AIServiceErrors"])
    def test_what_is_found_here_is_found_by_promtool(tmp_path, name):
        """
        All mistakes of a rule side by side, apart by a label: each one's tests fail, and those of the rule pass.
        """
        rule = next(rule for rule in RULES if rule.name == name)
        kinds = [("", rule.condition, rule.for_seconds), *mutants_of(rule, PAGE)]
        rules, tests = [], []
        for number, (_, condition, for_seconds) in enumerate(kinds):
            held = {"for": duration_text(for_seconds)} if for_seconds else {}
            rules.append({"alert": name, "expr": condition.promql(PAGE), **held, "labels": {"kind": f"k{number}"}})
        for case in cases_of(rule, PAGE):
            each = [
                unit_test(case.title, f'kind="k{number}"', case, PAGE, labels_of(rule, f"k{number}"))
                for number in range(len(kinds))
            ]
            tests.append({**each[0], "promql_expr_test": [check for it in each for check in it["promql_expr_test"]]})
        (tmp_path / "a.rules.yml").write_text(yaml_text({"groups": [{"name": "a", "rules": rules}]}))
        (tmp_path / "a.test.yml").write_text(yaml_text(document_of_tests("a.rules.yml", tests, 60.0)))
        promtool = prometheus.found()[-1] / "promtool"
        command = [promtool, "test", "rules", tmp_path / "a.test.yml"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        failed = set(re.findall(r'expr: "ALERTS\{kind=\\"(k\d+)\\"', done.stdout + done.stderr))

        assert {f"k{number}" for number in range(1, len(kinds))} == failed


def labels_of(rule, kind):
    """
    Return what an alert has for labels, where each has its kind and no other label.
    """
    instance = {"instance": INSTANCE} if rule.area == "system" else {}
    return lambda key: {"alertname": rule.name, "job": PAGE.service, "kind": kind, **instance, **dict(key)}
