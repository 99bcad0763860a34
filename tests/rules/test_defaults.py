"""
The rules that are shipped: which there are, what they say of constant traffic, and that each of them fires.
"""

from dataclasses import replace

import pytest

from obskit.catalogue import CATALOGUE
from obskit.errors import RuleError
from obskit.metrics.settings import MetricsSettings
from obskit.rules.defaults import LEFT_OUT, OFF, ON
from obskit.rules.in_force import rules_in_force, shipped
from obskit.rules.replaying import replay
from obskit.rules.rule import Outside
from obskit.signals import quantile
from obskit.signals.page import Page, page_in_force

EVERY = 15
INSIDE = [rule for rule in shipped() if not isinstance(rule.condition, Outside)]
ROWS = {row.name: row for row in CATALOGUE}


def test_each_name_has_one_signal_and_one_threshold_a_severity():
    """
    Rules of one name are bands, the worse the farther.
    """
    for row in (*ON, *OFF):
        bands = [other for other in (*ON, *OFF) if other.name == row.name]

        assert len(bands) == len({band.severity for band in bands}) == len({band.threshold for band in bands})
        assert {row.signal} == {band.signal for band in bands}
    assert set() == LEFT_OUT.keys() & {row.name for row in (*ON, *OFF)}


def test_some_are_in_force_and_the_others_are_listed_with_the_reason():
    """
    Fourteen are judged here by default, and two by Prometheus alone; every other name says why it is not.
    """
    rules, left_out = rules_in_force()

    assert 14 == len({rule.name for rule in rules if rule.judged == "both"})
    assert {"TargetDown", "Watchdog"} == {rule.name for rule in rules if rule.judged == "outside"}
    assert left_out.keys() == {row.name for row in OFF} | LEFT_OUT.keys()
    assert len(ON) + len(OFF) == len(rules_in_force(alerts="all").rules)
    assert ["AICostHigh"] == [rule.name for rule in rules_in_force(alerts=["AICostHigh"]).rules]


@pytest.mark.parametrize(
    ("alerts", "said"),
    [
        ("some", "alerts names 'some', which is not shipped"),
        (["HighErorRate"], "did you mean 'HighErrorRate'?"),
        (["JobMissed"], "nothing on the page tells of jobs"),
    ],
)
def test_a_name_that_is_not_shipped_is_an_error(alerts, said):
    """
    It is not silently off.
    """
    with pytest.raises(RuleError) as caught:
        rules_in_force(alerts=alerts)

    assert said in str(caught.value)


def test_the_rules_follow_the_page():
    """
    A metric that the page leaves out, or a bound that it does not have, takes its rules along, and the reason is told.
    """
    settings = MetricsSettings(
        namespace="shop",
        metric_names={"http_responses_aborted_total": None, "http_requests_total": "requests_total"},
        http_buckets=(0.5, 1.0, 10.0),
    )
    rules, left_out = rules_in_force(Page("shop", settings))

    assert "metric_names leaves http_responses_aborted_total out" in left_out["AbortedReplies"]
    assert "2 is no bound" in left_out["HighResponseTime"]
    assert ["critical"] == [rule.severity for rule in rules if rule.name == "HighResponseTime"]
    [failed, _] = (rule.condition.promql(Page("shop", settings)) for rule in rules if rule.name == "HighErrorRate")
    assert 'shop_requests_total{job="shop",status=~"5.."}' in failed


def test_labels_are_bounded_and_hide_nothing():
    """
    An alert has severity, area, app and component, and no rule has a label of its signal's own.
    """
    page = page_in_force()
    for rule in shipped():
        values = tuple((label, "x") for label in rule.by)
        labels = rule.labels_of(values, page)

        assert {"severity", "area", "app", "component", *rule.by} == labels.keys()
        assert set() == rule.fixed_labels(page).keys() & set(rule.by)
        assert "{" not in labels["component"]
        assert rule.summary
        assert "{value}" not in rule.summary


def figures(hours, row, change):
    """
    Make the figures of a metric of three label sets: constant rises of a counter, a histogram's observations, a gauge
    that stays; `change` makes the value of a scrape.
    """
    made = {}
    for place in range(3):
        labels = tuple(sorted((label, f"{label}-{place}") for label in row.labels))
        for suffix, further, step in change(row, place):
            key = (row.name + suffix, tuple(sorted((*labels, *further))))
            made[key] = [(float(at), step(at)) for at in range(0, int(hours * 3600) + 1, EVERY)]
    return made


