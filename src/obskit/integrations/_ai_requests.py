"""
Hooks around the requests of an SDK: what is asked for, whether a budget allows it, and the waits between attempts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from obskit.ai.ai_operation import UNKNOWN
from obskit.ai.billed_extras import image_model
from obskit.ai.budget_book import budget_book
from obskit.ai.observe import place_under_block, plan
from obskit.ai.provider_hosts import region_of
from obskit.ai.rates import regional_factor
from obskit.ai.stream import StreamState
from obskit.context import current
from obskit.deferred_endings import drain, waiting
from obskit.integrations._ai_call import MAX_NAME, Call
from obskit.integrations._ai_sdk import Sdk, Wrapper
from obskit.observation import block_around, enter, leave
from obskit.recorder import recorder

_OMITTED = ("NotGiven", "Omit")  # classes of the SDKs' own, in place of an argument
_UNBILLED_PATHS = ("count_tokens", "count-tokens")  # in the URLs of requests that are no inference


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


@contextmanager
def _hidden_call() -> Iterator[None]:
    """
    Hide the current call from a request that is made inside it and is not inference.
    """
    outside = around = current.get()
    while (call := block_around(Call, outside)) is not None:
        outside = call.parent
    if outside is around:
        yield
        return
    token = current.set(outside)
    try:
        yield
    finally:
        current.reset(token)


def _request(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    def request(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        call = _new_call(sdk, self, args, kwargs)
        if call is None:
            with _hidden_call():
                return original(self, *args, **kwargs)
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
            with _hidden_call():
                return await original(self, *args, **kwargs)
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


@contextmanager
def _retry_wait(response: Any) -> Iterator[None]:
    """
    Add a wait between two attempts to the current call.
    """
    call, started = _count_retry(response), recorder.clock()
    try:
        yield
    finally:
        if call is not None:
            call.retry_wait_seconds += recorder.clock() - started


def _sleep(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    def sleep(self: Any, /, **kwargs: Any) -> Any:
        with _retry_wait(kwargs.get("response")):
            return original(self, **kwargs)

    return sleep


def _async_sleep(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    async def sleep(self: Any, /, **kwargs: Any) -> Any:
        with _retry_wait(kwargs.get("response")):
            return await original(self, **kwargs)

    return sleep


SLEEPS = {_sleep, _async_sleep}
# (module, class, attribute, wrapper): without these an SDK is left alone.
NEEDED: tuple[tuple[str, str, str, Wrapper], ...] = (
    ("_base_client", "SyncAPIClient", "request", _request),
    ("_base_client", "AsyncAPIClient", "request", _async_request),
)
# These have come and gone: where one is not there, what it tells is told later, or by a header.
WANTED: tuple[tuple[str, str, str, Wrapper], ...] = (
    ("_base_client", "BaseClient", "_build_request", _build_request),
    ("_base_client", "SyncAPIClient", "_sleep_for_retry", _sleep),
    ("_base_client", "AsyncAPIClient", "_sleep_for_retry", _async_sleep),
)
