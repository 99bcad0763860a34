"""
What dashboards and alerts of applications that counted by hand ask for: three dashboards and two sets of alerts.

The metrics are those that the applications had, and the expressions stand as they were written, mistakes included.
"""

# Metric -> its type, and its labels.
SHOP_METRICS = {
    "shop_http_requests_total": ("counter", {"method", "endpoint", "status"}),
    "shop_http_request_duration_seconds": ("histogram", {"method", "endpoint"}),
    "shop_active_users_total": ("gauge", set()),
    "shop_database_connections_active": ("gauge", set()),
    "shop_database_query_duration_seconds": ("histogram", {"table", "operation"}),
    "shop_ai_api_requests_total": ("counter", {"service", "status"}),
    "shop_ai_api_duration_seconds": ("histogram", {"service"}),
    "shop_ai_tokens_used_total": ("counter", {"service", "model"}),
    "shop_system_cpu_usage_percent": ("gauge", set()),
    "shop_system_memory_usage_bytes": ("gauge", set()),
    "shop_system_disk_usage_bytes": ("gauge", {"path"}),
    "shop_devices_total": ("gauge", {"status"}),
    "shop_service_orders_total": ("gauge", {"status"}),
    "shop_service_orders_last_created_timestamp": ("gauge", set()),
    "shop_planogram_changes_total": ("counter", {"user_role"}),
    "shop_login_attempts_total": ("counter", {"status", "user_role"}),
}
GATE_METRICS = {
    "gate_ocr_processing_time_seconds": ("histogram", {"method", "status"}),
    "gate_ocr_requests_total": ("counter", {"method", "status"}),
    "gate_camera_connections_active": ("gauge", set()),
    "gate_camera_frames_processed_total": ("counter", set()),
    "gate_db_connections_active": ("gauge", set()),
    "gate_db_query_duration_seconds": ("histogram", {"query_type"}),
    "gate_health_status": ("gauge", {"component"}),
    "gate_active_users": ("gauge", set()),
    "cpu_usage_percent": ("gauge", set()),
    "failed_login_attempts_total": ("counter", set()),
}

SHOP_EXPRESSIONS = [
    '(rate(shop_http_requests_total{status=~"5.."}[5m]) / rate(shop_http_requests_total[5m])) > 0.1',
    "histogram_quantile(0.95, rate(shop_http_request_duration_seconds_bucket[5m])) > 2.0",
    'up{job="shop-health-database"} == 0',
    "shop_system_cpu_usage_percent > 80",
    "(shop_system_memory_usage_bytes / 1024 / 1024 / 1024) > 6",
    '(shop_system_disk_usage_bytes{path="/opt/shop"} / 1024 / 1024 / 1024) > 80',
    'rate(shop_ai_api_requests_total{status="error"}[5m]) > 0.1',
    'rate(shop_login_attempts_total{status="failed"}[5m]) > 5',
    "time() - shop_service_orders_last_created_timestamp > 86400",
    'rate(shop_system_disk_usage_bytes{path="database"}[1h]) > 10485760',
    "sum(rate(shop_http_requests_total[5m]))",
    'sum(rate(shop_http_requests_total{status=~"5.."}[5m])) / sum(rate(shop_http_requests_total[5m])) * 100',
    "histogram_quantile(0.95, sum(rate(shop_http_request_duration_seconds_bucket[5m])) by (le))",
    "shop_active_users_total",
    "shop_system_cpu_usage_percent",
    "shop_system_memory_usage_bytes / 1024 / 1024 / 1024",
    "histogram_quantile(0.95, sum(rate(shop_database_query_duration_seconds_bucket[5m])) by (le))",
    "sum(rate(shop_ai_api_requests_total[5m])) by (service)",
    "histogram_quantile(0.95, sum(rate(shop_ai_api_duration_seconds_bucket[5m])) by (service, le))",
]
GATE_EXPRESSIONS = [
    "histogram_quantile(0.95, rate(gate_ocr_processing_time_seconds_bucket[5m])) > 1",
    'rate(gate_ocr_requests_total{status="success"}[5m]) / rate(gate_ocr_requests_total[5m]) < 0.95',
    'histogram_quantile(0.95, rate(http_request_duration_seconds{job="gate"}[5m])) > 0.5',
    "cpu_usage_percent > 85",
    "memory_usage_percent > 90",
    "disk_usage_percent > 85",
    "gate_camera_connections_active == 0",
    "rate(failed_login_attempts_total[5m]) > 5",
    'rate(api_requests_total{status="403"}[5m]) > 10',
    "rate(http_requests_total[5m]) > 2 * rate(http_requests_total[1h])",
    "time() - audit_log_last_entry_seconds > 3600",
    "data_retention_days > 365",
    "histogram_quantile(0.95, rate(gate_ocr_processing_time_seconds_bucket[5m]))",
    "histogram_quantile(0.50, rate(gate_ocr_processing_time_seconds_bucket[5m]))",
    "cpu_usage_percent",
    "memory_usage_percent",
    "disk_usage_percent",
    'rate(gate_ocr_requests_total{status="success"}[1h]) / rate(gate_ocr_requests_total[1h]) * 100',
    "gate_health_status",
    "gate_response_time_ms",
    "gate_active_users",
    "gate_error_rate",
]

# What has no series, and which feature of obskit brings it; the page says so in the metric's row.
TO_COME = {"audit_log_last_entry_seconds": "the audit log", "data_retention_days": "data retention"}
