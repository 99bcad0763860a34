"""
Write JSON lines: of requests, of the application's loggers, and of the standard library's.
"""

from obskit.logs.origin import OriginFilter
from obskit.logs.records import JsonFormatter, JsonHandler
from obskit.logs.setups import dict_config, structlog_processor

__all__ = ["JsonFormatter", "JsonHandler", "OriginFilter", "dict_config", "structlog_processor"]
