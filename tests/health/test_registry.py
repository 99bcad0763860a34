"""
When checks run, what their answers add up to, and what declaring one wrongly says.
"""

import asyncio
import contextlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import obskit
from obskit import health
from obskit.errors import ConfigurationError, HealthCheckError, UnknownGroupError
from obskit.health.registry import registry
from obskit.recorder import recorder
from obskit.testing import FakeClock, isolated_runtime
from obskit.web.request import Request


def of_health():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("obskit-health")]


def of_health_by_one():
    yield from of_health()


def component(reply, name):
    return json.loads(reply.body)["checks"][name]


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (None, "pass", 200),
        (True, "pass", 200),
        ({"waiting": 3}, "pass", 200),
        ("warn", "warn", 200),
        (health.warned("slow"), "warn", 200),
        (False, "fail", 503),
        ("fail", "fail", 503),
        (health.failed("gone"), "fail", 503),
    ],
)
def test_what_a_check_answers(ask, answer, status, code):
    """
    A check says its status by what it returns; pass and warn are 200, fail is 503.
    """
    health.add("queue", lambda: answer)
    reply = ask()

    assert (code, status) == (reply.status, json.loads(reply.body)["status"])


def test_a_check_that_is_not_critical_is_a_warning(ask):
    """
    Its failure is shown, and the group stays in service.
    """
    health.add("mail", lambda: False, critical=False)
    reply = ask(authorised=True)

    assert (200, "warn", "fail") == (reply.status, json.loads(reply.body)["status"], component(reply, "mail")["status"])


def test_the_decorator_gives_the_function_back(ask):
    """
    `check` declares, and changes nothing.
    """

    @health.check("queue", groups=["ready"], timeout=1.0, every=15, critical=False)
    def queue_depth():
        return {"waiting": 3}

    assert {"waiting": 3} == queue_depth()
    assert {"waiting": 3} == component(ask(authorised=True), "queue")["details"]


def test_groups(ask):
    """
    A check counts for the probes of its groups alone; `/health` and `/health/detailed` add all of them up.
    """
    health.add("database", lambda: False)

    codes = {
        path: ask(path).status
        for path in (
            "/health",
            "/health/live",
            "/health/ready",
            "/health/startup",
            "/health/detailed",
            "/health/database",
        )
    }

    assert codes == {
        "/health": 503,
        "/health/live": 200,
        "/health/ready": 503,
        "/health/startup": 200,
        "/health/detailed": 503,
        "/health/database": 503,
    }


def test_own_groups():
    """
    `health_groups` declares further groups; each has a route.
    """
    health.add("archive", lambda: False, groups=["deep"])
    with isolated_runtime(health_groups=("deep",)) as isolated:
        answer = isolated.runtime.routes.answer
        codes = [answer(Request("GET", f"/health/{group}", "", {}.get, None)).status for group in ("deep", "ready")]

    assert [503, 200] == codes


def test_liveness_stays_while_every_dependency_is_down(ask, tmp_path):
    """
    Ready-made checks of dependencies fail readiness, never liveness.
    """
    health.add("database", health.sqlite(tmp_path / "gone.db"))
    health.add("redis", health.redis(None))
    health.add("web", health.http("http://127.0.0.1:9/"))

    assert (503, 200) == (ask("/health/ready").status, ask("/health/live").status)


def test_startup_latches(ask):
    """
    Once startup was well, its probe stays well and asks nobody.
    """
    answers = [False, True, False]
    runs = []

    @health.check("warm", groups=["startup"], every=0)
    def warm():
        runs.append(1)
        return answers[len(runs) - 1]

    codes = [ask("/health/startup").status for _ in range(4)]

    assert ([503, 200, 200, 200], 2) == (codes, len(runs))


def test_an_answer_holds_for_its_interval():
    """
    Within `every` seconds, less a tenth, a probe reads memory; after it, with a tenth more, the check is asked anew.
    """
    runs = []
    clock = FakeClock(100.0)
    health.add("queue", lambda: runs.append(1), every=10)
    with isolated_runtime(clock=clock) as isolated:
        seen = []
        for seconds in (0.0, 8.9, 2.2, 0.0):
            clock.advance(seconds)
            isolated.runtime.routes.answer(Request("GET", "/health/ready", "", {}.get, None))
            seen.append(len(runs))

    assert [1, 1, 2, 2] == seen


