"""
Rules of the application's own: what one says, what cannot be declared, and what is judged of samples.
"""

import pytest

import obskit
from obskit.errors import ConfigurationError, DurationError, RuleError, ScheduleError, SignalError
from obskit.metrics.settings import MetricsSettings
from obskit.rules.in_force import rules_in_force
from obskit.signals import first, increase, level, quantile, rate, ratio
from obskit.signals.page import Page
from obskit.testing import isolated_runtime, replay

REQUESTS, DURATION, STATUS = "http_requests_total", "http_request_duration_seconds", "health_status"
BEAT = ("obskit_build_info", ())
BAD = (STATUS, (("component", "camera"),))


def health(values, every=15, start=0):
    """
    Make samples of a component's status: a value a sampling, None where it is not on the page.
    """
    moments = [start + every * place for place in range(len(values))]
    return {
        BEAT: [(float(at), 1.0) for at in moments],
        BAD: [(float(at), float(value)) for at, value in zip(moments, values, strict=True) if value is not None],
    }


def told(rule, samples, **options):
    """
    Return the states by moment, a letter each.
    """
    found = {verdict.at: verdict.state[0] for verdict in replay(rule, samples, **options)}
    return "".join(found.get(at, ".") for at, _ in samples[BEAT])


def test_a_rule_says_what_holds_for_how_long_and_how_bad_it_is():
    """
    A verdict has the labels of the exported alert, and the value of the signal.
    """
    rule = obskit.alerts.rule(
        "CameraLost", level(STATUS) < 0.25, for_="30s", severity="critical", labels={"team": "video"}
    )

    verdicts = replay([rule], health([1, 0, 0, 0, 1]))

    labels = {"severity": "critical", "area": "business", "app": "app", "component": "camera", "team": "video"}
    assert [(15.0, "pending"), (30.0, "pending"), (45.0, "firing")] == [(it.at, it.state) for it in verdicts]
    assert [labels] * 3 == [it.labels for it in verdicts]
    assert [("CameraLost", 0.0)] * 3 == [(it.rule, it.value) for it in verdicts]
    assert rule in obskit.alerts.rules()


def test_labels_are_called_as_the_page_calls_them():
    """
    A verdict's labels are those that Prometheus sees.
    """
    with isolated_runtime(service="shop", namespace="shop", metric_labels={STATUS: {"component": "part"}}):
        rule = obskit.alerts.rule("CameraLost", level(STATUS) < 0.25)
        [verdict] = replay(rule, health([1, 0]))

    assert ("shop", "camera") == (verdict.labels["app"], verdict.labels["part"])


def test_labels_of_guides_are_there_as_well_where_they_are_asked_for():
    """
    `service` says application and area; the metric's own label of that name is moved aside, in PromQL too.
    """
    with isolated_runtime(service="shop", alert_labels="guides"):
        found = {
            it.name: (it, it.labels_of(tuple((by, "x") for by in it.by), Page("shop"))) for it in rules_in_force()[0]
        }
        asked = found["AIServiceErrors"][0].promql(Page("shop"))

    assert "shop-http" == found["HighErrorRate"][1]["service"]
    assert ("shop-ai", "x", "ai:x") == tuple(
        found["AIServiceErrors"][1][label] for label in ("service", "exported_service", "component")
    )
    assert asked.startswith("label_replace(")
    assert asked.endswith(', "exported_service", "$1", "service", "(.*)")')
    assert "service" not in obskit.alerts.rules()[0].labels_of((), Page("shop"))


@pytest.mark.parametrize(
    ("no_data", "expected"), [("ok", "ff...f."), ("firing", "fffffff"[:6] + "."), ("keep", "ff..." + "f.")]
)
def test_what_no_data_means_is_said(no_data, expected):
    """
    Where nothing is known all is well, or it is an alert, or what was before goes on.
    """
    rule = obskit.alerts.rule("CameraLost", level(STATUS) < 0.25, no_data=no_data)
    expected = "ff" + {"ok": "...", "firing": "fff", "keep": "fff"}[no_data] + "f."

    assert expected == told(rule, health([0, 0, None, None, None, 0, 1]))
    assert "both" == rule.judged


def test_no_data_of_a_service_that_is_away_is_no_alert():
    """
    That a service does not answer is another rule's to tell.
    """
    rule = obskit.alerts.rule("CameraLost", level(STATUS) < 0.25, no_data="firing")
    samples = health([None, None, None, None])
    samples[BEAT] = [(0.0, 1.0), (45.0, 1.0)]

    assert [0.0, 45.0] == [verdict.at for verdict in replay(rule, samples)]
    assert "unless on (job)" in rule.condition.promql()


