"""
Time the calls of the two SDKs, which are generated alike: one description each, and the hooks they share.

Every call form of an SDK passes through `request()`, every body and every event through `_process_response_data()`.
The HTTP response ties the two together; it holds the operation, and never the other way round, so that a stream
which is dropped ends its operation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from threading import RLock
from types import ModuleType
from typing import Any, NamedTuple

from obskit.ai.budgeting import keeper
from obskit.ai.limits import limits
from obskit.ai.observe import end, estimate, plan, price, take_labels
from obskit.ai.operation import UNKNOWN, AiOperation
from obskit.ai.stream import Fold, Progress, finish_reason_of
from obskit.ai.usage import read
from obskit.context import current
from obskit.endings import drain, end_later, waiting
from obskit.errors import MissingExtraError
from obskit.integrations._patches import Patches
from obskit.observation import enter, leave
from obskit.operation import Event
from obskit.recorder import recorder

KEY = "obskit.call"
_LEFT_OUT = ("NotGiven", "Omit")  # classes of the SDKs' own, in place of an argument
MAX_NAME = 100  # characters, of what a request or a provider names


class Path(NamedTuple):
    """
    Say what a URL of the API is for, and how its streams are read.
    """

    operation: str
    fold: Fold


@dataclass
class Sdk:
    """
    Describe one SDK: where its choke points are, and what tells who is paid.

    Attributes:
        name: Of the package, and of the extra.
        paths: The URLs that are inference, without their query.
        hosts: Host, or its end after a dot, to provider.
        default: The provider of a host that is not known.
        request_id: The header that carries it.
        stream_classes: Further classes with a `close()` that leaves a stream, as (module, class).
        is_wanted: True between `install()` and `remove()`, whether the SDK has been imported by then or not.
        is_on: False once it is taken back; whoever has wrapped our functions still calls them.
        tells_retries: True where it has a function that waits between attempts; else a header says how many there were.
    """

    name: str
    paths: Mapping[str, Path]
    hosts: Mapping[str, str]
    default: str
    request_id: str
    stream_classes: tuple[tuple[str, str], ...] = ()
    is_wanted: bool = False
    is_awaited: bool = False
    is_on: bool = False
    tells_retries: bool = False
    mapped: dict[str, str] = field(default_factory=dict)
    patches: Patches = field(default_factory=Patches)
    providers: dict[str, str] = field(default_factory=dict)
    lock: Any = field(default_factory=RLock)

    def provider_of(self, host: str) -> str:
        """
        Tell who answers at a host: as the application said, else as its name says.
        """
        found = self.providers.get(host)
        if found is None:
            ends = [host[at:] for at in range(len(host)) if at == 0 or host[at - 1] == "."]
            known = {**self.hosts, **self.mapped}
            found = next((known[end] for end in ends if end in known), self.default)
            if len(self.providers) < 1000:
                self.providers[host] = found
        return found


class Call(AiOperation):
    """
    Describe one call of a hooked SDK, and follow it to its end.

    Attributes:
        body: What a whole reply said, until it is read at the end.
        stream: What a stream has told so far; None for whole replies.
        is_open: True where the reply is still to be read when `request()` returns.
    """

    __slots__ = ("body", "fold", "is_open", "request_bytes", "stream")

    body: Any
    stream: Progress | None
    fold: Fold
    is_open: bool
    request_bytes: int

    def take(self, data: Any) -> None:
        """
        Take a body.
        """
        if self.ended:
            return
        self.body = data
        if self.is_open:
            self.finish()
        elif self.span is not None:
            self.tell_early()

    def take_event(self, stream: Progress, data: Any) -> None:
        """
        Take an event of a stream whose span somebody else ends.
        """
        self.fold(stream, data)
        if stream.is_told:
            self.tell_early()

    def tell_early(self) -> None:
        """
        Tell a span that somebody else ends, before that happens.
        """
        tell = getattr(self.span, "tell", None)
        reply = self.body if self.stream is None else self.stream.reply
        if tell is not None and reply is not None:
            self.tokens = read(reply)
            price(self)
            tell(self)

    def finish(self, at: float | None = None) -> None:
        """
        End a call whose reply came whole, or never.
        """
        body, self.body = self.body, None
        try:
            if body is not None:
                self.tokens = read(body)
                if isinstance(body, dict):
                    self.finish_reason = finish_reason_of(body)
                    self.response_id = body.get("id")
        except Exception as error:
            recorder.failed("ai", error)
        end(self, at)

    def note_limits(self, response: Any) -> None:
        """
        Take what a response's headers say of the provider's rate limits.
        """
        try:
            limits.read(self.provider, self.model, response.headers.raw)
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
        if not stream.is_done:
            self.aborted = self.error = "truncated"
        self._settle(stream)

    def close(self, how: str, at: float | None = None) -> None:
        """
        End a call that nobody reads any further, now or at a moment that has passed.
        """
        if self.ended:
            return
        stream = self.stream
        if stream is None:
            if self.body is None and self.tokens is None:
                self.cost_reason = "not_read"
            self.finish(at)
            return
        if not stream.is_done:
            self.aborted = how
        self._settle(stream, at)

    def raised(self, error: BaseException) -> None:
        """
        End a call by what it raised: before its reply, after it, or in the middle of a stream.
        """
        if self.ended:
            return
        self.error = name_of(error)
        response = getattr(error, "response", None)
        stream = self.stream
        if response is not None and (stream is None or not stream.chunks):
            self.status_code = getattr(response, "status_code", None)
            self.note_limits(response)
        if stream is not None and stream.chunks:
            self.aborted = "error"
            self._settle(stream)
            return
        if self.body is None:
            # An HTTP error is an answer, and not billed; a call that nobody answered may be.
            status = getattr(error, "status_code", None)
            if isinstance(status, int) and status >= 400:
                self.cost_usd = 0.0
            else:
                self.cost_reason = "no_reply"
        self.finish()

    def _settle(self, stream: Progress, at: float | None = None) -> None:
        at = recorder.clock() if at is None else at
        try:
            self.chunks = stream.chunks
            self.finish_reason = stream.finish_reason
            if stream.failure is not None:
                self.error = self.error or stream.failure
            if stream.reply is not None:
                self.response_id = stream.reply.get("id")
            if stream.is_told:
                self.tokens = read(stream.reply)
            elif not stream.chunks:
                self.cost_reason = "no_reply"
            elif stream.is_done and self.error is None:
                self.cost_reason = "no_usage"
            else:
                estimate(self, stream.reply, self.request_bytes, stream.characters)
            stream.reply = None
        except Exception as error:
            recorder.failed("ai", error)
        end(self, at)


class Handle:
    """
    Be what a response knows of its call: a response that is dropped unread ends it.
    """

    __slots__ = ("call", "take")

    take: Callable[[Any], None]  # what is done with a body, or with each event

    def __init__(self, call: Call) -> None:
        self.call = call
        self.take = call.take if call.stream is None else self.first

    def first(self, event: Any) -> None:
        """
        Take the first event of a stream; the others go where they are read without a detour.
        """
        call, stream = self.call, self.call.stream
        assert stream is not None
        call.first_chunk_seconds = plan.clock() - call.started
        read = call.take_event if hasattr(call.span, "tell") else call.fold
        self.take = partial(read, stream)
        self.take(event)

    def __del__(self) -> None:
        call = self.call
        if call.is_open and not sys.is_finalizing():
            end_later(call, _dropped, plan.clock())


def _dropped(call: Call, at: float) -> None:
    call.close("dropped", at)


def name_of(error: BaseException) -> str:
    """
    Name an error by its class; one that came inside of a stream, by the provider's own name for it.
    """
    if getattr(error, "status_code", None) == 200:
        body = getattr(error, "body", None)
        told = body.get("error") if isinstance(body, dict) else None
        kind = told.get("type") if isinstance(told, dict) else None
        if isinstance(kind, str) and len(kind) <= MAX_NAME:
            return kind
    return type(error).__name__


def _records(tracer: Any) -> bool:
    """
    Tell whether an SDK's own tracer makes spans: OpenTelemetry gives one that makes none where no provider is set.
    """
    real = getattr(tracer, "_tracer", tracer)
    return real is not None and type(real).__name__ != "NoOpTracer"


def _make(sdk: Sdk, client: Any, options: Any, is_stream: bool) -> Call | None:
    """
    Make the operation of a request, where it is inference; it begins once no budget has refused it.
    """
    path = sdk.paths.get(options.url.partition("?")[0])
    if path is None or options.method != "post":
        return None
    asked = options.json_data if isinstance(options.json_data, dict) else {}
    host = client.base_url.host
    model = asked.get("model")
    call = Call("", sdk.provider_of(host), model[:MAX_NAME] if isinstance(model, str) else UNKNOWN, path.operation)
    call.body = None
    call.is_open = False
    call.request_bytes = 0
    call.fold = path.fold
    call.stream = None
    call.host = host
    call.port = client.base_url.port
    if is_stream:
        count = asked.get("n")
        call.stream = Progress(count if isinstance(count, int) else 1)
        call.is_stream = True
    bound = asked.get("max_tokens") or asked.get("max_completion_tokens") or asked.get("max_output_tokens")
    if isinstance(bound, int):
        call.max_tokens = bound
    if call.parent is not None:
        take_labels(call)
    if _records(getattr(client, "_tracer", None)):
        call.has_own_span = True
    return call


def _made(sdk: Sdk, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
    if not (sdk.is_on and plan.active):
        return None
    if waiting:  # before budgets are asked: it may give back what it held
        drain()
    try:
        return _make(sdk, client, _options(args, kwargs), bool(kwargs.get("stream")))
    except Exception as error:
        recorder.failed(sdk.name, error)
        return None


def _options(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return kwargs["options"] if "options" in kwargs else args[1]


def _body(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """
    Give a request's body, with what the application adds to it, and without what it left out.
    """
    options = _options(args, kwargs)
    body, more = options.json_data, getattr(options, "extra_json", None)
    if not isinstance(body, dict):
        return body
    whole = {**body, **more} if isinstance(more, Mapping) else body
    return {name: value for name, value in whole.items() if type(value).__name__ not in _LEFT_OUT}


def _set_aside() -> Any:
    """
    Let a request that is no inference, and that is made in the middle of one, not be taken for it.
    """
    around = current.get()
    return current.set(around.parent) if type(around) is Call else None


def _take_up(token: Any) -> None:
    if token is not None:
        current.reset(token)


def _returned(call: Call) -> None:
    # A stream, or a body that is still to be read, ends when it is.
    if not call.is_open and not call.ended:
        call.finish()


def _request(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    def request(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        call = _made(sdk, self, args, kwargs)
        if call is None:
            token = _set_aside()
            try:
                return original(self, *args, **kwargs)
            finally:
                _take_up(token)
        if keeper.on:
            keeper.before_call(call, _body(args, kwargs))
        plan.begin(call)
        token = enter(call)
        try:
            reply = original(self, *args, **kwargs)
        except BaseException as error:
            call.raised(error)
            raise
        finally:
            leave(call, token)
        _returned(call)
        return reply

    return request


def _async_request(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    async def request(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        call = _made(sdk, self, args, kwargs)
        if call is None:
            token = _set_aside()
            try:
                return await original(self, *args, **kwargs)
            finally:
                _take_up(token)
        if keeper.on:
            await keeper.before_call_async(call, _body(args, kwargs))
        plan.begin(call)
        token = enter(call)
        try:
            reply = await original(self, *args, **kwargs)
        except BaseException as error:
            call.raised(error)
            raise
        finally:
            leave(call, token)
        _returned(call)
        return reply

    return request


def _bind(sdk: Sdk, response: Any) -> Call | None:
    """
    Tie a response to the call that is waiting for it, and note what its headers say.
    """
    try:
        call = current.get()
        if type(call) is not Call or call.ended:
            return None
        response.extensions[KEY] = Handle(call)
        if call.has_own_span and call.span is not None:
            call.span.adopt()
        headers = response.headers
        call.status_code = response.status_code
        call.request_id = headers.get(sdk.request_id)
        call.note_limits(response)
        if not sdk.tells_retries and call.attempts == 1:
            retries = response.request.headers.get("x-stainless-retry-count")
            if retries and retries != "0" and retries.isdecimal():
                call.attempts = int(retries) + 1
        if call.stream is not None:
            call.is_open = True
            length = response.request.headers.get("content-length")
            call.request_bytes = int(length) if length and length.isdecimal() else 0
        return call
    except Exception as error:
        recorder.failed(sdk.name, error)
        return None


def _unparsed(sdk: Sdk, call: Call, response: Any) -> None:
    """
    Read the body of a raw response, where it is there; else leave the call open until somebody has read it.
    """
    try:
        if call.stream is not None or call.ended:
            return
        if not response.is_closed:
            call.is_open = True
        elif "json" in response.headers.get("content-type", ""):
            call.body = response.json()
            call.tell_early()
    except Exception as error:
        recorder.failed(sdk.name, error)


def _process_response(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    def process(self: Any, /, **kwargs: Any) -> Any:
        call = _bind(sdk, kwargs.get("response"))
        reply = original(self, **kwargs)
        if call is not None and call.body is None:
            _unparsed(sdk, call, kwargs["response"])
        return reply

    return process


def _async_process_response(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    async def process(self: Any, /, **kwargs: Any) -> Any:
        call = _bind(sdk, kwargs.get("response"))
        reply = await original(self, **kwargs)
        if call is not None and call.body is None:
            _unparsed(sdk, call, kwargs["response"])
        return reply

    return process


def _process_data(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    def process(self: Any, /, *, data: Any, cast_to: Any, response: Any) -> Any:
        try:
            handle = response.extensions.get(KEY)
            if handle is not None:
                handle.take(data)
        except Exception as error:
            recorder.failed(sdk.name, error)
        return original(self, data=data, cast_to=cast_to, response=response)

    return process


def _call_of(holder: Any) -> Call | None:
    """
    Find the call of a stream, or of a response that the SDK has wrapped.
    """
    for name in ("response", "_response", "http_response"):
        response = getattr(holder, name, None)
        extensions = getattr(response, "extensions", None)
        if isinstance(extensions, dict):
            handle = extensions.get(KEY)
            return None if handle is None else handle.call
    return None


def _stream(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    def stream(self: Any) -> Any:
        call = _call_of(self)
        if call is None:
            yield from original(self)
            return
        try:
            yield from original(self)
        except GeneratorExit:
            call.close("dropped")
            raise
        except BaseException as error:
            call.raised(error)
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
                call.close("dropped")
            raise
        except BaseException as error:
            if call is not None:
                call.raised(error)
            raise
        finally:
            await events.aclose()
        if call is not None:
            call.complete()

    return stream


def _left(holder: Any) -> None:
    call = _call_of(holder)
    if call is None or call.ended:
        return
    if call.stream is None and call.body is None:
        response = getattr(holder, "http_response", None)
        # Read by the application itself: `.json()`, `.read()`, `.text()`.
        if (
            response is not None
            and "json" in response.headers.get("content-type", "")
            and hasattr(response, "_content")
        ):
            call.body = response.json()
    call.close("closed")


def _close(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    def close(self: Any) -> Any:
        try:
            _left(self)
        except Exception as error:
            recorder.failed(sdk.name, error)
        return original(self)

    return close


def _waited(response: Any) -> Call | None:
    call = current.get()
    if type(call) is not Call or call.ended:
        return None
    call.attempts += 1
    status = "error" if response is None else str(response.status_code)
    if response is not None:
        call.note_limits(response)
    call.failed_attempts = (*call.failed_attempts, status)
    return call


def _sleep(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    def sleep(self: Any, /, **kwargs: Any) -> Any:
        call, started = _waited(kwargs.get("response")), recorder.clock()
        try:
            return original(self, **kwargs)
        finally:
            if call is not None:
                call.retry_wait_seconds += recorder.clock() - started

    return sleep


def _async_sleep(sdk: Sdk, original: Callable[..., Any]) -> Callable[..., Any]:
    async def sleep(self: Any, /, **kwargs: Any) -> Any:
        call, started = _waited(kwargs.get("response")), recorder.clock()
        try:
            return await original(self, **kwargs)
        finally:
            if call is not None:
                call.retry_wait_seconds += recorder.clock() - started

    return sleep


Wrapper = Callable[[Sdk, Callable[..., Any]], Callable[..., Any]]
# (module, class, attribute, wrapper): without these an SDK is left alone.
_NEEDED: tuple[tuple[str, str, str, Wrapper], ...] = (
    ("_base_client", "SyncAPIClient", "request", _request),
    ("_base_client", "AsyncAPIClient", "request", _async_request),
    ("_base_client", "SyncAPIClient", "_process_response", _process_response),
    ("_base_client", "AsyncAPIClient", "_process_response", _async_process_response),
    ("_base_client", "BaseClient", "_process_response_data", _process_data),
    ("_streaming", "Stream", "__stream__", _stream),
    ("_streaming", "AsyncStream", "__stream__", _async_stream),
)
# These have come and gone: where one is not there, what it tells is told later, or by a header.
_WANTED: tuple[tuple[str, str, str, Wrapper], ...] = (
    ("_base_client", "SyncAPIClient", "_sleep_for_retry", _sleep),
    ("_base_client", "AsyncAPIClient", "_sleep_for_retry", _async_sleep),
    ("_streaming", "Stream", "close", _close),
    ("_streaming", "AsyncStream", "close", _close),
    ("_response", "APIResponse", "close", _close),
    ("_response", "AsyncAPIResponse", "close", _close),
)


def _module(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ImportError:
        return None


def install(sdk: Sdk, providers: Mapping[str, str]) -> None:
    """
    Put the hooks into an SDK, once: now, or as soon as the application imports it, which takes up to a second.

    Raises:
        MissingExtraError: It is not installed.
    """
    if sys.modules.get(sdk.name) is None and find_spec(sdk.name) is None:
        raise MissingExtraError(
            f"instrument_{sdk.name}() needs the package {sdk.name}: pip install 'obskit[{sdk.name}]'"
        )
    with sdk.lock:
        sdk.mapped.update(providers)
        sdk.providers.clear()
        sdk.is_wanted = True
        is_awaited, sdk.is_awaited = sdk.is_awaited, True
    if sdk.name in sys.modules:
        _module(sdk.name)  # another thread may be importing it: wait, and hold no lock that its hook asks for
        _put(sdk)
    elif not is_awaited:
        from wrapt import register_post_import_hook  # 20 ms

        register_post_import_hook(lambda module: _imported(sdk), sdk.name)


def _imported(sdk: Sdk) -> None:
    try:
        _put(sdk)
    except Exception as error:  # it would be the application's `import` that fails
        recorder.failed(sdk.name, error)


def _put(sdk: Sdk) -> None:
    if sdk.is_on or not sdk.is_wanted:
        return
    needed = [_found(sdk, *hook) for hook in _NEEDED]  # which imports: without the lock
    missing = [f"{hook[0]}.{hook[1]}.{hook[2]}" for hook, found in zip(_NEEDED, needed, strict=True) if found is None]
    if missing:
        message = f"this version of {sdk.name} has no {', '.join(missing)}: its calls are not observed"
        recorder.emit(Event("ai.unknown_sdk", "WARNING", message, {"sdk": sdk.name}))
        return
    further = tuple((module, cls, "close", _close) for module, cls in sdk.stream_classes)
    wanted = [_found(sdk, *hook) for hook in (*_WANTED, *further)]
    with sdk.lock:
        if sdk.is_on or not sdk.is_wanted:
            return
        sdk.is_on = True
        for owner, name, wrapper in (found for found in (*needed, *wanted) if found is not None):
            sdk.patches.put(owner, name, partial(wrapper, sdk))
        sdk.tells_retries = {_sleep, _async_sleep} <= {found[2] for found in wanted if found is not None}


def _found(sdk: Sdk, module: str, cls: str, name: str, wrapper: Wrapper) -> tuple[Any, str, Wrapper] | None:
    owner = getattr(_module(f"{sdk.name}.{module}"), cls, None)
    return (owner, name, wrapper) if name in vars(owner or object) else None


def remove(sdk: Sdk) -> None:
    """
    Take the hooks out, but for those that somebody else has wrapped meanwhile: these pass everything on.
    """
    with sdk.lock:
        sdk.is_wanted = sdk.is_on = False
        sdk.patches.take_back()
        sdk.mapped.clear()
        sdk.providers.clear()
