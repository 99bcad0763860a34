"""
The check of Redis, through the application's own client.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from inspect import isawaitable, iscoroutine, iscoroutinefunction, signature
from typing import TYPE_CHECKING, Any

from obskit.health.database_checks import is_served_here, run_or_return
from obskit.health.outcome import WARN_MS, Outcome, failed, milliseconds_since, passed
from obskit.time.clock import clock

if TYPE_CHECKING:
    pass


def redis(client: Any, *, warn_ms: float | None = WARN_MS) -> Redis:
    """
    Check Redis through the client itself: `PING` on a connection of its pool.

    Args:
        client: A `redis.Redis` or `redis.asyncio.Redis`, of a Sentinel's `master_for()` too, or one of a cluster. An
            asynchronous one is asked on the server's event loop; where there is none, a connection of the check's own
            is made.
        warn_ms: An answer that takes this many milliseconds or more is a warning; None: never.
    """
    return Redis(client, warn_ms)


@dataclass(frozen=True)
class Redis:
    """
    The check of one Redis server or cluster.
    """

    client: Any = field(repr=False)
    warn_ms: float | None
    is_dependency = True

    @property
    def is_async(self) -> bool:
        """
        Return whether it is asked on an event loop.
        """
        return iscoroutinefunction(getattr(self.client, "execute_command", None))

    def __call__(self) -> Any:  # an Outcome, or on an event loop that runs what gives it
        if self.is_async:
            return run_or_return(self._ask_async)
        began = clock.monotonic()
        answer = self.client.ping()
        if isawaitable(answer):
            if iscoroutine(answer):
                answer.close()
            return run_or_return(self._ask_async)
        return _pong_outcome(answer, began)

    async def _ask_async(self) -> Outcome:
        began = clock.monotonic()
        if is_served_here():
            return _pong_outcome(await self.client.ping(), began)
        own, close = _separate_client(self.client)
        try:
            return _pong_outcome(await own.ping(), began)
        finally:
            await close()


def _separate_client(client: Any) -> tuple[Any, Callable[[], Coroutine[Any, Any, None]]]:
    """
    Make a client of the same server, or cluster, with connections of its own, and give what closes them.
    """
    pool = getattr(client, "connection_pool", None)
    if pool is not None:
        own = type(client)(connection_pool=_separate_pool(pool))
        return own, partial(_disconnect, own.connection_pool)
    nodes = getattr(client, "nodes_manager", None)
    if nodes is None:  # of a kind that is not known
        return client, _nothing_to_close
    options, taken = client.connection_kwargs, signature(type(client)).parameters
    own = type(client)(
        startup_nodes=list(nodes.startup_nodes.values()),
        ssl="ssl_keyfile" in options,
        **{name: option for name, option in options.items() if name in taken},
    )
    return own, own.aclose


def _separate_pool(pool: Any) -> Any:
    options = {name: option for name, option in pool.connection_kwargs.items() if name != "connection_pool"}
    options["connection_class"] = pool.connection_class
    manager = getattr(pool, "sentinel_manager", None)
    if manager is None:
        return type(pool)(**options)
    own = copy(manager)
    own.sentinels = [type(asked)(connection_pool=_separate_pool(asked.connection_pool)) for asked in manager.sentinels]
    own_ways = {"is_master": pool.is_master, "check_connection": pool.check_connection}
    return type(pool)(pool.service_name, own, **own_ways, **options)


async def _disconnect(pool: Any) -> None:
    await pool.disconnect()
    manager = getattr(pool, "sentinel_manager", None)
    for asked in manager.sentinels if manager is not None else ():
        await asked.connection_pool.disconnect()


async def _nothing_to_close() -> None: ...


def _pong_outcome(answer: Any, began: float) -> Outcome:
    answers = answer.values() if isinstance(answer, dict) else [answer]  # of each node, where there are several
    if not answers or not all(said in (True, "PONG", b"PONG") for said in answers):
        return failed("no PONG")
    return passed(ping_ms=milliseconds_since(began))
