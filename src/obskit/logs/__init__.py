"""
JSON log lines: of requests, of the application's loggers, and of the standard library's.
"""

from obskit.lazy_names import lazy_names

__getattr__, __all__ = lazy_names(
    globals(),
    {
        "config": ("dict_config", "structlog_processor"),
        "json_handler": ("JsonFormatter", "JsonHandler"),
        "record_origin": ("OriginFilter",),
    },
)
