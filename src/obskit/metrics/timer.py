"""
Time blocks and functions into a histogram.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import aclosing
from functools import wraps
from threading import get_ident
from typing import Any, ParamSpec, Protocol, TypeVar

from obskit.catalogue import Metric
from obskit.context_manager_entries import BlockEntries
from obskit.observation import as_called, kind_of
from obskit.recorder import recorder

P = ParamSpec("P")
R = TypeVar("R")


class ObservesSeconds(Protocol):
    """
    A histogram with labels.
    """

    spec: Metric

    def check_label_names(self, names: Iterable[str]) -> None: ...

    def observe(self, value: float, **labels: Any) -> None: ...


class Timer:
    """
    Times a block, a function, a coroutine function, a generator or an asynchronous generator, in seconds.

    A generator is timed from the first value asked for to its end.
    """

    def __init__(self, histogram: ObservesSeconds, labels: dict[str, Any]) -> None:
        self._fills_status = "status" in histogram.spec.labels and "status" not in labels
        histogram.check_label_names(labels.keys() | ({"status"} if self._fills_status else set()))
        self._histogram = histogram
        self._labels = labels
        self._entries: BlockEntries[tuple[float, int]] = BlockEntries()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        if isinstance(function, (classmethod, staticmethod)):
            return type(function)(self(function.__func__))
        wrap: Callable[[Callable[..., Any]], Callable[..., Any]] = {
            "function": self._function,
            "coroutine": self._coroutine,
            "generator": self._generator,
            "async generator": self._async_generator,
        }[kind_of(function)]
        return as_called(function, wraps(function)(wrap(function)))

    def _function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            with Timer(self._histogram, self._labels):
                return function(*args, **kwargs)

        return timed

    def _coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def timed(*args: Any, **kwargs: Any) -> Any:
            with Timer(self._histogram, self._labels):
                return await function(*args, **kwargs)

        return timed

    def _generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            with Timer(self._histogram, self._labels):
                return (yield from function(*args, **kwargs))

        return timed

    def _async_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def timed(*args: Any, **kwargs: Any) -> Any:
            with Timer(self._histogram, self._labels):
                async with aclosing(function(*args, **kwargs)) as stream:
                    step, sent = stream.asend, None
                    while True:
                        try:
                            piece = await step(sent)
                        except StopAsyncIteration:
                            return
                        try:
                            step, sent = stream.asend, (yield piece)
                        except GeneratorExit:
                            raise
                        except BaseException as thrown:
                            step, sent = stream.athrow, thrown

        return timed

    def __enter__(self) -> Timer:
        self._entries.put(sys._getframe(1), (recorder.clock(), get_ident()))
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        at, labels = recorder.clock(), self._labels
        if self._fills_status:
            labels = {**labels, "status": "success" if kind in (None, GeneratorExit) else "error"}

        def observe(entered: tuple[float, int]) -> None:
            self._histogram.observe(at - entered[0], **labels)

        found = self._entries.take(2, lambda entered: entered[1] == get_ident())
        observe(found) if found is not None else self._entries.add_ambiguous(observe)
        if self._entries.ambiguous:
            self._entries.resolve()
