"""
A process may lead once it serves: from its first request, ASGI's start-up, or because a setting says so.
"""

import asyncio
import gc
import json
import os
import subprocess
import sys
import weakref

import pytest

import obskit
from obskit.operation import HttpOperation
from obskit.recorder import no_op, recorder
from obskit.testing import isolated_runtime
from obskit.workers.candidates import FirstRequest, is_candidate
from obskit.workers.instance_leader import samples

# What a program has in front of it that serves by hand, without a server.
PROGRAM = """
import asyncio, json, os, sys
from wsgiref.util import setup_testing_defaults
import obskit
from obskit.workers.candidates import is_candidate
from obskit.workers.instance_leader import samples

def shop(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]

async def store(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete" if scope["type"] == "lifespan" else "websocket.close"})

def ask(path):
    environ = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    b"".join(app(environ, lambda *given: None))

def connect(kind):
    async def receive():
        return {}
    async def send(message):
        pass
    asyncio.run(asgi({"type": kind, "path": "/"}, receive, send))

def in_child(act):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, json.dumps(act()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return json.loads(os.read(reader, 100))

def asked(path):
    ask(path)
    return is_candidate()

given = json.loads(sys.argv[1])
def configure():
    global app, asgi
    app = obskit.instrument(shop, service="shop", log_stream=sys.stderr, **given)
    asgi = obskit.instrument(store)
configure()
told = []
"""


def run(program, **given):
    """
    Run a program of its own, and return what it told.
    """
    environ = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST")}
    command = [sys.executable, "-c", f"{PROGRAM}\n{program}\nprint(json.dumps(told))", json.dumps(given)]
    return json.loads(subprocess.check_output(command, env=environ, text=True, stderr=subprocess.DEVNULL))


def test_a_process_serves_from_its_first_request():
    """
    A program that imports and configures does not, nor does a child of one that does, before it serves by itself. A
    second `configure()` goes on, and after `shutdown()` nobody leads.
    """
    program = """
told += [is_candidate(), samples(), in_child(is_candidate)]
told += [asked("/"), samples(), in_child(is_candidate), in_child(lambda: asked("/"))]
obskit.shutdown()
told += [is_candidate(), samples()]
configure()
told += [is_candidate(), samples()]
"""

    assert [False] * 3 + [True, True, False, True] + [False] * 2 + [True] * 2 == run(program)


@pytest.mark.parametrize(
    "act", ["ask('/metrics')", "ask('/health/live')", "connect('lifespan')", "connect('websocket')"]
)
def test_what_else_is_serving(act):
    """
    A probe, a scrape, a WebSocket and the start-up of ASGI are signs of a server as well.
    """
    assert [False, True] == run(f"told.append(is_candidate())\n{act}\ntold.append(is_candidate())")


@pytest.mark.parametrize("serving", [True, False])
def test_a_setting_says_so(serving):
    """
    It is obeyed whatever happens, in children too.
    """
    assert [serving] * 3 == run("told += [is_candidate(), in_child(is_candidate), asked('/')]", serving=serving)


def test_a_variable_says_so(monkeypatch):
    """
    `OBSKIT_SERVING` is the same; without it the process itself finds out.
    """
    for text, expected in (("1", True), ("0", False), ("none", None)):
        monkeypatch.setenv("OBSKIT_SERVING", text)
        with isolated_runtime() as isolated:
            assert expected is isolated.settings.serving
            assert bool(expected) is is_candidate()


def test_a_test_is_no_server():
    """
    A test's client makes no process one that serves, nor does its start-up; a test that wants one says so.
    """

    async def shop(scope, receive, send):
        await send({"type": "lifespan.startup.complete"})

    async def swallow(message):
        return None

    with isolated_runtime():
        app = obskit.instrument(shop)
        asyncio.run(app({"type": "lifespan"}, None, swallow))
        recorder.plan(HttpOperation).begin(HttpOperation("GET", "/"))

        assert not is_candidate()
    with isolated_runtime(serving=True):
        assert is_candidate()
        assert samples()


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["python -m unittest", "shop"], False),
        (["/usr/lib/python3/unittest/__main__.py"], False),
        (["/srv/shop/manage.py", "test"], False),
        (["/srv/shop/manage.py", "runserver", "test"], True),
        (["/srv/unittest/serve.py", "test"], True),
    ],
)
def test_other_test_runs_are_no_servers(argv, expected):
    """
    So it is with unittest and with Django's own test command, and a name alone makes none of a server.
    """
    assert [expected] == run(f"sys.argv = {argv!r}\ntold.append(asked('/'))")


def test_later_requests_pay_nothing():
    """
    The step that waits for the first request is gone with it, and there is none where a setting says what holds.
    """
    plan = recorder.plan(HttpOperation)
    with isolated_runtime(metrics=False, access_log=False):
        before = plan.start
        plan.begin(HttpOperation("GET", "/"))
        after = plan.start
    with isolated_runtime(metrics=False, access_log=False, serving=True):
        told = plan.start

    assert (False, True, True) == (before is no_op, after is no_op, told is no_op)


def test_nothing_is_left_of_a_runtime():
    """
    After `shutdown()` nothing awaits a request for a runtime that is gone.
    """
    with isolated_runtime() as isolated:
        watchers = isolated.runtime._assembly.watchers
        [awaited] = [weakref.ref(sink) for sink in watchers if isinstance(sink, FirstRequest)]
        is_there = awaited() is not None
    del isolated, watchers
    gc.collect()

    assert (True, None) == (is_there, awaited())


def test_workers_that_share_a_folder_have_one_that_samples(tmp_path):
    """
    Of processes that serve and share their cells one samples, and those that do not serve never ask.
    """
    program = """
told += [samples()]
ask("/")
told += [samples(), in_child(lambda: (ask("/"), samples())[1]), samples()]
obskit.shutdown()
told += [samples()]
"""

    assert [False, True, False, True, False] == run(program, metrics_dir=str(tmp_path / "metrics"))


def test_a_degraded_worker_samples_itself(tmp_path):
    """
    A worker that cannot use the folder has its own figures alone, and nobody else could read them.
    """
    (tmp_path / "file").write_text("in the way")

    assert [True, True] == run(
        "ask('/')\ntold += [samples(), in_child(lambda: (ask('/'), samples())[1])]",
        metrics_dir=str(tmp_path / "file" / "metrics"),
    )


def test_what_waits_for_it_is_called_once_it_serves():
    """
    Once in each process that serves; what one of them raises stops no other; after `shutdown()` none is left.
    """
    program = """
from obskit.workers.candidates import when_serving

called = []
def broken():
    called.append("broken")
    raise ValueError("wrong")
when_serving(broken, "toy")
when_serving(lambda: called.append("first"), "toy")
told.append(list(called))
ask("/")
ask("/")
when_serving(lambda: called.append("at once"), "toy")
told += [list(called), in_child(lambda: (called.clear(), ask("/"), called)[2])]
obskit.shutdown()
configure()
called.clear()
told += [in_child(lambda: (ask("/"), called)[1])]
"""

    assert [[], ["broken", "first", "at once"], ["broken", "first", "at once"], []] == run(program)
