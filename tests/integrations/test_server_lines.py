"""
Under real servers every line is JSON, once, and the request's id is on all lines of a request.
"""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

from free_ports import free_port

httpx = pytest.importorskip("httpx")

PATIENCE_SECONDS = 30.0
APPLICATIONS = {
    "wsgi": """
        import logging, threading, warnings
        from concurrent.futures import ThreadPoolExecutor

        import obskit

        log, foreign = obskit.get_logger("shop.own"), logging.getLogger("shop.foreign")
        pool = ThreadPoolExecutor(2)


        def job(where):
            log.info(where)
            foreign.warning("%s, foreign", where)


        def application(environ, start_response):
            path = environ["PATH_INFO"]
            if path == "/boom":
                raise RuntimeError("no such plant")
            if path == "/work":
                job("handler")
                pool.submit(job, "pool").result()
                thread = threading.Thread(target=job, args=("thread",))
                thread.start()
                thread.join()
                warnings.warn("old way", DeprecationWarning)
            start_response("200 OK", [("Content-Length", "2")])
            return [b"ok"]


        obskit.instrument_logging()
        obskit.instrument_threads()
        app = obskit.instrument(application, service="shop", exclude=["/static"])

        if __name__ == "__main__":
            import sys

            from werkzeug.serving import run_simple

            run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True)
    """,
    "asgi": """
        import asyncio, logging, threading, warnings
        from concurrent.futures import ThreadPoolExecutor

        import obskit
        from starlette.applications import Starlette
        from starlette.background import BackgroundTask
        from starlette.responses import PlainTextResponse
        from starlette.routing import Route

        log, foreign = obskit.get_logger("shop.own"), logging.getLogger("shop.foreign")


        def job(where):
            log.info(where)
            foreign.warning("%s, foreign", where)


        async def later(where):
            job(where)


        async def work(request):
            job("handler")
            await asyncio.create_task(later("task"))
            await asyncio.to_thread(job, "to_thread")
            await asyncio.get_running_loop().run_in_executor(None, job, "pool")
            thread = threading.Thread(target=job, args=("thread",))
            thread.start()
            await asyncio.to_thread(thread.join)
            warnings.warn("old way", DeprecationWarning)
            return PlainTextResponse("ok", background=BackgroundTask(job, "background"))


        def synchronous(request):
            job("synchronous")
            return PlainTextResponse("ok")


        async def boom(request):
            raise RuntimeError("no such plant")


        async def plain(request):
            return PlainTextResponse("ok")


        routes = [
            Route("/work", work),
            Route("/synchronous", synchronous),
            Route("/boom", boom),
            Route("/static/logo", plain),
        ]
        obskit.instrument_logging()
        obskit.instrument_threads()
        app = obskit.instrument(Starlette(routes=routes), service="shop", exclude=["/static"])

        if __name__ == "__main__":
            import sys

            import uvicorn

            uvicorn.run(app, port=int(sys.argv[1]))
    """,
}
# Server -> what it serves, its command, and what its own start and end look like in its error log.
COMMANDS = {
    "gunicorn": ("wsgi", "-m gunicorn --preload --bind 127.0.0.1:{port} --access-logfile - shop:app"),
    "gunicorn without preload": (
        "wsgi",
        "-m gunicorn --config server.py --bind 127.0.0.1:{port} --access-logfile - shop:app",
    ),
    "uvicorn": ("asgi", "-m uvicorn --port {port} shop:app"),
    "uvicorn.run": ("asgi", "shop.py {port}"),
    "werkzeug": ("wsgi", "shop.py {port}"),
    "hypercorn": ("asgi", "-m hypercorn --bind 127.0.0.1:{port} --access-logfile - shop:app"),
    "granian": ("asgi", "-m granian --interface asgi --port {port} --access-log shop:app"),
}
NEEDS = {"wsgi": (), "asgi": ("starlette",)}
SERVER_PY = """
import obskit.logs

logconfig_dict = obskit.logs.dict_config()
"""
# Says so before the application is imported, or in a process that never imports it.
PLAIN = {"granian": "[INFO] "}
LOGGERS = {
    "gunicorn": "gunicorn.error",
    "gunicorn without preload": "gunicorn.error",
    "uvicorn": "uvicorn.error",
    "uvicorn.run": "uvicorn.error",
    "hypercorn": "hypercorn.error",
    "granian": "_granian.serve",
    "werkzeug": "werkzeug",
}
# These log the traceback of an exception as text.
AS_TEXT = ("granian", "werkzeug")


