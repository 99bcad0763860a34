"""
When a certificate expires is on the metrics page, and told by a rule.
"""

from obskit import health
from obskit.metrics.settings import MetricsSettings
from obskit.rules.in_force import shipped
from obskit.signals.page import Page
from obskit.testing import replay

DAY = 86_400.0
NAME = "health_certificate_expiry_timestamp_seconds"


def test_the_page_says_when_a_certificate_expires(isolated, ask):
    """
    Of a check whose details have it, and of no other.
    """
    health.add("mail", lambda: health.passed(certificate_expires_at=1.8e9))
    health.add("cache", lambda: health.passed(certificate_expires_at="soon"))
    ask()

    assert [1.8e9, None] == [isolated.value(NAME, component=it) for it in ("mail", "cache")]


def test_a_rule_tells_14_and_3_days_before():
    """
    With the component, once it was so for an hour; one that is over is told as well.
    """
    rules = [rule for rule in shipped() if rule.name == "CertificateExpires"]
    moments = [60.0 * place for place in range(90)]
    left = {"a": 15 * DAY, "b": 13 * DAY, "c": 2 * DAY, "d": -DAY}
    series = {
        (NAME, (("component", name),)): [(at, 100 * DAY + seconds) for at in moments] for name, seconds in left.items()
    }
    moved = {key: [(100 * DAY + at, value) for at, value in pairs] for key, pairs in series.items()}

    told = {
        (it.labels["component"], it.labels["severity"]) for it in replay(rules, moved, "1m") if it.state == "firing"
    }

    assert {("b", "warning"), *((name, it) for name in "cd" for it in ("warning", "critical"))} == told
    assert (
        rules[0].promql(Page("shop", MetricsSettings(namespace="x"))).startswith(f"(min by (job, component) (x_{NAME}")
    )
