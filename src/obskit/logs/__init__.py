"""
JSON log lines: of requests, of the application's loggers, and of the standard library's.
"""

from obskit.logs.config import dict_config, structlog_processor
from obskit.logs.json_handler import JsonFormatter, JsonHandler
from obskit.logs.record_origin import OriginFilter

__all__ = ["JsonFormatter", "JsonHandler", "OriginFilter", "dict_config", "structlog_processor"]
