"""
The operation of one AI call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from obskit.operation import Operation
from obskit.sparse_field import SparseField

if TYPE_CHECKING:
    from obskit.ai.token_kinds import Usage

UNKNOWN = "unknown"


class AiOperation(Operation):
    """
    One call of a model: from the request, over its retries, to the end of the reply or of its stream.

    Attributes:
        service: What the application calls it for: the `service` of the `observe_ai` around it, or an empty string.
        provider: Who is paid, by the names of OpenTelemetry's conventions (`anthropic`, `openai`, `azure.ai.openai`);
            `unknown` where it cannot be told.
        model: As the request names it; the reply's own is `tokens.model`.
        operation: `chat`, `embeddings`, `text_completion`, `image` or `audio`.
        tokens: What was used, by kind; None where nobody told.
        cost_usd: Dollars; None where the tokens or their price are not known, and then `cost_reason` says which.
        attempts: HTTP requests that the call took, retries included.
    """

    __slots__ = (
        *("attempts", "billed_as", "cost_reason", "cost_source", "cost_usd", "finish_reason", "has_sdk_span", "host"),
        *("is_background", "is_call", "is_stream", "max_tokens", "model", "operation", "port", "provider", "region"),
        *("request_id", "response_id", "savings_usd", "service", "status_code", "tokens"),
    )

    service: str
    provider: str
    model: str
    operation: str
    tokens: Usage | None
    cost_usd: float | None
    attempts: int
    cost_reason: str | None  # why there is no cost: one of a bounded set
    cost_source: str  # whose word the cost is: `list`, `own` or `told`
    savings_usd: float  # what cached reads saved, less what cached writes cost on top
    billed_as: tuple[str, str] | None  # provider and model, where the labels are others
    finish_reason: str | None  # as the provider calls it
    max_tokens: int | None  # the request's own bound of output
    host: str | None
    port: int | None
    request_id: str | None  # the provider's
    response_id: str | None
    status_code: int | None  # of the last HTTP response
    region: str | None  # where it is computed, by its host, where the price may hang on that
    is_call: bool  # False where it only tells what a call of before has used
    is_stream: bool
    is_background: bool  # True where the reply says that it was made while nobody waited
    has_sdk_span: bool  # True where the SDK makes a span of it by itself
    estimated = SparseField(False)  # True where usage and cost are estimates: the stream ended before it told
    retry_wait_seconds = SparseField(0.0)  # spent waiting between attempts
    failed_attempts = SparseField[tuple[str, ...]](())  # HTTP status, or error's class, of each that was retried
    first_chunk_seconds = SparseField[float | None](None)  # to the first event of a stream; None for all others
    chunks = SparseField(0)
    aborted = SparseField[str | None](None)  # a stream that has no end: `closed`, `dropped`, `truncated` or `error`
    image_model = SparseField[str | None](None)  # that draws, by the request's tools
    is_known_call = SparseField(False)  # True where that call was this process's
    reservation = SparseField[Any](None)  # what budgets have reserved for it

    def __init__(self, service: str = "", provider: str = UNKNOWN, model: str = UNKNOWN, operation: str = "chat"):
        super().__init__()
        self.service = service
        self.provider = provider
        self.model = model
        self.operation = operation
        self.tokens = self.cost_usd = self.cost_reason = self.billed_as = self.finish_reason = self.max_tokens = None
        self.host = self.port = self.region = self.request_id = self.response_id = self.status_code = None
        self.is_stream = self.is_background = self.has_sdk_span = False
        self.is_call = True
        self.attempts = 1
        self.savings_usd = 0.0
        self.cost_source = "list"
        self.nest()

    @property
    def endpoint(self) -> str:  # the route of the request that made it, or an empty string outside of one
        locate = getattr(self.root, "locate", None)
        return "" if locate is None else str(locate())
