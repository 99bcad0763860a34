"""
The Flask example under gunicorn.
"""

import pytest

from .server import STOPPED, steps, visit

STEPS = steps("json")
ENDPOINTS = {
    "devices": "/devices",
    "device": "/devices/<int:device_id>",
    "absent device": "/devices/<int:device_id>",
    "sale": "/devices/<int:device_id>/sales",
    "sale of water": "/devices/<int:device_id>/sales",
    "refused payment": "/devices/<int:device_id>/sales",
    "invalid sale": "/devices/<int:device_id>/sales",
    "stream": "/reports/sales.csv",
    "boom": "/boom",
    "unmatched": "<unmatched>",
}


@pytest.fixture(scope="module")
def visited(tmp_path_factory):
    return visit("flask_app", tmp_path_factory.mktemp("flask"), STEPS, wanted="vending_devices{")


def test_replies(visited):
    """
    The example answers: sales are taken from the stock, a mistake is a 422, an exception a 500.
    """
    replies = visited.replies

    assert visited.statuses() == {
        "devices": 200,
        "device": 200,
        "absent device": 404,
        "sale": 201,
        "sale of water": 201,
        "refused payment": 409,
        "invalid sale": 422,
        "stream": 200,
        "boom": 500,
        "unmatched": 404,
    }
    assert replies["sale"].json() == {"product": "crisps", "cents": 300}
    assert replies["stream"].text == "device,product,cents\n1,crisps,300\n1,water,100\n"


def test_requests_are_counted(visited):
    """
    Requests are counted by method, template and status; those of blueprints with the blueprint's prefix.
    """
    counted = visited.values("vending_http_requests_total", "method", "endpoint", "status")

    assert counted == {
        ("GET", "/devices", "200"): 1,
        ("GET", "/devices/<int:device_id>", "200"): 1,
        ("GET", "/devices/<int:device_id>", "404"): 1,
        ("POST", "/devices/<int:device_id>/sales", "201"): 2,
        ("POST", "/devices/<int:device_id>/sales", "409"): 1,
        ("POST", "/devices/<int:device_id>/sales", "422"): 1,
        ("GET", "/reports/sales.csv", "200"): 1,
        ("GET", "/boom", "500"): 1,
        ("GET", "<unmatched>", "404"): 1,
    }


def test_histograms_agree_with_counters(visited):
    """
    Each request is in the histogram of durations; the streamed one in that of first bytes; the failed one in the
    counter of exceptions.
    """
    labels = ("method", "endpoint")

    assert visited.values("vending_http_requests_total", *labels) == visited.values(
        "vending_http_request_duration_seconds_count", *labels
    )
    assert visited.values("vending_http_response_first_byte_seconds_count", "endpoint") == {("/reports/sales.csv",): 1}
    assert visited.values("vending_http_exceptions_total", "endpoint", "exception") == {("/boom", "RuntimeError"): 1}


def test_own_metrics(visited):
    """
    The application's own metrics are on the same page, in its namespace.
    """
    assert visited.values("vending_sales_total", "product") == {("crisps",): 2, ("water",): 1}
    assert visited.values("vending_payment_seconds_count", "method", "status") == {
        ("card", "success"): 2,
        ("card", "error"): 1,
    }
    assert visited.values("vending_devices", "status") == {("online",): 2, ("offline",): 1}
    assert visited.values("vending_function_duration_seconds_count", "function", "status") == {
        ("take_from_stock", "success"): 3
    }


def test_queries_are_counted(visited):
    """
    Queries are counted by table and operation, and for each request in its access line.
    """
    queries = visited.values("vending_database_query_duration_seconds_count", "system", "table", "operation")
    by_step = {step: visited.line(step).get("db_queries", 0) for step in STEPS}

    assert queries.pop(("sqlite", "devices", "select")) >= 3  # the gauge asks in the background
    assert queries == {
        ("sqlite", "stock", "select"): 1,
        ("sqlite", "stock", "update"): 3,
        ("sqlite", "sales", "insert"): 2,
        ("sqlite", "sales", "select"): 1,
    }
    assert by_step == {
        "devices": 1,
        "device": 2,
        "absent device": 1,
        "sale": 2,
        "sale of water": 2,
        "refused payment": 1,
        "invalid sale": 0,
        "stream": 1,
        "boom": 0,
        "unmatched": 0,
    }


def test_access_lines(visited):
    """
    Each reply has one access line, with its correlation id, template and status, and what the view bound.
    """
    lines = {step: visited.line(step) for step in STEPS}

    assert {step: line["endpoint"] for step, line in lines.items()} == ENDPOINTS
    assert visited.statuses() == {step: line["status"] for step, line in lines.items()}
    assert len(STEPS) == sum(line["message"] == "request" for line in visited.lines)
    assert lines["device"]["correlation_id"] == "till-7"
    assert lines["sale"]["product"] == "crisps"
    assert lines["stream"]["first_byte_ms"] <= lines["stream"]["duration_ms"]
    assert (lines["boom"]["level"], lines["boom"]["exception"]["type"]) == ("ERROR", "RuntimeError")


def test_health(visited):
    """
    The health route answers.
    """
    assert visited.health.status_code == 200
    assert visited.health.json()["status"] == "pass"


def test_server_stops_cleanly(visited):
    """
    The server ends by itself when it is asked to, without an exception.
    """
    assert STOPPED["gunicorn"] == visited.exit_code
    assert "Traceback" not in visited.last_words
