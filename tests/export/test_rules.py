"""
Rules as files: valid for Prometheus, with tests that pass, whatever metrics are called and whoever declared them.
"""

import json
import subprocess

import pytest

import obskit
from obskit.catalogue import CATALOGUE
from obskit.export.for_prometheus import prometheus_files
from obskit.rules.declared import rule
from obskit.signals import age, fraction, growth, increase, level, matches, mean, quantile, rate, ratio
from obskit.testing import isolated_runtime
from signals import prometheus

RENAMED = {
    "metric_names": {"http_requests_total": "requests_total", "health_status": None},
    "metric_labels": {
        "*": {"endpoint": "route", "service": "ai_service"},
        "system_disk_usage_bytes": {"path": "mount"},
        "system_disk_total_bytes": {"path": "mount"},
    },
    "http_buckets": (0.1, 1.0, 2.0, 20.0),
}


def files_of():
    return prometheus_files(["a:1"], False, [], "2.42", "https://wiki/runbooks/")


def declare_own():
    """
    Declare a rule of each kind on metrics of the application's own.
    """
    ocr = obskit.histogram("ocr_seconds", "Seconds of OCR.", labels=["method"], buckets=[0.5, 1.0])
    plates = obskit.counter("plates_total", "Plates.", labels=["method", "status"])
    cameras = obskit.gauge("cameras", "Cameras that are connected.", labels=["component"])
    obskit.gauge("paid_timestamp_seconds", "When the last order was paid.")
    read = rate(plates, by=["method"], where={"status": matches("ok|fine")})
    rule("OcrSlow", quantile(0.95, ocr, by=["method"]) > 0.5, for_="5m", description="{value} by {method}; {{braces}}")
    rule("OcrSlowest", mean(ocr, by=["method"]).at_least(requests=20) > "1s", keep_firing="10m")
    rule("OcrFails", ratio(read, rate(plates, by=["method"])) < "95%", for_="5m", severity="critical")
    rule("CamerasLost", level(cameras) < 0.5, for_="2m", no_data="firing", labels={"team": "a: \"b\" #{c} 'd'"})
    rule("NothingPaid", age("paid_timestamp_seconds") > "2h", summary="Nobody pays: {component}")
    rule("NoPlates", increase(plates), none_for="10m")
    rule("CamerasGrow", growth(cameras, where={"component": "a"}) > 5)
    rule("CamerasShare", fraction(cameras, cameras) > "90%", hours="Mon-Fri 06:00-22:00")
    rule("CamerasKept", level(cameras) < 0.5, for_="2m", no_data="keep", keep_firing="3m")
    rule("OcrKept", ratio(read, rate(plates, by=["method"])) < "95%", no_data="keep", hours="08:00-18:00 Europe/Berlin")
    rule("PlatesNow", rate(plates) > 3, hours="thu,sat 22:00-06:00 Australia/Sydney", every="2m")
    rule("PlatesMoon", rate(plates) > 3, hours="08:00-18:00 Africa/Casablanca")
    rule("Plates", rate(plates, where={"method": "a|b", "status": matches(r"a\.b")}).against("30m") > 3)


def promtool(folder, programs):
    """
    Check and test all rules of a folder; what promtool said where it is not content.
    """
    commands = [
        ["check", "config", folder / "prometheus.yml"],
        ["check", "rules", *sorted(folder.glob("rules/*.rules.yml"))],
        ["test", "rules", *sorted(folder.glob("rules/*.test.yml"))],
    ]
    done = [
        subprocess.run([programs / "promtool", *it], capture_output=True, text=True, timeout=500, check=False)
        for it in commands
    ]
    return "".join(it.stdout + it.stderr for it in done if it.returncode)