def test_none_for_tells_of_what_does_not_come_any_more():
    """
    It fires where a counter has not risen for so long, or was never there, and not before so much is known.
    """
    orders = obskit.counter("orders_paid", "Orders.")
    rule = obskit.alerts.rule("NoOrders", increase(orders), none_for="20m")
    moments = [15.0 * place for place in range(200)]
    some = {BEAT: [(at, 1.0) for at in moments], ("orders_paid_total", ()): [(at, min(at, 900)) for at in moments]}
    never = {BEAT: some[BEAT]}

    assert {2085.0: "firing"} == {it.at: it.state for it in replay(rule, some)[:1]}
    assert 1060.0 <= replay(rule, never)[0].at <= 1200.0


def test_none_for_of_what_is_no_count_holds_where_nothing_rises():
    """
    Few cents in twenty minutes are a rise of dollars, though they are less than 1.
    """
    spent = obskit.counter("spent_usd_total", "Dollars.")
    rule = obskit.alerts.rule("NothingSpent", increase(spent), none_for="20m")
    moments = [15.0 * place for place in range(200)]
    rising = [(at, min(at, 900) * 0.0001) for at in moments]
    samples = {BEAT: [(at, 1.0) for at in moments], ("spent_usd_total", ()): rising}

    assert "<= 0" in rule.condition.promql()
    assert 2085.0 <= replay(rule, samples)[0].at <= 2115.0


def test_hours_are_when_it_is_judged():
    """
    Outside of them there is no alert; Prometheus judges it too, unless it cannot follow the clock there.
    """
    rule = obskit.alerts.rule("CameraLost", level(STATUS) < 0.25, hours="Mon-Fri 08:00-18:00 Europe/Berlin")
    start = 1_700_001_000  # a Tuesday, 23:30 in Berlin
    night, day = replay(rule, health([0, 0], start=start)), replay(rule, health([0, 0], start=start + 12 * 3600))
    moon = obskit.alerts.rule("CameraGone", level(STATUS) < 0.25, hours="08:00-18:00 Africa/Casablanca")

    assert ([], 2) == (night, len(day))
    assert ["both", "inside"] == [it.judged for it in (rule, moon)]


def test_a_rule_is_judged_as_often_as_it_says():
    """
    At whole multiples; in between its alerts stay as they were.
    """
    rule = obskit.alerts.rule("CameraLost", level(STATUS) < 0.25, every="1m")

    assert "..ffff...." == told(rule, health([1, 0, 0, 0, 0, 1, 1, 1, 1, 1], start=30))


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("mon-fri 08:00-18:00, sat 09:00-12:00 Europe/Berlin", "Europe/Berlin"),
        ("Mon-Fri 06:00-22:00 UTC", "UTC"),
        ("mon-fri 08:00-18:00, Sun", "UTC"),
        ("mon-fri 08:00-18:00", "UTC"),
    ],
)
def test_hours_may_name_a_time_zone_last(text, zone):
    """
    Without one they are by UTC.
    """
    assert zone == str(obskit.alerts.rule("CameraLost", level(STATUS) < 0.25, hours=text).hours.zone)


def test_two_rules_of_a_name_are_bands():
    """
    Equal signals, another threshold and severity; and the same rule once more is the same.
    """
    signal = level(STATUS)
    worse = obskit.alerts.rule("CameraLost", signal < 0.25, severity="critical")
    bad = obskit.alerts.rule("CameraLost", signal < 0.75)

    assert worse == obskit.alerts.rule("CameraLost", signal < 0.25, severity="critical")
    assert {worse, bad} == {rule for rule in obskit.alerts.rules() if rule.name == "CameraLost"}


def test_a_rule_takes_the_place_of_the_one_that_is_shipped():
    """
    Another threshold for a shipped rule is a rule of its name.
    """
    own = obskit.alerts.rule("HighErrorRate", ratio(rate(REQUESTS, where={"status": "500"}), rate(REQUESTS)) > "1%")

    assert [own] == [rule for rule in obskit.alerts.rules() if rule.name == "HighErrorRate"]


def declare(name="CameraLost", condition=None, **options):
    return obskit.alerts.rule(name, level(STATUS) < 0.25 if condition is None else condition, **options)


