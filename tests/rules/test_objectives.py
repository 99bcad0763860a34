"""
Objectives: what can be promised, how fast a budget is used up, and that Prometheus is told the same.
"""

import subprocess

import pytest

import obskit
from obskit.errors import ObjectiveError, ObskitError, SignalError
from obskit.rules import objectives
from obskit.rules.burn_rates import BurnRate
from obskit.signals import MemorySamples
from obskit.signals.page import Page
from obskit.testing import isolated_runtime
from signals import prometheus

PAGE = Page("shop")
CHECKOUT = {"availability": 0.999, "latency_seconds": 0.5, "latency_share": 0.99, "endpoints": ["/checkout"]}


@pytest.mark.parametrize(
    ("given", "error", "expected"),
    [
        ({}, ObjectiveError, "objective('a') promises nothing: give availability=, or latency_seconds="),
        ({"availability": 1}, ObjectiveError, "availability=1: expected a share from 0.5 to below 1"),
        ({"availability": 99.9}, ObjectiveError, "availability=99.9: expected a share"),
        ({"availability": "99.9%"}, ObjectiveError, "availability='99.9%': expected a share"),
        ({"availability": float("nan")}, ObjectiveError, "availability=nan: expected a share"),
        ({"latency_seconds": 0.5}, ObjectiveError, "latency_seconds= and latency_share= go together"),
        ({"latency_share": 0.9}, ObjectiveError, "latency_seconds= and latency_share= go together"),
        ({"latency_seconds": "500ms", "latency_share": 0.9}, ObjectiveError, "latency_seconds='500ms' is no number"),
        ({"latency_seconds": 0.4, "latency_share": 0.9}, SignalError, "0.4 is no bound of http_request_duration"),
        ({"availability": 0.9, "endpoints": "/a"}, ObjectiveError, "endpoints='/a': expected a list"),
        ({"availability": 0.9, "window": "1d"}, ObjectiveError, "window='1d': expected from '7d' to '31d'"),
        ({"availability": 0.9, "window": 30}, ObskitError, '"30s" is that many seconds'),
    ],
)
def test_what_cannot_be_promised_is_refused(given, error, expected):
    """
    With what was given and what is right, and nothing is declared.
    """
    with pytest.raises(error) as refused:
        obskit.objective("a", **given)

    assert expected in str(refused.value)
    assert {} == objectives.declared


@pytest.mark.parametrize("name", ["", "1a", "a b", "a" * 64, "é", None, 5])
def test_a_name_is_one_of_an_alert(name):
    """
    Of letters, digits, `_` and `-`.
    """
    with pytest.raises(ObjectiveError, match="expected a name of letters, digits, _ and -"):
        obskit.objective(name, availability=0.9)


def test_the_same_objective_again_is_one_and_another_of_its_name_is_refused():
    """
    A module may be imported twice; two promises need two names.
    """
    obskit.objective("checkout", **CHECKOUT)
    obskit.objective("checkout", **CHECKOUT)

    assert ["checkout"] == list(objectives.declared)
    with pytest.raises(ObjectiveError, match="is declared already, and promises something else"):
        obskit.objective("checkout", availability=0.9)


def figures(bad_after):
    """
    Make an hour and a half of a request a second, a tenth of which fails from a moment on; and one of others' routes.
    """
    good, bad = [], []
    for place in range(361):
        failed = max(0.0, place * 15.0 - bad_after) / 10
        good.append((place * 15.0, place * 15.0 - failed))
        bad.append((place * 15.0, failed))
    of = {"method": "GET", "endpoint": "/checkout"}
    others = {"method": "GET", "endpoint": "/other", "status": "500"}
    labels = ({**of, "status": "200"}, {**of, "status": "503"}, others)
    return {
        ("http_requests_total", tuple(sorted(each.items()))): counted
        for each, counted in zip(labels, (good, bad, good), strict=True)
    }


