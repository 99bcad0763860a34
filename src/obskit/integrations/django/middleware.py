"""
Observe Django from its middleware, synchronous and asynchronous, without a thread in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpResponse
from django.utils.log import log_response

from obskit.context import current
from obskit.errors import ConfigurationError
from obskit.integrations._inbound_correlation import assign_correlation_id
from obskit.integrations._middleware import MiddlewareBase
from obskit.integrations._served_request import ADMITTED, OBSERVED, current_request, leave
from obskit.integrations._start import configure
from obskit.integrations.django.hooks import hook_exceptions, hook_views
from obskit.integrations.django.request_operation import DjangoOperation, TimedOperation
from obskit.integrations.django.routes import internal_prefixes, record_route, warn_of_taken_prefixes
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.runtime import Runtime, observe_runtime
from obskit.web.gate import refusal
from obskit.web.replies import Reply
from obskit.web.request import Request

_plan = recorder.plan(HttpOperation)


def configure_from_settings() -> Runtime:
    """
    Apply `settings.OBSKIT`; what it gives counts as arguments of `obskit.configure()`.

    Raises:
        ConfigurationError: As for `obskit.configure()`, or it is no dict.
    """
    given = getattr(settings, "OBSKIT", {})
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"settings.OBSKIT must be a dict of obskit's settings, such as {{'service': 'shop'}}; "
            f"it is a {type(given).__name__}"
        )
    return configure(**given)


class ObskitMiddleware(MiddlewareBase):
    """
    Django middleware; the first of `settings.MIDDLEWARE`, since it sees nothing of what comes before it.

    Where something around Django observes the request already (`obskit.instrument()`), it adds the route only.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        self._asynchronous = iscoroutinefunction(get_response)
        self.process_view: Callable[..., Any] = _process_view
        if self._asynchronous:
            markcoroutinefunction(self)
            self.process_view = _process_view_async
        super().__init__()
        runtime = configure_from_settings()
        hook_exceptions()
        if not runtime.settings.enabled:
            raise MiddlewareNotUsed("obskit is off: enabled=False")
        observe_runtime(self)
        runtime.announce()

    def runtime_changed(self, runtime: Runtime | None) -> None:
        super().runtime_changed(runtime)
        self._internal_prefixes: tuple[str, ...] | None = None
        self._operation = TimedOperation if self.server_timing else DjangoOperation
        self._serve = self._serve_unobserved = self.get_response
        if self.gates:
            gated = self._gated_async if self._asynchronous else self._gated
            self._serve, self._serve_unobserved = partial(gated, True), partial(gated, False)

    def __call__(self, request: Any) -> Any:
        """
        Serve one request; the answer is awaitable where Django's next step is.
        """
        if self._asynchronous:
            return self._serve_async(request)
        op = self._observe(request)
        if op is None:
            return self._serve_unobserved(request)
        token = current.set(op)
        _plan.begin(op)
        if op.span is not None:
            op.span.enter()
        try:
            response = self._serve(request)
            if response.status_code >= 400:
                _log(response, request)
            op.record_response(response)
            return response
        except BaseException as error:
            op.end_with_error(error)
            raise
        finally:
            if op.span is not None:
                op.span.leave()
            current.reset(token)

    async def _serve_async(self, request: Any) -> Any:
        op = self._observe(request)
        if op is None:
            return await self._serve_unobserved(request)
        token, closed = current.set(op), False
        _plan.begin(op)
        if op.span is not None:
            op.span.enter()
        try:
            response = await self._serve(request)
            if response.status_code >= 400 and not hasattr(response, "_has_been_logged"):
                await sync_to_async(_log, thread_sensitive=False)(response, request)
            op.record_response(response)
            return response
        except GeneratorExit as error:
            op.end_with_error(error)
            closed = True
            raise
        except BaseException as error:
            op.end_with_error(error)
            raise
        finally:
            if closed:
                leave(op, token)
            else:
                if op.span is not None:
                    op.span.leave()
                current.reset(token)

    def _gated(self, is_observed: bool, request: Any) -> Any:
        response = self._refusal(is_observed, request)
        return self.get_response(request) if response is None else response

    async def _gated_async(self, is_observed: bool, request: Any) -> Any:
        response = self._refusal(is_observed, request)
        return await self.get_response(request) if response is None else response

    def _refusal(self, is_observed: bool, request: Any) -> HttpResponse | None:
        """
        Return the response by which a gate refuses a request; None where it is let in, or has been further outside.
        """
        carrier, path = getattr(request, "scope", None) or request.META, request.path_info
        if not is_observed:
            is_excluded = self.active and self.skip is not None and self.skip(path) and not self._is_internal(path)
            if not is_excluded or OBSERVED in carrier or ADMITTED in carrier:
                return None
        reply = refusal(self.gates, lambda: self._describe(request))
        if reply is None:
            carrier[ADMITTED] = True
            return None
        if is_observed:
            current.get().refused = True  # type: ignore[union-attr]
        return _refusing(reply)

    def _describe(self, request: Any) -> Request:
        op = DjangoOperation(request, self)
        return Request(request.method, request.path_info, op.query, op.header, op.client, request)

    def _observe(self, request: Any) -> DjangoOperation | None:
        """
        Make the operation of a request; None where it is observed already, or not to be.
        """
        carrier = getattr(request, "scope", None) or request.META
        if OBSERVED in carrier or not self.active:
            return None
        if current.get() is not None and (root := current_request()) is not None and root.is_same_request(carrier):
            return None
        path = request.path_info
        if (self.skip is not None and self.skip(path)) or self._is_internal(path):
            return None
        carrier[OBSERVED] = True
        op = self._operation(request, self, self._asynchronous)
        if self.correlation:
            meta = request.META
            if "HTTP_X_CORRELATION_ID" in meta or "HTTP_X_REQUEST_ID" in meta or "HTTP_TRACEPARENT" in meta:
                assign_correlation_id(op, self.trust_ids)
            else:
                op.correlation_id = recorder.new_id()
        return op

    def _is_internal(self, path: str) -> bool:
        """
        Return whether `obskit.integrations.django.urls` answers this path; found out with the first request.
        """
        if self._internal_prefixes is None:
            try:
                self._internal_prefixes = internal_prefixes()
                hook_views()
                warn_of_taken_prefixes(self._internal_prefixes)
            except Exception:
                return False  # Django reports its broken URLconf itself, and this request shows it
        for prefix in self._internal_prefixes:  # a generator costs more than the rest of this
            if path.startswith(prefix) and "/" + path[len(prefix) :] in self.paths:
                return True
        return False


def _refusing(reply: Reply) -> HttpResponse:
    """
    Make Django's response of a gate's, of which Django writes no line of its own beside the access line.
    """
    response = HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))
    if all(name.lower() != "content-type" for name, _ in reply.headers):
        del response.headers["Content-Type"]  # Django's default
    response._has_been_logged = True
    return response


def _log(response: Any, request: Any) -> None:
    """
    Log what Django logs outside of all middleware, where the correlation id is gone; it keeps the first.
    """
    log_response("%s: %s", response.reason_phrase, request.path, response=response, request=request)


def _process_view(request: Any, view: Any, args: Any, kwargs: Any) -> None:
    record_route(request)


async def _process_view_async(request: Any, view: Any, args: Any, kwargs: Any) -> None:
    record_route(request)