def test_intervals_have_jitter(isolated):
    """
    Workers and replicas do not ask in step: the next run is drawn from nine to eleven tenths of the interval.
    """
    dues = set()
    for number in range(50):
        health.add(f"c{number}", lambda: None, every=10)
        before = recorder.clock()
        for run in registry.refresh(registry.members("ready")):
            run.wait()
        check = registry.checks[f"c{number}"]
        assert 9 <= check.due - check.result.answered_at <= 11 + recorder.clock() - before
        dues.add(round(check.due - check.result.answered_at, 3))

    assert len(dues) > 25


@pytest.mark.parametrize("probes", [500])
def test_single_flight_under_threads(ask, gate, probes, until):
    """
    500 concurrent probes run a check once, and all of them get its answer.
    """
    health.add("slow", gate, timeout=30, every=60)
    with ThreadPoolExecutor(probes) as pool:
        replies = [pool.submit(ask) for _ in range(probes)]
        until(lambda: gate.runs == 1)
        gate.open.set()
        codes = [reply.result().status for reply in replies]

    assert ([200] * probes, 1) == (codes, gate.runs)


def test_single_flight_on_an_event_loop(isolated):
    """
    500 concurrent probes of an asyncio server run a coroutine check once, on the server's loop, without a thread.
    """
    seen = []

    @health.check("slow", timeout=30, every=60)
    async def slow():
        await asyncio.sleep(0.01)
        seen.append(asyncio.get_running_loop())

    async def serve():
        before = threading.active_count()
        request = Request("GET", "/health/ready", "", {}.get, None)
        replies = await asyncio.gather(*(isolated.runtime.routes.answer_async(request) for _ in range(500)))
        return [reply.status for reply in replies], asyncio.get_running_loop(), of_health(), before

    codes, loop, threads, _ = asyncio.run(serve())

    assert ([200] * 500, [loop], []) == (codes, seen, threads)


def test_a_hanging_check_keeps_its_one_thread(ask, gate):
    """
    The first probe waits for the timeout; the next 1,000 do not wait, are told so, and begin no second run.
    """
    health.add("hang", gate, timeout=0.05, every=0)
    first = ask(authorised=True)
    replies = [ask(authorised=True) for _ in range(1000)]
    shown = component(replies[-1], "hang")

    assert (503, {503}) == (first.status, {reply.status for reply in replies})
    assert ("timeout", True) == (shown["reason"], shown["stale"])
    assert (1, ["obskit-health-hang"]) == (gate.runs, of_health())


def test_the_last_answer_and_its_age_are_shown_while_a_check_hangs():
    """
    The details are those of the last answer, its age grows, and `stale` says so.
    """
    clock, answers, hangs = FakeClock(), [], threading.Event()

    @health.check("queue", timeout=0.05, every=10)
    def queue():
        if answers:
            hangs.wait(60)
        answers.append(1)
        return {"waiting": 3}

    with isolated_runtime(clock=clock, expose_details="always") as isolated:
        request = Request("GET", "/health/ready", "", {}.get, None)
        fresh = component(isolated.runtime.routes.answer(request), "queue")
        clock.advance(30)
        old = component(isolated.runtime.routes.answer(request), "queue")
        hangs.set()

    assert ("pass", 0.0, False, {"waiting": 3}) == (fresh["status"], fresh["age_s"], fresh["stale"], fresh["details"])
    assert ("fail", 30.0, True, {"waiting": 3}) == (old["status"], old["age_s"], old["stale"], old["details"])


def test_what_comes_late_is_thrown_away(ask, gate, until):
    """
    A run that ends after its timeout tells of the past: the next probe begins another, and takes that one's answer.
    """
    health.add("hang", gate, timeout=0.05, every=60)
    before = ask().status
    gate.open.set()
    until(lambda: of_health() == [])
    ask()  # begins a run, and does not wait for it, since the last one hung
    until(lambda: ask().status == 200)

    assert (503, 2) == (before, gate.runs)


def test_hysteresis(ask):
    """
    Three failures in a row take it down, two answers up again; what flaps in between changes nothing.
    """
    answers = iter(["p", "f", "f", "p", "f", "f", "f", "p", "f", "p", "p"])
    health.add("flaps", lambda: next(answers) == "p", failures=3, successes=2, every=0)

    codes = [ask().status for _ in range(11)]

    assert [200, 200, 200, 200, 200, 200, 503, 503, 503, 503, 200] == codes


