"""
An application that tells which instance it takes itself for, and what its children take themselves for.
"""

import json
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from obskit.workers.instances import current_instance

LOADED = current_instance()
_EXPRESSION = "from obskit.workers.instances import current_instance; print(current_instance())"


def found():
    own = current_instance()
    return asdict(own) if own else None


def of_a_child() -> str:
    """
    Return what a forked child takes itself for.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writer, repr(current_instance()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


def _tell(connection) -> None:
    connection.send(repr(current_instance()))


def of_a_process(method: str) -> str:
    """
    Return what a child of multiprocessing takes itself for.
    """
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    process = context.Process(target=_tell, args=(there,))
    process.start()
    text = here.recv()
    process.join()
    return text


def tell() -> bytes:
    """
    Print everything, from this thread and another.
    """
    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(found).result()
        children = [of_a_child(), pool.submit(of_a_child).result()]
    if not multiprocessing.current_process().daemon:  # hypercorn's workers may have no such children
        children += [of_a_process("fork"), of_a_process("spawn")]
    children.append(subprocess.check_output([sys.executable, "-c", _EXPRESSION], text=True).strip())
    told = {
        "pid": os.getpid(),
        "instance": found(),
        "thread": thread,
        "children": sorted(set(children)),
        "loaded": LOADED is not None,
        "psutil": "psutil" in sys.modules,
    }
    return json.dumps(told).encode()


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [tell()]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    body = tell()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """
    Run gunicorn in a program of one's own.
    """
    from gunicorn.app.base import BaseApplication

    class Program(BaseApplication):
        def load_config(self):
            self.cfg.set("bind", sys.argv[1])
            self.cfg.set("workers", 2)

        def load(self):
            return wsgi

    Program().run()


if __name__ == "__main__":
    main()
