"""
Turn AI calls into client spans, by OpenTelemetry's conventions for generative AI.

One call has one span: where the SDK traces itself, or somebody else's instrumentation stands around it, theirs is
it, and only what obskit alone knows is added. No prompt and no completion is on any.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from obskit.ai.ai_operation import UNKNOWN, AiOperation

# The names of the GenAI conventions (repository semantic-conventions-genai, 2026-11), each written here alone: the
# constants of OpenTelemetry's Python package are marked as moved, and have an older name for cache writes.
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
MAX_TOKENS = "gen_ai.request.max_tokens"
STREAM = "gen_ai.request.stream"
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT = "gen_ai.usage.input_tokens"  # with caches
OUTPUT = "gen_ai.usage.output_tokens"
CACHE_READ = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE = "gen_ai.usage.cache_write.input_tokens"
REASONING = "gen_ai.usage.reasoning.output_tokens"
HOST = "server.address"
PORT = "server.port"
ERROR = "error.type"
RESENDS = "http.request.resend_count"
# They have no name for these.
COST = "obskit.ai.cost.usd"
COST_STATUS = "obskit.ai.cost.status"
SERVICE = "obskit.ai.service"
ABORTED = "obskit.ai.aborted"
ESTIMATED_INPUT = "obskit.ai.estimated.input_tokens"
ESTIMATED_OUTPUT = "obskit.ai.estimated.output_tokens"

_NOTHING: dict[str, Any] = {}
_OPERATIONS = {"image": "generate_content", "audio": "generate_content"}
# Spans around a call that are another thing: an agent's turn, a tool.
_AROUND = ("invoke_agent", "create_agent", "execute_tool", "invoke_workflow")
_is_theirs = re.compile(r"openai|anthropic|genai|gen_ai|openlit|langfuse", re.IGNORECASE).search


def is_call_of_others(span: Any, own_scope: str) -> bool:
    """
    Return whether the current span is another instrumentation's span of the call that begins here.
    """
    if not span.is_recording():
        return False
    scope = getattr(getattr(span, "instrumentation_scope", None), "name", "") or ""
    attributes = getattr(span, "attributes", None) or {}
    if scope == own_scope or attributes.get(OPERATION) in _AROUND:
        return False
    return OPERATION in attributes or _is_theirs(scope) is not None


Hide = Callable[[dict[str, Any]], Mapping[str, Any]]  # gives attributes without what is secret


class BorrowedSpan:
    """
    A span that others end, to which only what obskit knows is added. An SDK's own is current only from its request on.
    """

    __slots__ = ("_current_span", "_hide", "span", "started_ns")

    def __init__(self, span: Any, current_span: Callable[[], Any], hide: Hide) -> None:
        self.span = span
        self.started_ns: int | None = None
        self._current_span = current_span
        self._hide = hide

    def enter(self) -> None: ...  # its owner makes it current

    def leave(self) -> None: ...

    def adopt(self) -> None:
        """
        Use the span that is current inside the SDK's request.
        """
        if self.span is None:
            self.span = self._current_span()

    def tell(self, op: AiOperation) -> None:
        """
        Add what is known so far, without secrets, before its owner ends it.
        """
        if self.span is not None and self.span.is_recording():
            self.span.set_attributes(self._hide(own_attributes(op)))


Asked = tuple[str, str, str, str | None, int | None, int | None, bool]


def asked_of(op: AiOperation) -> Asked:
    """
    Return what the attributes of a call's start depend on: equal requests share them.
    """
    return op.operation, op.provider, op.model, op.host, op.port, op.max_tokens, op.is_stream


def start_attributes(asked: Asked) -> dict[str, Any]:
    """
    Return the attributes that are known at the start, for samplers.
    """
    operation, provider, model, host, port, max_tokens, is_stream = asked
    found: dict[str, Any] = {OPERATION: _OPERATIONS.get(operation, operation)}
    if provider != UNKNOWN:
        found[PROVIDER] = provider
    if model != UNKNOWN:
        found[REQUEST_MODEL] = model
    for name, value in ((HOST, host), (PORT, port), (MAX_TOKENS, max_tokens)):
        if value is not None:
            found[name] = value
    if is_stream:
        found[STREAM] = True
    return found


def own_attributes(op: AiOperation) -> dict[str, Any]:
    """
    Return the attributes that the conventions have no name for.
    """
    found: dict[str, Any] = {}
    sparse = op.sparse or _NOTHING
    if op.service:
        found[SERVICE] = op.service
    if op.cost_usd is None:
        found[COST_STATUS] = op.cost_reason or UNKNOWN
    else:
        found[COST] = op.cost_usd
        is_told = op.cost_source == "told"
        found[COST_STATUS] = "estimate" if sparse.get("estimated") else "told" if is_told else "exact"
    if "aborted" in sparse and op.aborted is not None:
        found[ABORTED] = op.aborted
    return found


def end_attributes(op: AiOperation) -> dict[str, Any]:
    """
    Return what is known once a call has ended; `FINISH_REASONS` as one text, which the span makes a list of.
    """
    found = own_attributes(op)
    tokens, sparse = op.tokens, op.sparse or _NOTHING
    if tokens is not None:
        plain, read, write, output = tokens.tokens()
        if sparse.get("estimated"):
            found[ESTIMATED_INPUT], found[ESTIMATED_OUTPUT] = plain + read + write, output
        else:
            found[INPUT], found[OUTPUT] = plain + read + write, output
            if read:
                found[CACHE_READ] = read
            if write:
                found[CACHE_WRITE] = write
            if tokens.reasoning:
                found[REASONING] = tokens.reasoning
        if tokens.model:
            found[RESPONSE_MODEL] = tokens.model
    if op.attempts > 1:
        found[RESENDS] = op.attempts - 1
    if op.finish_reason is not None:
        found[FINISH_REASONS] = op.finish_reason
    if op.response_id is not None:
        found[RESPONSE_ID] = op.response_id
    if sparse:
        for name, value in ((FIRST_CHUNK, sparse.get("first_chunk_seconds")), (ERROR, sparse.get("error"))):
            if value is not None:
                found[name] = value
    return found


def name_of(op: AiOperation) -> str:
    """
    Return the span's name: operation and requested model.
    """
    operation = _OPERATIONS.get(op.operation, op.operation)
    return operation if op.model == UNKNOWN else f"{operation} {op.model}"
