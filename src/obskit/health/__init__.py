"""
Health checks of the process and of what it depends on, for probes, people, metrics and the log.

    obskit.health.add("database", obskit.health.sqlite("app.db"))

    @obskit.health.check("queue", timeout=1.0, every=15, critical=False)
    def queue_depth():
        return {"waiting": len(queue)}
"""

from obskit.lazy_names import lazy_names

# Lazily, since whoever reads the settings of this folder imports no check.
__getattr__, __all__ = lazy_names(
    globals(),
    {
        "api": ("add", "check", "heartbeat", "remove"),
        "database_checks": ("django", "django_cache", "psycopg", "sqlalchemy"),
        "redis_checks": ("redis",),
        "sqlite_checks": ("sqlite",),
        "event_loop_lag": ("event_loop",),
        "heartbeats": ("Heartbeat",),
        "outcome": ("Outcome", "failed", "passed", "skipped", "warned"),
        "provider_checks": ("ai_provider",),
        "remote_checks": ("certificate", "http"),
        "system_checks": ("cpu", "disk", "file_descriptors", "load", "memory", "storage", "system", "threads"),
    },
)
