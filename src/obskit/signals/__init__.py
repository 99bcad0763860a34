"""
What can be asked of metrics, here and by Prometheus, with the same answer.

    from obskit.signals import matches, rate, ratio

    failed = rate("http_requests_total", where={"status": matches("5..")})
    errors = ratio(failed, rate("http_requests_total")).at_least(requests=20, failures=5)
    (errors > "5%").promql()
"""

from obskit.lazy_names import lazy_names

# Lazily, since whoever configures asks nothing yet.
__getattr__, __all__ = lazy_names(
    globals(),
    {
        "definitions": ("age", "first", "fraction", "growth", "increase", "level", "mean", "quantile", "rate", "ratio"),
        "matching": ("matches",),
        "samples": ("MemorySamples", "Samples", "Series"),
        "signal": ("Condition", "Signal"),
    },
)
