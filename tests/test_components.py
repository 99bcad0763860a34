"""
A runtime is made of parts that begin in order and end in the reverse one, and nothing points to them afterwards.
"""

import gc
import importlib
import io
import json
import os
import subprocess
import sys
import threading
import types
import weakref

import pytest
from prometheus_client import CollectorRegistry

import obskit
from obskit import runtime as runtimes
from obskit.components import Assembly, Component, Outputs, run_all
from obskit.errors import ConfigurationError
from obskit.logs.settings import LogSettings
from obskit.recorder import Sink, recorder
from obskit.settings import Settings
from obskit.testing import RecordingSink, isolated_runtime


def part(name, told, fails=()):
    """
    Return a class of parts that tell what is done with them.
    """

    class Part(Component):
        def __init__(self, assembly):
            told.append(f"make {self.name}")

        def start(self):
            told.append(f"start {self.name}")
            if "start" in fails:
                raise ConfigurationError("no")

        def flush(self, deadline):
            told.append(f"flush {self.name}")
            if "flush" in fails:
                raise OSError("no")

        def stop(self, deadline):
            told.append(f"stop {self.name}")
            if "stop" in fails:
                raise OSError("no")

        def after_fork(self):
            told.append(f"fork {self.name}")

    Part.name = name
    return Part


@pytest.fixture
def lenient():
    recorder.reset()  # of what tests before this one have left
    strict, recorder.strict = recorder.strict, False
    yield
    recorder.strict = strict
    recorder.reset()


def test_parts_end_in_the_reverse_order():
    """
    Parts are made and started in order, forked children told in order, and flushed and stopped from the last on.
    """
    told = []
    assembly = Assembly(Settings())
    assembly.start([part(name, told) for name in "abc"])
    begun, told[:] = list(told), []
    assembly.after_fork()
    forked, told[:] = list(told), []
    assembly.flush()
    assembly.stop()
    assembly.stop()

    assert ["make a", "start a", "make b", "start b", "make c", "start c"] == begun
    assert ["fork a", "fork b", "fork c"] == forked
    assert ["flush c", "flush b", "flush a", "stop c", "stop b", "stop a"] == told


@pytest.mark.parametrize("step", ["flush", "stop"])
def test_no_part_keeps_others_from_their_end(lenient, step):
    """
    What a part raises is counted under its name, and the others are flushed and stopped all the same.
    """
    told = []
    assembly = Assembly(Settings())
    assembly.start([part("a", told), part("b", told, fails={step}), part("c", told)])
    getattr(assembly, step)()

    assert [f"{step} c", f"{step} b", f"{step} a"] == told[-3:]
    assert {"b": 1} == recorder.errors


def test_all_parts_have_one_deadline():
    """
    Whoever comes last to stop has no more time than whoever came first.
    """
    seen = []

    class Timed(Component):
        name = "timed"

        def __init__(self, assembly): ...

        def stop(self, deadline):
            seen.append(deadline)

    assembly = Assembly(Settings())
    assembly.start([Timed, Timed, Timed])
    assembly.stop()

    assert (3, 1) == (len(seen), len(set(seen)))


def test_a_part_is_given_its_own_settings_and_those_before_it():
    """
    A part takes the section that it names, and finds parts that were started before it, but none after.
    """
    found = []

    class Asks(Component):
        name = "asks"

        def __init__(self, assembly):
            found.append((assembly.settings.of(LogSettings), assembly.part("first"), assembly.part("later")))

    first, later = part("first", []), part("later", [])
    assembly = Assembly(Settings(log_level="ERROR"))
    assembly.start([first, Asks, lambda assembly: None, later])
    [(settings, before, after)] = found

    assert ("ERROR", first, None) == (settings.log_level, type(before), after)


# A runtime's


def kinds():
    return [*runtimes.ALWAYS, *runtimes.COMPONENTS]


