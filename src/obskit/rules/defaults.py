"""
The rules that are shipped, one a line, and those that are not yet.

Sources: five monitoring guides of real products, whose thresholds contradict each other; The Site Reliability Workbook,
chapter 5, for the floors of ratios.
"""

from __future__ import annotations

from typing import NamedTuple

from obskit.rules.rule import Area, Outside, Severity
from obskit.signals.definitions import (
    first,
    fraction,
    fraction_ahead,
    growth,
    increase,
    level,
    mean,
    observations,
    quantile,
    rate,
    ratio,
    time_left,
)
from obskit.signals.matching import matches
from obskit.signals.signal import Signal


class Row(NamedTuple):
    """
    One rule: `signal sign threshold` for `held`.
    """

    name: str
    signal: Signal | Outside
    sign: str
    threshold: float | str
    held: str
    severity: Severity
    area: Area
    summary: str
    component: str = ""  # the area
    mutes: tuple[str, ...] = ()


REQUESTS, DURATION = "http_requests_total", "http_request_duration_seconds"
QUERIES, CALLS = "database_query_duration_seconds", "ai_api_requests_total"
DISK, DISK_TOTAL = "system_disk_usage_bytes", "system_disk_total_bytes"


def _share(part: Signal, whole: Signal) -> Signal:
    return ratio(part, whole).at_least(requests=20, failures=5)


_all = rate(REQUESTS)
_failed = _share(rate(REQUESTS, where={"status": matches("5..")}), _all)
_by = ["endpoint"]
_failed_on = _share(rate(REQUESTS, by=_by, where={"status": matches("5..")}), rate(REQUESTS, by=_by))
_refused = _share(rate(REQUESTS, where={"status": matches("4..")}), _all)
_forbidden = ratio(rate(REQUESTS, where={"status": "403"}), _all).at_least(requests=20, failures=50)
_aborted = _share(rate("http_responses_aborted_total"), _all)
_p95, _p99 = (quantile(share, DURATION).at_least(requests=20, failures=5) for share in (0.95, 0.99))
_mean = mean(DURATION, by=_by).at_least(requests=20)
_more = rate(REQUESTS).at_least(requests=300).against("1h")
_new = first("http_exceptions_total", by=["exception"])
_memory = fraction("system_memory_usage_bytes", "system_memory_total_bytes")
_disk, _disk_then = fraction(DISK, DISK_TOTAL), fraction_ahead(DISK, DISK_TOTAL, "4d", "6h")
_file = growth(DISK, where={"path": matches("database.*")})
_cpu, _network = level("system_cpu_usage_percent"), rate("system_network_errors_total")
_database = level("health_status", where={"component": "database"})
_pool = fraction("database_connections_active", "database_connections_max")
_queries = quantile(0.95, QUERIES).at_least(requests=20, failures=5)
_query = mean(QUERIES).at_least(requests=20)
_query_errors = _share(rate("database_errors_total"), observations(QUERIES))
_ai_errors = _share(
    rate(CALLS, by=["service"], where={"status": "error"}, window="10m"), rate(CALLS, by=["service"], window="10m")
)
_ai_mean = mean("ai_api_duration_seconds", by=["service"], window="10m").at_least(requests=5)
_cost = increase("ai_cost_usd_total", window="30d")
_budget = fraction("ai_budget_spent_usd", "ai_budget_limit_usd")
_limit = fraction("ai_ratelimit_remaining", "ai_ratelimit_limit")
_health = level("health_status")
_expiry = time_left("health_certificate_expiry_timestamp_seconds")
_dropped, _errors = increase("obskit_dropped_total", by=["sink"]), increase("obskit_errors_total", by=["sink"])
_down = Outside("({up} == 0) or absent({up})")

