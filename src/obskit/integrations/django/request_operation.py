"""
One request in Django's middleware, where neither `start_response` nor `send` can be watched.

A whole response ends when it is handed on, as under WSGI: the server's writing it out is not seen. A streamed one
ends with its last piece, or when Django closes it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import import_module
from typing import Any

from obskit.context import current
from obskit.correlation_ids import ID_HEADER
from obskit.db.callsite import raised_at
from obskit.deferred_endings import end_later
from obskit.integrations import _server_timing
from obskit.integrations._client_address import client_address
from obskit.integrations._served_request import is_cancellation, leave, locate, prefix_label
from obskit.integrations.wsgi import _NO_LENGTH, WsgiOperation, _Reply, asks_for_websocket, end_abandoned, end_at
from obskit.operation import UNMATCHED, HttpOperation
from obskit.recorder import recorder


class DjangoOperation(WsgiOperation):
    """
    A request as `request.META` describes it, under ASGI too, with the response that the middleware passes on.
    """

    __slots__ = ("_asynchronous", "_complete", "_gathered", "_scope")

    def __init__(self, request: Any, middleware: Any, asynchronous: bool = False) -> None:
        environ = request.META
        HttpOperation.__init__(self, environ["REQUEST_METHOD"], request.path)
        self.environ = environ
        self._middleware = middleware
        forwarded = environ.get("HTTP_X_FORWARDED_FOR")
        self.client = client_address(environ.get("REMOTE_ADDR") or None, forwarded, middleware.trusted)
        self.agent = environ.get("HTTP_USER_AGENT")
        self._declared_length = _NO_LENGTH
        self._scope: Any = getattr(request, "scope", None)
        self.asks_for_websocket = asks_for_websocket(environ)
        self.prefix = "" if self._scope is not None else prefix_label(environ.get("SCRIPT_NAME", ""))
        self._asynchronous = asynchronous
        self._gathered = False
        self._complete = False

    def locate(self) -> str:
        """
        Return the endpoint, once routing is over; before that, the mount that Django is in.
        """
        if self.endpoint is UNMATCHED and self._scope is not None and "router" in self._scope:
            locate(self, import_module("obskit.integrations.asgi").framework_route, self._scope)
        return self.endpoint

    @property
    def whole_path(self) -> str:
        """
        Read the path, which Django has decoded.
        """
        return self.path

    def mount_prefix(self, mounted: str) -> str:
        """
        Return the part of a template that stands for Django's mount; on ASGI the deployment's prefix is not part of it.
        """
        return self.prefix if self._scope is not None else super().mount_prefix(mounted)

    @property
    def scheme(self) -> str:
        return super().scheme if self._scope is None else str(self._scope.get("scheme", "http"))

    def record_response(self, response: Any) -> None:
        """
        Record the status, set the id, and end: now, or with the stream.
        """
        self.status = response.status_code
        self.apply_handled_exception()
        if self.correlation_id is not None:
            response.headers[ID_HEADER] = self.correlation_id
        if response.streaming:
            self._watch(response)
        else:
            self.bytes_sent = len(response.content)
            self.end()

    def _watch(self, response: Any) -> None:
        response._resource_closers.append(_Closer(self))
        self.declare_length(response.headers.get("Content-Length"))
        if getattr(response, "file_to_stream", None) is not None and "wsgi.file_wrapper" in self.environ:
            # The server sends the file by itself, and does not report how much of it.
            self.bytes_sent = self.declared_size
            self._complete = True
            return
        if response.is_async is not self._asynchronous:
            # Django gathers all of it before it sends the first byte: handing the pieces over ends nothing.
            self._gathered = True
            self._declared_length = _NO_LENGTH
        watch = _AsyncReply if response.is_async else _Reply
        response.streaming_content = watch(self, response.streaming_content)

    def body_exhausted(self) -> None:
        """
        End after the last piece, or when all pieces that were gathered have been sent.
        """
        self._complete = True
        if not self._gathered:
            self.end()
        elif self.streamed:
            self.first_byte_seconds = recorder.clock() - self.started

    def abandon(self, at: float | None = None) -> None:
        """
        End when the response is closed or dropped: aborted, unless all of it was handed over.
        """
        if self.ended:
            return
        if self._complete:
            self.end(at)
        else:
            super().abandon(at)

    def end_with_error(self, error: BaseException) -> None:
        """
        End with an exception; under ASGI a stream's status has been sent before its first piece.
        """
        if self.ended or not (self._asynchronous and self.status):
            super().end_with_error(error)
            return
        self.aborted = True
        if is_cancellation(error):
            end_later(self, end_at, recorder.clock())
        else:
            self.exception = self.error = type(error).__name__
            self.raised_at = raised_at(error)
            self.end()


class TimedOperation(DjangoOperation):
    """
    A request whose reply carries a `Server-Timing` header.
    """

    __slots__ = ()

    def record_response(self, response: Any) -> None:
        """
        Add the header to the view's own, and record the response.
        """
        value = _server_timing.header_value(self)
        if value is not None:
            own = response.headers.get(_server_timing.HEADER)
            response.headers[_server_timing.HEADER] = f"{own}, {value}" if own else value
        super().record_response(response)


class _Closer:
    """
    A closer that ends a request when its response is closed, or dropped by a server that has not closed it.
    """

    __slots__ = ("_op",)

    def __init__(self, op: DjangoOperation) -> None:
        self._op = op

    def __call__(self) -> None:
        self._op.abandon()

    def __del__(self) -> None:
        end_later(self._op, end_abandoned, recorder.clock())


class _AsyncReply:
    """
    A stream, passed on piece by piece, with the request's context set while the application works.
    """

    __slots__ = ("_body", "_op")

    def __init__(self, op: DjangoOperation, body: AsyncIterator[bytes]) -> None:
        self._op = op
        self._body = body

    def __aiter__(self) -> _AsyncReply:
        return self

    async def __anext__(self) -> bytes:
        op = self._op
        token, closed = current.set(op), False
        if op.span is not None:
            op.span.enter()
        try:
            piece = await anext(self._body)
            op.count_sent(len(piece))
            return piece
        except StopAsyncIteration:
            if not op.ended:
                op.body_exhausted()
            raise
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
