"""
What others may write is held to what it must keep, and so is obskit's own.
"""

import os
import queue
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from opentelemetry.sdk.trace import TracerProvider

import obskit
from obskit import health
from obskit.ai.budget_file import file_of
from obskit.ai.ledger import Ledger
from obskit.ai.reservations import ReservedAmount
from obskit.recorder import Sink, recorder
from obskit.testing import (
    RecordingSink,
    check_gate,
    check_health_check,
    check_sink,
    check_state_engine,
    isolated_runtime,
)
from obskit.web.replies import Reply, text

SECRET = "hunter2-hunter2"


@pytest.fixture(autouse=True)
def let_go():
    """
    Free, at the end, what bad examples wait for.
    """
    NEVER.clear()
    yield
    NEVER.set()


NEVER = threading.Event()
PACKAGE = Path(obskit.__file__).parent


def patience(name):
    """
    Wait shortly for what never comes, and long for what a busy machine may be slow with.
    """
    if "fork" in name:  # a child may take seconds to come to where it hangs
        return 6.0
    return 2.0 if any(word in name for word in ("waits", "slow", "thread")) else 20.0


# Sinks


def subclasses(cls):
    return {cls, *(found for sub in cls.__subclasses__() for found in subclasses(sub))}


def own_sinks():
    """
    Find the classes of the package that are sinks, wherever they lie.
    """
    for path in PACKAGE.rglob("*.py"):
        if "(Sink)" in path.read_text("utf-8"):
            import_module("obskit." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts))
    return {cls.name: cls for cls in subclasses(Sink) - {Sink} if cls.__module__.startswith("obskit.")}


# What some set on purpose. A span's ids go to lines, and `obskit.testing` has one that keeps all.
MAY_SET = {"spans": ("span", "trace_id", "span_id", "sampled", "began_in")}
OWN = own_sinks()


def test_every_sink_is_checked():
    """
    Whatever the package derives from `Sink` is among those that a runtime with everything on has.
    """
    with isolated_runtime(tracing=TracerProvider(shutdown_on_exit=False), request_hook=id, history=True):
        made = {type(sink) for sink in recorder._sinks}

    assert set(OWN.values()) == made


@pytest.mark.parametrize("name", sorted(OWN))
def test_own_sink(name):
    """
    Each of obskit's own sinks keeps what is asked of others'.
    """
    with ExitStack() as stack:

        def make():
            stack.close()
            tracing = TracerProvider(shutdown_on_exit=False)
            stack.enter_context(isolated_runtime(tracing=tracing, request_hook=lambda op: op.status, history=True))
            [sink] = [sink for sink in recorder._sinks if sink.name == name]
            return sink

        check_sink(make, may_set=MAY_SET.get(name, ()))


def test_recording_sink():
    """
    The sink for tests keeps operations, as it says, and nothing else is wrong with it.
    """
    check_sink(RecordingSink, keeps_operations=True)
    with pytest.raises(AssertionError, match="'recording' keeps operations alive"):
        check_sink(RecordingSink)


class Good(Sink):
    """
    A sink that writes with a thread, and keeps to everything.
    """

    name = "good"

    def __init__(self):
        self.start_over()
        os.register_at_fork(after_in_child=self.start_over)

    def start_over(self):
        self.lines, self.lock, self.is_closed = [], threading.Lock(), False

    def bind(self, kind):
        return None, self.write

    def write(self, op):
        with self.lock:
            self.lines = [*self.lines[-10:], type(op).__name__]


def bad(**members):
    return type("Bad", (Good,), {"name": "bad", **members})


def raises(self, *_):
    raise OSError("no disk")


def waits(self, *_):
    NEVER.wait(60)


def mutates(self, op):
    op.extra["seen"] = True


def relabels(self, op):
    op.correlation_id = "mine"


class Hoards(Good):
    name = "hoards"

    def write(self, op):
        self.__dict__.setdefault("kept", []).append(op)


class Leaves(Good):
    name = "leaves"

    def bind(self, kind):
        if not hasattr(self, "thread"):
            self.thread = threading.Thread(target=NEVER.wait, args=(60,), daemon=True)
            self.thread.start()
        return super().bind(kind)


class Queues(Good):
    """
    One whose thread is the parent's: a forked child waits for it for ever.
    """

    name = "queues"

    def __init__(self):
        self.queue = queue.Queue()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def write(self, op):
        self.queue.put(type(op).__name__)

    def work(self):
        while self.queue.get() is not None:
            self.queue.task_done()

    def flush(self):
        self.queue.join()

    def close(self):
        self.queue.put(None)
        self.thread.join()


