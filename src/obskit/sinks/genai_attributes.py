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
from obskit.rows.ai_calls import AI
from obskit.rows.compiled import renderer, row_maker


def _span(name: str) -> str:
    return AI[name].span


OPERATION, FINISH_REASONS, COST_STATUS = _span("operation"), _span("finish_reason"), _span("cost_status")
INPUT, OUTPUT, RESENDS = _span("total_input_tokens"), _span("output_tokens"), _span("resends")
CACHE_READ, CACHE_WRITE, REASONING = map(_span, ("cache_read_tokens", "cache_write_tokens", "reasoning_tokens"))
ESTIMATED_INPUT, ESTIMATED_OUTPUT = _span("estimated_input_tokens"), _span("estimated_output_tokens")

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


Asked = tuple[Any, ...]

_BEGIN = AI.on_spans(at_begin=True)
# Of AI calls without the tokens, which have other names where they are estimates.
_TOKENS = [field.name for field in AI.fields if field.source.startswith("tokens.tokens()")]
_OWN = ("service", "cost_usd", "aborted")
# What the attributes of a call's start depend on: equal requests share them.
asked_of: Callable[[AiOperation], Asked] = row_maker(AiOperation, _BEGIN)
_add_own = renderer("span", AiOperation, [AI[name] for name in _OWN], {})
_add_end = renderer("span", AiOperation, AI.without(*_OWN, *_TOKENS, "reasoning_tokens").on_spans(at_begin=False), {})


def start_attributes(asked: Asked) -> dict[str, Any]:
    """
    Return the attributes that are known at the start, for samplers.
    """
    told = {field.span: value for field, value in zip(_BEGIN, asked, strict=True) if value not in (field.unset, None)}
    return {**told, OPERATION: _OPERATIONS.get(told[OPERATION], told[OPERATION])}


def own_attributes(op: AiOperation) -> dict[str, Any]:
    """
    Return the attributes that the conventions have no name for.
    """
    found: dict[str, Any] = {}
    _add_own(op, found)
    if op.cost_usd is None:
        found[COST_STATUS] = op.cost_reason or UNKNOWN
    else:
        is_told = op.cost_source == "told"
        found[COST_STATUS] = "estimate" if op.estimated else "told" if is_told else "exact"
    return found


def end_attributes(op: AiOperation) -> dict[str, Any]:
    """
    Return what is known once a call has ended; `FINISH_REASONS` as one text, which the span makes a list of.
    """
    found, tokens = own_attributes(op), op.tokens
    _add_end(op, found)
    if tokens is not None:
        plain, read, write, output = tokens.tokens()
        if op.estimated:
            found[ESTIMATED_INPUT], found[ESTIMATED_OUTPUT] = plain + read + write, output
        else:
            found[INPUT], found[OUTPUT] = plain + read + write, output
            if read:
                found[CACHE_READ] = read
            if write:
                found[CACHE_WRITE] = write
            if tokens.reasoning:
                found[REASONING] = tokens.reasoning
    if op.attempts > 1:
        found[RESENDS] = op.attempts - 1
    return found


def name_of(op: AiOperation) -> str:
    """
    Return the span's name: operation and requested model.
    """
    operation = _OPERATIONS.get(op.operation, op.operation)
    return operation if op.model == UNKNOWN else f"{operation} {op.model}"
