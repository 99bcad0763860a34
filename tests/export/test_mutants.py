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
# Whose mistakes promtool is asked about each time; `make test-mutants` asks about those of all.
SOME = ("HighMemoryUsage", "AIServiceErrors")
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


def pytest_generate_tests(metafunc):
    """
    Ask promtool about two rules, or about all of them with `--all-mutants`.
    """
    if "mutated" in metafunc.fixturenames:
        rules = RULES if metafunc.config.getoption("all_mutants") else [rule for rule in RULES if rule.name in SOME]
        metafunc.parametrize("mutated", rules, ids=lambda rule: f"{rule.name}-{rule.severity}")


if prometheus.found():

    def test_what_is_found_here_is_found_by_promtool(tmp_path, mutated):
        """
        All mistakes of a rule side by side, apart by a label: each one's tests fail, and those of the rule pass.
        """
        kinds = [("", mutated.condition, mutated.for_seconds), *mutants_of(mutated, PAGE)]
        rules, tests = [], {}
        for number, (_, condition, for_seconds) in enumerate(kinds):
            held = {"for": duration_text(for_seconds)} if for_seconds else {}
            rules.append(
                {"alert": mutated.name, "expr": condition.promql(PAGE), **held, "labels": {"mutant": f"k{number}"}}
            )
        for case in cases_of(mutated, PAGE):
            tests.setdefault(case.evaluation_seconds, []).append(side_by_side(mutated, case, len(kinds)))
        (tmp_path / "a.rules.yml").write_text(yaml_text({"groups": [{"name": "a", "rules": rules}]}))
        for seconds, cases in tests.items():
            text = yaml_text(document_of_tests("a.rules.yml", cases, seconds))
            (tmp_path / f"a_{duration_text(seconds)}.test.yml").write_text(text)
        command = [prometheus.found()[-1] / "promtool", "test", "rules", *tmp_path.glob("*.test.yml")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        failed = set(re.findall(r'expr: "ALERTS\{mutant=\\"(k\d+)\\"', done.stdout + done.stderr))
        found = {number for number, (name, _, _) in enumerate(kinds) if number and (mutated.name, name) not in EQUAL}

        assert {f"k{number}" for number in found} == failed


def side_by_side(rule, case, count):
    """
    Return a case with the checks of a rule and of each of its mutants.
    """
    each = [
        unit_test(case.title, f'mutant="k{number}"', case, PAGE, labels_of(rule, f"k{number}"))
        for number in range(count)
    ]
    return {**each[0], "promql_expr_test": [check for it in each for check in it["promql_expr_test"]]}


def labels_of(rule, mutant):
    """
    Return what an alert has for labels, where each says which mutant it is of, and nothing else.
    """
    instance = {} if rule.sums_instances else {"instance": INSTANCE}
    return lambda key: {"alertname": rule.name, "job": PAGE.service, "mutant": mutant, **instance, **dict(key)}