class Once(Good):
    """
    One that cannot be used after it was closed.
    """

    name = "once"

    def write(self, op):
        if self.is_closed:
            raise ValueError("I/O operation on closed file")

    def close(self):
        self.is_closed = True


BAD_SINKS = {
    "no name": (bad(name=""), "name='' of"),
    "no methods": (type("Bare", (), {"name": "bare", "bind": None}), r"the sink 'bare' has no bind\(\)"),
    "bind gives one": (bad(bind=lambda self, kind: id), r"bind\(HttpOperation\) of the sink 'bad' gave .*expected two"),
    "bind gives a text": (bad(bind=lambda self, kind: (None, "write")), "expected two"),
    "bind raises": (bad(bind=raises), r"bind\(HttpOperation\) of the sink 'bad' raised OSError\('no disk'\)"),
    "a step raises": (bad(write=raises), "at the end of a HttpOperation raised OSError"),
    "a step waits": (bad(write=waits), "at the end of a HttpOperation has not returned after 2 s"),
    "a step mutates": (bad(write=mutates), "at the end of a HttpOperation changed _extra"),
    "a step relabels": (bad(write=relabels), "changed correlation_id"),
    "emit raises": (bad(emit=raises), r"emit\(\) of the sink 'bad' raised OSError"),
    "emit waits": (bad(emit=waits), r"emit\(\) of the sink 'bad' has not returned"),
    "emit mutates": (bad(emit=lambda self, event: event.fields and event.fields.clear()), "changed the fields"),
    "flush raises": (bad(flush=raises), r"'bad'.flush\(\) raised OSError"),
    "close waits": (bad(close=waits), r"'bad'.close\(\) has not returned"),
    "a step after close": (Once, r"after close\(\) raised ValueError"),
    "keeps operations": (Hoards, "'hoards' keeps operations alive"),
    "leaves a thread": (Leaves, "leaves the thread .* running"),
    "dies in a fork": (Queues, r"'queues' does not survive a fork: the child hangs in flush\(\)"),
}


def test_good_sink():
    """
    A sink that keeps to everything passes.
    """
    check_sink(Good)


@pytest.mark.parametrize("name", BAD_SINKS)
def test_bad_sink(name):
    """
    Each fault is found, and told.
    """
    factory, message = BAD_SINKS[name]
    with pytest.raises(AssertionError, match=message):
        check_sink(factory, seconds=patience(name))


# Health checks


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def served():
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def sqlite_file(path):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE items (id INTEGER)")
    db.close()
    return str(path)


def engine_of(path):
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    return create_engine(f"sqlite:///{path}", poolclass=NullPool)  # which leaves nothing open


def redis_client():
    import redis.backoff
    import redis.retry

    once = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    return redis.Redis(host="127.0.0.1", port=1, password=SECRET, retry=once)


# Ready-made check -> how one is made, of a folder and a URL that answers, and the library that it needs.
MADE = {
    "ai_provider": (lambda folder, url: health.ai_provider("anthropic", required=False), None),
    "certificate": (lambda folder, url: health.certificate("127.0.0.1:1"), None),
    "cpu": (lambda folder, url: health.cpu(), None),
    "disk": (lambda folder, url: health.disk(str(folder)), None),
    "event_loop": (lambda folder, url: health.event_loop(), None),
    "file_descriptors": (lambda folder, url: health.file_descriptors(), None),
    "http": (lambda folder, url: health.http(url), None),
    "load": (lambda folder, url: health.load(), None),
    "memory": (lambda folder, url: health.memory(), None),
    "psycopg": (lambda folder, url: health.psycopg(f"postgresql://ann:{SECRET}@127.0.0.1:1/shop"), "psycopg"),
    "redis": (lambda folder, url: health.redis(redis_client()), "redis"),
    "sqlalchemy": (lambda folder, url: health.sqlalchemy(engine_of(sqlite_file(folder / "a.db"))), "sqlalchemy"),
    "sqlite": (lambda folder, url: health.sqlite(sqlite_file(folder / "a.db")), None),
    "storage": (lambda folder, url: health.storage(str(folder)), None),
    "system": (lambda folder, url: health.system(), None),
    "threads": (lambda folder, url: health.threads(), None),
}
NO_CHECKS = {"Heartbeat", "Outcome", "add", "check", "heartbeat", "remove", "passed", "failed", "skipped", "warned"}
ELSEWHERE = {"django", "django_cache"}  # a process has one Django, and other tests configure it


