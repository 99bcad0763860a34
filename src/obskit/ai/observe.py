"""
Observe AI calls: those that a hook sees, and those that the application marks with `observe_ai`.

Each is counted once. A hooked call inside an `observe_ai` is the observation and takes the labels from there; the
`observe_ai` is one itself where no hooked call, and no further `observe_ai`, ran inside.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from obskit.ai import pricing
from obskit.ai.ai_operation import UNKNOWN, AiOperation
from obskit.ai.budget_book import budget_book
from obskit.ai.request_size import CHARACTERS_PER_TOKEN
from obskit.ai.token_kinds import Usage
from obskit.ai.usage import read
from obskit.ai.usage_formats import provider_of_format
from obskit.context import current
from obskit.deferred_endings import drain, waiting
from obskit.errors import BudgetExceededError
from obskit.observation import Observation, as_called, block_around, kind_of, recorded
from obskit.recorder import recorder

P = ParamSpec("P")
R = TypeVar("R")

plan = recorder.plan(AiOperation)


class AiBlock(AiOperation):
    """
    What one `observe_ai` encloses.

    Attributes:
        measured: True from the moment that something inside is the observation in its place.
    """

    __slots__ = ("is_measured",)

    def __init__(self, service: str, provider: str, model: str) -> None:
        super().__init__(service, provider, model)
        self.is_measured = False

    def usage(
        self,
        *,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cache_read_tokens: int = 0,
        cache_write_tokens: int = 0,
        reasoning_tokens: int = 0,
        model: str | None = None,
    ) -> None:
        """
        Set what the call used, if its client is not hooked; the last call of this counts.

        Args:
            input_tokens: Without those that were read from, or written to, a cache.
            output_tokens: Reasoning included.
            cache_read_tokens: Input that was read from the provider's cache.
            cache_write_tokens: Input that was written to it.
            reasoning_tokens: The part of output that was reasoning.
            model: The model that answered, where it is not the one that was asked.
        """
        self.tokens = Usage(
            input=input_tokens,
            output=output_tokens,
            cache_read=cache_read_tokens,
            cache_write=cache_write_tokens,
            reasoning=reasoning_tokens,
            model=model,
        )

    def reply(self, reply: object) -> None:
        """
        Read the usage from a reply, or from an event of a stream, in the form of either SDK, of google-genai or boto3;
        anything else is passed over.
        """
        try:
            found = read(reply, self.provider)
        except Exception as error:
            recorder.failed("ai", error)
            return
        if found is not None:
            self.tokens = found
            if self.model == UNKNOWN and found.model:
                self.model = found.model
            if self.provider == UNKNOWN:
                self.provider = provider_of_format(reply) or UNKNOWN


class _BlockPlan:
    """
    Begins and ends blocks; only those that measured for themselves become operations.
    """

    def begin(self, block: AiBlock) -> None:
        if waiting:
            drain()
        outer = block_around(AiBlock, block.parent)
        if outer is not None:
            outer.is_measured = True
            inherit_labels(block, outer)
        if budget_book.is_active:
            budget_book.before_block(block)
        block.started = recorder.clock()

    def end(self, block: AiBlock, at: float | None = None) -> None:
        if block.is_measured or block.ended:
            block.ended = True
            return
        at, started = recorder.clock() if at is None else at, block.started
        plan.begin(block)
        block.started = started
        end(block, at)


_block_plan = _BlockPlan()


def inherit_labels(op: AiOperation, block: AiBlock) -> None:
    """
    Set the labels of an enclosing block. The price still depends on the requested provider and model.
    """
    op.service = op.service or block.service
    provider = op.provider if block.provider == UNKNOWN else block.provider
    model = op.model if block.model == UNKNOWN else block.model
    if (provider, model) != (op.provider, op.model):
        if op.billed_as is None:
            op.billed_as = op.provider, op.model
        op.provider, op.model = provider, model


def place_under_block(op: AiOperation) -> None:
    """
    Put a hooked call in the place of the `observe_ai` around it, under its labels.
    """
    block = block_around(AiBlock, op.parent)
    if block is not None:
        block.is_measured = True
        inherit_labels(op, block)
    while type(op.parent) is AiBlock:
        op.parent = op.parent.parent


def end(op: AiOperation, at: float | None = None) -> None:
    """
    End a call: price it, and hand it to the sinks.
    """
    if op.ended:
        return
    at = recorder.clock() if at is None else at
    try:
        price(op)
    except Exception as error:
        op.cost_reason = op.cost_reason or "failed"
        recorder.failed("ai", error)
    if op.sparse is not None and op.reservation is not None:
        settle(op)
    plan.end(op, at)


def settle(op: AiOperation) -> None:
    """
    Settle what budgets have reserved for a call that has its cost, or never will.
    """
    try:
        budget_book.after_call(op)
    except Exception as error:
        recorder.failed("ai", error)


def price(op: AiOperation) -> None:
    """
    Set the cost of a call, or why it has none. What was refused before it was answered costs nothing.
    """
    if op.cost_usd is not None:
        return
    tokens = op.tokens
    if tokens is None:
        op.cost_reason = op.cost_reason or "no_usage"
        return
    provider, model = op.provider, op.model
    if op.billed_as is not None:
        provider, model = op.billed_as
    cost = pricing.cost(provider, model, tokens, recorder.wall_clock())
    op.cost_usd, op.cost_reason = cost.usd, cost.reason
    if cost.savings_usd:
        op.savings_usd = cost.savings_usd
    if tokens.sparse is not None and (tokens.is_doubtful or (tokens.containers and tokens.reported_usd is None)):
        op.estimated = True
    if cost.usd is not None:
        op.cost_source = pricing.source(model, tokens)


def estimate(op: AiOperation, reply: dict[str, Any] | None, request_bytes: int, output_characters: int) -> None:
    """
    Estimate what a stream used that ended before it told: the input as it was told at its start, or by the size of
    the request; the output by the characters that came.
    """
    reported = None if reply is None else read(reply)
    output = -(-output_characters // CHARACTERS_PER_TOKEN)
    if reported is None or not reported.input + reported.cache_read + reported.cache_write:
        model = reply.get("model") if reply else None
        reported = Usage(input=-(-request_bytes // CHARACTERS_PER_TOKEN), output=output, model=model)
    elif output > reported.output:
        reported.output = output
    op.tokens = reported
    op.estimated = True


class AiObservation(Observation):
    """
    Observes functions and blocks, and reads usage from what the functions return or yield.
    """

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        return super().__call__(_reading_replies(function))


def _read_reply(reply: object) -> None:
    block = current.get()
    if type(block) is AiBlock and not block.is_measured:
        block.reply(reply)


def _reading_replies(function: Any) -> Any:
    """
    Wrap a function so that its block reads the usage of the reply that it returns.
    """
    if isinstance(function, (classmethod, staticmethod)):
        return type(function)(_reading_replies(function.__func__))
    kind = kind_of(function)
    if kind in ("generator", "async generator"):
        return function
    if kind == "coroutine":

        @functools.wraps(function)
        async def reported(*args: Any, **kwargs: Any) -> Any:
            reply = await function(*args, **kwargs)
            _read_reply(reply)
            return reply
    else:

        @functools.wraps(function)
        def reported(*args: Any, **kwargs: Any) -> Any:
            reply = function(*args, **kwargs)
            _read_reply(reply)
            return reply

    return as_called(function, reported)


def observe_ai(service: str = "", provider: str = UNKNOWN, model: str = UNKNOWN) -> Observation:
    """
    Time a function or a block that calls a model, and read what it used: `@observe_ai(service="planogram")`.

    Works on functions, coroutine functions, generators and asynchronous generators, and keeps their signature; it is
    a context manager too. Where a hooked client makes the call, that call is counted, once, under these labels, and
    `usage()` and `fail()` have nothing to add. Elsewhere the function or block is, and its usage is read from what
    the function returns, where it looks like a reply of Anthropic's, OpenAI's, Google's or Bedrock's API (an object or
    a dict), or told by `call.usage(...)`. A generator tells by `call.usage(...)` on the block alone.

    A budget that blocks refuses the block as it begins, once nothing is left; see `obskit.ai.budget()`.

    Args:
        service: The label `service`: what the application calls the model for, one of a bounded set.
        provider: The label `provider`; the hook's own where it is left out.
        model: The label `model`; the request's or the reply's own where it is left out.

    Raises:
        BudgetExceededError: As the block begins: a budget refuses it.
    """
    return AiObservation(lambda: AiBlock(service, provider, model), _block_plan)


class _RecordPlan:
    """
    Counts a call that has been made already: no budget can refuse it any more.
    """

    def begin(self, block: AiBlock) -> None:
        with suppress(BudgetExceededError):
            _block_plan.begin(block)

    def end(self, block: AiBlock, at: float | None = None) -> None:
        _block_plan.end(block, at)


def record(
    *,
    provider: str,
    model: str,
    seconds: float,
    service: str = "",
    input_tokens: int = 0,
    output_tokens: int = 0,
    cache_read_tokens: int = 0,
    cache_write_tokens: int = 0,
    reasoning_tokens: int = 0,
    error: str | None = None,
) -> None:
    """
    Count an AI call that has been timed elsewhere, such as one of another process. It has just ended.

    It counts once, with the request that runs here, and is priced as any other; an `observe_ai` around it only
    encloses it. A budget counts what it cost, while anything is left of it.

    Args:
        provider, model, service: The labels, as of `observe_ai()`.
        seconds: How long it took, 0 or more.
        input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens: What it used, by kind, as
            `call.usage()` takes them; where all are 0, nothing is known of it.
        error: The class of the exception that ended it; None: it succeeded.

    Raises:
        ConfigurationError: The seconds are no time.
    """
    block = AiBlock(service, provider, model)
    if input_tokens or output_tokens or cache_read_tokens or cache_write_tokens or reasoning_tokens:
        block.usage(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cache_read_tokens=cache_read_tokens,
            cache_write_tokens=cache_write_tokens,
            reasoning_tokens=reasoning_tokens,
        )
    block.error = error
    recorded(block, seconds, _RecordPlan())
