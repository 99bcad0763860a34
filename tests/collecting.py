"""
Make every lock of obskit's the worst moment: as soon as it is taken, what was dropped is collected, and a signal comes.

As a program it runs scenes, one after the other, and prints what came of each as JSON; a scene that hangs ends the
program with the stacks of its threads. As a plugin of pytest (`-p collecting`) it runs a suite with such locks.
"""

import faulthandler
import gc
import json
import os
import signal
import sqlite3
import sys
import threading
import types
from collections.abc import Callable
from contextvars import Context
from typing import Any

PATIENCE_SECONDS = 60.0  # until a scene counts as one that hangs: each takes a collection per lock, on whatever machine
ROUNDS = 10
ACTS_A_SCENE = 40
plain = {name: getattr(threading, name) for name in ("Lock", "RLock", "Condition")}
made: set[str] = set()  # where in obskit a lock was made
taken: set[str] = set()  # and taken since
moments: list[Callable[[], object]] = []  # what is done whenever a lock was taken
_inside: set[int] = set()  # threads that are at it


def now() -> None:
    thread = threading.get_ident()
    if moments and thread not in _inside:
        _inside.add(thread)
        try:
            for moment in tuple(moments):
                moment()
            gc.collect(0)  # what was dropped just now is young
        finally:
            _inside.discard(thread)


class Collecting:
    """
    A lock, and the worst moment.
    """

    def __init__(self, kind: str, where: str) -> None:
        self._lock = plain[kind]()
        self._where = where
        made.add(where)
        for name in ("_is_owned", "_release_save", "_acquire_restore", "_at_fork_reinit", "locked"):
            if hasattr(self._lock, name):
                setattr(self, name, getattr(self._lock, name))

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        got = self._lock.acquire(blocking, timeout)
        if got:
            taken.add(self._where)
            now()
        return got

    def release(self) -> None:
        self._lock.release()

    __enter__ = acquire

    def __exit__(self, *error: object) -> None:
        self._lock.release()


def _asking() -> str | None:
    """
    Return where in obskit a lock is asked for; None elsewhere.
    """
    frame = sys._getframe(2)
    name = str(frame.f_globals.get("__name__", ""))
    return f"{name}:{frame.f_code.co_qualname}" if name.partition(".")[0] == "obskit" else None


