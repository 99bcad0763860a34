"""
What can be asked of metrics, what cannot, and what comes of it on samples that were written by hand.
"""

import pytest

import obskit
from obskit.catalogue import CATALOGUE
from obskit.errors import ConfigurationError, DurationError, SignalError
from obskit.metrics.settings import MetricsSettings
from obskit.signals import (
    MemorySamples,
    age,
    first,
    fraction,
    growth,
    increase,
    level,
    matches,
    mean,
    quantile,
    rate,
    ratio,
)
from obskit.signals.page import Page, page_in_force

REQUESTS, DURATION = "http_requests_total", "http_request_duration_seconds"
BEAT = ("obskit_build_info", ())


def sampled(every=15, start=0, **series):
    """
    Make samples of one counter a status, from what it is at each sampling; None where it is not there.
    """
    names = {status: (REQUESTS, (("endpoint", "/"), ("method", "GET"), ("status", status[1:]))) for status in series}
    longest = max(map(len, series.values()))
    kept = {BEAT: [(start + every * place, 1.0) for place in range(longest)]}
    for status, values in series.items():
        moments = [(start + every * place, value) for place, value in enumerate(values)]
        kept[names[status]] = [(at, float(value)) for at, value in moments if value is not None]
    return MemorySamples(kept, f"{every}s")


