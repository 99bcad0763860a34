"""
One call of a hooked SDK, from its request to the end of its reply or stream.

Every call form of an SDK passes through `request()`, every body and every event through `_process_response_data()`.
The HTTP response ties the two together; it holds the operation, and never the other way round, so that a stream
which is dropped ends its operation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from obskit.ai.ai_operation import AiOperation
from obskit.ai.background_responses import background_responses
from obskit.ai.billed_extras import IMAGE_TOOL
from obskit.ai.observe import end, estimate, plan, price
from obskit.ai.rate_limit_headers import latest_rate_limits
from obskit.ai.request_size import CHARACTERS_PER_TOKEN
from obskit.ai.stream import Accumulator, StreamState, characters_of, failure_of, finish_reason_of
from obskit.ai.token_kinds import Usage
from obskit.ai.usage import read
from obskit.deferred_endings import end_later
from obskit.integrations._ai_sdk import Sdk
from obskit.recorder import recorder

KEY = "obskit.call"
MAX_NAME = 100  # characters, of what a request or a provider names
MIN_UNCOUNTED_CHARACTERS = 64  # characters: of less, a reply that tells no token of output is believed
NOT_BILLED_BY_TOKEN = ("audio", "image", "video")  # where no usage is told, there is none to be told
PENDING_STATUSES = ("queued", "in_progress")  # what a reply says that will be there later


class Call(AiOperation):
    """
    One call of a hooked SDK, followed to its end.

    Attributes:
        body: What a whole reply said, until it is read at the end.
        earlier: What the replies said before it, where the SDK's middleware has sent several requests.
        stream: What a stream has told so far; None for whole replies.
        is_open: True where the reply is still to be read when `request()` returns.
        handle: Of the latest response, while `request()` runs: whatever becomes of the response, the call is known.
        responses: How many there were.
        is_sent: True once a request of it has been made.
        unknown_requests: The SDK's, when the call began.
        asked: The request's body, until the size of its text is known; only of streams.
    """

    __slots__ = (
        *("asked", "body", "earlier", "accumulate", "handle", "is_open", "is_sent", "request_bytes", "responses"),
        *("unknown_requests", "stream"),
    )

    body: Any
    earlier: dict[int, Any] | None
    stream: StreamState | None
    accumulate: Accumulator
    is_open: bool
    is_sent: bool
    unknown_requests: object
    handle: Handle | None
    responses: int
    request_bytes: int
    asked: Any

    def __init__(self, service: str, provider: str, model: str, operation: str) -> None:
        super().__init__(service, provider, model, operation)
        self.body = self.earlier = self.stream = self.handle = self.asked = self.unknown_requests = None
        self.is_open = self.is_sent = False
        self.responses = self.request_bytes = 0

    def add_body(self, data: Any) -> None:
        """
        Store the body of the latest response.
        """
        if self.ended:
            return
        self.body = data
        if self.is_open:
            self.finish()
        elif self.span is not None:
            self.report_early()

    def add_earlier_body(self, number: int, data: Any) -> None:
        """
        Store the body of a response that is no longer the latest.
        """
        if self.earlier is not None:
            self.earlier[number] = data

    def add_event(self, stream: StreamState, data: Any) -> None:
        """
        Add an event of a stream whose span another library ends.
        """
        self.accumulate(stream, data)
        if stream.has_usage:
            self.report_early()

    def report_early(self) -> None:
        """
        Add what is known so far to a span that another library ends.
        """
        tell = getattr(self.span, "tell", None)
        reply = self.body if self.stream is None else self.stream.reply
        if tell is not None and reply is not None:
            self.tokens = self._used(reply)
            price(self)
            tell(self)

    def _used(self, reply: Any) -> Usage | None:
        """
        Read what a reply used, and what only the request knows of it.
        """
        found = read(reply, self.provider if self.billed_as is None else self.billed_as[0])
        if found is None:
            return None
        if self.region is not None and found.geo is None:
            found.geo = self.region
        for part in found.parts:
            if part.model == IMAGE_TOOL and self.image_model is not None:
                part.model = self.image_model
        return found

    def finish(self, at: float | None = None) -> None:
        """
        End a call whose reply came whole, or never.
        """
        body, self.body = self.body, None
        try:
            if body is not None:
                if isinstance(body, dict):
                    self._read_outcome(body)
                self._take_usage(body)
            elif self.operation in NOT_BILLED_BY_TOKEN:
                self.cost_reason = "not_by_token"
        except Exception as error:
            recorder.failed("ai", error)
        self.end(at)

    def _read_outcome(self, body: dict[str, Any]) -> None:
        failure = failure_of(body)
        if failure is not None:
            self.error = self.error or failure
        self.finish_reason = finish_reason_of(body)
        self.response_id = body.get("id")
        if body.get("background") or body.get("object") == "thread.run":
            self.is_background = True

    def _take_usage(self, body: Any) -> None:
        """
        Read the usage of the reply and of the earlier ones, each of which was billed.
        """
        found = self._used(body)
        if found is None:
            if self.operation in NOT_BILLED_BY_TOKEN:
                self.cost_reason = "not_by_token"
            elif self.error is not None:
                self.cost_reason = "no_reply"
            return
        if isinstance(body, dict) and not found.output and self.operation == "chat":
            characters = characters_of(body)
            if characters > MIN_UNCOUNTED_CHARACTERS:  # so much text of no token
                found.output, found.is_doubtful = -(-characters // CHARACTERS_PER_TOKEN), True
        for other in (self.earlier or {}).values():
            part = self._used(other)
            if part is None or part.is_doubtful:
                found.is_doubtful = True
            if part is not None:
                found.parts = (*found.parts, part, *part.parts)
                part.parts = ()
        self.tokens = found

    def read_rate_limits(self, response: Any) -> None:
        """
        Read the provider's rate limits from a response's headers.
        """
        try:
            latest_rate_limits.read(self.provider, self.model, response.headers.raw)
        except Exception as error:
            recorder.failed("ai", error)

    def complete(self) -> None:
        """
        End a stream that was read to its end; whether the provider had said that this was all is another matter.
        """
        stream = self.stream
        if self.ended:
            return
        if stream is None:
            self.finish()
            return
        if stream.may_continue:  # of its own accord an SDK stops at the mark `[DONE]` alone
            stream.end()
        if not stream.is_done:
            self.error = stream.failure or "truncated"
            self.aborted = "truncated" if stream.failure is None else "error"
        self._end_stream(stream)

    def close(self, how: str, at: float | None = None, *, is_read: bool = False) -> None:
        """
        End a call that nobody reads any further, now or at a moment that has passed.

        Args:
            is_read: The application has taken what came, or a part of it, past the SDK.
        """
        if self.ended:
            return
        stream = self.stream
        if stream is None:
            if self.body is None and self.tokens is None:
                self.cost_reason = "not_by_token" if self.operation in NOT_BILLED_BY_TOKEN else "not_read"
            self.finish(at)
            return
        if is_read and not stream.chunks:
            self.cost_reason = "not_read"
        elif not stream.is_done:
            self.aborted = how
        self._end_stream(stream, at)

    def drop(self) -> None:
        """
        End a call whose generator was closed: by the application, or by a garbage collection wherever that came.
        """
        end_later(self, _dropped, plan.clock())

    def end_raised(self, error: BaseException, sdk: Sdk | None = None) -> None:
        """
        End a call by what it raised: before its reply, after it, or in the middle of a stream.

        Args:
            sdk: Where `request()` itself has raised it.
        """
        self.handle = None
        if self.ended:
            return
        if isinstance(error, GeneratorExit):  # a garbage collection may have closed the coroutine
            end_later(self, lambda call, at: call._fail(GeneratorExit(), sdk, at), plan.clock())
        else:
            self._fail(error, sdk)

    def _fail(self, error: BaseException, sdk: Sdk | None, at: float | None = None) -> None:
        self.error = name_of(error)
        is_answered = self.earlier is not None or (self.responses > 0 and (self.status_code or 0) < 400)
        response = getattr(error, "response", None)
        stream = self.stream
        if response is not None and (stream is None or not stream.chunks):
            self.status_code = getattr(response, "status_code", None)
            self.read_rate_limits(response)
        if stream is not None and stream.chunks:
            self.aborted = "error"
            self._end_stream(stream, at)
            return
        if self.body is None and self.earlier:
            self._finish_by_earlier(self.earlier, at)
            return
        if self.body is None:
            # An HTTP error is an answer, and not billed; a call that nobody answered may be.
            status = getattr(error, "status_code", None)
            is_free = not is_answered and (self.is_sent or sdk is None or self.unknown_requests is sdk.unknown_requests)
            if isinstance(status, int) and status >= 400 and is_free:
                self.cost_usd = 0.0
            else:
                self.cost_reason = "no_reply"
        self.finish(at)

    def _finish_by_earlier(self, earlier: dict[int, Any], at: float | None) -> None:
        """
        End a call whose latest request failed, and those before it were answered, and are billed.
        """
        try:
            self._take_usage(earlier.pop(max(earlier)))
        except Exception as error:
            recorder.failed("ai", error)
        self.end(at)

    def end_returned(self, reply: Any, sdk: Sdk) -> None:
        """
        End a call whose reply is here; one that is still to be read is tied to whatever the application has got.
        """
        handle, self.handle = self.handle, None
        if self.ended:
            return
        is_sent = self.is_sent or self.unknown_requests is not sdk.unknown_requests
        if handle is None and not is_sent:  # the SDK's middleware had the answer
            self.cost_usd, self.attempts = 0.0, 0
            self.end()
        elif handle is None:  # asked for in another thread, or nobody answered and the middleware did
            self.cost_reason = "no_reply" if self.is_sent else "not_read"
            self.end()
        elif not self.is_open:
            self.finish()
        else:
            response = response_of(reply)
            if response is not None:
                response.extensions.setdefault(KEY, handle)

    def _end_stream(self, stream: StreamState, at: float | None = None) -> None:
        at = recorder.clock() if at is None else at
        try:
            self.chunks = stream.chunks
            self.finish_reason = stream.finish_reason
            if stream.failure is not None:
                self.error = self.error or stream.failure
            if stream.reply is not None:
                self.response_id = stream.reply.get("id")
                if stream.reply.get("background") or stream.reply.get("object") == "thread.run":
                    self.is_background = True
            found = self._used(stream.reply) if stream.has_usage else None
            if found is not None:
                found.is_doubtful = found.is_doubtful or stream.is_doubtful
                self.tokens = found
            elif not stream.chunks:
                self.cost_reason = self.cost_reason or "no_reply"
            elif stream.is_done and self.error is None:
                self.cost_reason = "not_by_token" if self.operation in NOT_BILLED_BY_TOKEN else "no_usage"
            elif self.is_background and self.is_call and not stream.is_done and self.response_id is not None:
                self.cost_reason = "background"  # which goes on without us: whoever asks for it hears what it used
            else:
                estimate(self, stream.reply, self.request_bytes, stream.characters)
            stream.reply = None
        except Exception as error:
            recorder.failed("ai", error)
        self.end(at)

    def end(self, at: float | None = None) -> None:
        """
        End the operation. A reply that will be told later takes its reserve along, and the reply of one that was told
        earlier is not a call.
        """
        self.asked = None
        if self.is_call:
            is_silent = self.tokens is None and self.cost_usd is None
            if is_silent and (self.finish_reason in PENDING_STATUSES or self.cost_reason == "background"):
                background_responses.expect(self)
            elif self.is_background:
                background_responses.mark_reported(self)
            end(self, at)
        elif background_responses.is_first_report(self):
            plan.begin(self)
            end(self)
        else:
            self.ended = True


class Handle:
    """
    A response's link to its call: a response that is dropped unread ends the call.
    """

    __slots__ = ("call", "number", "receive")

    receive: Callable[[Any], None]  # what is done with a body, or with each event

    def __init__(self, call: Call) -> None:
        self.call = call
        self.number = call.responses
        self.receive = call.add_body if call.stream is None else self.receive_first

    def receive_first(self, event: Any) -> None:
        """
        Record the first event of a stream, and route later ones straight to the accumulator.
        """
        call, stream = self.call, self.call.stream
        assert stream is not None
        call.first_chunk_seconds = plan.clock() - call.started
        read = call.add_event if hasattr(call.span, "tell") else call.accumulate
        self.receive = partial(read, stream)
        self.receive(event)

    def __del__(self) -> None:
        call = self.call
        if call.is_open and self.number == call.responses and not sys.is_finalizing():
            end_later(call, _dropped, plan.clock())


def _dropped(call: Call, at: float) -> None:
    call.close("dropped", at)


def response_of(holder: Any) -> Any:
    """
    Return the HTTP response inside a stream or a wrapped response of the SDK.
    """
    for name in ("response", "_response", "http_response"):
        response = getattr(holder, name, None)
        if isinstance(getattr(response, "extensions", None), dict):
            return response
    return None


def name_of(error: BaseException) -> str:
    """
    Return an error's class name; for an error inside a stream, the provider's name for it.
    """
    if getattr(error, "status_code", None) == 200:
        body = getattr(error, "body", None)
        reported = body.get("error") if isinstance(body, dict) else None
        kind = reported.get("type") if isinstance(reported, dict) else None
        if isinstance(kind, str) and len(kind) <= MAX_NAME:
            return kind
    return type(error).__name__