class Making:
    """
    Stand for `Lock` or `RLock`; no function, since others keep it as an attribute of a class.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __call__(self) -> Any:
        where = _asking()
        return plain[self._kind]() if where is None else Collecting(self._kind, where)


def _condition(lock: Any = None) -> Any:
    where = _asking()
    return plain["Condition"](lock if lock is not None or where is None else Collecting("RLock", where))


assert "obskit" not in sys.modules, "obskit has made its locks already"
threading.Lock, threading.RLock, threading.Condition = Making("Lock"), Making("RLock"), _condition

import obskit  # noqa: E402
from obskit.ai.rate_limit_headers import latest_rate_limits  # noqa: E402
from obskit.db.explain import explainer  # noqa: E402
from obskit.db.pools import pools  # noqa: E402
from obskit.testing import RecordingSink, isolated_runtime  # noqa: E402


def in_a_cycle(held: object) -> None:
    ring = [held]
    ring.append(ring)


class Finalised:
    """
    An object of the application's that does something when it is collected.
    """

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act

    def __del__(self) -> None:
        self._act()


def environ(path: str = "/") -> dict[str, Any]:
    from wsgiref.util import FileWrapper, setup_testing_defaults

    made: dict[str, Any] = {"PATH_INFO": path, "wsgi.file_wrapper": FileWrapper}
    setup_testing_defaults(made)
    return made


def served(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/file":
        import io

        return environ["wsgi.file_wrapper"](io.BytesIO(b"a"))
    if environ["PATH_INFO"] == "/asks":
        environ["asks"]()
    return (piece for piece in [b"a", b"b"])


class Stage:
    """
    What scenes play with.
    """

    def __init__(self, runtime: Any, sink: Any) -> None:
        self.runtime, self.sink = runtime, sink
        self.app = obskit.instrument(served)
        obskit.instrument_sqlite3()
        self.db = sqlite3.connect(":memory:", check_same_thread=False)
        self.counter = obskit.counter("own", "Own.", labels=["a"])
        self.seconds = obskit.histogram("own_seconds", "Own.", labels=["a"])
        self.level = obskit.gauge("own_level", "Own.")
        obskit.gauge("own_asked", "Own.", query=lambda: 1.0, every=3600)
        self.log = obskit.get_logger("own")
        self.budget = obskit.ai.budget("own", usd=1000, per="day", action="block")
        obskit.health.add("own", lambda: True, background=True)
        pools.add(self, "own", lambda pool: None)
        self.acts = 0

    def work(self, number: int) -> None:
        """
        Use whatever has a lock.
        """
        text = str(number)
        self.counter.inc(a=text)
        self.seconds.observe(0.1, a=text)
        self.level.set(number)
        list(self.app(environ(f"/{number}"), lambda *a: None))
        self.log.warning("a line", number=number)
        list(self.app(environ("/asks") | {"asks": lambda: self.asks(number)}, lambda *a: None))
        with obskit.observe("block"):
            pass
        if number % 5 == 0:
            pools.add(Finalised(int), "other", lambda pool: None)
            explainer.put(int)
            latest_rate_limits.read("openai", "gpt-4o", [(b"x-ratelimit-limit-requests", b"1")])
            self.runtime.value("own_total", a="0")
            self.app(environ("/metrics"), lambda *a: None)
            self.app(environ("/health/ready"), lambda *a: None)
            obskit.ai.report()
            self.budget.status()
            self.runtime.runtime.flush()

    def asks(self, number: int) -> None:
        self.db.execute(f"select {number} as a{number % 7}").fetchone()
        with obskit.observe_ai(service="s", provider="openai", model="gpt-4o") as call:
            call.usage(input_tokens=1, output_tokens=1)

    # What may be dropped of ours

    def replies(self) -> list[Any]:
        return [self.app(environ("/dropped"), lambda *a: None) for _ in range(60)]

    def files(self) -> list[Any]:
        return [self.app(environ("/file"), lambda *a: None) for _ in range(60)]

    def cursors(self) -> list[Any]:
        return [self.db.execute("select 1 union select 2") for _ in range(60)]

    def generators(self) -> list[Any]:
        @obskit.observe
        def numbers() -> Any:
            yield 1
            yield 2

        made = [numbers() for _ in range(60)]
        return [generator for generator in made if next(generator)]

    def coroutines(self) -> list[Any]:
        @types.coroutine
        def receive() -> Any:
            yield

        async def waits(scope: Any, receive: Any, send: Any) -> None:
            await receive()

        app, scope = obskit.instrument(waits), {"type": "http", "method": "GET", "path": "/waits", "headers": []}
        made = [app({**scope}, receive, None) for _ in range(60)]
        return [coroutine for coroutine in made if Context().run(coroutine.send, None) is None]

    def cursors_of_django(self) -> list[Any]:
        obskit.uninstrument_sqlite3()
        import django
        from django.conf import settings
        from django.db import connection

        if not settings.configured:
            settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
            django.setup()
        obskit.instrument_django_orm()
        made = [connection.cursor() for _ in range(60)]
        for cursor in made:
            cursor.execute("select 1 union select 2")
        obskit.instrument_sqlite3()
        return made

    def cursors_of_psycopg(self) -> list[Any]:
        from obskit.db.database import Database
        from obskit.db.observe import OpenQuery, begin  # what a server-side cursor is tied to

        return [OpenQuery(begin(Database("postgresql"), "select 1")) for _ in range(60)]

    def streams(self) -> list[Any]:
        import httpx
        import openai

        obskit.instrument_openai(providers={"127.0.0.1": "openai"})
        told = b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"gpt-4o","choices":[]}\n\n'
        events = {"content-type": "text/event-stream"}
        transport = httpx.MockTransport(lambda request: httpx.Response(200, headers=events, content=told * 3))
        way = httpx.Client(transport=transport)
        client = openai.OpenAI(api_key="-", base_url="http://127.0.0.1/v1", http_client=way)
        asked: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "-"}], "stream": True}
        return [client.chat.completions.create(**asked) for _ in range(30)]

    def calls(self) -> list[Any]:
        import httpx
        import openai

        obskit.instrument_openai(providers={"127.0.0.1": "openai"})

        class Waits(httpx.AsyncBaseTransport):
            @types.coroutine
            def handle_async_request(self, request: Any) -> Any:
                yield

        asked: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "-"}]}
        way = httpx.AsyncClient(transport=Waits())
        client = openai.AsyncOpenAI(api_key="-", base_url="http://127.0.0.1/v1", http_client=way)
        client._platform = "Linux"  # else a thread finds it out
        made = [client.chat.completions.create(**asked) for _ in range(40)]
        return [coroutine for coroutine in made if Context().run(coroutine.send, None) is None]

    # What an application may do in a finaliser, or in a signal's handler

    def counts(self) -> None:
        self.counter.inc(a="act")

    def makes_a_label_set(self) -> None:
        self.counter.inc(a=f"act {self.acts}")

    def observes(self) -> None:
        self.seconds.observe(0.5, a="act")

    def logs(self) -> None:
        self.log.warning("act")

    def asks_its_database(self) -> None:
        self.db.execute("select 1 as act").fetchall()

    def times_a_block(self) -> None:
        with obskit.observe("act"):
            pass

    def calls_a_model(self) -> None:
        with obskit.observe_ai(service="act", provider="openai", model="gpt-4o") as call:
            call.usage(input_tokens=1, output_tokens=1)

    def declares_a_metric(self) -> None:
        obskit.counter(f"act_{self.acts}", "Act.").inc()

    def reads(self) -> None:
        obskit.ai.report()
        self.budget.status()
        obskit.db.slow_queries()
        obskit.db.slow_statements()

    def reads_the_page(self) -> None:
        self.app(environ("/metrics"), lambda *a: None)

    def asks_for_health(self) -> None:
        self.app(environ("/health/ready"), lambda *a: None)


OURS = {
    "replies": (),
    "files": (),
    "cursors": (),
    "generators": (),
    "coroutines": (),
    "cursors_of_django": ("django",),
    "cursors_of_psycopg": ("psycopg",),
    "streams": ("openai", "httpx"),
    "calls": ("openai", "httpx", "trio"),
}
ACTS = (
    *("counts", "makes_a_label_set", "observes", "logs", "asks_its_database", "times_a_block", "calls_a_model"),
    *("declares_a_metric", "reads", "reads_the_page", "asks_for_health"),
)


def play(scene: str, settings: dict[str, Any]) -> dict[str, Any]:
    """
    Run one scene, and tell what is on the page afterwards.
    """
    kind, _, what = scene.partition(" ")
    sink = RecordingSink()
    left: list[Any] = []
    begun: list[Any] = []
    if "metrics_dir" in settings:
        settings = {**settings, "metrics_dir": os.path.join(settings["metrics_dir"], scene)}
    prices = {"gpt-4o": obskit.ai.Price(input=1.0, output=1.0)}
    with isolated_runtime(service="x", sinks=[sink], prices=prices, **settings) as runtime:
        stage = Stage(runtime, sink)
        stage.work(0)
        if kind == "dropped":
            left = getattr(stage, what)()
            begun = [op for op in sink.begun if not op.ended]
            moments[:] = [lambda: left and in_a_cycle(left.pop())]
        else:

            def act() -> None:
                if stage.acts < ACTS_A_SCENE:
                    stage.acts += 1
                    getattr(stage, what)()

            def signalled(number: int, frame: object) -> None:
                act()

            signal.signal(signal.SIGUSR1, signalled)
            collected = lambda: in_a_cycle(Finalised(act))  # noqa: E731
            moments[:] = [collected if kind == "collected" else lambda: signal.raise_signal(signal.SIGUSR1)]
        for number in range(1, ROUNDS + 1):
            stage.work(number)
        moments[:] = []
        gc.collect()
        ops, numbers = sink.operations, range(1, ACTS_A_SCENE + 1)
        return {
            "acts": stage.acts,
            "kept": len(left),
            "dropped": len(begun),
            "unended": [type(op).__name__ for op in sink.begun if not op.ended],
            "ended twice": len(ops) - len(set(map(id, ops))),
            "counts": runtime.value("own_total", a="act"),
            "makes_a_label_set": sum(runtime.value("own_total", a=f"act {number}") or 0 for number in numbers),
            "observes": runtime.value("own_seconds_count", a="act"),
            "declares_a_metric": sum(runtime.value(f"act_{number}_total") or 0 for number in numbers),
            "logs": sum(line["message"] == "act" for line in runtime.lines),
            "asks_its_database": sum(
                getattr(op, "rows", 0) == 1 and op.statement.text == "select ? as act" for op in ops
            ),
            "times_a_block": runtime.value("function_duration_seconds_count", function="act", status="success"),
            "calls_a_model": sum(getattr(op, "service", "") == "act" for op in ops),
            "own": [runtime.value("own_total", a=str(number)) for number in range(ROUNDS + 1)].count(1.0),
        }


def plant() -> None:
    """
    Put a lock that is not re-entrant into a finaliser of obskit's, for who wants to see it found.
    """
    from obskit.integrations import wsgi

    lock = Collecting("Lock", "planted")
    own = obskit.counter("planted", "Planted.")
    own.labels().lock = lock
    wsgi._Reply.__del__ = lambda self: own.inc()  # type: ignore[method-assign]
    moments[:] = []


def main() -> None:
    global PATIENCE_SECONDS
    gc.disable()  # only our locks collect
    gc.freeze()
    settings = json.loads(sys.argv[1])
    if settings.pop("planted", False):
        plant()
        PATIENCE_SECONDS = 3
    for scene in sys.argv[2:]:
        faulthandler.dump_traceback_later(PATIENCE_SECONDS, exit=True)
        print(json.dumps({"scene": scene, **play(scene, settings)}), flush=True)
    print(json.dumps({"made": sorted(made), "taken": sorted(taken)}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
else:  # a plugin: the suite's runtimes come and go
    own = obskit.counter("collected", "Own.")
    moments[:] = [lambda: in_a_cycle(Finalised(own.inc))]
