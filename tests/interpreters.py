"""
Use obskit in a sub-interpreter, as mod_wsgi does, and end that: run as a program, by `test_interpreters.py`.
"""

import sys

try:
    import _interpreters as interpreters
except ImportError:  # before Python 3.13
    import _xxsubinterpreters as interpreters

USE = """
import asyncio, threading
import obskit
from obskit.testing import LineStream
from obskit.web.request import Request

stream = LineStream()
runtime = obskit.configure(
    tracing="console", log_queue=100, log_stream=stream, service="shop"
)
obskit.gauge("plants", "Plants.", query=lambda: 3)
obskit.counter("sold_total", "Sold.").inc()
obskit.health.add("plain", lambda: True)

async def awaited():
    return True

obskit.health.add("awaited", awaited)

@obskit.observe
def generator():
    yield 1

next(generator())  # and drop it
obskit.get_logger("shop").info("a line")
obskit.get_logger("shop").warning("at once")
for path in ("/metrics", "/health/ready", "/health/ready"):
    reply = runtime.routes.answer(Request("GET", path, "", {}.get, "192.0.2.1"))
    print(path, reply.status, flush=True)
names = [thread.name for thread in threading.enumerate() if thread.daemon and thread.name.startswith("obskit")]
print("daemons", names, flush=True)
print([line["message"].partition(",")[0] for line in stream.lines], flush=True)
"""


def run():
    try:
        interpreter = interpreters.create("legacy")  # as those that C code makes
    except TypeError:
        interpreter = interpreters.create(isolated=False)
    failed = interpreters.run_string(interpreter, f"import sys\nsys.path[:] = {sys.path!r}\n{USE}")
    interpreters.destroy(interpreter)
    print("failed" if failed else "ended")


if __name__ == "__main__":
    run()