def constant(row, place):
    """
    Yield what a metric shows of constant traffic from a first start: 200 a second, and nothing bad; certificates of
    a year.
    """
    if row.kind == "counter":
        quiet = row.name.startswith(("obskit_", "system_network", "http_exceptions", "database_errors", "ai_cost"))
        by = 0.0 if quiet or "aborted" in row.name else 200.0
        yield "", (), lambda at: float(int(at * by))
    elif row.kind == "gauge":
        expires = row.name == "health_certificate_expiry_timestamp_seconds"
        yield "", (), lambda at: 365 * 86_400.0 if expires else 1.0
    else:
        bounds = (*page_in_force().bounds_of(row), float("inf"))
        for bound in bounds:
            le = "+Inf" if bound == float("inf") else repr(bound)
            yield "_bucket", (("le", le),), lambda at, bound=bound: float(at * 2 if bound >= 0.05 else 0)
        yield "_sum", (), lambda at: at * 2 * 0.05
        yield "_count", (), lambda at: float(at * 2)


def constant_history(hours):
    made = {}
    for row in CATALOGUE:
        made |= figures(hours, row, constant)
    made |= {
        (name, labels): [(at, 4.0) for at, _ in samples]
        for (name, labels), samples in made.items()
        if name.endswith(("_total_bytes", "_limit_usd", "_max", "ratelimit_limit"))
    }
    return made


def test_constant_traffic_is_silent_from_a_first_start_on():
    """
    Two hours of it are no reason for any alert; only too little traffic is what a rate must first rise from.
    """
    told = replay(INSIDE, constant_history(2.0), "15s")

    assert [] == [verdict for verdict in told if verdict.state == "firing"][:3]
    assert {("LowThroughput", True)} == {(verdict.rule, verdict.at < 300) for verdict in told}


QUANTILES = ["http_request_duration_seconds", "database_query_duration_seconds", "ai_api_duration_seconds"]


@pytest.mark.parametrize("name", QUANTILES)
def test_each_default_bound_can_be_exceeded(name):
    """
    A condition on a quantile fires on every default bound, the last one too, where a tenth is slower, and on none
    where nothing is.
    """
    row, bounds = ROWS[name], page_in_force().bounds_of(ROWS[name])
    for bound in bounds:
        labels = tuple(sorted((label, "x") for label in row.labels))
        made = {}
        for slow in (0.0, 0.1):
            for upper in (*bounds, float("inf")):
                le = "+Inf" if upper == float("inf") else repr(upper)
                share = 1.0 if upper > bound else 1.0 - slow
                key = (f"{name}_bucket", tuple(sorted((*labels, ("le", le)))))
                made[key] = [(float(at), at * share) for at in range(0, 901, EVERY)]
            made[f"{name}_count", labels] = [(float(at), float(at)) for at in range(0, 901, EVERY)]
            rule = replace(INSIDE[0], condition=quantile(0.95, name).at_least(requests=20, failures=5) > bound)
            states = {verdict.state for verdict in replay(rule, made)}

            assert ({"firing"} if slow else set()) == states - {"pending"}, (bound, slow)


def test_a_kind_of_exception_that_is_new_fires_once():
    """
    It is told when it comes first, and not again when it goes on, nor after a restart within the day.
    """
    [rule] = rules_in_force(alerts=["NewException"]).rules
    beat = ("obskit_build_info", ())
    name, old, new = "http_exceptions_total", ("exception", "KeyError"), ("exception", "ValueError")
    moments = [float(at) for at in range(0, 4 * 3600, EVERY)]
    samples = {
        beat: [(at, 1.0) for at in moments],
        (name, (("endpoint", "/"), old)): [(at, 1 + at // 600) for at in moments],
        (name, (("endpoint", "/"), new)): [
            (at, 1 + at % 3600 // 60) for at in moments if at > 3600 and at % 3600 > 300
        ],
    }

    told = replay(rule, samples)

    assert {"ValueError"} == {verdict.labels["exception"] for verdict in told}
    assert [3915.0 + EVERY * place for place in range(20)] == [verdict.at for verdict in told]
    assert {"firing"} == {verdict.state for verdict in told}