def test_a_hang_counts_for_hysteresis_at_each_interval():
    """
    One run that never ends is a failure for each interval that it takes.
    """
    clock, hangs, answered = FakeClock(), threading.Event(), []

    @health.check("hang", timeout=0.05, every=10, failures=3)
    def hang():
        if answered:
            hangs.wait(60)
        answered.append(1)

    with isolated_runtime(clock=clock) as isolated:
        request = Request("GET", "/health/ready", "", {}.get, None)
        codes = []
        for _ in range(5):
            codes.append(isolated.runtime.routes.answer(request).status)
            clock.advance(12)
        gauge = isolated.value("health_status", component="hang")
        timeouts = isolated.value("health_check_timeouts_total", component="hang")
        hangs.set()

    assert [200, 200, 200, 503, 503] == codes
    assert (0.0, 1.0) == (gauge, timeouts)


def test_a_check_that_needs_another_is_not_run_while_that_is_down(ask):
    """
    It fails with the other's name, and asks nothing.
    """
    runs = []
    health.add("database", lambda: False, every=60)
    health.add("report", lambda: runs.append(1), needs="database", every=0)
    ask()
    runs.clear()
    shown = component(ask(authorised=True), "report")

    assert (("fail", "needs database"), []) == ((shown["status"], shown["reason"]), runs)


def test_in_the_background(until):
    """
    With `background` a check runs without a probe, and again when its interval is over.
    """
    runs = []
    health.add("queue", lambda: runs.append(1), background=True, every=0.05)
    with isolated_runtime():
        until(lambda: len(runs) > 2)
    until(lambda: of_health() == [])

    assert [] == of_health()


def test_a_coroutine_check_without_a_server_loop(ask):
    """
    Under WSGI a coroutine check runs in its own thread, on an event loop that it keeps.
    """
    loops = []

    @health.check("queue", every=0)
    async def queue():
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)

    codes = [ask().status, ask().status]
    loop = loops[0]

    assert ([200, 200], True) == (codes, loop is loops[1])


def test_a_coroutine_check_that_hangs_is_cancelled(isolated):
    """
    On a server's loop a coroutine that does not answer in time is cancelled: no thread, and no task is left.
    """
    cancelled = []

    @health.check("hang", timeout=0.05)
    async def hang():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    async def serve():
        reply = await isolated.runtime.routes.answer_async(Request("GET", "/health/ready", "", {}.get, None))
        await asyncio.sleep(0.05)
        return reply.status, len(asyncio.all_tasks())

    assert ((503, 1), [1]) == (asyncio.run(serve()), cancelled)


def test_a_check_that_blocks_the_event_loop_is_named(isolated):
    """
    One warning names it; from then on it runs in a thread, and the loop is free.
    """
    places = []

    @health.check("clumsy", every=0)
    async def clumsy():
        places.append(threading.current_thread().name)
        time.sleep(0.15)

    async def serve():
        request = Request("GET", "/health/ready", "", {}.get, None)
        for _ in range(3):
            await isolated.runtime.routes.answer_async(request)

    asyncio.run(serve(), debug=False)
    lines = [line for line in isolated.lines if "held the event loop" in line["message"]]

    assert ([("WARNING", "clumsy")], ["MainThread", "obskit-health-clumsy", "obskit-health-clumsy"]) == (
        [(line["level"], line["component"]) for line in lines],
        places,
    )


def test_transitions_are_lines_and_history(isolated, ask):
    """
    Each change of status is a line of the log and an entry of `/health/detailed`; the last 100 are kept.
    """
    answers = iter([True, False, True] + [False, True] * 100)
    health.add("database", lambda: next(answers), every=0)
    for _ in range(3):
        ask()
    lines = [(line["level"], line["message"]) for line in isolated.lines]
    for _ in range(200):
        ask()
    history = json.loads(ask("/health/detailed", authorised=True).body)["transitions"]

    assert [("ERROR", "database is fail: answered False"), ("INFO", "database is pass")] == lines
    assert (100, "pass", "fail") == (len(history), history[-1]["was"], history[-1]["now"])


