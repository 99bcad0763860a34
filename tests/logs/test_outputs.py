"""
Lines go to several outputs of one process, each in its own form, and no output is any trouble to another.
"""

import io
import json
import logging
import os
import sys
import threading

import pytest

import obskit
from forked import in_child
from obskit.errors import ConfigurationError
from obskit.logs import JsonFormatter, JsonHandler
from obskit.logs.categories import category_of
from obskit.logs.schemas import ECS_VERSION
from obskit.operation import Event, HttpOperation
from obskit.recorder import recorder
from obskit.testing import isolated_runtime

SECRET = "hunter2x9hunter"


def objects(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def serve(status=200):
    operation = HttpOperation("GET", "/plants/7")
    operation.correlation_id = "4bf92f3577b34da6"
    plan = recorder.plan(HttpOperation)
    plan.begin(operation)
    operation.endpoint, operation.status = "/plants/<id>", status
    plan.end(operation)


@pytest.fixture
def foreign():
    """
    Yield a logger of the standard library whose records are lines.
    """
    logger = logging.getLogger("shop.foreign")
    logger.handlers, logger.propagate = [JsonHandler()], False
    yield logger
    logger.handlers, logger.propagate = [], True


def say_everything(foreign):
    """
    Write a line of each kind.
    """
    serve()
    serve(500)
    recorder.emit(Event("health.transition", "WARNING", "database is down"))
    obskit.get_logger("shop").info("own", order=17, password=SECRET)
    foreign.warning("foreign %s", "words", extra={"plant": "fern"})
    try:
        raise ValueError(f"password={SECRET}")
    except ValueError:
        obskit.get_logger("shop").exception("failed")


MESSAGES = ["request", "request", "database is down", "own", "foreign words", "failed"]
SHOWN = ["GET /plants/7 200", "GET /plants/7 500", *MESSAGES[2:]]


def test_json_in_a_file_and_a_console_in_one_process(tmp_path, foreign):
    """
    Each line of whatever kind is in both outputs, in its form, and no secret is in either.
    """
    console, path = io.StringIO(), tmp_path / "app.jsonl"
    with isolated_runtime(
        log_format="console", log_stream=console, log_outputs=[{"format": "json", "file": str(path)}]
    ):
        say_everything(foreign)
    shown = [line for line in console.getvalue().splitlines() if not line.startswith("    |")]

    assert MESSAGES == [line["message"] for line in objects(path)]
    assert [f" {text} " in line for text, line in zip(SHOWN, shown, strict=True)] == [True] * len(SHOWN)
    assert SECRET not in console.getvalue() + path.read_text()


@pytest.mark.parametrize("names", [{}, {"duration_ms": "response_time", "logger": None}])
@pytest.mark.parametrize("schema", ["obskit", "ecs", "otel"])
def test_a_second_output_has_the_lines_that_it_would_have_alone(tmp_path, foreign, schema, names):
    """
    The lines of a second output are those of a process that has no other, whatever their names.
    """
    alone, second = tmp_path / "alone.jsonl", tmp_path / "second.jsonl"
    given = {"wall_clock": lambda: 1_793_707_200.25, "clock": lambda: 7.0, "log_names": names, "service": "shop"}
    with isolated_runtime(log_schema=schema, log_file=str(alone), **given):
        say_everything(foreign)
    output = {"format": "json", "schema": schema, "file": str(second)}
    with isolated_runtime(log_format="console", log_stream=io.StringIO(), log_outputs=[output], **given):
        say_everything(foreign)
    moments = {"timestamp", "@timestamp", "Timestamp"}
    lines = [
        [{name: value for name, value in line.items() if name not in moments} for line in objects(path)]
        for path in (alone, second)
    ]

    assert lines[0] == lines[1]
    assert len(MESSAGES) == len(lines[1])


def test_what_is_given_is_redacted_and_laid_open_once(tmp_path):
    """
    However many outputs there are, a value of the application's is asked once for its text.
    """
    asked = []

    class Asked:
        def __str__(self):
            asked.append(1)
            return f"password={SECRET}"

    outputs = [{"file": str(tmp_path / f"{schema}.jsonl"), "schema": schema} for schema in ("ecs", "otel", "obskit")]
    with isolated_runtime():
        obskit.get_logger("shop").info("said", what=Asked())
        once = len(asked)
    asked.clear()
    with isolated_runtime(log_outputs=outputs):
        obskit.get_logger("shop").info("said", what=Asked())

    assert once == len(asked)
    assert "[redacted:password]" in (tmp_path / "ecs.jsonl").read_text()


class Broken:
    """
    A stream that takes nothing.
    """

    def write(self, text):
        raise OSError(28, "no space left")


@pytest.mark.parametrize("broken", ["first", "second", "error file"])
def test_an_output_that_fails_costs_no_other_a_line(tmp_path, foreign, broken):
    """
    Whichever output takes nothing, the others have each line once, and each that is missing is counted.
    """
    path = tmp_path / "app.jsonl"
    full = "/dev/full"
    settings = {
        "first": {"log_stream": Broken(), "log_outputs": [{"format": "json", "file": str(path)}]},
        "second": {"log_file": str(path), "log_outputs": [{"format": "console", "stream": Broken()}]},
        "error file": {"log_file": str(path), "error_file": full},
    }[broken]
    before = recorder.dropped.get(("logs", "ENOSPC"), 0)
    with isolated_runtime(strict=False, **settings):
        say_everything(foreign)
        missing = recorder.dropped.get(("logs", "ENOSPC"), 0) - before

    assert MESSAGES == [line["message"] for line in objects(path)]
    assert (2 if broken == "error file" else len(MESSAGES)) == missing


def test_a_form_that_cannot_be_made_costs_no_other_a_line(tmp_path, monkeypatch):
    """
    Where a line cannot be rendered for one output the others have it.
    """
    path = tmp_path / "app.jsonl"
    with isolated_runtime(
        strict=False, log_file=str(path), log_outputs=[{"format": "console", "stream": io.StringIO()}]
    ) as isolated:
        writer = isolated.runtime.writer
        writer.extra_outputs[0].line_format.render = lambda line: 1 / 0
        obskit.get_logger("shop.unshown").info("said")

    assert ["said"] == [line["message"] for line in objects(path)]


class Stuck:
    """
    A stream that takes nothing until it is let go.
    """

    def __init__(self):
        self.go, self.lines = threading.Event(), []

    def write(self, text):
        self.go.wait(30)
        self.lines.append(text)


def test_an_output_that_is_stuck_holds_nobody_with_a_queue(tmp_path):
    """
    With a queue of its own an output that takes no line keeps none from the first.
    """
    stuck, path = Stuck(), tmp_path / "app.jsonl"
    output = {"format": "console", "stream": stuck, "queue": 100}
    with isolated_runtime(log_file=str(path), log_outputs=[output]):
        for number in range(10):
            obskit.get_logger("shop").info("said", number=number)
        first, second = len(objects(path)), len(stuck.lines)
        stuck.go.set()

    assert (10, 0, 10) == (first, second, len(stuck.lines))


def test_several_workers_write_to_both_and_start_new_files(tmp_path):
    """
    Forked workers write every line to both outputs, each of which starts new files by its own rule.
    """
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    output = {"schema": "ecs", "file": str(second), "rotate_bytes": 4_000, "keep_files": None}
    with isolated_runtime(log_file=str(first), log_rotate_bytes=None, log_outputs=[output]):
        children = []
        for worker in range(3):
            if (child := os.fork()) == 0:
                for number in range(100):
                    obskit.get_logger("shop").info("worked", worker=worker, number=number)
                os._exit(0)
            children.append(child)
        ends = [os.waitpid(child, 0)[1] for child in children]
    expected = [(worker, number) for worker in range(3) for number in range(100)]
    found = [
        sorted((line["worker"], line["number"]) for path in tmp_path.glob(f"{name}.jsonl*") for line in objects(path))
        for name in ("first", "second")
    ]

    assert [0, 0, 0] == ends
    assert [expected, expected] == found
    assert 1 == len(list(tmp_path.glob("first.jsonl*"))) < len(list(tmp_path.glob("second.jsonl*")))


def test_a_forked_child_has_outputs_of_its_own(tmp_path):
    """
    A queued second output of a child writes what the child says, and nothing of its parent's twice.
    """
    path = tmp_path / "second.jsonl"
    with isolated_runtime(log_outputs=[{"file": str(path), "schema": "ecs", "queue": 10}]):
        obskit.get_logger("shop").info("parent")
        in_child(lambda: (obskit.get_logger("shop").info("child"), obskit.shutdown()))

    assert ["child", "parent"] == sorted(line["message"] for line in objects(path))


def test_an_output_has_the_lines_from_its_level_on(tmp_path, foreign):
    """
    `level` leaves lines out of one output, and of no other.
    """
    path = tmp_path / "warnings.jsonl"
    with isolated_runtime(log_outputs=[{"file": str(path), "level": "warning"}]) as isolated:
        say_everything(foreign)
        everything = [line["message"] for line in isolated.lines]

    assert MESSAGES == everything
    assert ["request", "database is down", "foreign words", "failed"] == [line["message"] for line in objects(path)]


def test_a_channels_lines_are_in_further_outputs_too(tmp_path):
    """
    A channel's file is in place of the first output alone.
    """
    path = tmp_path / "all.jsonl"
    with isolated_runtime(
        log_channels={"security": {"file": str(tmp_path / "security.jsonl")}}, log_outputs=[{"file": str(path)}]
    ) as isolated:
        obskit.get_logger("security").info("seen")
        obskit.get_logger("shop").info("own")
        first = [line["message"] for line in isolated.lines]

    assert (["own"], ["seen", "own"]) == (first, [line["message"] for line in objects(path)])


def test_no_callers_field_takes_a_name_of_any_output(tmp_path):
    """
    What is a name of its own in one of the forms is none for a caller's field, in all of them.
    """
    path = tmp_path / "ecs.jsonl"
    with isolated_runtime(log_outputs=[{"schema": "ecs", "file": str(path)}]) as isolated:
        obskit.get_logger("shop").info("said", **{"@timestamp": "never", "log.level": "loud", "level": "loud"})
        line = isolated.lines[0]
    (other,) = objects(path)

    assert ("loud", "INFO") == (line["extra_level"], line["level"])
    assert ("never", "loud", "INFO", ECS_VERSION) == (
        other["extra_@timestamp"],
        other["extra_log.level"],
        other["log.level"],
        other["ecs.version"],
    )


def test_a_formatter_gives_the_first_form_and_writes_nowhere(tmp_path):
    """
    `JsonFormatter` says what the first output would have; the outputs see nothing of it.
    """
    path = tmp_path / "second.jsonl"
    with isolated_runtime(log_outputs=[{"schema": "ecs", "file": str(path)}]) as isolated:
        record = logging.LogRecord("shop", logging.INFO, "f.py", 1, "said", (), None)
        line = json.loads(JsonFormatter().format(record))

        assert ("said", "INFO", []) == (line["message"], line["level"], isolated.lines)
    assert "" == path.read_text()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_standard_streams_have_names(tmp_path, capfd, stream):
    """
    `"stdout"` and `"stderr"` are the process's.
    """
    output = {"format": "console", "stream": stream}
    with isolated_runtime(log_file=str(tmp_path / "app.jsonl"), log_outputs=[output]):
        obskit.get_logger("shop").info("said")
    seen = capfd.readouterr()

    assert " said " in (seen.out if stream == "stdout" else seen.err)


@pytest.mark.parametrize(
    "settings",
    [
        {"log_stream": None, "log_outputs": [{"format": "console"}]},
        {"log_stream": None, "log_outputs": [{"format": "console", "stream": "stdout"}]},
        {"log_outputs": [{"stream": "stderr"}, {"stream": "stderr", "format": "console"}]},
        {"log_file": "{}/a.jsonl", "log_outputs": [{"file": "{}/./a.jsonl", "format": "console"}]},
        {"error_file": "{}/a.jsonl", "log_outputs": [{"file": "{}/a.jsonl"}]},
        {"log_channels": {"audit": {"file": "{}/a.jsonl"}}, "log_outputs": [{"file": "{}/a.jsonl"}]},
    ],
)
def test_two_outputs_do_not_share_a_place(tmp_path, settings):
    """
    Lines of two forms in one place would be read by nobody: that is an error when the settings are read.
    """
    given = json.loads(json.dumps(settings).replace("{}", str(tmp_path)))

    with pytest.raises(ConfigurationError, match=r"log_outputs\[[01]\] goes where other lines go already"):
        isolated_runtime(**given).__enter__()


def test_a_file_that_cannot_be_written_is_told_when_the_settings_are_read(tmp_path):
    """
    A second output that cannot be is an error of `configure()`, and none of the outputs stays open.
    """
    taken = tmp_path / "file"
    taken.write_text("")
    before = os.listdir("/proc/self/fd") if sys.platform == "linux" else []
    with pytest.raises(ConfigurationError, match="cannot be written"):
        isolated_runtime(log_outputs=[{"file": str(taken / "app.jsonl")}]).__enter__()

    assert before == (os.listdir("/proc/self/fd") if sys.platform == "linux" else [])


def test_after_shutdown_lines_go_to_standard_output_alone(tmp_path, capfd):
    """
    What is logged after `shutdown()` is in no file of another output.
    """
    path = tmp_path / "second.jsonl"
    with isolated_runtime(log_outputs=[{"schema": "ecs", "file": str(path)}]):
        obskit.shutdown()
        obskit.get_logger("shop").info("late")

    assert ("", "late") == (path.read_text(), json.loads(capfd.readouterr().out)["message"])


# Categories


@pytest.mark.parametrize(
    ("logger", "level", "category"),
    [
        ("obskit.access", "INFO", "request"),
        ("obskit.access", "ERROR", "request"),
        ("uvicorn.access", "INFO", "request"),
        ("gunicorn.access", "INFO", "request"),
        ("django.request", "ERROR", "request"),
        ("obskit.performance", "WARNING", "performance"),
        ("performance", "WARNING", "performance"),
        ("obskit.security", "WARNING", "security"),
        ("security.login", "ERROR", "security"),
        ("django.security.csrf", "WARNING", "security"),
        ("audit", "INFO", "audit"),
        ("business.orders", "INFO", "business"),
        ("billing.invoices", "INFO", "billing"),
        ("shop.orders", "INFO", "application"),
        ("shop.security", "INFO", "application"),
        ("securityx", "INFO", "application"),
        ("django.db", "INFO", "application"),
        ("shop.orders", "ERROR", "error"),
        ("obskit.health", "WARNING", "system"),
        ("obskit", "ERROR", "error"),
        ("uvicorn.error", "INFO", "system"),
        ("py.warnings", "WARNING", "system"),
        ("", "INFO", "application"),
    ],
)
def test_categories(logger, level, category):
    """
    A logger is in the category of its name, or of its channel; what is left are errors, the system's and others.
    """
    assert category == category_of(logger, logging.getLevelName(level), {"billing"})


@pytest.mark.parametrize("settings", [{}, {"log_outputs": [{"stream": "stderr", "schema": "ecs"}]}])
def test_each_line_has_its_category(foreign, settings):
    """
    With `log_category` every line of whatever kind has one, and a caller's field of that name is `extra_category`.
    """
    with isolated_runtime(log_category=True, **settings) as isolated:
        say_everything(foreign)
        obskit.get_logger("shop").info("own", category="theirs")
        lines = isolated.lines

    assert ["request", "request", "system", "application", "application", "error", "application"] == [
        line["category"] for line in lines
    ]
    assert "theirs" == lines[-1]["extra_category"]


def test_a_category_is_asked_for(foreign):
    """
    Without `log_category` no line has one, and the name is a caller's to use.
    """
    with isolated_runtime() as isolated:
        say_everything(foreign)
        before = [line for line in isolated.lines if "category" in line]
        obskit.get_logger("shop").info("own", category="theirs")
        last = isolated.lines[-1]["category"]

    assert ([], "theirs") == (before, last)


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"log_schema": "ecs"}, ["obskit.category"]),
        ({"log_schema": "otel"}, ["Attributes", "obskit.category"]),
        ({"log_names": {"category": "kind"}}, ["kind"]),
        ({"log_schema": "ecs", "log_names": {"category": "kind"}}, ["kind"]),
    ],
)
def test_a_category_has_a_name_in_each_schema(settings, path):
    """
    Each schema, and `log_names`, says where the category is.
    """
    with isolated_runtime(log_category=True, **settings) as isolated:
        serve()
        found = isolated.lines[0]
        for name in path:
            found = found[name]

    assert "request" == found