@pytest.mark.parametrize(("at", "expected"), [(3600.0, {(): 0.0}), (5400.0, {(): 50.0}), (1800.0, {})])
def test_a_budget_is_used_up_at_the_lesser_pace_of_both_windows(at, expected):
    """
    A tenth is 100 times a thousandth: over half of the last hour that is 50 times. An hour that is not covered is not
    known.
    """
    obskit.objective("checkout", availability=0.999, endpoints=["/checkout"])
    indicator = objectives.declared["checkout"].indicators[0]
    found = BurnRate(indicator, 3600.0, 300.0).evaluate(MemorySamples(figures(3600.0), "15s"), at)

    assert expected == {key: pytest.approx(value, rel=0.02) for key, value in found.items()}


def test_each_pace_is_told_of(tmp_path):
    """
    14.4 and 6 times are critical, 3 and 1 a warning, each over a long window and a short one.
    """
    obskit.objective("check-out", **CHECKOUT)
    told = [
        (rule.name, rule.condition.threshold, rule.severity)
        for objective in objectives.declared.values()
        for _, _, rule in objective.rules()
    ]

    assert told == [
        (f"CheckOut{kind}Burn{window}", times, severity)
        for kind in ("Availability", "Latency")
        for window, times, severity in (
            ("1h", 14.4, "critical"),
            ("6h", 6.0, "critical"),
            ("1d", 3.0, "warning"),
            ("3d", 1.0, "warning"),
        )
    ]


def test_its_rules_are_in_force_and_judged_here():
    """
    They are among `obskit.alerts.rules()`, and fire once both windows burn fast for two minutes.
    """
    obskit.objective("checkout", availability=0.999, endpoints=["/checkout"])
    burning = [rule for rule in obskit.alerts.rules() if rule.name.startswith("CheckoutAvailability")]
    rule = next(rule for rule in burning if rule.name.endswith("1h"))
    told = obskit.testing.replay(rule, figures(3600.0), every="15s")
    fired = [it for it in told if it.state == "firing"]

    assert [("both", "http")] * 4 == [(rule.judged, rule.area) for rule in burning]
    assert {"severity": "critical", "area": "http", "app": "app", "component": "http"} == fired[0].labels
    assert fired[0].at - told[0].at == 120.0
    assert 3600.0 < told[0].at <= 4500.0


def test_what_the_page_does_not_tell_is_left_out_with_the_reason(tmp_path):
    """
    Its rules and what is recorded of it, while the rest of the objective is kept.
    """
    obskit.objective("checkout", **CHECKOUT)
    with isolated_runtime(service="shop", metric_names={"http_requests_total": None}):
        obskit.export.prometheus(tmp_path)
    listed = (tmp_path / "runbooks" / "README.md").read_text()
    recorded = (tmp_path / "rules" / "objectives_recorded.rules.yml").read_text()

    assert "- CheckoutAvailabilityBurn1h: metric_names leaves http_requests_total out" in listed
    assert "availability" not in recorded
    assert "CheckoutLatencyBurn1h" in (tmp_path / "rules" / "objectives.rules.yml").read_text()


if prometheus.found():

    @pytest.mark.parametrize("programs", prometheus.found(), ids=lambda folder: folder.parts[-3])
    def test_prometheus_records_and_tells_the_same(tmp_path, programs):
        """
        What is exported is valid, and its unit tests pass, under renamed metrics too.
        """
        obskit.objective("checkout", **{**CHECKOUT, "endpoints": ["/a|b", "/c/{id}", '/"\\']})
        names, labels = {"http_requests_total": "requests_total"}, {"*": {"endpoint": "route"}}
        with isolated_runtime(service="shop", namespace="shop", metric_names=names, metric_labels=labels):
            obskit.export.prometheus(tmp_path)
        promtool, rules = programs / "promtool", sorted(map(str, tmp_path.glob("rules/*.rules.yml")))
        commands = [
            [promtool, "check", "config", tmp_path / "prometheus.yml"],
            [promtool, "check", "rules", *rules],
            [promtool, "test", "rules", *sorted(map(str, tmp_path.glob("rules/*.test.yml")))],
        ]
        done = [subprocess.run(it, capture_output=True, text=True, timeout=300, check=False) for it in commands]

        assert [0, 0, 0] == [it.returncode for it in done], "".join(it.stdout + it.stderr for it in done)