def test_every_ready_made_check_is_checked():
    """
    Whatever `obskit.health` offers is a check below, or makes none.
    """
    assert set(health.__all__) == MADE.keys() | NO_CHECKS | ELSEWHERE


@pytest.mark.parametrize("name", [name for name, (_, needs) in MADE.items() if needs is None or find_spec(needs)])
def test_own_check(name, tmp_path, served):
    """
    Each ready-made check keeps what is asked of others'.
    """
    with isolated_runtime():
        check_health_check(MADE[name][0](tmp_path, served), timeout=10.0, secrets=[SECRET])


async def holds():
    time.sleep(2.2)


async def never():
    import asyncio

    await asyncio.Event().wait()


async def nested():
    return never()


def failing():
    raise ConnectionError(f"cannot reach postgresql://ann:{SECRET}@db/shop")


def leaking():
    raise ConnectionError(f"the word is {SECRET}")


GOOD_CHECKS = {
    "nothing": lambda: None,
    "details": lambda: {"waiting": 3, "names": ["a"], "oldest": {"age_s": 1.5}},
    "an outcome": lambda: health.warned("3 wait", waiting=3),
    "a status": lambda: "warn",
    "no": lambda: False,
    "raises": failing,
}
BAD_CHECKS = {
    "a class": (dict, r"obskit.health.add\(\) refuses it: .*the class dict"),
    "no function": (5, "refuses it"),
    "hangs": (lambda: NEVER.wait(60), "has not returned after 0.3 s"),
    "hangs on a loop": (never, "has not (answered|returned) after"),
    "a number": (lambda: 5, "answered 5, which would pass"),
    "a misspelt status": (lambda: "fial", "answered 'fial', which would pass"),
    "a list": (lambda: ["fail"], "which would pass"),
    "the outcome's class": (lambda: health.Outcome, "which would pass"),
    "a misspelt outcome": (lambda: health.Outcome("fial"), "has the status 'fial'"),
    "a reason that is none": (lambda: health.Outcome("fail", 5), "the reason of the check .* is 5"),
    "details that are none": (lambda: health.Outcome("fail", "x", 5), "the details of the check .* are 5"),
    "a secret by its key": (lambda: {"password": "abc"}, "something secret, too long or too deep under 'password'"),
    "a secret by its look": (lambda: {"url": "redis://u:pw@cache/0"}, "something secret, .* under 'url'"),
    "a secret that was given": (lambda: {"seen": SECRET}, "shows a secret"),
    "a secret in an error": (leaking, "shows a secret"),
    "a secret in the reason": (lambda: health.failed("postgresql://u:pw@db/a"), "the reason .* looks like a secret"),
    "a long text": (lambda: {"page": "x " * 500}, "too long or too deep under 'page'"),
    "too deep": (lambda: {"a": {"b": {"c": {"d": {"e": 1}}}}}, "too long or too deep under 'a'"),
    "not a number": (lambda: {"ratio": float("nan")}, "under 'ratio' what JSON has not"),
    "a key that is none": (lambda: {5: "a"}, "have the key 5"),
    "holds the loop": (holds, "holds the event loop"),
}


@pytest.mark.parametrize("name", GOOD_CHECKS)
def test_good_check(name):
    """
    Whatever a check may say passes, failures too.
    """
    check_health_check(GOOD_CHECKS[name], secrets=[SECRET])


@pytest.mark.parametrize("name", BAD_CHECKS)
def test_bad_check(name):
    """
    Each fault is found, and told without the secret.
    """
    function, message = BAD_CHECKS[name]
    timeout = 0.3 if "hangs" in name else 5.0
    with pytest.raises(AssertionError, match=message) as raised:
        check_health_check(function, timeout=timeout, secrets=[SECRET])

    assert SECRET not in str(raised.value)


# Gates


def gate(admit, **members):
    return lambda: type("Gate", (), {"admit": admit, **members})()


def reads(self, request):
    request.raw["wsgi.input"].read()


def hoards(self, request):
    self.__dict__.setdefault("seen", []).append(request)


def changes(self, request):
    request.raw["REMOTE_USER"] = "ann"


async def awaits(self, request):
    return None


def needs_client(self, request):
    return text(403, "no\n") if request.client.startswith("192.") else None


def refuses(self, request):
    return text(403, "no\n") if request.client == "192.0.2.7" else None