@pytest.mark.parametrize("entry", kinds())
def test_each_line_of_the_table_names_what_makes_a_part(entry):
    """
    A line of the table is a module and what makes a part in it; each stands there once.
    """
    module, _, name = entry.partition(":")

    assert callable(getattr(importlib.import_module(module), name))
    assert kinds().count(entry) == 1


@pytest.mark.parametrize("place", range(len(runtimes.COMPONENTS) + 1))
def test_a_start_that_fails_leaves_nothing(monkeypatch, place):
    """
    Wherever a part fails to start, those before it are stopped in the reverse order, and the next runtime stands.
    """
    told, registry = [], CollectorRegistry()
    table = list(runtimes.COMPONENTS)
    table[place:place] = [part("one", told), part("two", told, fails={"start"}), part("three", told)]
    with monkeypatch.context() as patched:
        patched.setattr(runtimes, "COMPONENTS", tuple(table))
        before = threading.active_count()
        with pytest.raises(ConfigurationError, match=r"^no$"):
            obskit.configure(registry=registry, log_stream=io.StringIO())

    assert ["make one", "start one", "make two", "start two", "stop two", "stop one"] == told
    assert (None, before, []) == (runtimes.current_runtime(), threading.active_count(), list(registry.collect()))
    with isolated_runtime(registry=registry) as isolated:
        assert isolated.runtime is runtimes.current_runtime()


def test_a_disabled_runtime_has_the_writer_alone():
    """
    Without `enabled` no line of the table is made, but what loggers need.
    """
    with isolated_runtime(enabled=False) as isolated:
        made = [type(part).__name__ for part in isolated.runtime._assembly._parts]

        assert ["Drain", "Lines"] == made
        assert ([], False) == (isolated.runtime._sinks, isolated.runtime.wants_client)


class Asking(RecordingSink):
    name = "asking"


@pytest.mark.parametrize(
    ("access_log", "wants", "expected"),
    [
        (False, None, True),
        (False, frozenset(), False),
        (False, frozenset({"agent"}), True),
        (True, frozenset(), True),
    ],
)
def test_a_sink_says_what_it_wants(access_log, wants, expected):
    """
    A request's client is looked up where a sink wants it; one that does not say is given it.
    """
    sink = Asking()
    if wants is not None:
        sink.wants = wants
    with isolated_runtime(access_log=access_log, sinks=[sink]) as isolated:
        assert expected == isolated.runtime.wants_client


def test_each_sink_of_ours_says_what_it_wants():
    """
    No sink of the library leaves it to the default.
    """
    hook = lambda operation: None  # noqa: E731
    with isolated_runtime(request_hook=hook, tracing="console") as isolated:
        unsaid = [sink.name for sink in isolated.runtime._sinks if not hasattr(sink, "wants")]

    assert unsaid == []


def test_outputs_tell_their_sinks_of_a_fork():
    """
    A sink that has something to forget in a forked child is told, and others need no method for it.
    """
    told = []

    class Forgets(Sink):
        name = "forgets"

        def bind(self, kind):
            return None, None

        def after_fork(self):
            told.append(self.name)

    with isolated_runtime(sinks=[Forgets(), RecordingSink()]) as isolated:
        isolated.runtime.after_fork()

    assert ["forgets"] == told


def test_the_active_runtime_starts_over_in_a_child():
    """
    A fork has the parts of the runtime that is active then start over in the child, once each.
    """
    told = []

    class Forgets(RecordingSink):
        name = "forgets"

        def after_fork(self):
            told.append(os.getpid())

    with isolated_runtime(sinks=[Forgets()]):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, json.dumps([told, os.getpid()]).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as answers:
            in_child, pid = json.loads(answers.read())
        os.waitpid(child, 0)

    assert ([pid], []) == (in_child, told)


def referrers(thing):
    """
    Describe what keeps something alive, for whoever has to find out why.
    """
    kept = [known for known in gc.get_referrers(thing) if not isinstance(known, types.FrameType)]
    return [f"{type(known).__name__}: {str(known)[:200]}" for known in kept]


