"""
Hooks where the replies of an SDK pass: whole bodies, the events of streams, and the ends of both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from obskit.ai.request_size import text_bytes
from obskit.context import current
from obskit.integrations._ai_call import KEY, Call, Handle, response_of
from obskit.integrations._ai_sdk import Sdk, Wrapper
from obskit.observation import block_around
from obskit.recorder import recorder

SMALL_BYTES = 20_000  # a request that is smaller is taken for text


def _attach_response(sdk: Sdk, response: Any) -> Call | None:
    """
    Tie a response to the call that is waiting for it, and note what its headers say.
    """
    try:
        around = current.get()
        call = around if type(around) is Call and not around.ended else block_around(Call, around)
        if call is None:
            return None
        if call.responses:
            _keep_earlier_reply(call)
        call.responses += 1
        call.handle = response.extensions[KEY] = Handle(call)
        if call.has_sdk_span and call.span is not None and current.get() is call:  # else it is a block's span
            call.span.adopt()
        headers = response.headers
        call.status_code = response.status_code
        call.request_id = headers.get(sdk.request_id)
        call.read_rate_limits(response)
        if not sdk.tells_retries and call.attempts == 1:
            retries = response.request.headers.get("x-stainless-retry-count")
            if retries and retries != "0" and retries.isdecimal():
                call.attempts = int(retries) + 1
        if call.stream is not None:
            call.is_open = True
            length = response.request.headers.get("content-length")
            size = int(length) if length and length.isdecimal() else 0
            call.request_bytes = size if size < SMALL_BYTES else text_bytes(call.asked)
            call.asked = None
        return call
    except Exception as error:
        recorder.failed(sdk.name, error)
        return None


def _keep_earlier_reply(call: Call) -> None:
    """
    Store an earlier reply of the same call: the SDK's middleware may send several requests, each billed.
    """
    if (call.status_code or 0) < 400:
        call.attempts += 1
        if call.earlier is None:
            call.earlier = {}
        if call.body is not None:
            call.earlier[call.responses], call.body = call.body, None
        if call.handle is not None:
            call.handle.receive = partial(call.add_earlier_body, call.responses)
    call.is_open = False


def _read_raw_body(sdk: Sdk, call: Call, response: Any) -> None:
    """
    Read the body of a raw response, where it is there; else leave the call open until somebody has read it.
    """
    try:
        if call.stream is not None or call.ended or response.status_code >= 400:
            return
        if not response.is_closed:
            call.is_open = True
        elif "json" in response.headers.get("content-type", ""):
            call.body = response.json()
            call.report_early()
    except Exception as error:
        recorder.failed(sdk.name, error)


def _process_response(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    def process(self: Any, /, **kwargs: Any) -> Any:
        call = _attach_response(sdk, kwargs.get("response"))
        reply = original(self, **kwargs)
        if call is not None and call.body is None:
            _read_raw_body(sdk, call, kwargs["response"])
        return reply

    return process


def _async_process_response(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    async def process(self: Any, /, **kwargs: Any) -> Any:
        call = _attach_response(sdk, kwargs.get("response"))
        reply = await original(self, **kwargs)
        if call is not None and call.body is None:
            _read_raw_body(sdk, call, kwargs["response"])
        return reply

    return process


def _process_data(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    # The SDK's own parameters, to the letter: a chunk of a stream does not pay for a call between.
    def process(self: Any, *, data: Any, cast_to: Any, response: Any) -> Any:
        try:
            handle = response.extensions.get(KEY)
            if handle is not None:
                handle.receive(data)
        except Exception as error:
            recorder.failed(sdk.name, error)
        return original(self, data=data, cast_to=cast_to, response=response)

    return process


def _call_of(holder: Any) -> Call | None:
    """
    Return the call of a stream or of a wrapped response of the SDK.
    """
    response = response_of(holder)
    handle = None if response is None else response.extensions.get(KEY)
    return None if handle is None else handle.call


@contextmanager
def _continuing(holder: Any) -> Iterator[None]:
    """
    Mark a stream as one that may have more to say than the SDK reads, until it has read to the end.
    """
    call = _call_of(holder)
    stream = None if call is None else call.stream
    if stream is not None:
        stream.may_continue = True
    yield
    if stream is not None:
        stream.may_continue = False


@contextmanager
def _ending_call(holder: Any) -> Iterator[None]:
    """
    End a stream's call as its reading ends.
    """
    call = _call_of(holder)
    if call is None:
        yield
        return
    try:
        yield
    except GeneratorExit:
        call.drop()
        raise
    except BaseException as error:
        call.end_raised(error)
        raise
    call.complete()


@asynccontextmanager
async def _closed(events: Any) -> AsyncIterator[Any]:
    """
    Close at the end what events came from: another tool may have put an iterator there that is not a generator.
    """
    try:
        yield events
    finally:
        close = getattr(events, "aclose", None)
        if close is not None:
            await close()


def _events(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    def iter_events(self: Any) -> Any:
        with _continuing(self):
            yield from original(self)

    return iter_events


def _async_events(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    async def iter_events(self: Any) -> Any:
        async with _closed(original(self)) as events:
            with _continuing(self):
                async for event in events:
                    yield event

    return iter_events


def _stream(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    def stream(self: Any) -> Any:
        with _ending_call(self):
            yield from original(self)

    return stream


def _async_stream(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    async def stream(self: Any) -> Any:
        async with _closed(original(self)) as events:
            with _ending_call(self):
                async for event in events:
                    yield event

    return stream


def _end_closed(holder: Any) -> None:
    call = _call_of(holder)
    if call is None or call.ended:
        return
    response = response_of(holder)
    is_json = "json" in response.headers.get("content-type", "")
    # Read by the application itself: `.json()`, `.read()`, `.text()`.
    if call.stream is None and call.body is None and is_json and hasattr(response, "_content"):
        call.body = response.json()
    call.close("closed", is_read=getattr(response, "is_stream_consumed", False))


def _close(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    def close(self: Any) -> Any:
        try:
            _end_closed(self)
        except Exception as error:
            recorder.failed(sdk.name, error)
        return original(self)

    return close


close_hook = _close
# (module, class, attribute, wrapper), as of requests.
NEEDED: tuple[tuple[str, str, str, Wrapper], ...] = (
    ("_base_client", "SyncAPIClient", "_process_response", _process_response),
    ("_base_client", "AsyncAPIClient", "_process_response", _async_process_response),
    ("_base_client", "BaseClient", "_process_response_data", _process_data),
    ("_streaming", "Stream", "__stream__", _stream),
    ("_streaming", "AsyncStream", "__stream__", _async_stream),
)
WANTED: tuple[tuple[str, str, str, Wrapper], ...] = (
    ("_streaming", "Stream", "_iter_events", _events),
    ("_streaming", "AsyncStream", "_iter_events", _async_events),
    ("_streaming", "Stream", "close", _close),
    ("_streaming", "AsyncStream", "close", _close),
    ("_response", "APIResponse", "close", _close),
    ("_response", "AsyncAPIResponse", "close", _close),
)