def test_metrics():
    """
    Status, time, timeouts and the last run are metrics, by component.
    """
    health.add("database", lambda: health.warned("slow"))
    with isolated_runtime(namespace="shop", wall_clock=FakeClock(5.0)) as isolated:
        isolated.runtime.routes.answer(Request("GET", "/health", "", {}.get, None))
        found = [
            isolated.value(f"shop_health_{name}", component="database")
            for name in (
                "status",
                "check_duration_seconds_count",
                "check_timeouts_total",
                "check_last_run_timestamp_seconds",
            )
        ]

    assert [0.5, 1.0, None, 5.0] == found


def test_a_check_that_exits_is_a_failure(ask):
    """
    `SystemExit` in a check ends neither the process nor the thread in silence.
    """

    def leave():
        raise SystemExit(1)

    health.add("leaves", leave)

    assert "SystemExit" == component(ask(authorised=True), "leaves")["reason"]


def test_no_thread_is_to_be_had(ask, monkeypatch):
    """
    Where the system gives no thread, the check fails, and the probe answers.
    """

    def refuse(self):
        raise RuntimeError("can't start new thread")

    health.add("queue", lambda: None)
    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert 503 == ask().status


def test_what_was_found_does_not_outlive_the_runtime():
    """
    Checks outlive `shutdown()`; answers, history and the startup latch do not.
    """
    runs = []
    health.add("warm", lambda: runs.append(1), groups=["startup"], every=60)
    for _ in range(2):
        with isolated_runtime() as isolated:
            isolated.runtime.routes.answer(Request("GET", "/health/startup", "", {}.get, None))

    assert (2, 0) == (len(runs), len(registry.transitions))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "a b"}, "'a b' is no name for a check"),
        ({"name": "ready"}, "'ready' is no name for a check"),
        ({"name": "detailed"}, "which are routes"),
        ({"function": 5}, "was given int, which cannot be called"),
        ({"function": FakeClock}, "was given the class FakeClock: give an object of it"),
        ({"function": of_health_by_one}, "was given a generator, of which a call asks nothing"),
        ({"groups": "ready"}, "groups='ready' of the check 'x' is one string: give a list, ['ready']"),
        ({"timeout": 0}, "timeout=0 of the check 'x': expected seconds"),
        ({"timeout": True}, "timeout=True of the check 'x': expected seconds"),
        ({"every": -1}, "every=-1 of the check 'x': expected seconds"),
        ({"failures": 0}, "failures=0 of the check 'x': expected a whole number"),
        ({"successes": 1.5}, "successes=1.5 of the check 'x': expected a whole number"),
        (
            {"function": health.sqlite("x.db"), "groups": ["live"]},
            "a server that is restarted for a database that is down",
        ),
    ],
)
def test_a_wrong_declaration(arguments, says):
    """
    What is wrong is said where it is declared: what was found, and what is expected.
    """
    with pytest.raises(HealthCheckError) as raised:
        health.add(**{"name": "x", "function": lambda: None, **arguments})

    assert says in str(raised.value)
    assert isinstance(raised.value, ConfigurationError)


def test_a_name_that_is_taken():
    """
    The same declaration again changes nothing; another under its name is an error, until the first is taken back.
    """
    for _ in range(2):
        health.add("database", health.sqlite("app.db"))
    with pytest.raises(HealthCheckError, match=r"'database' is declared already, differently.*health.remove"):
        health.add("database", health.sqlite("other.db"))
    health.remove("database")
    health.add("database", health.sqlite("other.db"))

    assert ["database"] == list(registry.checks)


@pytest.mark.parametrize("before", [True, False])
def test_an_unknown_group(before):
    """
    It is an error at `configure()`, or where the check is declared if that comes later; no runtime is left active.
    """
    if before:
        health.add("x", lambda: None, groups=["redy"])
    wrong = pytest.raises(UnknownGroupError, match=r"'redy', and there are live, ready, startup.*health_groups")
    with wrong, isolated_runtime():
        health.add("x", lambda: None, groups=["redy"])

    assert obskit.runtime.current_runtime() is None


@pytest.mark.parametrize(
    ("needs", "says"),
    [
        ({"a": "b"}, "needs 'b', and there is no such check"),
        ({"a": "b", "b": "a"}, "checks need each other in a circle: a -> b -> a"),
    ],
)
def test_a_need_that_cannot_be_met(needs, says):
    """
    A need without a check, or a circle, is an error at `configure()`.
    """
    for name, need in needs.items():
        health.add(name, lambda: None, needs=need)
    with pytest.raises(HealthCheckError, match=says), isolated_runtime():
        pass


