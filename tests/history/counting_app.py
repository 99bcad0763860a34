"""
An application that counts what it answers, for several workers.
"""

import json
import os

import obskit

plates = obskit.counter("plates_total", "Plates.", labels=("kind",))
oven = obskit.histogram("oven_seconds", "Time in the oven.")


def shop(environ, start_response):
    plates.inc(kind=environ["PATH_INFO"].strip("/") or "none")
    oven.observe(0.125)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(os.getpid()).encode()]


settings = {"service": os.environ["SERVICE_OF_TEST"], "history_every": os.environ["EVERY_OF_TEST"]}
wsgi = obskit.instrument(shop, history=True, **settings)


async def kitchen(scope, receive, send):
    if scope["type"] != "http":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    plates.inc(kind="soup")
    oven.observe(0.125)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(os.getpid()).encode()})


asgi = obskit.instrument(kitchen)
