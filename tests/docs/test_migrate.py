"""
Prove that what docs/how-to/migrate.md ends with puts out the names that it starts from.
"""

import json
import subprocess
import sys

import pytest
from pages import ROOT, Page

PAGE = Page(ROOT / "docs" / "how-to" / "migrate.md")
ASK = """
import sys
from importlib import import_module

client = import_module(sys.argv[1]).app.test_client()
client.post("/orders/7", headers={"X-Request-ID": "r-1"})
assert client.get("/health").status_code == 200
open(sys.argv[1] + ".page", "w").write(client.get("/metrics").text)
"""

if PAGE.runs_here:

    @pytest.fixture(scope="module")
    def outputs(tmp_path_factory):
        """
        Run both applications, and keep the page and the lines of each.
        """
        folder = tmp_path_factory.mktemp("migrate")
        for block in PAGE.of("python"):
            (folder / block.file).write_text(block.text)
        return [output_of(name, folder) for name in ("before", "after")]

    def output_of(name, folder):
        done = subprocess.run([sys.executable, "-c", ASK, name], cwd=folder, capture_output=True, text=True, check=True)
        lines = [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]
        return (folder / f"{name}.page").read_text(), lines

    def series(page):
        """
        Give the shop's samples with their type, labels and bound, as dashboards and alerts name them.
        """
        from prometheus_client.parser import text_string_to_metric_families

        return {
            (sample.name, family.type, label, sample.labels.get("le"))
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            for label in sample.labels
            if sample.name.startswith("shop_") and not sample.name.endswith("_created")
        }

    def test_the_old_names_types_labels_and_bounds_come_out(outputs):
        """
        Each series of the hand-written metrics has a successor that the same query finds.
        """
        before, after = (series(page) for page, _ in outputs)

        assert {name for name, *_ in before} >= {"shop_requests_total", "shop_request_latency_seconds_bucket"}
        assert before - after == set()

    def test_the_old_fields_come_out(outputs):
        """
        The access line and the application's own line have the fields they had, with the id of the request.
        """
        for message in ("request", "ordered"):
            before, after = (next(line for line in lines if line["msg"] == message) for _, lines in outputs)

            assert before.keys() - after.keys() == set()
            assert after["request_id"] == "r-1"