BAD_GATES = {
    "no admit": (gate(None), r"the gate Gate has no admit\(\)"),
    "raises": (gate(raises), r"admit\(\) of the gate Gate, for GET .*raised OSError"),
    "raises without a client": (gate(needs_client), "from None raised AttributeError"),
    "waits": (gate(waits), "has not returned after 2 s"),
    "is slow": (gate(lambda self, request: NEVER.wait(0.01) or None), "asked some hundred times"),
    "a status": (gate(lambda self, request: 403), "gave 403: expected None"),
    "False": (gate(lambda self, request: False), "gave False: expected None"),
    "awaits": (gate(awaits), "gave something to await"),
    "pieces": (gate(lambda self, request: Reply(403, [], iter([b"no"]))), "expected bytes"),
    "no status": (gate(lambda self, request: Reply(99, [], b"")), "no server can send"),
    "a forged header": (gate(lambda self, request: Reply(403, [("X", request.query + "\r\nA: b")], b"")), "no server"),
    "reads the body": (gate(reads), "reads the body"),
    "changes the request": (gate(changes), "changed the server's environ"),
    "keeps requests": (gate(hoards), "keeps .* requests alive"),
}


def test_good_gate():
    """
    A gate that decides from memory passes.
    """
    check_gate(gate(refuses))
    check_gate(gate(lambda self, request: None))


@pytest.mark.parametrize("name", BAD_GATES)
def test_bad_gate(name):
    """
    Each fault is found, and told.
    """
    factory, message = BAD_GATES[name]
    with pytest.raises(AssertionError, match=message):
        check_gate(factory, seconds=patience(name))


# State engines


@pytest.fixture
def make(tmp_path):
    made = []

    def make(cls=Ledger):
        made.append(cls(file_of(tmp_path / "state", "shop"), lambda kind, message: None, lambda crossing: None))
        return made[-1]

    yield make
    NEVER.set()
    for thread in threading.enumerate():
        if thread.name == "contract":  # that hung, and goes on to use its engine
            thread.join(10)
    for engine in made:
        engine.__class__ = Ledger  # a bad one may not even close
        engine.close()


def test_own_state_engine(make):
    """
    The budgets' file keeps what is asked of other engines.
    """
    check_state_engine(make)


def takes_always(self, requests, now):
    return tuple(ReservedAmount(None, it.key, it.start, it.usd, it.limit) for it in requests)


def spends_twice(self, amounts, usd, estimated=False, name=None):
    Ledger.settle(self, amounts, usd, estimated, None)


def takes_part(self, requests, now):
    for request in requests[:-1]:
        Ledger.reserve(self, [request], now)
    return Ledger.reserve(self, requests, now)


BAD_ENGINES = {
    "reserves nothing": ({"reserve": takes_always}, "what one engine reserves, another sees"),
    "releases nothing": ({"release": lambda self, amounts: None}, "what is released is given back"),
    "forgets estimates": (
        {"settle": lambda self, amounts, usd, estimated=False, name=None: Ledger.settle(self, amounts, usd, name=name)},
        "what is estimated is told",
    ),
    "spends a reply twice": ({"settle": spends_twice}, "a reply that two processes tell is spent once"),
    "takes a part": ({"reserve": takes_part}, "one request that is refused takes nothing of the others"),
    "finds no late reply": ({"pending_reply": lambda self, name, may_wait: None}, r"pending_reply\(\) gave None"),
    "refuses nobody": ({"current_refusal": lambda self, request: None}, r"current_refusal\(\) gave None"),
    "writes the parent's": ({"start_over": lambda self: self._database.start_over()}, "a forked child spends what is"),
    "waits": ({"settle": waits}, "has not returned after 2 s"),
    "raises": ({"write": raises}, "raised OSError"),
}


@pytest.mark.parametrize("name", BAD_ENGINES)
def test_bad_state_engine(make, name):
    """
    Each fault is found, and told.
    """
    members, message = BAD_ENGINES[name]
    cls = type("Bad", (Ledger,), members)
    with pytest.raises(AssertionError, match=message):
        check_state_engine(lambda: make(cls), seconds=patience(name))


def test_no_test_framework_is_needed():
    """
    The suites run, and fail, without pytest.
    """
    found = SimpleNamespace(message="")
    try:
        check_sink(lambda: 5)
    except AssertionError as error:
        found.message = str(error)

    assert found.message == "name=None of 5: expected a text, for the counts"
    script = "import obskit.testing as t, sys; t.check_gate; print(sys.modules.keys() & {'pytest', '_pytest'})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
