"""
Put hooks where all calls of an SDK pass: its requests, its replies, its events, its waits between attempts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from obskit.ai.ai_operation import UNKNOWN
from obskit.ai.billed_extras import image_model
from obskit.ai.budget_book import budget_book
from obskit.ai.observe import place_under_block, plan
from obskit.ai.provider_hosts import region_of
from obskit.ai.rates import regional_factor
from obskit.ai.request_size import text_bytes
from obskit.ai.stream import StreamState
from obskit.context import current
from obskit.deferred_endings import drain, waiting
from obskit.integrations._ai_call import KEY, MAX_NAME, Call, Handle, response_of
from obskit.integrations._ai_sdk import Sdk, Wrapper
from obskit.observation import block_around, enter, leave
from obskit.recorder import recorder

_OMITTED = ("NotGiven", "Omit")  # classes of the SDKs' own, in place of an argument
_UNBILLED_PATHS = ("count_tokens", "count-tokens")  # in the URLs of requests that are no inference
SMALL_BYTES = 20_000  # a request that is smaller is taken for text


def _records_spans(tracer: Any) -> bool:
    """
    Return whether an SDK's own tracer records spans: OpenTelemetry's default one records none.
    """
    real = getattr(tracer, "_tracer", tracer)
    return real is not None and type(real).__name__ != "NoOpTracer"


def _described_call(sdk: Sdk, client: Any, options: Any, is_stream: bool) -> Call | None:
    """
    Return the operation of an inference request, not begun yet: a budget may refuse it.
    """
    path = sdk.paths.get(options.url) if options.method == "post" else None
    if path is None:
        path = sdk.path_of(options.method, options.url)
    if path is None:
        return None
    asked = options.json_data if isinstance(options.json_data, dict) else {}
    host = client.base_url.host
    model = asked.get("model")
    provider = sdk.provider_of(host)
    call = Call("", provider, model[:MAX_NAME] if isinstance(model, str) else UNKNOWN, path.operation)
    call.accumulate = path.accumulate
    call.unknown_requests = sdk.unknown_requests
    call.host = host
    call.port = client.base_url.port
    if is_stream:
        call.stream = StreamState(_choices(asked))
        call.is_stream = True
        call.asked = asked
    bound = asked.get("max_tokens") or asked.get("max_completion_tokens") or asked.get("max_output_tokens")
    if isinstance(bound, int):
        call.max_tokens = bound
    if options.method == "get":
        call.is_call = False
    elif call.parent is not None:
        place_under_block(call)
    _set_price_inputs(call, path, provider, asked)
    if _records_spans(getattr(client, "_tracer", None)):
        call.has_sdk_span = True
    return call


def _set_price_inputs(call: Call, path: Any, provider: str, asked: Mapping[str, Any]) -> None:
    """
    Set what the price depends on beside provider and model.
    """
    if provider in path.lists:
        call.billed_as = path.lists[provider], call.model if call.billed_as is None else call.billed_as[1]
    region = region_of(call.host or "")
    if region is not None and regional_factor(provider, call.model, region) != 1:
        call.region = region
    if asked.get("tools") and (drawing := image_model(asked["tools"])) is not None:
        call.image_model = drawing


def _choices(asked: Mapping[str, Any]) -> int:
    """
    Return how many choices a stream will have: `n`, for each prompt of the older completions.
    """
    count, prompt = asked.get("n"), asked.get("prompt")
    prompts = 1
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        prompts = len(prompt)
    return prompts * (count if isinstance(count, int) and count > 0 else 1)


def _new_call(sdk: Sdk, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
    if not (sdk.is_on and plan.active):
        return None
    if waiting:  # before budgets are asked: it may give back what it held
        drain()
    try:
        return _described_call(sdk, client, _options(args, kwargs), bool(kwargs.get("stream")))
    except Exception as error:
        recorder.failed(sdk.name, error)
        return None


def _options(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return kwargs["options"] if "options" in kwargs else args[1]


def _body(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """
    Return a request's body, with the application's extra fields and without omitted ones.
    """
    options = _options(args, kwargs)
    body, more = options.json_data, getattr(options, "extra_json", None)
    if not isinstance(body, dict):
        return body
    whole = {**body, **more} if isinstance(more, Mapping) else body
    return {name: value for name, value in whole.items() if type(value).__name__ not in _OMITTED}


def _hide_call() -> Any:
    """
    Hide the current call from a request that is made inside it and is not inference.
    """
    outside = around = current.get()
    while (call := block_around(Call, outside)) is not None:
        outside = call.parent
    return None if outside is around else current.set(outside)


def _unhide_call(token: Any) -> None:
    if token is not None:
        current.reset(token)


def _request(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    def request(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        call = _new_call(sdk, self, args, kwargs)
        if call is None:
            token = _hide_call()
            try:
                return original(self, *args, **kwargs)
            finally:
                _unhide_call(token)
        if call.is_call:
            if budget_book.is_active:
                budget_book.before_call(call, _body(args, kwargs))
            plan.begin(call)
        token = enter(call)
        try:
            reply = original(self, *args, **kwargs)
        except BaseException as error:
            call.end_raised(error, sdk)
            raise
        finally:
            leave(call, token)
        call.end_returned(reply, sdk)
        return reply

    return request


def _async_request(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    async def request(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        call = _new_call(sdk, self, args, kwargs)
        if call is None:
            token = _hide_call()
            try:
                return await original(self, *args, **kwargs)
            finally:
                _unhide_call(token)
        if call.is_call:
            if budget_book.is_active:
                await budget_book.before_call_async(call, _body(args, kwargs))
            plan.begin(call)
        token = enter(call)
        try:
            reply = await original(self, *args, **kwargs)
        except BaseException as error:
            call.end_raised(error, sdk)
            raise
        finally:
            leave(call, token)
        call.end_returned(reply, sdk)
        return reply

    return request


def _note_request(sdk: Sdk, options: Any) -> None:
    """
    Record that a request is sent: by the current call, or by none that is known, as in another thread.
    """
    try:
        call = block_around(Call, current.get())
        if call is not None:
            call.is_sent = True
        elif options.method != "get" and not any(name in options.url for name in _UNBILLED_PATHS):
            sdk.unknown_requests = object()
    except Exception as error:
        recorder.failed(sdk.name, error)


def _build_request(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    def build(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        call = current.get()
        if type(call) is Call and not call.ended:
            call.is_sent = True
        else:
            _note_request(sdk, kwargs["options"] if "options" in kwargs else args[0])
        return original(self, *args, **kwargs)

    return build


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


async def _close_events(events: Any) -> None:
    """
    Close what events came from: another tool may have put an iterator there that is not a generator.
    """
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()


def _events(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    def iter_events(self: Any) -> Any:
        call = _call_of(self)
        stream = None if call is None else call.stream
        if stream is not None:
            stream.may_continue = True
        yield from original(self)
        if stream is not None:
            stream.may_continue = False

    return iter_events


def _async_events(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    async def iter_events(self: Any) -> Any:
        call, events = _call_of(self), original(self)
        stream = None if call is None else call.stream
        if stream is not None:
            stream.may_continue = True
        try:
            async for event in events:
                yield event
            if stream is not None:
                stream.may_continue = False
        finally:
            await _close_events(events)

    return iter_events


def _stream(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    def stream(self: Any) -> Any:
        call = _call_of(self)
        if call is None:
            yield from original(self)
            return
        try:
            yield from original(self)
        except GeneratorExit:
            call.drop()
            raise
        except BaseException as error:
            call.end_raised(error)
            raise
        call.complete()

    return stream


def _async_stream(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    async def stream(self: Any) -> Any:
        call, events = _call_of(self), original(self)
        try:
            async for event in events:
                yield event
        except GeneratorExit:
            if call is not None:
                call.drop()
            raise
        except BaseException as error:
            if call is not None:
                call.end_raised(error)
            raise
        finally:
            await _close_events(events)
        if call is not None:
            call.complete()

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


def _count_retry(response: Any) -> Call | None:
    call = block_around(Call, current.get())
    if call is None:
        return None
    call.attempts += 1
    status = "error" if response is None else str(response.status_code)
    if response is not None:
        call.read_rate_limits(response)
    call.failed_attempts = (*call.failed_attempts, status)
    return call


def _sleep(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    def sleep(self: Any, /, **kwargs: Any) -> Any:
        call, started = _count_retry(kwargs.get("response")), recorder.clock()
        try:
            return original(self, **kwargs)
        finally:
            if call is not None:
                call.retry_wait_seconds += recorder.clock() - started

    return sleep


def _async_sleep(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    async def sleep(self: Any, /, **kwargs: Any) -> Any:
        call, started = _count_retry(kwargs.get("response")), recorder.clock()
        try:
            return await original(self, **kwargs)
        finally:
            if call is not None:
                call.retry_wait_seconds += recorder.clock() - started

    return sleep


close_hook = _close
SLEEPS = {_sleep, _async_sleep}
# (module, class, attribute, wrapper): without these an SDK is left alone.
NEEDED: tuple[tuple[str, str, str, Wrapper], ...] = (
    ("_base_client", "SyncAPIClient", "request", _request),
    ("_base_client", "AsyncAPIClient", "request", _async_request),
    ("_base_client", "SyncAPIClient", "_process_response", _process_response),
    ("_base_client", "AsyncAPIClient", "_process_response", _async_process_response),
    ("_base_client", "BaseClient", "_process_response_data", _process_data),
    ("_streaming", "Stream", "__stream__", _stream),
    ("_streaming", "AsyncStream", "__stream__", _async_stream),
)
# These have come and gone: where one is not there, what it tells is told later, or by a header.
WANTED: tuple[tuple[str, str, str, Wrapper], ...] = (
    ("_base_client", "BaseClient", "_build_request", _build_request),
    ("_base_client", "SyncAPIClient", "_sleep_for_retry", _sleep),
    ("_base_client", "AsyncAPIClient", "_sleep_for_retry", _async_sleep),
    ("_streaming", "Stream", "_iter_events", _events),
    ("_streaming", "AsyncStream", "_iter_events", _async_events),
    ("_streaming", "Stream", "close", _close),
    ("_streaming", "AsyncStream", "close", _close),
    ("_response", "APIResponse", "close", _close),
    ("_response", "AsyncAPIResponse", "close", _close),
)