def wsgi(environ, start_response):
    obskit.get_logger("shop").warning("sold", plants=1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


def use(path="/"):
    """
    Serve a request with everything in it that parts of a runtime take notice of.
    """
    from obskit.integrations.wsgi import ObskitMiddleware

    app = ObskitMiddleware(wsgi)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SCRIPT_NAME": "", "QUERY_STRING": ""}
    b"".join(app(environ, lambda *_: None))
    b"".join(app({**environ, "PATH_INFO": "/metrics"}, lambda *_: None))
    b"".join(app({**environ, "PATH_INFO": "/health"}, lambda *_: None))
    with obskit.observe("work"), obskit.observe_db("query", "plants"), obskit.observe_ai("chat", "a", "b"):
        pass
    return app


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"metrics": False},
        {"enabled": False},
        {"tracing": "console", "log_queue": 100, "access_log": False},
        {"request_hook": print, "explain_slow_queries": True, "server_timing": True},
    ],
    ids=["default", "no_metrics", "disabled", "queued", "hooks"],
)
def test_nothing_points_into_a_dead_runtime(settings, capsys, tmp_path):
    """
    After `shutdown()` the runtime, its parts, sinks and collector are gone, though the application lives on.
    """
    declared = obskit.gauge("dead_runtime_rows", "Rows.", query=lambda: 1.0)
    runtime = obskit.configure(
        registry=CollectorRegistry(), log_stream=io.StringIO(), state_dir=str(tmp_path), **settings
    )
    app = use()
    later = obskit.counter("dead_runtime_plates", "Plates.")
    dead = [runtime, runtime._collector, runtime._assembly, *runtime._assembly._parts, *runtime._sinks]
    watched = [(type(thing).__name__, weakref.ref(thing)) for thing in dead if thing is not None]
    obskit.shutdown()
    del dead, runtime
    gc.collect()

    assert [] == [(name, referrers(alive())) for name, alive in watched if alive() is not None]
    assert (app.app, declared.spec.name) == (wsgi, "dead_runtime_rows")
    assert later.spec.name == "dead_runtime_plates_total"


def test_a_part_outside_of_the_library_takes_one_line(tmp_path):
    """
    A part that somebody else writes is one more line of the table, and sees the life of a runtime.
    """
    (tmp_path / "toy.py").write_text(
        "from obskit.components import Component\n"
        "from obskit.service_settings import ServiceSettings\n"
        "class Toy(Component):\n"
        "    name = 'toy'\n"
        "    def __init__(self, assembly):\n"
        "        self.service = assembly.settings.of(ServiceSettings).service\n"
        "    def start(self):\n"
        "        print('start', self.service)\n"
        "    def stop(self, deadline):\n"
        "        print('stop')\n"
    )
    script = (
        "import obskit, obskit.runtime as r\n"
        "r.COMPONENTS += ('toy:Toy',)\n"
        "obskit.configure(service='shop')\nobskit.shutdown()\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)

    assert ["start shop", "stop"] == [line for line in done.stdout.splitlines() if not line.startswith("{")]


def test_outputs_look_at_sinks_that_came_late():
    """
    What was added to the sinks is flushed and closed with them, in their order.
    """
    told = []

    class Told(RecordingSink):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def flush(self):
            told.append(f"flush {self.name}")

        def close(self):
            told.append(f"close {self.name}")

    assembly = Assembly(Settings())
    assembly.start([Outputs])
    assembly.sinks += [Told("a"), Told("b")]
    assembly.stop()

    assert ["flush a", "flush b", "close a", "close b"] == told


def test_the_first_error_is_raised_where_the_recorder_is_strict(monkeypatch):
    """
    In tests all steps are taken, and the first error is raised at the end.
    """
    told = []

    def fail(text):
        told.append(text)
        raise OSError(text)

    monkeypatch.setattr(recorder, "strict", True)
    with pytest.raises(OSError, match=r"^one$"):
        run_all([("a", lambda: fail("one")), ("b", lambda: fail("two"))])

    assert ["one", "two"] == told