def installed(name):
    protocol, _ = COMMANDS[name]
    server = name.partition(" ")[0].partition(".")[0]
    return all(map(find_spec, (server, *NEEDS[protocol])))


class Run:
    """
    A server that runs, and what it has printed.
    """

    def __init__(self, folder, process, port):
        self._out, self._err = folder / "out", folder / "err"
        self.process, self.port = process, port

    @property
    def out(self):
        return self._out.read_text("utf-8")

    @property
    def err(self):
        return self._err.read_text("utf-8")

    def get(self, path, **given):
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE_SECONDS, **given)

    def until(self, what):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not what():
            assert self.process.poll() is None, self.err
            assert time.monotonic() < deadline, (self.out, self.err)
            time.sleep(0.02)

    def answers(self):
        try:
            return self.get("/health/live").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_SECONDS)


@contextmanager
def running(name, folder):
    protocol, command = COMMANDS[name]
    (folder / "shop.py").write_text(textwrap.dedent(APPLICATIONS[protocol]))
    (folder / "server.py").write_text(SERVER_PY)
    port = free_port()
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "PYTHONWARNINGS": "default"}
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, *command.format(port=port).split()],
            cwd=folder,
            env=environ,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    run = Run(folder, process, port)
    try:
        run.until(run.answers)
        yield run
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


PLACES = {
    "wsgi": ["handler", "pool", "thread"],
    "asgi": ["handler", "task", "to_thread", "pool", "thread", "background"],
}


@pytest.mark.parametrize("name", [name for name in COMMANDS if installed(name)])
def test_a_server(name, tmp_path):
    """
    The server's own lines are JSON, once; requests have obskit's access line and no other; and one id is on the lines
    of the handler, of its tasks, threads and pools, of background work, and on the server's complaint about an
    exception.
    """
    protocol = COMMANDS[name][0]
    with running(name, tmp_path) as run:
        worked = run.get("/work?token=s3cret", headers={"X-Correlation-ID": "work-1"})
        boom = run.get("/boom", headers={"X-Correlation-ID": "boom-1"})
        run.get("/static/logo")
        run.until(lambda: "background, foreign" in run.out or protocol == "wsgi")
        run.until(lambda: "no such plant" in run.out)
        run.stop()
    plain = [line for line in run.out.splitlines() if not line.startswith("{")]
    lines = [json.loads(line) for line in run.out.splitlines() if line.startswith("{")]
    of_work = [line for line in lines if line.get("correlation_id") == "work-1"]
    own = [line["message"] for line in of_work if line["logger"] == "shop.own"]
    foreign = [line["message"] for line in of_work if line["logger"] == "shop.foreign"]
    access = [(line["path"], line["status"]) for line in lines if line["message"] == "request"]
    complaints = [line for line in lines if "exception" in line and line["logger"] not in ("obskit.access",)]

    assert (200, 500) == (worked.status_code, boom.status_code)
    assert "" == run.err
    assert all(line.startswith(PLAIN.get(name, "no line")) for line in plain)
    assert PLACES[protocol] == own
    assert [f"{place}, foreign" for place in PLACES[protocol]] == foreign
    assert [("/work", 200), ("/boom", 500)] == access
    assert 1 == len([line for line in lines if line["message"] == "DeprecationWarning: old way"])
    assert LOGGERS[name] in {line["logger"] for line in lines}
    if name not in AS_TEXT:
        assert [("RuntimeError", "no such plant", "boom-1")] == [
            (line["exception"]["type"], line["exception"]["message"], line["correlation_id"]) for line in complaints
        ]
    assert {"shop"} == {line["service"] for line in lines if line["logger"] == "obskit.access"}
    assert "s3cret" not in run.out
