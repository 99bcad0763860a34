"""
What figures are called where Prometheus reads them, and which bounds histograms have.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from obskit.catalogue import Metric, ai, db, http, internal, pools
from obskit.errors import SignalError
from obskit.metrics.settings import MetricsSettings
from obskit.signals.matching import quoted

# The metrics page is read this often unless a page says otherwise.
SCRAPE_SECONDS = 15.0

_OF_TARGETS = frozenset({"job", "instance"})


@dataclass(frozen=True)
class Page:
    """
    A service's metrics page, as Prometheus sees it.

    Attributes:
        service: The scrape job's name.
        settings: The settings of its metrics: namespace, renames, bounds.
        scrape_seconds: Seconds between two scrapes.
    """

    service: str
    settings: MetricsSettings = field(default_factory=MetricsSettings)
    scrape_seconds: float = SCRAPE_SECONDS

    def name_of(self, metric: Metric) -> str:
        """
        Return a metric's name on the page.

        Raises:
            SignalError: The page leaves the metric out.
        """
        name = self.settings.metric_names.get(metric.name, metric.name)
        if name is None:
            raise SignalError(f"metric_names leaves {metric.name} out of the page: nothing can be asked of it there")
        return f"{self.settings.namespace}_{name}" if metric.prefixed and self.settings.namespace else name

    def has(self, metric: Metric) -> bool:
        """
        Return whether the metric is on the page at all.
        """
        return self.settings.metric_names.get(metric.name, metric.name) is not None

    def label_of(self, metric: Metric, label: str) -> str:
        """
        Return the name that a metric's label has in Prometheus: that on the page, or `exported_job` where it is one
        that Prometheus gives each target.
        """
        renames = self.settings.metric_labels
        name = renames.get(metric.name, {}).get(label) or renames.get("*", {}).get(label) or label
        return f"exported_{name}" if name in _OF_TARGETS else name

    def heartbeat(self) -> str:
        """
        Return a selector of what is on the page whenever it is read.
        """
        renames = self.settings.metric_names
        is_left_out = internal.BUILD_INFO.name in renames and renames[internal.BUILD_INFO.name] is None
        return self.selector("up" if is_left_out else self.name_of(internal.BUILD_INFO))

    def selector(self, name: str, *matchers: str) -> str:
        """
        Return a selector of this service's series.
        """
        inside = ",".join([f"job={quoted(self.service)}", *matchers])
        return f"{name}{{{inside}}}"

    def bounds_of(self, metric: Metric) -> tuple[float, ...]:
        """
        Return the bounds of a histogram.
        """
        settings, own = self.settings, self.settings.metric_buckets.get(metric.name)
        if own or metric.buckets:
            return own or metric.buckets
        usual = ((http.METRICS, settings.http_buckets), (ai.METRICS, settings.ai_buckets))
        by_subject = next((bounds for rows, bounds in usual if metric in rows), None)
        return by_subject or (settings.db_buckets if metric in (*db.METRICS, *pools.METRICS) else ())


_in_force: list[Page] = []


def page_in_force() -> Page:
    """
    Return the page of the active runtime, or one with every setting's default.
    """
    return _in_force[-1] if _in_force else Page("app")


def configured_page() -> Page | None:
    """
    Return the page of the active runtime, if there is one.
    """
    return _in_force[-1] if _in_force else None


def put_in_force(page: Page) -> None:
    """
    Make this the page of the active runtime.
    """
    _in_force[:] = [page]


def put_out_of_force() -> None:
    """
    Return to the page with every setting's default.
    """
    _in_force.clear()
