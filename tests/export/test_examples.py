"""
The examples, watched by a real Prometheus with the files that are written of them.
"""

import json
import os
import re
import subprocess
import sys

import httpx
import pytest

from examples.server import EXAMPLES, running, steps
from signals import prometheus

APPLICATIONS = {"flask_app": "app:app", "fastapi_app": "app:app", "django_app": "vending.wsgi:application"}
_shown = re.compile(r"The figure itself:\n\n```promql\n(.+)\n```")


def written(example, folder):
    """
    Write the files of an example before it is served; its tables are made by that.
    """
    command = [sys.executable, "-m", "obskit", "export", "prometheus", "--app", APPLICATIONS[example], "-o", folder]
    environ = {**os.environ, "VENDING_DATABASE": str(folder / "vending.db")}
    subprocess.run(command, cwd=EXAMPLES / example, check=True, capture_output=True, timeout=120, env=environ)
    waiting = {entry["name"] for entry in json.loads((folder / "waiting.json").read_text())}
    pages = {path.stem: path.read_text() for path in folder.glob("runbooks/*.md") if path.stem != "README"}
    return waiting, {name: _shown.search(text)[1] for name, text in pages.items()}


if prometheus.found():

    @pytest.mark.parametrize("example", APPLICATIONS)
    def test_each_expression_answers(example, tmp_path):
        """
        Under its server with two workers, scraped by Prometheus with the exported configuration: each rule is
        evaluated without an error, and has figures, or is listed as waiting. promtool is content with all files.
        """
        programs, requests = prometheus.found()[-1], steps("data" if example == "django_app" else "json")
        waiting, shown = written(example, tmp_path)
        expected = {query: name for name, query in shown.items() if name not in waiting}
        with running(example, tmp_path, "--workers=2") as server:
            text = (tmp_path / "prometheus.yml").read_text().replace("15s", "1s")
            with prometheus.running(programs, tmp_path, text.replace("localhost:8000", server.url[7:]), {}) as address:
                server.wait_until("scrape", lambda: prometheus.get(address, "query", query="up == 1")["result"])
                left = prometheus.without_figures(address, expected, lambda: visit(server.url, requests.values()))
                groups = server.wait_until("evaluation", lambda: evaluated(address))
        promtool = [programs / "promtool", "test", "rules", *sorted(tmp_path.glob("rules/*.test.yml"))]
        done = subprocess.run(promtool, capture_output=True, text=True, timeout=300, check=False)

        assert [] == [expected[query] for query in left]
        assert [] == [rule for group in groups for rule in group["rules"] if rule["health"] != "ok"]
        assert {"HighErrorRate", "HighResponseTime", "LowDiskSpace"} <= {*shown} - waiting
        assert 0 == done.returncode, done.stdout + done.stderr


def visit(url, requests):
    """
    Make each request once.
    """
    for method, path, given in requests:
        httpx.request(method, url + path, **given)


def evaluated(address):
    """
    Return the groups of rules once each has been evaluated.
    """
    groups = prometheus.get(address, "rules")["groups"]
    return groups and all(rule["health"] != "unknown" for group in groups for rule in group["rules"]) and groups