@pytest.mark.parametrize("groups", [("live",), ("x",), ("detailed",)])
def test_a_group_that_is_something_else_already(groups):
    """
    A group with the name of a route, or of a check, is an error.
    """
    health.add("x", lambda: None)
    with pytest.raises(HealthCheckError, match="a route or a check already"), isolated_runtime(health_groups=groups):
        pass


def test_a_forked_child_knows_nothing(ask):
    """
    After a fork nothing is known and nothing runs: the child asks for itself.
    """
    runs = []
    health.add("queue", lambda: runs.append(1), every=60)
    ask()
    with contextlib.suppress(AssertionError):
        registry.start_over()
    ask()

    assert 2 == len(runs)


def test_a_check_that_has_nothing_to_ask_is_skipped(ask, isolated, monkeypatch):
    """
    A provider without a key: probes get 200, the body says `skipped` and why, and the component has no figure; with
    `required=True` a missing key is a failure.
    """
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    health.add("claude", health.ai_provider("anthropic"))
    health.add("bare", lambda: "skipped")
    health.add("db", lambda: {})
    codes = [ask(path).status for path in ("/health", "/health/ready", "/health/claude", "/health/bare")]
    body = json.loads(ask("/health/detailed", authorised=True).body)
    figures = {name: isolated.value("health_status", component=name) for name in ("claude", "bare", "db")}
    health.add("needed", health.ai_provider("anthropic", required=True))

    assert [200] * 4 == codes
    assert ("pass", "skipped", "no key") == (
        body["status"],
        body["checks"]["claude"]["status"],
        body["checks"]["claude"]["reason"],
    )
    assert {"claude": None, "bare": None, "db": 1.0} == figures
    assert 503 == ask("/health/ready").status


def test_the_figure_of_a_component_goes_and_comes_with_its_answers():
    """
    A check that is skipped after it failed leaves the metrics page, and comes back with its next answer.
    """
    answers = [health.failed("down"), health.skipped("off"), health.passed()]
    clock, seen = FakeClock(), []
    health.add("mail", lambda: answers[0])
    with isolated_runtime(clock=clock) as isolated:
        while answers:
            isolated.runtime.routes.answer(Request("GET", "/health/ready", "", {}.get, "192.0.2.1"))
            seen.append(isolated.value("health_status", component="mail"))
            answers.pop(0)
            clock.advance(60)

    assert [0.0, None, 1.0] == seen


# Each ready-made check that waits for somebody else, with something to ask that takes the time which the clock says.
SLOW = {
    "sqlite": lambda **given: health.sqlite("app.db", **given),
    "sqlalchemy": lambda **given: health.sqlalchemy(object(), **given),
    "psycopg": lambda **given: health.psycopg(object(), **given),
    "django": lambda **given: health.django(**given),
    "django_cache": lambda **given: health.django_cache(**given),
    "redis": lambda **given: health.redis(object(), **given),
    "http": lambda **given: health.http("http://192.0.2.1/", **given),
}


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize(
    ("given", "seconds", "expected"),
    [({}, 1.1, "warn"), ({}, 0.9, "pass"), ({"warn_ms": None}, 1.1, "pass"), ({"warn_ms": 100}, 0.2, "warn")],
)
def test_an_answer_that_took_long_is_a_warning(name, given, seconds, expected):
    """
    A dependency that answers after 1.1 s is slow, and still serves: `warn`, with 200, and the body says how long.
    """
    clock, check = FakeClock(), SLOW[name](**given)

    class Asked:
        warn_ms = check.warn_ms

        def __call__(self):
            clock.advance(seconds)
            return health.passed(query_ms=1.0)

    health.add(name, Asked())
    with isolated_runtime(clock=clock, details_token="s3same") as isolated:
        headers = {"authorization": "Bearer s3same"}
        reply = isolated.runtime.routes.answer(Request("GET", f"/health/{name}", "", headers.get, "192.0.2.1"))
        found = json.loads(reply.body)["checks"][name]

    assert (200, expected) == (reply.status, found["status"])
    assert {"query_ms": 1.0} == found["details"]
    assert (expected == "warn") == (f"took {seconds * 1000:.0f} ms" in found.get("reason", ""))