if prometheus.found():

    @pytest.mark.parametrize("programs", prometheus.found(), ids=lambda folder: folder.parts[-3])
    def test_prometheus_reads_the_files_and_says_the_same(tmp_path, programs):
        """
        Of rules that are shipped and of an application's own, with a namespace and other names of metrics and labels.
        """
        declare_own()
        with isolated_runtime(service="a 'shop': \"#1\"", namespace="shop", **RENAMED):
            obskit.export.prometheus(tmp_path)

        assert "" == promtool(tmp_path, programs)

    def test_labels_of_guides_hide_nothing(tmp_path):
        """
        Prometheus is content with rules whose metric has a label `service` of its own, and their alerts tell both.
        """
        with isolated_runtime(service="shop", alert_labels="guides", alerts=["AIServiceErrors"]):
            obskit.export.prometheus(tmp_path)
        text = (tmp_path / "rules" / "ai.rules.yml").read_text()

        assert "" == promtool(tmp_path, prometheus.found()[-1])
        assert "service: shop-ai" in text
        assert "component: ai:{{ $labels.exported_service }}" in text

    def test_labels_of_metrics_are_not_those_of_alerts_and_targets(tmp_path):
        """
        Renamed to what an alert has, or called as what Prometheus gives each target, they are moved aside, and hide
        nothing: promtool is content with the tests of both label sets.
        """
        imported = obskit.counter("imported", "Rows.", labels=["job", "source"])
        rule("ImportsMany", rate(imported, by=["source"], where={"job": "nightly"}) > 5)
        labels = {"*": {"endpoint": "severity", "service": "app", "path": "instance", "source": "area"}}
        with isolated_runtime(service="shop", alerts="all", metric_labels=labels):
            obskit.export.prometheus(tmp_path)
        rules = {path.stem: path.read_text() for path in tmp_path.glob("rules/*.yml")}

        assert "" == promtool(tmp_path, prometheus.found()[-1])
        assert "exported_severity" in rules["http.rules"]
        assert 'exported_job="nightly"' in rules["business.rules"].replace("\\", "")
        assert "disk:{{ $labels.exported_instance }}" in rules["system.rules"]


def test_names_are_those_of_the_page():
    """
    With its namespace, renamed metrics and labels; rules of what is left out are left out, and the reason is told.
    """
    with isolated_runtime(service="shop", alerts="all", namespace="shop", **RENAMED):
        files = files_of()
    rules = "".join(text for name, text in files.items() if name.endswith(".rules.yml"))
    old = {"http_requests_total", "health_status"}

    assert [] == [row.name for row in CATALOGUE if row.prefixed and f" {row.name}" in rules.replace("(", " ")]
    assert [] == [name for name in old if f"shop_{name}{{" in rules]
    assert "shop_requests_total{" in rules
    assert "disk:{{ $labels.mount }}" in rules
    assert "ai:{{ $labels.ai_service }}" in rules
    assert "- DatabaseDown: metric_names leaves health_status out of the page" in files["runbooks/README.md"]
    assert "- HighResponseTime: 10 is no bound" in files["runbooks/README.md"]
    assert "runbook_url: https://wiki/runbooks/HighErrorRate.md" in rules


def test_each_alert_has_a_page():
    """
    It says what the alert means, what to look at and what to do; rules that only the application judges are listed.
    """
    declare_own()
    with isolated_runtime(service="shop", alerts="all"):
        files = files_of()
    alerts = {
        line.partition("alert: ")[2]
        for name, text in files.items()
        if name.endswith(".rules.yml")
        for line in text.splitlines()
        if "- alert: " in line
    }
    pages = {name.split("/")[1].removesuffix(".md"): text for name, text in files.items() if name.endswith(".md")}
    index = pages.pop("README")

    assert alerts == set(pages)
    assert [] == [
        name
        for name, text in pages.items()
        if f"\n# {name}\n" not in text
        or f"[{name}]({name}.md)" not in index
        or any(f"\n## {it}\n" not in text for it in ("What it means", "What to look at", "What to do"))
    ]
    assert "- PlatesMoon: judged by the application alone: Prometheus cannot follow the clock of Africa/Casabl" in index
    assert "- CamerasShare" not in index


def test_what_waits_for_an_event_or_a_longer_past_is_listed():
    """
    With the metrics it needs, and the reason; what ordinary requests fill is not.
    """
    declare_own()
    with isolated_runtime(service="shop", namespace="shop"):
        waiting = {it["name"]: it for it in json.loads(files_of()["waiting.json"])}

    assert waiting["AIServiceErrors"] == {
        "name": "AIServiceErrors",
        "kind": "rule",
        "metrics": ["shop_ai_api_requests_total"],
        "reason": "an AI call must have been made",
    }
    assert waiting["DiskFillsUp"]["reason"] == "nine tenths of 6h must have passed"
    assert waiting["OcrSlow"]["reason"] == "ocr_seconds must have been counted"
    assert set() == {"HighErrorRate", "HighResponseTime", "AbortedReplies", "LowDiskSpace", "HighMemoryUsage"} & {
        *waiting
    }