WRONG = {
    "a signal without a threshold": (lambda: declare(condition=level(STATUS)), "expected a condition"),
    "a number": (lambda: declare(condition=5), "expected a condition"),
    "a name in words": (lambda: declare("camera lost"), "CamelCase"),
    "no name": (lambda: declare(None), "CamelCase"),
    "an unknown area": (lambda: declare(area="databse"), "did you mean 'database'?"),
    "an unknown severity": (lambda: declare(severity="page"), "expected one of critical, high, warning, info"),
    "an unknown no_data": (lambda: declare(no_data="alerting"), "no_data='alerting' is unknown"),
    "a bare number of minutes": (lambda: declare(for_=5), "has no unit"),
    "no hours": (lambda: declare(hours="mon-fry 8-18"), "'fry' is no day of the week"),
    "too often": (lambda: declare(every="0s"), "every='0s' is out of range"),
    "too seldom to keep": (
        lambda: declare(every="5m", no_data="keep"),
        "Prometheus forgets an alert after five minutes",
    ),
    "no time zone": (lambda: declare(hours="mon-fri 08:00-18:00 Europe/Berlim"), "did you mean 'Europe/Berlin'?"),
    "a label of alerts": (lambda: declare(labels={"severity": "x"}), "which alerts have of their own"),
    "a label of the signal": (lambda: declare(labels={"component": "x"}), "which it would hide"),
    "no label": (lambda: declare(labels={"a-b": "x"}), "expected a label's name and a text"),
    "a field that is not there": (lambda: declare(description="{values}"), "there are value, threshold, window"),
    "a brace alone": (lambda: declare(description="{"), "description is '{'"),
    "a summary with a value": (lambda: declare(summary="{value} lost"), "a summary has no value"),
    "another rule of the name": (lambda: (declare(), declare(condition=rate(REQUESTS) > 1)), "severity 'warning'"),
    "a band of another signal": (
        lambda: (declare(), declare(condition=rate(REQUESTS) > 1, severity="info")),
        "bands have equal signals",
    ),
    "a band of one threshold": (lambda: (declare(), declare(severity="info")), "another threshold"),
    "none of a gauge": (lambda: declare(condition=level(STATUS), none_for="1h"), "none_for= is of a counter"),
    "less than nothing": (lambda: declare(condition=rate(REQUESTS) < 0), "can never fire"),
    "a kind that is new too short": (
        lambda: declare(condition=first(REQUESTS, by=["status"], window="5m") > 0, for_="5m"),
        "a kind is new for 5m",
    ),
    "more than all": (lambda: declare(condition=level("system_cpu_usage_percent") > 100), "percent end at 100"),
    "no bound": (lambda: declare(condition=quantile(0.95, DURATION) > 4.2), "is no bound"),
    "another unit": (lambda: declare(condition=quantile(0.95, DURATION) > "5%"), "threshold"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_a_rule_is_an_error_at_once(name):
    """
    Wrong use raises when the rule is declared, and says what to do.
    """
    wrong, said = WRONG[name]

    with pytest.raises((RuleError, SignalError, DurationError, ScheduleError)) as caught:
        wrong()

    assert isinstance(caught.value, ConfigurationError)
    assert said in str(caught.value)


def test_what_is_judged_outside_cannot_be_replayed():
    """
    A process cannot tell that it does not answer.
    """
    outside = [rule for rule in obskit.alerts.rules() if rule.judged == "outside"]

    with pytest.raises(RuleError, match="is judged outside only"):
        replay(outside, health([1]))


def test_the_setting_chooses_among_those_that_are_shipped():
    """
    By names, all of them, or none; what is not shipped is an error at the start, with the near name.
    """

    def names(alerts):
        with isolated_runtime(alerts=alerts):
            return {rule.name for rule in obskit.alerts.rules()}

    usual = {rule.name for rule in obskit.alerts.rules()}

    assert usual | {"HighCPUUsage"} == names(["default", "HighCPUUsage"])
    assert [set(), {"HighCPUUsage"}] == [names([]), names(["HighCPUUsage"])]
    assert usual < names("all")
    assert usual == {rule.name for rule in obskit.alerts.rules()}
    with pytest.raises(ConfigurationError, match=r"did you mean 'HighCPUUsage'\?"):
        names(["HighCpuUsage"])


def test_replay_judges_whole_multiples_from_the_first_sample_to_the_last():
    """
    A sample between them counts for the next one.
    """
    rule = declare()

    assert [] == replay(rule, {})
    assert [30.0, 45.0] == [verdict.at for verdict in replay(rule, health([0, 0, 1], start=16))]


def test_a_rule_on_a_page_without_its_figure_is_told():
    """
    A metric that the page leaves out cannot be rendered.
    """
    with pytest.raises(SignalError, match="metric_names leaves"):
        declare().condition.promql(Page("app", MetricsSettings(metric_names={STATUS: None})))
