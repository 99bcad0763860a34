"""
What has been: the figures of all metrics over time, in the application's own files, with `history=True`.

    from obskit import history
    from obskit.signals import quantile

    slow = quantile(0.95, "http_request_duration_seconds", by=["endpoint"])
    history.series(slow, since="6h", step="5m").to_dict()
"""

from obskit.lazy_names import lazy_names

# Lazily, since a runtime without a history imports this for its settings alone.
__getattr__, __all__ = lazy_names(
    globals(),
    {
        "door": ("covers", "open", "records", "series", "totals"),
        "queries": ("Covered", "History", "SignalSeries"),
    },
)
