"""
The kinds of operations by their names, so that a sink knows a kind that nothing has imported yet.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from obskit.operation import Operation

AI_CALL = "obskit.ai.ai_operation:AiOperation"
CHECK = "obskit.health.check_operation:CheckOperation"
CONNECTION_USE = "obskit.db.pools:ConnectionUse"
CONNECTION_WAIT = "obskit.db.pools:ConnectionWait"
FUNCTION = "obskit.observation:FunctionOperation"
JOB = "obskit.jobs:JobOperation"
QUERY = "obskit.db.db_operation:DbOperation"


def name_of(kind: type[Operation]) -> str:
    """
    Return the name of a kind, as it is above.
    """
    return f"{kind.__module__}:{kind.__qualname__}"


def found(name: str) -> Any:
    """
    Import what is named as `module:name`.
    """
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)
