"""
An application with a check that hangs for a minute, to be served by a real server.
"""

import threading
import time

import obskit

runs = []


@obskit.health.check("hang", timeout=0.5, every=0)
def hang():
    runs.append(1)
    time.sleep(60)


def told():
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("obskit")]
    return f"{len(runs)} {','.join(threads)}".encode()


def plain(environ, start_response):
    body = told()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asynchronous(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": told()})


wsgi = obskit.instrument(plain, service="served")
asgi = obskit.instrument(asynchronous)
