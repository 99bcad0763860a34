# Types of the public names, which `__init__.py` imports when they are first used.

from obskit.logs.config import dict_config as dict_config
from obskit.logs.config import structlog_processor as structlog_processor
from obskit.logs.json_handler import JsonFormatter as JsonFormatter
from obskit.logs.json_handler import JsonHandler as JsonHandler
from obskit.logs.record_origin import OriginFilter as OriginFilter
