"""
What Prometheus is told to read, and how often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from obskit.errors import ExportError
from obskit.export.yaml_text import Value
from obskit.signals.page import Page
from obskit.time.durations import duration_text

# Exporters that run beside an application: port, and seconds between scrapes. Source: their own documentation.
COMPANIONS: dict[str, tuple[int, float]] = {
    "cadvisor": (8080, 15.0),
    "haproxy": (9101, 15.0),
    "nginx": (9113, 15.0),
    "node": (9100, 15.0),
    "postgres": (9187, 30.0),
    "redis": (9121, 30.0),
}
# Relative to the configuration. Nothing secret is ever written into a file.
TOKEN_FILE = "metrics_token"


@dataclass(frozen=True)
class Scrape:
    """
    Where the page is read.

    Attributes:
        targets: Host and port of each instance.
        tls: Whether by https.
        companions: Names of `COMPANIONS`.
    """

    targets: Sequence[str] = ("localhost:8000",)
    tls: bool = False
    companions: Sequence[str] = ()


def scrape_configuration(scrape: Scrape, page: Page, rule_files: Sequence[str]) -> dict[str, Value]:
    """
    Return the configuration of a server that reads the page, and its rules.

    Raises:
        ExportError: The page is mounted nowhere, or a companion is called like the service.
    """
    if page.service in scrape.companions:
        raise ExportError(
            f"the service is called {page.service!r}, as one of its companions: two jobs would have one name; "
            "leave that companion out, or give the service another name"
        )
    every = duration_text(page.scrape_seconds)
    return {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": list(rule_files),
        "scrape_configs": [_job(scrape, page), *(_companion(name) for name in sorted(set(scrape.companions)))],
    }


def _job(scrape: Scrape, page: Page) -> Mapping[str, Value]:
    path = page.settings.metrics_path
    if path is None:
        raise ExportError("metrics_path=None: the page is mounted nowhere, so Prometheus cannot read it")
    access: dict[str, Value] = {}
    if scrape.tls:
        access["scheme"] = "https"
    if page.settings.metrics_token:
        access["authorization"] = {"type": "Bearer", "credentials_file": TOKEN_FILE}
    return {
        "job_name": page.service,
        "metrics_path": path,
        **access,
        "static_configs": [{"targets": list(scrape.targets)}],
    }


def _companion(name: str) -> Mapping[str, Value]:
    port, every_seconds = COMPANIONS[name]
    return {
        "job_name": name,
        "scrape_interval": duration_text(every_seconds),
        "static_configs": [{"targets": [f"localhost:{port}"]}],
    }
