"""
Prove what is ASGI's alone, whatever the framework.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import obskit
from obskit.testing import RecordingSink, isolated_runtime


def test_a_drain_without_threads():
    """
    Where no thread is to be had for draining, it is done without one, and the application shuts down.
    """
    sent, drained = [], []

    async def lifespan(scope, receive, send):
        await send({"type": "lifespan.shutdown.complete"})

    async def send(message):
        sent.append(message["type"])

    async def shut_down(app):
        spent = ThreadPoolExecutor()
        spent.shutdown()
        asyncio.get_running_loop().set_default_executor(spent)
        await app({"type": "lifespan"}, None, send)

    sink = RecordingSink()
    sink.flush = lambda: drained.append(sent[:])
    with isolated_runtime(sinks=[sink]):
        asyncio.run(shut_down(obskit.instrument(lifespan)))

        assert ["lifespan.shutdown.complete"] == sent
        assert [[]] == drained