WRONG = {
    "rate of a gauge": (lambda: rate("http_requests_in_progress"), "rate() is of a counter; ask for level()"),
    "rate of a histogram": (lambda: rate(DURATION), "that is a histogram"),
    "quantile of a counter": (lambda: quantile(0.95, REQUESTS), "quantile() is of a histogram"),
    "level of a counter": (lambda: level(REQUESTS), "ask for rate() or increase()"),
    "a name that is near": (lambda: rate("http_request_total"), "did you mean 'http_requests_total'?"),
    "no name": (lambda: rate(5), "takes a metric's name"),
    "a label that is near": (lambda: rate(REQUESTS, by=["statu"]), "did you mean 'status'?"),
    "an unknown label": (lambda: rate(REQUESTS, where={"zone": "x"}), "its labels are method, endpoint, status"),
    "a number for a label": (lambda: rate(REQUESTS, where={"status": 500}), "expected text, or matches('...')"),
    "labels as one text": (lambda: rate(REQUESTS, by="status"), "expected a list of labels"),
    "a window of two samples": (lambda: rate(REQUESTS, window="30s"), "from 45s, which has three samples"),
    "a window beyond what is kept": (lambda: rate(REQUESTS, window="90d"), "no figures are kept"),
    "a window without a unit": (lambda: rate(REQUESTS, window=300), "has no unit"),
    "units that differ": (lambda: ratio(rate("ai_cost_usd_total"), rate(REQUESTS)), "one unit, not usd and count"),
    "gauges whose units differ": (
        lambda: fraction("system_memory_usage_bytes", "system_cpu_limit_cores"),
        "one unit, not bytes and cores",
    ),
    "a rate of an increase": (lambda: ratio(rate(REQUESTS), increase(REQUESTS)), "count per second and count"),
    "labels that differ": (
        lambda: ratio(rate(REQUESTS, by=["status"]), rate(REQUESTS)),
        "the same labels, not by status and none",
    ),
    "windows that differ": (lambda: ratio(rate(REQUESTS), rate(REQUESTS, window="1h")), "signal.against()"),
    "a ratio of gauges": (lambda: ratio(level("health_status"), level("health_status")), "write fraction()"),
    "a threshold of another unit": (lambda: level("system_memory_usage_bytes") > "5s", "no threshold of bytes"),
    "a count of a rate": (lambda: rate(REQUESTS) > "5%", "no threshold of count per second"),
    "no threshold": (lambda: rate(REQUESTS) > None, "expected a number of count per second"),
    "not a number": (lambda: rate(REQUESTS) > float("nan"), "is no threshold"),
    "no bound": (lambda: quantile(0.95, DURATION) > 0.33, "the nearest are 0.2 and 0.5"),
    "beyond the last bound": (lambda: quantile(0.95, DURATION) > "1h", "is no bound"),
    "no share": (lambda: quantile(95, DURATION), "above 0 and below 1"),
    "a chain": (lambda: 0.1 < level("health_status") < 0.9, "write two conditions instead of a chain"),
    "a level against another": (lambda: level("health_status").against("1h"), "no window"),
    "failures of a mean": (lambda: mean(DURATION).at_least(failures=1), "no failures"),
    "requests of a level": (lambda: level("health_status").at_least(requests=1), "that can be counted"),
    "half a request": (lambda: rate(REQUESTS).at_least(requests=0.5), "a whole number from 0"),
    "the age of no time": (lambda: age("health_status"), "that ends in _timestamp_seconds"),
    "the growth of a time": (lambda: growth("health_check_last_run_timestamp_seconds"), "ask for age()"),
    "a kind of nothing": (lambda: first(REQUESTS, by=[]), "by= names the labels that make a kind"),
    "a broken pattern": (lambda: matches("5("), "is no pattern"),
    "a measured value that equals": (lambda: level("health_status") == 0, "write <, <=, > or >="),
    "a measured value that differs": (lambda: level("health_status") != 0, "write <, <=, > or >="),
    "a factor of a growth": (lambda: growth("system_memory_usage_bytes").against("1h"), "there is no such factor"),
    "letters of every script": (lambda: matches(r"(?u)\w"), "which Prometheus does not know"),
    "a pattern of Python's": (lambda: matches("(?!5)"), "which Prometheus does not know"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_asked_is_an_error_at_once(name):
    """
    Wrong use raises when the signal or the condition is built, and says what to do.
    """
    wrong, said = WRONG[name]

    with pytest.raises((SignalError, DurationError)) as caught:
        wrong()

    assert isinstance(caught.value, ConfigurationError)
    assert said in str(caught.value)


@pytest.mark.parametrize("label", ["severity", "area", "app", "alertname", "job", "instance"])
def test_a_label_that_an_alert_would_hide_is_refused(label):
    """
    Values cannot be told apart by a label that alerts have of their own.
    """
    own = obskit.counter("orders", "Orders.", labels=[label])

    with pytest.raises(SignalError, match=f"alerts have a label {label} of their own"):
        rate(own, by=[label])


def test_own_metrics_are_asked_by_name_and_by_object():
    """
    What was declared is known by its name, and is the same by its object.
    """
    ocr = obskit.histogram("ocr_seconds", "Seconds of OCR.", buckets=(0.1, 0.5, 1))

    assert quantile(0.5, "ocr_seconds") == quantile(0.5, ocr)
    assert (quantile(0.5, ocr) > "500ms") == (quantile(0.5, "ocr_seconds") > 0.5)


def test_thresholds_are_in_the_unit_of_the_signal():
    """
    Text with a unit is the number that it means.
    """
    memory, cost = level("system_memory_usage_bytes"), increase("ai_cost_usd_total")
    asked = [memory > "10GB", memory > "1GiB", cost > "$5", rate(REQUESTS) > "30/min", mean(DURATION) > "1m30s"]

    assert [1e10, 2.0**30, 5.0, 0.5, 90.0] == [condition.threshold for condition in asked]
    assert [0.05, 80.0] == [
        (fraction("system_memory_usage_bytes", "system_memory_total_bytes") > "5%").threshold,
        (level("system_cpu_usage_percent") > "80%").threshold,
    ]


def test_counts_are_compared_at_the_half():
    """
    More than 5 is more than 5.5, since a rise is extrapolated.
    """
    rise = increase(REQUESTS)
    compared = [condition.compared[2] for condition in (rise > 5, rise >= 5, rise < 5, rise <= 5, rise > 5.2)]

    assert [5.5, 4.5, 4.5, 5.5, 5.2] == compared


def test_the_page_names_what_is_rendered():
    """
    Namespace, new names of metrics and labels, and the service are in each selector.
    """
    settings = MetricsSettings(
        namespace="shop", metric_names={REQUESTS: "requests_total"}, metric_labels={REQUESTS: {"endpoint": "route"}}
    )
    page = Page('a "shop"', settings)
    asked = increase(REQUESTS, by=["endpoint"], where={"status": matches(r"5\d")})

    text = asked.promql(page)

    assert text.startswith("sum by (job, route) (")
    assert r'shop_requests_total{job="a \"shop\"",status=~"5\\d"}[5m]' in text
    assert "http_requests_total" not in text
    assert level("obskit_label_sets").promql(page) == r'max by (job, metric) (obskit_label_sets{job="a \"shop\""})'


def test_signals_follow_the_configured_page():
    """
    What is configured names and bounds what is rendered, until it is shut down.
    """
    asked = quantile(0.95, DURATION)
    obskit.configure(service="shop", namespace="shop", http_buckets=(0.3, 1.5))
    try:
        text = (asked > 1.5).promql()
        with pytest.raises(SignalError, match=r"0\.5 is no bound of .*; the nearest are 0\.3 and 1\.5"):
            asked > 0.5  # noqa: B015
    finally:
        obskit.shutdown()

    assert 'shop_http_request_duration_seconds_bucket{job="shop",le="1.5"}[5m]' in text
    assert Page("app") == page_in_force()


def test_a_bound_that_is_gone_is_no_verdict():
    """
    Where a page has other bounds than the condition was built for, it is an error there, and nothing holds here.
    """
    condition = quantile(0.95, DURATION) > 0.5
    counts = (f"{DURATION}_count", (("endpoint", "/"), ("method", "GET")))
    samples = MemorySamples({counts: [(15.0 * at, 9.0 * at) for at in range(25)]}, "15s")

    with pytest.raises(SignalError, match="is no bound"):
        condition.promql(Page("app", MetricsSettings(http_buckets=(0.3, 1.5))))

    assert {} == condition.evaluate(samples)


def test_what_the_page_leaves_out_cannot_be_rendered():
    """
    A metric that is left out is an error, which says so.
    """
    page = Page("app", MetricsSettings(metric_names={REQUESTS: None}))

    with pytest.raises(SignalError, match="metric_names leaves http_requests_total out"):
        rate(REQUESTS).promql(page)


def test_the_machines_figures_keep_their_instance():
    """
    Each machine has its own disk, however many there are.
    """
    text = level("system_disk_usage_bytes").promql()

    assert 'sum by (job, instance, path) (system_disk_usage_bytes{job="app"})' == text


def test_a_label_set_that_appears_has_risen_from_0():
    """
    The first failure is one failure, where there were samples before it.
    """
    samples = sampled(s500=[None] * 22 + [1, 1])

    assert {(): 1.0} == increase(REQUESTS).evaluate(samples)
    assert {(): 1.0} == (increase(REQUESTS) > 0).evaluate(samples)


def test_a_first_sample_is_no_rise():
    """
    What was counted before anybody looked is not counted now.
    """
    assert {} == increase(REQUESTS).evaluate(sampled(s200=[5000]))
    assert {(): 0.0} == increase(REQUESTS).evaluate(sampled(s200=[5000, 5000, 5000]))


def test_a_reset_is_a_rise_from_0():
    """
    A counter that starts over has risen by what it is now.
    """
    samples = sampled(s200=[100, 110, 3, 5] + [5] * 19)

    [risen] = increase(REQUESTS).evaluate(samples, at=18 * 15.0).values()

    assert 15.0 <= risen <= 15.9


def test_a_missing_part_is_0_and_a_missing_whole_is_no_data():
    """
    Without failures the share is 0; without requests there is no share.
    """
    share = ratio(rate(REQUESTS, where={"status": matches("5..")}), rate(REQUESTS))

    assert {(): 0.0} == share.evaluate(sampled(s200=list(range(25))))
    assert {} == share.evaluate(sampled(s200=[7] * 25))
    assert {} == share.evaluate(MemorySamples({}, "15s"))


def test_little_traffic_is_silent():
    """
    A share of few requests, or of few failures, is no condition.
    """
    share = ratio(rate(REQUESTS, where={"status": matches("5..")}), rate(REQUESTS))
    few, many = (sampled(s200=list(range(25)), s500=[place * step for place in range(25)]) for step in (0.1, 1))

    assert {} != (share > 0.05).evaluate(few)
    assert {} == (share.at_least(failures=5) > 0.05).evaluate(few)
    assert {} == (share.at_least(requests=50) > 0.05).evaluate(many)
    assert {(): 0.5} == (share.at_least(requests=20, failures=5) > 0.05).evaluate(many)
    assert (share > 0.05).at_least(requests=20) == (share.at_least(requests=20) > 0.05)


def test_a_long_window_has_no_value_until_it_is_covered():
    """
    Nine tenths of a window over ten minutes must have been sampled.
    """
    asked = increase(REQUESTS, window="1h")

    assert {} == asked.evaluate(sampled(s200=list(range(210))))
    assert {} != asked.evaluate(sampled(s200=list(range(230))))


def test_a_condition_on_a_quantile_is_one_on_a_share():
    """
    It holds at the last bound too, and shows the quantile.
    """
    bounds = page_in_force().bounds_of(row_of(DURATION))
    slow = {
        (f"{DURATION}_bucket", (("endpoint", "/"), ("le", f"{bound}"), ("method", "GET"))): 0 for bound in bounds
    } | {
        (f"{DURATION}{suffix}", (("endpoint", "/"), *le, ("method", "GET"))): 1
        for suffix, le in (("_bucket", (("le", "+Inf"),)), ("_count", ()))
    }
    samples = MemorySamples(
        {key: [(15.0 * at, float(at * step)) for at in range(25)] for key, step in slow.items()}, "15s"
    )
    asked = quantile(0.95, DURATION).at_least(requests=20, failures=5)

    assert {(): bounds[-1]} == (asked > bounds[-1]).evaluate(samples)
    assert {} == (asked <= bounds[-1]).evaluate(samples)


def row_of(name):
    return next(row for row in CATALOGUE if row.name == name)


def test_a_kind_is_new_once():
    """
    It is told when it comes, for as long as the window is, and not again when it goes on, or comes back.
    """
    samples = sampled(s200=[1] * 100, s500=[None] * 30 + [1] * 30 + [None] * 10 + [1] * 30)
    asked = first(REQUESTS, by=["status"]) > 0

    told = [place for place in range(100) if asked.evaluate(samples, at=15.0 * place)]

    assert list(range(30, 50)) == told
    assert {((("status", "500"),)): 1.0} == asked.evaluate(samples, at=15.0 * 40)


def test_twice_as_much_as_before():
    """
    A rate against the hour before it is a factor.
    """
    calm, busy = list(range(260)), [260 + 3 * place for place in range(21)]

    [factor] = rate(REQUESTS).against("1h").evaluate(sampled(s200=calm + busy)).values()

    assert 2.9 < factor < 3.1


def test_a_count_is_compared_with_before_as_a_rate():
    """
    A longer window counts more, and is no reason to be more.
    """
    assert increase(REQUESTS).against("1h") == rate(REQUESTS).against("1h")
    assert increase(REQUESTS).at_least(requests=5).against("1h") == rate(REQUESTS).at_least(requests=5).against("1h")


def test_a_pattern_knows_what_prometheus_knows():
    """
    Digits and letters are those of ASCII.
    """
    assert [True, False] == [matches(r"\d").accepts(text) for text in ("5", "\N{THAI DIGIT FIVE}")]


def test_gauges_are_combined_as_workers_are():
    """
    The worst of the statuses counts, and what is not told apart adds up.
    """
    rows = {("health_status", (("component", name),)): [(0.0, value)] for name, value in (("a", 1.0), ("b", 0.0))}
    samples = MemorySamples(rows, "15s")

    assert {(): 0.0} == level("health_status", by=[]).evaluate(samples)
    assert {(("component", "b"),): 0.0} == (level("health_status") < 0.25).evaluate(samples)


def test_what_is_gone_has_no_value():
    """
    A label set that a sample no longer has is gone with that sample.
    """
    gone = {BEAT: [(0.0, 1.0), (15.0, 1.0)], ("health_status", (("component", "a"),)): [(0.0, 1.0)]}
    samples = MemorySamples(gone, "15s")

    assert [1, 0] == [len(level("health_status").evaluate(samples, at=at)) for at in (0.0, 15.0)]


def test_samples_may_come_in_any_order_and_twice():
    """
    A moment has one value, the last one that is given.
    """
    ordered = sampled(s200=[1, 2, 3, 4, 5])
    mixed = {
        **{BEAT: []},
        (REQUESTS, ()): [(60.0, 5.0), (0.0, 1.0), (15.0, 2.0), (45.0, 4.0), (30.0, 3.0), (30.0, 3.0)],
    }

    assert increase(REQUESTS).evaluate(ordered) == increase(REQUESTS).evaluate(MemorySamples(mixed, "15s"))


def test_how_often_samples_come_has_a_unit():
    """
    A bare number may be seconds or minutes.
    """
    with pytest.raises(DurationError, match="every=15 has no unit"):
        MemorySamples({}, 15)


def test_signals_that_ask_the_same_are_equal():
    """
    Order of labels and form of a duration make no difference.
    """
    asked = [
        rate(REQUESTS, by=by, window=window)
        for by, window in ((["status", "method"], "5m"), (["method", "status"], "300s"))
    ]

    assert asked[0] == asked[1]
    assert (asked[0] > 1) == (asked[1] > 1)
    assert (asked[0] > 1) != (asked[1] > 2)