# fmt: off
ON: tuple[Row, ...] = (
    Row("HighErrorRate", _failed, ">", "5%", "5m", "warning", "http", "Many requests fail"),
    Row("HighErrorRate", _failed, ">", "10%", "2m", "critical", "http", "Many requests fail"),
    Row("HighResponseTime", _p95, ">", 2.0, "5m", "warning", "http", "Requests are slow"),
    Row("HighResponseTime", _p95, ">", 10.0, "5m", "critical", "http", "Requests are slow"),
    Row("AbortedReplies", _aborted, ">", "5%", "15m", "warning", "http", "Many replies are aborted"),
    Row("LowDiskSpace", _disk, ">", "80%", "5m", "warning", "system", "A disk is nearly full", "disk:{path}"),
    Row("LowDiskSpace", _disk, ">", "90%", "5m", "critical", "system", "A disk is nearly full", "disk:{path}"),
    Row("DiskFillsUp", _disk_then, ">", "100%", "1h", "warning", "system", "A disk fills up in 4 days", "disk:{path}"),
    Row("HighMemoryUsage", _memory, ">", "85%", "5m", "warning", "system", "Memory is nearly used up", "memory"),
    Row("HighMemoryUsage", _memory, ">", "90%", "2m", "critical", "system", "Memory is nearly used up", "memory"),
    Row("DatabaseDown", _database, "<", 0.25, "1m", "critical", "database", "The database does not answer", "",
        ("database",)),
    Row("DatabasePoolSaturated", _pool, ">", "80%", "5m", "warning", "database", "A pool is nearly used up",
        "database:{pool}"),
    Row("DatabasePoolSaturated", _pool, ">", "90%", "5m", "critical", "database", "A pool is nearly used up",
        "database:{pool}"),
    Row("DatabaseErrors", _query_errors, ">", "1%", "5m", "warning", "database", "Queries fail"),
    Row("AIServiceErrors", _ai_errors, ">", "10%", "2m", "warning", "ai", "Calls of AI fail", "ai:{service}"),
    Row("BudgetNearlySpent", _budget, ">=", "80%", "0s", "warning", "ai", "A budget is nearly spent", "ai:{budget}"),
    Row("BudgetNearlySpent", _budget, ">=", "100%", "0s", "critical", "ai", "A budget is spent", "ai:{budget}"),
    Row("HealthComponentFailing", _health, "<", 0.25, "1m", "critical", "health", "A health check fails"),
    Row("TelemetryDropped", _dropped, ">", 0.0, "5m", "warning", "obskit", "Lines or spans are dropped",
        "telemetry:{sink}"),
    Row("TelemetryErrors", _errors, ">", 0.0, "5m", "warning", "obskit", "Telemetry fails", "telemetry:{sink}"),
    Row("TargetDown", _down, "", 0.0, "2m", "critical", "obskit", "The service does not answer", "service", ("*",)),
    Row("Watchdog", Outside("vector(1)"), "", 0.0, "0s", "info", "obskit", "Always fires: alerts arrive", "watchdog"),
)
OFF: tuple[Row, ...] = (
    Row("HighErrorRateOnEndpoint", _failed_on, ">", "5%", "15m", "warning", "http", "Many requests of a route fail"),
    Row("HighErrorRateOnEndpoint", _failed_on, ">", "10%", "0s", "critical", "http", "Many requests of a route fail"),
    Row("ClientErrorRate", _refused, ">", "2%", "15m", "warning", "http", "Many requests are refused"),
    Row("HighResponseTimeP99", _p99, ">", 7.0, "5m", "warning", "http", "Some requests are very slow"),
    Row("HighResponseTimeP99", _p99, ">", 15.0, "5m", "critical", "http", "Some requests are very slow"),
    Row("SlowMeanResponse", _mean, ">", 2.0, "15m", "warning", "http", "A route is slow"),
    Row("SlowMeanResponse", _mean, ">", 5.0, "15m", "critical", "http", "A route is slow"),
    Row("TrafficSpike", _more, ">", "2x", "5m", "warning", "http", "Much more traffic than in the hour before"),
    Row("LowThroughput", rate(REQUESTS), "<", 100.0, "15m", "warning", "http", "Little traffic"),
    Row("NewException", _new, ">", 0.0, "0s", "warning", "http", "An exception that was not seen for a day"),
    Row("SuspiciousAPIActivity", _forbidden, ">", "5%", "5m", "warning", "security", "Many requests are forbidden"),
    Row("HighCPUUsage", _cpu, ">", 80.0, "5m", "warning", "system", "The processor is busy", "cpu"),
    Row("HighCPUUsage", _cpu, ">", 90.0, "5m", "critical", "system", "The processor is busy", "cpu"),
    Row("NetworkErrors", _network, ">", "10/min", "5m", "warning", "system", "The network has errors", "network"),
    Row("SlowDatabase", _queries, ">", 1.0, "5m", "warning", "database", "Queries are slow"),
    Row("SlowMeanQuery", _query, ">", 0.1, "5m", "warning", "database", "Queries are slow on average"),
    Row("SlowMeanQuery", _query, ">", 0.5, "5m", "critical", "database", "Queries are slow on average"),
    Row("DatabaseGrowthHigh", _file, ">", "10MB", "2h", "warning", "database", "The database grows fast",
        "database:{path}"),
    Row("AISlow", _ai_mean, ">", 5.0, "15m", "warning", "ai", "An AI service is slow", "ai:{service}"),
    Row("AICostHigh", _cost, ">", "$100", "0s", "warning", "ai", "AI calls cost much in 30 days"),
    Row("CertificateExpires", _expiry, "<", "14d", "1h", "warning", "health", "A certificate expires soon"),
    Row("CertificateExpires", _expiry, "<", "3d", "1h", "critical", "health", "A certificate expires soon"),
    Row("AIRateLimitLow", _limit, "<", "10%", "5m", "warning", "ai", "A rate limit is nearly used up", "ai:{provider}"),
)
# fmt: on

LEFT_OUT: dict[str, str] = {
    "AuditLogGap": "nothing on the page tells of the audit log",
    "AuditWriteFailing": "nothing on the page tells of the audit log",
    "BackupLate": "nothing on the page tells of backups",
    "DataRetentionViolation": "nothing on the page tells how old records are",
    "DatabaseCorrupt": "nothing on the page tells of integrity checks",
    "DiskBusy": "nothing on the page tells how busy disks are",
    "EvaluatorStalled": "nothing judges rules in the process",
    "HighFailedLogins": "nothing on the page tells of logins",
    "JobFailing": "nothing on the page tells of jobs",
    "JobMissed": "nothing on the page tells of jobs",
    "LoginSuccessLow": "nothing on the page tells of logins",
    "LongRunningQuery": "nothing on the page tells of queries that still run",
    "NetworkSaturated": "nothing on the page tells how fast the network is",
    "SecurityFinding": "nothing on the page tells of attacks",
}
