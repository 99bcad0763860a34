"""
The right forms of the 41 expressions that monitoring guides of real products have, 32 different ones: each has figures
of an application that emits what they name. Of alerts it is what they compare.
"""

import threading
import urllib.error
import urllib.request
from wsgiref.simple_server import WSGIRequestHandler, make_server

import obskit
from obskit.testing import isolated_runtime
from signals import prometheus

_REQUESTS, _SECONDS = "gate_http_requests_total", "gate_http_request_duration_seconds"
_OCR, _QUERIES, _AI = "gate_ocr_processing_time_seconds", "gate_database_query_duration_seconds", "gate_ai_api"
EXPRESSIONS = [
    f"histogram_quantile(0.95, sum by (le, method) (rate({_OCR}_bucket[5m])))",
    'sum by (method) (rate(gate_ocr_requests_total{status="success"}[5m])) '
    "/ sum by (method) (rate(gate_ocr_requests_total[5m]))",
    f"histogram_quantile(0.95, sum by (le) (rate({_SECONDS}_bucket[5m])))",
    "gate_system_cpu_usage_percent",
    "100 * gate_system_memory_usage_bytes / gate_system_memory_total_bytes",
    "100 * gate_system_disk_usage_bytes / gate_system_disk_total_bytes",
    "gate_camera_connections_active",
    'sum(increase(gate_login_attempts_total{status="failed"}[5m]))',
    f'sum(rate({_REQUESTS}{{status="403"}}[5m]))',
    f"sum(rate({_REQUESTS}[5m])) / sum(rate({_REQUESTS}[1h]))",
    "time() - (gate_audit_log_last_entry_timestamp_seconds > 0)",
    "gate_data_oldest_record_age_seconds",
    f"histogram_quantile(0.95, sum by (le) (rate({_OCR}_bucket[5m])))",
    f"histogram_quantile(0.50, sum by (le) (rate({_OCR}_bucket[5m])))",
    '100 * sum(rate(gate_ocr_requests_total{status="success"}[1h])) / sum(rate(gate_ocr_requests_total[1h]))',
    "gate_health_status",
    f"sum by (endpoint) (rate({_SECONDS}_sum[5m])) / sum by (endpoint) (rate({_SECONDS}_count[5m]))",
    "gate_active_users",
    f'sum by (endpoint) (rate({_REQUESTS}{{status=~"5.."}}[5m])) / sum by (endpoint) (rate({_REQUESTS}[5m]))',
    f'sum(rate({_REQUESTS}{{status=~"5.."}}[5m])) / sum(rate({_REQUESTS}[5m]))',
    'gate_health_status{component="database"}',
    "max by (instance) (gate_system_cpu_usage_percent)",
    '100 * gate_system_disk_usage_bytes{path!="database"} / gate_system_disk_total_bytes',
    f'sum by (service) (rate({_AI}_requests_total{{status="error"}}[5m])) '
    f"/ sum by (service) (rate({_AI}_requests_total[5m]))",
    "time() - (gate_service_orders_last_created_timestamp_seconds > 0)",
    'deriv(gate_system_disk_usage_bytes{path="database"}[1h]) * 3600',
    f"sum(rate({_REQUESTS}[5m]))",
    f'100 * (sum(rate({_REQUESTS}{{status=~"5.."}}[5m])) or vector(0)) / sum(rate({_REQUESTS}[5m]))',
    "gate_system_memory_usage_bytes",
    f"histogram_quantile(0.95, sum by (le) (rate({_QUERIES}_bucket[5m])))",
    f"sum by (service) (rate({_AI}_requests_total[5m]))",
    f"histogram_quantile(0.95, sum by (service, le) (rate({_AI}_duration_seconds_bucket[5m])))",
]


class Quiet(WSGIRequestHandler):
    """
    Writes nothing of its own.
    """

    def log_message(self, *given):
        pass


def application(path):
    """
    Make an application that does a little of everything on each request. What the audit log, logins and orders will
    emit it declares itself.
    """
    ocr = obskit.histogram("ocr_processing_time_seconds", "Seconds of OCR.", labels=["method", "status"])
    plates = obskit.counter("ocr_requests_total", "OCR requests.", labels=["method", "status"])
    logins = obskit.counter("login_attempts_total", "Logins.", labels=["status", "user_role"])
    names = ["camera_connections_active", "data_oldest_record_age_seconds", "active_users"]
    times = ["audit_log_last_entry_timestamp_seconds", "service_orders_last_created_timestamp_seconds"]
    gauges = [obskit.gauge(name, "What a guide asks for.", workers="max") for name in (*names, *times)]

    def application(environ, start_response):
        for outcome in ("success", "error"):
            with ocr.time(method="fast"):
                plates.inc(method="fast", status=outcome)
            logins.inc(status="failed" if outcome == "error" else "success", user_role="clerk")
        for gauge in gauges:
            gauge.set(1_700_000_000)
        with obskit.observe_db(table="plates", operation="select", system="sqlite"):
            path.write_text("a row")
        for fails in (False, True):
            with obskit.observe_ai(service="assistant", provider="own", model="small") as call:
                if fails:
                    call.fail("refused")
        start_response({"/boom": "500 Oh", "/secret": "403 No"}.get(environ["PATH_INFO"], "200 OK"), [])
        return [b""]

    return obskit.instrument(application)


def visit(url):
    """
    Make a request of each kind, and look at the health.
    """
    for path in ("/", "/boom", "/secret", "/health"):
        try:
            urllib.request.urlopen(url + path, timeout=60).close()
        except urllib.error.HTTPError as refused:
            refused.close()


if prometheus.found():

    def test_each_right_form_has_figures(tmp_path):
        """
        Scraped with the exported configuration.
        """
        disks = {"/": "/", "database": str(tmp_path / "own.db")}
        (tmp_path / "own.db").write_text("")
        with isolated_runtime(service="gate", namespace="gate", disk_paths=disks):
            obskit.health.add("database", lambda: True)
            served = application(tmp_path / "own.db")
            obskit.export.prometheus(tmp_path)
            with make_server("127.0.0.1", 0, served, handler_class=Quiet) as server:
                thread = threading.Thread(target=server.serve_forever, args=(0.05,))
                thread.start()
                try:
                    target = f"127.0.0.1:{server.server_port}"
                    text = (tmp_path / "prometheus.yml").read_text()
                    text = text.replace("15s", "1s").replace("localhost:8000", target)
                    with prometheus.running(prometheus.found()[-1], tmp_path, text, {}) as address:
                        left = prometheus.without_figures(address, EXPRESSIONS, lambda: visit(f"http://{target}"))
                finally:
                    server.shutdown()
                    thread.join()

        assert [] == left
