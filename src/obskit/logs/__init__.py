"""
JSON log lines: of requests, of the application's loggers, and of the standard library's.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obskit.logs.config import dict_config, structlog_processor
    from obskit.logs.json_handler import JsonFormatter, JsonHandler
    from obskit.logs.record_origin import OriginFilter

_HOME = {
    "JsonFormatter": "json_handler",
    "JsonHandler": "json_handler",
    "OriginFilter": "record_origin",
    "dict_config": "config",
    "structlog_processor": "config",
}

__all__ = ["JsonFormatter", "JsonHandler", "OriginFilter", "dict_config", "structlog_processor"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'obskit.logs' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"obskit.logs.{_HOME[name]}"), name)
    globals()[name] = value
    return value
