"""
An application of which each process asks, again and again, whether it leads, and notes what it learns.

A process that leads has the witness, a second lock: who leads and cannot get it is not alone.
"""

import fcntl
import json
import os
import threading

import obskit
from obskit.workers import instance_leader, service_leader

FOLDER = os.environ["LED_FOLDER"]


def note(what):
    """
    Append what this process has learned.
    """
    line = json.dumps({"what": what, "pid": os.getpid(), "server": os.getppid()}) + "\n"
    descriptor = os.open(os.path.join(FOLDER, "notes"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def take_witness(wait):
    """
    Return the witness. One that has just ended, or been told to stop, gives it back within a moment.
    """
    descriptor = os.open(os.path.join(FOLDER, "witness"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    for _ in range(200):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if not service_leader.leads():
                break
            wait(0.05)
    os.close(descriptor)
    return None


def watch(stop):
    """
    Ask until told to stop.
    """
    witness, sampled = None, False
    while not stop.wait(0.05):
        leads, samples = service_leader.leads(), instance_leader.samples()
        if leads and witness is None:
            witness = take_witness(stop.wait)
            if witness is not None:
                note("leads")
            elif service_leader.leads():
                note("two lead")
        elif not leads and witness is not None:
            os.close(witness)
            witness = None
            note("left")
        if samples and not sampled:
            note("samples")
        sampled = samples


watching = set()


def start():
    """
    Ask in a thread of this process, of which there is one.
    """
    if os.getpid() in watching:
        return
    watching.add(os.getpid())
    threading.Thread(target=watch, args=(threading.Event(),), daemon=True).start()


def _answer():
    start()  # uWSGI's workers come from forks that Python is not told of
    return json.dumps(
        {
            "pid": os.getpid(),
            "server": os.getppid(),
            "leads": service_leader.leads(),
            "service": obskit.configure().settings.service,
        }
    ).encode()


def _wsgi(environ, start_response):
    body = _answer()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


async def _asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    body = _answer()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


start()
os.register_at_fork(after_in_child=start)
wsgi = obskit.instrument(_wsgi)
asgi = obskit.instrument(_asgi)

try:
    from celery import Celery
except ImportError:
    pass
else:
    obskit.instrument_celery()
    celery = Celery("led", broker="memory://")
