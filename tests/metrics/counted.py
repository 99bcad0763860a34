"""
An application that counts its visits, thrice, and says which worker answered.
"""

import json
import os
import resource
import time

import prometheus_client

import obskit

if limit := os.environ.get("SHOP_FILE_SIZE"):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))

VISITS = obskit.counter("visits_total", "Visits.")
SEEN = obskit.gauge("seen", "Set by each worker.", ["pid"])
THEIRS = prometheus_client.Counter("theirs", "Visits, as prometheus_client counts them.")


def ask():
    """
    Answer a gauge, and note who was asked; what it answered first is not in its later answers.
    """
    with open(os.environ["SHOP_ASKED"], "a+") as asked:
        asked.write(f"{os.getpid()}\n")
        asked.seek(0)
        return {"early" if len(asked.readlines()) < 4 else "late": 1.0}


if "SHOP_ASKED" in os.environ:
    obskit.gauge("asked", "Asked by one worker.", ["when"], query=ask, every=0.1)


def tracer_provider():
    """
    Return one that keeps nothing.
    """
    from opentelemetry.sdk.trace import TracerProvider

    return TracerProvider()


def visit(path):
    """
    Count, and give the reply's body.
    """
    if path == "/slow":
        time.sleep(0.05)
    VISITS.inc()
    THEIRS.inc()
    SEEN.set(1, pid=os.getpid())
    return json.dumps({"pid": os.getpid(), "server": os.getppid()}).encode()


def _headers(body):
    return [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]


def _wsgi(environ, start_response):
    body = visit(environ["PATH_INFO"])
    start_response("200 OK", _headers(body))
    return [body]


async def _asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    body = visit(scope["path"])
    headers = [(name.encode(), value.encode()) for name, value in _headers(body)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


_given = {"tracing": tracer_provider()} if "SHOP_TRACES" in os.environ else {}
wsgi = obskit.instrument(_wsgi, **_given)
asgi = obskit.instrument(_asgi)
