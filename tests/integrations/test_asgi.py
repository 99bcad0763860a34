"""
Prove what is ASGI's alone, whatever the framework.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import obskit
from obskit.recorder import recorder
from obskit.testing import isolated_runtime


def test_a_drain_without_threads():
    """
    Where no thread is to be had for draining, the application shuts down all the same, and the failure is counted.
    """
    sent = []

    async def lifespan(scope, receive, send):
        await send({"type": "lifespan.shutdown.complete"})

    async def send(message):
        sent.append(message["type"])

    async def shut_down(app):
        spent = ThreadPoolExecutor()
        spent.shutdown()
        asyncio.get_running_loop().set_default_executor(spent)
        await app({"type": "lifespan"}, None, send)

    with isolated_runtime(strict=False):
        asyncio.run(shut_down(obskit.instrument(lifespan)))
        errors = dict(recorder.errors)

    assert sent == ["lifespan.shutdown.complete"]
    assert errors == {"drain": 1}
