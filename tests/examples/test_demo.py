"""
The program behind `make demo`.
"""

import json
import os
import re
import signal
import subprocess
import sys
from functools import partial

import httpx
import pytest

from .server import EXAMPLES, PATIENCE_SECONDS

DEMO = [sys.executable, str(EXAMPLES / "demo.py"), "--seconds", "1"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    output = tmp_path_factory.mktemp("demo")
    done = subprocess.run([*DEMO, "--once", "--output", output], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, output


def test_summary_has_a_row_for_each_endpoint(shown):
    """
    Each endpoint has a row, and the rows add up to the requests: failed, streamed and unmatched ones too.
    """
    text, _ = shown
    row = r"^([A-Z]+ \S+) +([\d,]+) +([\d.]+) +([\d.]+) +(\d+) +(\d+) +([\d,]+) +([\d.]+)(?: +\d+ +[\d,]+ +\$.*)?$"
    rows = re.findall(row, text, re.M)
    requests, failed = re.search(r"^([\d,]+) requests, ([\d,]+) failed", text, re.M).groups()
    by_endpoint = {row[0]: row for row in rows}

    assert by_endpoint.keys() == {
        "GET /devices",
        "GET /devices/{device_id}",
        "POST /devices/{device_id}/sales",
        "POST /devices/{device_id}/advice",
        "GET /reports/ai",
        "GET /reports/sales.csv",
        "GET /reports/devices/{device_id}",
        "GET /boom",
        "GET <unmatched>",
    }
    assert sum(number(row[1]) for row in rows) == number(requests)
    assert by_endpoint["GET /boom"][1] == by_endpoint["GET /boom"][5] == failed
    assert by_endpoint["GET /devices"][7] == "1.0"
    assert all(float(p50) <= float(p95) for _, _, p50, p95, *_ in rows)


def test_summary_agrees_with_the_metrics_page(shown):
    """
    The counters on the page and the JSON lines tell the same number of requests.
    """
    text, output = shown
    lines = [json.loads(line) for line in (output / "lines.jsonl").read_text("utf-8").splitlines()]
    counted = re.search(r"has counted ([\d,]+) requests, ([\d,]+) queries .* ([\d,]+) products sold", text).groups()
    sold = sum(line["message"] == "request" and line["status"] == 201 for line in lines)

    assert number(counted[0]) == sum(line["message"] == "request" for line in lines)
    assert number(counted[1]) >= sum(line.get("db_queries", 0) for line in lines) > 0
    assert number(counted[2]) == sold > 0


def test_summary_has_the_ai_calls_of_each_endpoint(shown):
    """
    The endpoint that asks a model has its calls, tokens and dollars, as the lines of its requests tell them.
    """
    text, output = shown
    lines = [json.loads(line) for line in (output / "lines.jsonl").read_text("utf-8").splitlines()]
    asked = [line for line in lines if "ai_calls" in line]
    [(endpoint, calls, tokens, dollars)] = re.findall(r"^[A-Z]+ (\S+) .* (\d+) +([\d,]+) +\$([\d.]+)$", text, re.M)
    total = re.search(r"^([\d,]+) AI calls of a local stand-in .*: ([\d,]+) tokens, \$([\d.]+)\.$", text, re.M).groups()

    assert {line["endpoint"] for line in asked} == {endpoint} == {"/devices/{device_id}/advice"}
    assert sum(line["ai_calls"] for line in asked) == number(calls) > 0
    assert sum(line["ai_cost_usd"] for line in asked) == pytest.approx(float(dollars), abs=0.0001)
    assert float(dollars) > 0
    assert total == (calls, tokens, dollars)
    assert number(tokens) > 3000 * number(calls)


def test_summary_says_where_to_look(shown):
    """
    It shows a line, says where the lines are, and gives the addresses.
    """
    text, output = shown

    assert f"{output / 'lines.jsonl'}:" in text
    assert '"correlation_id": "' in text
    assert re.search(r"^metrics +http://127\.0\.0\.1:\d+/metrics$", text, re.M)
    assert re.search(r"^AI report +http://127\.0\.0\.1:\d+/reports/ai$", text, re.M)
    assert re.search(r"^health +http://127\.0\.0\.1:\d+/health$", text, re.M)


def test_server_is_gone_afterwards(shown):
    """
    With `--once` the server has ended too.
    """
    with pytest.raises(httpx.ConnectError):
        httpx.get(address_of("application", shown[0]))


def test_serves_until_ctrl_c(tmp_path):
    """
    Without `--once` it goes on serving, until an interrupt ends it and its server.
    """
    command = [*DEMO, "--output", tmp_path]
    # A shell's background job is started deaf to the interrupt, and so is whatever it starts.
    hearing = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=hearing) as demo:
        text = ""
        while "Serving until Ctrl-C." not in text and (line := demo.stdout.readline()):
            text += line
        url = address_of("application", text)
        status = httpx.get(url, timeout=PATIENCE_SECONDS).status_code
        demo.send_signal(signal.SIGINT)
        exit_code = demo.wait(PATIENCE_SECONDS)

    assert (status, exit_code) == (200, 0)
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_server_that_does_not_come_up(tmp_path):
    """
    The message says so, with the end of the server's standard error.
    """
    (tmp_path / "uvicorn.py").write_text("raise SystemExit('no uvicorn today')")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [*DEMO, "--once", "--output", tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path},
    )

    assert done.returncode == 1
    assert done.stderr == "The server ended with 1. Its standard error ends:\n\nno uvicorn today\n"


def number(text):
    return int(text.replace(",", ""))


def address_of(name, text):
    return re.search(rf"^{name} +(\S+)$", text, re.M)[1]
