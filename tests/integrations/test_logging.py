"""
`instrument_logging()` takes over the loggers there are and those that come, and leaves everything as it was.
"""

import codecs
import io
import json
import logging
import logging.config
import logging.handlers
import queue
import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace

import pytest
import structlog

import obskit
from obskit.integrations import logging as capture
from obskit.logs import JsonFormatter, JsonHandler, dict_config, json_handler, structlog_processor
from obskit.logs.rendering import CALLSITE_FIELDS
from obskit.testing import isolated_runtime
from within import in_request

CONSOLE = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler", "stream": "ext://sys.__stderr__"}},
}


@pytest.fixture(autouse=True)
def console(monkeypatch):
    """
    Yield a standard error of our own, and take back whatever a test did to loggers.
    """
    before = {
        logger: (list(logger.handlers), logger.level, logger.propagate, list(logger.filters))
        for logger in capture._loggers()
    }
    stream = io.StringIO()
    monkeypatch.setattr(sys, "__stderr__", stream)  # pytest changes the other one between set-up and test
    yield stream
    obskit.uninstrument_logging()
    for logger in capture._loggers():
        handlers, level, propagate, filters = before.get(logger, ([], logging.NOTSET, True, []))
        logger.handlers[:], logger.propagate, logger.filters[:] = handlers, propagate, filters
        logger.setLevel(level)


def with_console(name, propagate=True):
    logger = logging.getLogger(name)
    logger.addHandler(logging.StreamHandler(sys.__stderr__))
    logger.propagate = propagate
    return logger


def messages(isolated):
    return [line["message"] for line in isolated.lines]


def test_each_record_is_one_line(console):
    """
    Records of the root, of loggers with handlers of their own, and of such as do not propagate are one line each, and
    the console has none.
    """
    root, inner, alone = (
        with_console(None),
        with_console("shop.inner"),
        with_console("shop.alone", propagate=False),
    )
    with isolated_runtime() as isolated:
        obskit.instrument_logging()
        for logger in (root, inner, alone, logging.getLogger("shop.plain"), logging.getLogger("shop.alone.below")):
            logger.info("from %s", logger.name)

        assert ["from root", "from shop.inner", "from shop.alone", "from shop.plain", "from shop.alone.below"] == (
            messages(isolated)
        )
    assert "" == console.getvalue()


def test_files_and_other_handlers_stay(tmp_path, console):
    """
    What was logged to a file, or to a handler of a tool's, still is.
    """
    seen = []

    class Tool(logging.Handler):
        def emit(self, record):
            seen.append(record.getMessage())

    logger = with_console("shop.filed")
    file, text = logging.FileHandler(tmp_path / "app.log"), io.StringIO()
    handlers = [Tool(), file, logging.StreamHandler(text)]
    for handler in handlers:
        logger.addHandler(handler)
    with isolated_runtime() as isolated:
        obskit.instrument_logging()
        logger.info("x")

        assert ["x"] == messages(isolated) == seen
    file.close()

    assert "x\n" == (tmp_path / "app.log").read_text() == text.getvalue()


def test_levels_are_those_of_the_settings():
    """
    The root's level is `log_level`, and those of `log_levels` are set; afterwards they are what they were.
    """
    logging.getLogger("shop.loud").setLevel(logging.ERROR)
    before = logging.root.level
    with isolated_runtime(log_level="DEBUG", log_levels={"shop.quiet": "ERROR", "shop.loud": "INFO"}) as isolated:
        obskit.instrument_logging()
        for name in ("shop.any", "shop.quiet", "shop.loud"):
            logging.getLogger(name).debug(f"{name} debug")
            logging.getLogger(name).info(f"{name} info")
        told = messages(isolated)
        obskit.uninstrument_logging()

    assert ["shop.any debug", "shop.any info", "shop.loud info"] == told
    assert (before, logging.NOTSET, logging.ERROR) == (
        logging.root.level,
        logging.getLogger("shop.quiet").level,
        logging.getLogger("shop.loud").level,
    )


def state():
    """
    Describe the logging module: loggers, handlers, filters and hooks.
    """
    return (
        {
            logger.name: (logger.level, logger.propagate, list(logger.handlers), list(logger.filters))
            for logger in capture._loggers()
            if logger.handlers or logger.filters or logger.level
        },
        [list(handler.filters) for logger in capture._loggers() for handler in logger.handlers],
        logging.config.dictConfigClass,
        logging.Logger.addHandler,
        warnings.showwarning,
        sys.excepthook,
        threading.excepthook,
    )


def test_it_can_be_undone(console):
    """
    After `uninstrument_logging()` loggers, handlers, levels, `dictConfig()` and `warnings` are as they were, whatever
    was done twice.
    """
    logger = with_console("shop.undone")
    with_console("uvicorn.error")
    before = state()
    with isolated_runtime(log_levels={"shop.undone": "DEBUG"}) as isolated:
        obskit.instrument_logging()
        obskit.instrument_logging()
        obskit.uninstrument_logging()
        obskit.uninstrument_logging()

        assert before == state()
        logger.warning("plain")

        assert [] == isolated.lines
    assert "plain\n" == console.getvalue()


def test_it_may_come_before_configure_and_lasts_beyond_shutdown(capsys):
    """
    It follows each `configure()`, and writes to standard output where no runtime stands.
    """
    obskit.instrument_logging()
    logger = logging.getLogger("shop.lasting")
    logger.warning("early")
    with isolated_runtime(service="shop", log_level="ERROR") as isolated:
        logger.warning("no")
        logger.error("standing")
        told = messages(isolated)
    logger.warning("late")
    printed = [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()]

    assert (["standing"], ["early", "late"]) == (told, printed)


def test_what_dict_config_sets_up_later_is_taken_over(console):
    """
    An application that configures logging after `instrument_logging()`, as Django and uvicorn do, changes nothing.
    """
    with isolated_runtime() as isolated:
        obskit.instrument_logging()
        logging.config.dictConfig(
            CONSOLE
            | {
                "loggers": {"shop.late": {"handlers": ["console"], "propagate": False}},
                "root": {"handlers": ["console"], "level": "INFO"},
            }
        )
        logging.getLogger("shop.late").info("late")
        logging.getLogger("shop.other").info("other")

        assert ["late", "other"] == messages(isolated)
    assert "" == console.getvalue()


def test_what_is_added_by_hand_later_is_taken_over(console):
    """
    A handler that is added to a logger, and `basicConfig()` which takes all others away, are found too; one that does
    not write to the console is left alone.
    """
    kept = logging.StreamHandler(io.StringIO())
    own, root, level = logging.getLogger("shop.by_hand"), list(logging.root.handlers), logging.root.level
    with isolated_runtime() as isolated:
        obskit.instrument_logging()
        own.addHandler(logging.StreamHandler(sys.__stderr__))
        own.addHandler(kept)
        own.info("by hand")
        logging.root.handlers.clear()
        logging.basicConfig(stream=sys.__stderr__, level="INFO")
        logging.getLogger("shop.by_basic_config").info("by basicConfig()")
        told = messages(isolated)
        obskit.uninstrument_logging()
    logging.root.handlers[:] = root
    logging.root.setLevel(level)

    assert ["by hand", "by basicConfig()"] == told
    assert ("", "by hand\n") == (console.getvalue(), kept.stream.getvalue())


def test_what_a_thread_does_not_catch_is_a_line(monkeypatch, capfd):
    """
    The line names the thread and has the exception, standard error has nothing; afterwards Python prints it again.
    """
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)

    def fail():
        raise ValueError("password=hunter2-s3cr3t")

    def in_thread(target):
        thread = threading.Thread(target=target, name="fails")
        thread.start()
        thread.join()

    with isolated_runtime() as isolated:
        obskit.instrument_logging()
        in_thread(fail)
        in_thread(sys.exit)
        obskit.uninstrument_logging()
        [line] = isolated.lines
    printed = capfd.readouterr().err
    in_thread(fail)

    assert ("ERROR", "py.exceptions", "fails", "ValueError", "password=[redacted:password]") == (
        *(line[name] for name in ("level", "logger", "thread_name")),
        *(line["exception"][name] for name in ("type", "message")),
    )
    assert "" == printed
    assert "ValueError" in capfd.readouterr().err


def test_hooks_of_others_are_called_too(monkeypatch):
    """
    Whoever watches for uncaught exceptions already still does, and what asks for the end is theirs alone.
    """
    seen = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: seen.append(kind))
    monkeypatch.setattr(threading, "excepthook", lambda given: seen.append(given.exc_type))
    with isolated_runtime() as isolated:
        obskit.instrument_logging()
        for error in (ValueError("x"), KeyboardInterrupt()):
            sys.excepthook(type(error), error, None)
            threading.excepthook(threading.ExceptHookArgs((type(error), error, None, None)))
        obskit.uninstrument_logging()

        assert ["CRITICAL", "ERROR"] == [line["level"] for line in isolated.lines]
    assert [ValueError, ValueError, KeyboardInterrupt, KeyboardInterrupt] == seen


@pytest.mark.parametrize(("settings", "printed"), [("log_queue=100", ""), ("log_file=sys.argv[1]", "ValueError: no")])
def test_what_ends_the_process_is_a_line(tmp_path, settings, printed):
    """
    A program that fails ends with status 1 and a line, which a queue does not lose; where lines go to a file, Python
    prints it besides.
    """
    program = f"""
import sys, obskit
obskit.configure(service="shop", {settings})
obskit.instrument_logging()
raise ValueError("no")
"""
    path = tmp_path / "app.jsonl"
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    line = json.loads(done.stdout or path.read_text())

    assert (1, "CRITICAL", "uncaught exception", "ValueError") == (
        done.returncode,
        line["level"],
        line["message"],
        line["exception"]["type"],
    )
    assert printed == (done.stderr.splitlines() or [""])[-1]


def test_warnings_are_lines(monkeypatch):
    """
    What `warnings` would print is a line with its place; what is shown to a file goes where it went, and what is raised
    is raised.
    """
    shown = []
    with warnings.catch_warnings():
        monkeypatch.setattr(warnings, "showwarning", lambda *args: shown.append(args))
        warnings.simplefilter("always")
        with isolated_runtime() as isolated:
            obskit.instrument_logging()
            warnings.warn_explicit("old way", DeprecationWarning, "shop/cart.py", 12)
            warnings.showwarning("to a file", UserWarning, "shop/cart.py", 13, "file")
            (line,) = isolated.lines
            obskit.uninstrument_logging()
        warnings.warn_explicit("afterwards", UserWarning, "shop/cart.py", 14)

    assert ("WARNING", "py.warnings", "DeprecationWarning: old way", "shop/cart.py:12") == tuple(
        line[name] for name in ("level", "logger", "message", "file")
    )
    assert ["to a file", "afterwards"] == [str(args[0]) for args in shown]


def wsgi(environ, start_response):
    start_response("200 OK", [])
    return []


served = []


def instrument():
    """
    Observe an application, and hold it as a server would.
    """
    served[:] = [obskit.instrument(wsgi)]
    return served[0]


def test_instrument_takes_over_the_servers_loggers_alone(console):
    """
    `instrument()` writes the server's lines and leaves the application's loggers alone; `shutdown()` undoes it.
    """
    server, other = with_console("gunicorn.error", propagate=False), with_console("shop.mine")
    before = state()
    with isolated_runtime() as isolated:
        instrument()
        server.warning("server")
        other.warning("mine")

        assert ["obskit is on", "server"] == messages(isolated)
    server.warning("after")

    assert before == state()
    assert "mine\nafter\n" == console.getvalue()


def test_log_server_leaves_the_server_alone(console):
    """
    With `log_server=False` the server's lines stay as they are.
    """
    server = with_console("gunicorn.error", propagate=False)
    with isolated_runtime(log_server=False) as isolated:
        instrument()
        server.warning("server")

        assert ["obskit is on"] == messages(isolated)
    assert "server\n" == console.getvalue()


def test_a_servers_lines_do_not_reach_the_roots_console_too(console):
    """
    Where a server's logger propagates to a root with a console, its lines are obskit's, and the others stay there.
    """
    with_console(None)
    server = logging.getLogger("uvicorn.error")
    with isolated_runtime() as isolated:
        instrument()
        server.error("server")
        logging.getLogger("shop.mine").error("mine")

        assert ["obskit is on", "server"] == messages(isolated)
    assert "mine\n" == console.getvalue()


@pytest.mark.parametrize("name", ["uvicorn.error", "hypercorn.error", "gunicorn.error"])
def test_a_server_that_sets_up_its_loggers_later(console, name):
    """
    A server that replaces its handlers after `instrument()`, by whatever way, is found at its next line.
    """
    with isolated_runtime() as isolated:
        instrument()
        logger = logging.getLogger(name)
        logger.handlers = [logging.StreamHandler(sys.__stderr__)]
        logger.propagate = False
        logger.error("first")
        logger.handlers.append(logging.StreamHandler(sys.__stderr__))
        logger.error("second")

        assert ["obskit is on", "first", "second"] == messages(isolated)
    assert "" == console.getvalue()


def access_args(name):
    """
    Return what a server's access record says of one request, as the server passes it.
    """
    atoms = {"h": "203.0.113.77", "m": "GET", "U": "/plants/7", "q": "token=s3cret&page=2", "s": "200", "D": 12_500}
    atoms |= {"a": "curl/8", "B": 5, "r": "GET /plants/7?token=s3cret HTTP/1.1"}
    return {
        "uvicorn.access": ("203.0.113.77:5678", "GET", "/plants/7?token=s3cret&page=2", "1.1", 200),
        "gunicorn.access": (atoms,),
        "hypercorn.access": ({**atoms, "h": "203.0.113.77:5678"},),
        "granian.access": (
            {
                "addr": "203.0.113.77",
                "method": "GET",
                "path": "/plants/7",
                "query_string": "token=s3cret&page=2",
                "status": 200,
                "dt_ms": 12.5,
            },
        ),
        "django.server": ("GET /plants/7?token=s3cret&page=2 HTTP/1.1", "200", "5"),
        "werkzeug": ("\x1b[33mGET /plants/7?token=s3cret&page=2 HTTP/1.1\x1b[0m", "200", "5"),
    }[name]


FORMATS = {
    "uvicorn.access": '%s - "%s %s HTTP/%s" %d',
    "gunicorn.access": "%(r)s",
    "hypercorn.access": "%(r)s",
    "granian.access": "%(path)s?%(query_string)s",
    "django.server": '"%s" %s %s',
    "werkzeug": '203.0.113.77 - - [21/Nov/2026 06:00:00] "%s" %s %s',
}


def serve(app):
    app({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda status, headers, exc_info=None: None)


@pytest.mark.parametrize("name", FORMATS)
def test_access_lines_of_servers_are_dropped(console, name):
    """
    Where obskit writes the access line, the server's is left out.
    """
    logger = with_console(name, propagate=False)
    logger.setLevel(logging.INFO)
    with isolated_runtime() as isolated:
        serve(instrument())
        args = access_args(name)
        if name == "gunicorn.access":  # it has the environ, and obskit's mark in it
            args[0]["{obskit.observed}e"] = True
        logger.info(FORMATS[name], *args)

        assert ["obskit is on", "request"] == messages(isolated)
    assert "" == console.getvalue()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("with_query", [False, True])
def test_access_lines_of_servers_are_access_lines(console, name, with_query):
    """
    Where obskit writes none, the server's has the contract's fields: a masked client, and a query when it is asked for.
    """
    logger = with_console(name, propagate=False)
    logger.setLevel(logging.INFO)
    with isolated_runtime(access_log=False, log_query_string=with_query) as isolated:
        instrument()
        logger.info(FORMATS[name], *access_args(name))
        line = isolated.lines[-1]
    path = "/plants/7?token=[redacted:token]&page=2" if with_query else "/plants/7"

    assert ("request", name, "INFO", "GET", path, 200) == tuple(
        line[field] for field in ("message", "logger", "level", "method", "path", "status")
    )
    assert (None if name == "django.server" else "203.0.113.0") == line["client"]
    assert (12.5 if name in ("gunicorn.access", "hypercorn.access", "granian.access") else None) == (
        line.get("duration_ms")
    )
    assert "s3cret" not in json.dumps(line)
    assert "" == console.getvalue()


def test_what_never_reached_the_application_is_kept(console):
    """
    Gunicorn's line of a request that it refused itself is no duplicate; those of excluded paths and of obskit's own
    routes are left out.
    """
    logger = with_console("gunicorn.access", propagate=False)
    logger.setLevel(logging.INFO)
    with isolated_runtime(exclude=["/static"]) as isolated:
        instrument()
        for path in ("/refused", "/static/x", "/metrics", "/health/live"):
            (atoms,) = access_args("gunicorn.access")
            logger.info("%(r)s", atoms | {"U": path})
        kept = [line["path"] for line in isolated.lines[1:]]

    assert ["/refused"] == kept


def test_a_websockets_line_is_kept(console):
    """
    Obskit does not observe WebSockets, so the server's line of one is no duplicate.
    """
    logger = with_console("granian.access", propagate=False)
    logger.setLevel(logging.INFO)
    with isolated_runtime() as isolated:
        instrument()
        (told,) = access_args("granian.access")
        logger.info("%(path)s", told | {"status": 101})

        assert 101 == isolated.lines[-1]["status"]


def test_another_record_of_an_access_logger_is_a_plain_line(console):
    """
    What is no access record is written as it is.
    """
    logger = with_console("uvicorn.access", propagate=False)
    with isolated_runtime(access_log=False) as isolated:
        instrument()
        logger.warning("something else")

        assert ["obskit is on", "something else"] == messages(isolated)


def test_uvicorn_need_not_make_the_records(console):
    """
    Uvicorn asks its access logger before it makes a record: where nobody wants them, it is off.
    """
    logger = with_console("uvicorn.access", propagate=False)
    logger.setLevel(logging.INFO)
    with isolated_runtime():
        instrument()
        assert not logger.isEnabledFor(logging.INFO)
    assert logger.isEnabledFor(logging.INFO)


def test_an_access_file_that_the_operator_asked_for_stays(tmp_path, console):
    """
    A server that was told to write its access lines to a file still does.
    """
    logger = with_console("uvicorn.access", propagate=False)
    logger.setLevel(logging.INFO)
    file = logging.FileHandler(tmp_path / "access.log")
    logger.addHandler(file)
    with isolated_runtime() as isolated:
        instrument()
        logger.info(FORMATS["uvicorn.access"], *access_args("uvicorn.access"))

        assert ["obskit is on"] == messages(isolated)
    file.close()

    assert "/plants/7?token=s3cret" in (tmp_path / "access.log").read_text()


def test_a_server_without_access_lines_gets_none(console):
    """
    Where the server was told to write no access lines, none appear.
    """
    logger = logging.getLogger("uvicorn.access")
    logger.propagate = False
    with isolated_runtime(access_log=False):
        instrument()
        ours = [handler for handler in logger.handlers if isinstance(handler, JsonHandler)]

        assert [] == ours


def test_auto_includes_it(console):
    """
    `auto=True` takes over all loggers, for as long as the runtime stands, and the start-up line says so.
    """
    logger = with_console("shop.auto")
    with isolated_runtime(auto=True) as isolated:
        instrument()
        logger.warning("x")

        assert ["obskit is on", "x"] == messages(isolated)
        assert "logging" in isolated.lines[0]["hooks"]
    logger.warning("after")
    for undo in ("sqlite3", "httpx", "anthropic", "openai"):
        getattr(obskit, f"uninstrument_{undo}")()

    assert "after\n" == console.getvalue()


def test_flasks_logger(capsys):
    """
    Flask's own handler, which writes to standard error through a proxy, is muted as others are.
    """
    flask = pytest.importorskip("flask")
    app = flask.Flask("shop.flask")
    app.logger.addHandler(flask.logging.default_handler)  # as Flask does where nobody else has one
    app.logger.warning("before")
    with isolated_runtime() as isolated:
        obskit.instrument_logging()
        app.logger.warning("x")

        assert ["x"] == messages(isolated)
    assert 1 == len(capsys.readouterr().err.splitlines())


def test_dict_config_for_servers(console):
    """
    `obskit.logs.dict_config()` gives every logger, those of servers too, one line a record; uvicorn may put its colours
    into it.
    """
    config = dict_config("DEBUG")
    for name in ("default", "access"):
        config["formatters"][name]["use_colors"] = True
    with isolated_runtime(log_level="DEBUG") as isolated:
        logging.config.dictConfig(config)
        for name in ("uvicorn.error", "gunicorn.error", "hypercorn.error", "_granian", "shop.any"):
            logging.getLogger(name).info(name)
        logging.getLogger("shop.any").debug("debug")

        assert ["uvicorn.error", "gunicorn.error", "hypercorn.error", "_granian", "shop.any", "debug"] == (
            messages(isolated)
        )
    assert "" == console.getvalue()


def test_structlogs_own_chain():
    """
    An application that keeps its own structlog configuration ends its chain with our processor.
    """
    import structlog

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog_processor,
        ]
    )
    try:
        with (
            isolated_runtime(log_levels={"shop.noisy": "ERROR"}) as isolated,
            structlog.contextvars.bound_contextvars(tenant="t-1"),
        ):
            structlog.get_logger().bind(user="u-7").warning("paid", order=17, status="x")
            structlog.get_logger().bind(logger="shop.named").exception("failed", exc_info=ValueError("no"))
            structlog.get_logger().bind(logger="shop.noisy").info("no")
            first, second = isolated.lines
    finally:
        structlog.reset_defaults()

    assert ("WARNING", "structlog", "paid", "t-1", "u-7", 17, "x") == tuple(
        first[name] for name in ("level", "logger", "message", "tenant", "user", "order", "extra_status")
    )
    assert ("ERROR", "shop.named", "ValueError") == (second["level"], second["logger"], second["exception"]["type"])


STAMPS = [None, "iso", "%Y-%m-%d %H:%M:%S", "%d.%m. %H:%M"]


@pytest.mark.parametrize("stamp", STAMPS)
@pytest.mark.parametrize("utc", [True, False])
@pytest.mark.parametrize("render", ["text", "data"])
@pytest.mark.parametrize("special", [{}, {"log_callsite": True}])
def test_a_chain_that_ends_in_keywords_of_logging(stamp, utc, render, special):
    """
    What structlog's processors put beside the message for `render_to_log_kwargs` is on the line once: level, logger and
    time are the record's, the exception is the line's, and the rest are fields.
    """
    rendered = structlog.processors.format_exc_info if render == "text" else structlog.processors.dict_tracebacks
    log = structlog.wrap_logger(
        logging.getLogger("shop.chain"),
        processors=[
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_log_level_number,
            structlog.processors.TimeStamper(fmt=stamp, utc=utc or stamp is None),
            rendered,
            structlog.stdlib.render_to_log_kwargs,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    with isolated_runtime(**special) as isolated:
        obskit.instrument_logging()
        log.info("paid", order=17)
        try:
            raise ValueError("no")
        except ValueError:
            log.exception("failed", order=18)
            log.error("failed", order=18, exc_info=True)
        paid, failed, again = isolated.lines
    own = {"timestamp", "level", "logger", "message", "service", "order", *(CALLSITE_FIELDS if special else ())}

    assert (own, own | {"exception"}, own | {"exception"}) == (set(paid), set(failed), set(again))
    assert ("INFO", "shop.chain", 17) == (paid["level"], paid["logger"], paid["order"])
    assert [("ValueError", "no")] * 2 == [(e["exception"]["type"], e["exception"]["message"]) for e in (failed, again)]
    assert [True] * 2 == ["in test_a_chain" in line["exception"]["traceback"] for line in (failed, again)]


@pytest.mark.parametrize(
    "field",
    [
        *({"level": "gold"}, {"level": 3}, {"level_number": 20}, {"logger": "paper"}, {"exception": "none"}),
        *({"timestamp": "2020-01-01T00:00:00Z"}, {"timestamp": 17.0}, {"timestamp": "noon"}, {"exception": [1]}),
    ],
)
def test_fields_that_are_no_chains_stay(field):
    """
    A field of the application's own, which says something else than the record, is kept under its other name.
    """
    ((name, value),) = field.items()
    with isolated_runtime() as isolated:
        obskit.instrument_logging()
        logging.getLogger("shop.own").info("x", extra=field)
        line = isolated.lines[0]

    assert value == line[name if name == "level_number" else f"extra_{name}"]


def test_the_complaint_about_the_log(capsys):
    """
    Where lines cannot be written, the complaint about it reaches standard error all the same, once.
    """
    broken = SimpleNamespace(write=lambda text: 1 / 0)
    with isolated_runtime(strict=False, log_stream=broken):
        obskit.instrument_logging()
        for _ in range(3):
            logging.getLogger("shop.broken").warning("x")

    assert 1 == capsys.readouterr().err.count("logs failed; obskit_errors_total counts on")


# What reaches a console by way of others


@pytest.fixture
def listening(console):
    """
    Yield a logger whose records go through a queue to the console.
    """
    json_handler = queue.SimpleQueue()
    logger = logging.getLogger("shop.queued")
    logger.addHandler(logging.handlers.QueueHandler(json_handler))
    logger.setLevel(logging.INFO)
    listener = logging.handlers.QueueListener(json_handler, logging.StreamHandler(sys.__stderr__))
    listener.start()
    yield logger, listener
    if listener._thread is not None:
        listener.stop()


@pytest.mark.parametrize("propagate", [True, False])
def test_a_console_behind_a_queue_is_muted(listening, console, propagate):
    """
    A record that goes to the console through a queue is one line of ours, whether the root has it too or not.
    """
    logger, listener = listening
    logger.propagate = propagate
    with isolated_runtime() as isolated:
        obskit.instrument_logging()
        logger.info("x", extra={"plant": "fern"})
        listener.stop()

        assert [("x", "fern")] == [(line["message"], line["plant"]) for line in isolated.lines]
    assert "" == console.getvalue()


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("lets_pass", [True, False])
@pytest.mark.parametrize("ours", [True, False])
def test_a_filter_of_ours_beside_a_console_behind_a_queue(listening, console, is_first, lets_pass, ours):
    """
    Whether the filter of a handler of ours lets a record pass or not, it is one line, and the filter is asked once.
    """
    logger, listener = listening
    logger.propagate = False
    asked, handler = [], JsonHandler()

    def passes(record):
        asked.append(record.getMessage())
        return lets_pass

    handler.addFilter(passes)
    logger.handlers[:] = [handler, *logger.handlers] if is_first else [*logger.handlers, handler]
    if ours:
        listener.handlers = (JsonHandler(),)
    with isolated_runtime() as isolated:
        obskit.instrument_logging()
        logger.info("first")
        asked.clear()
        logger.info("second")
        listener.stop()
        logger.removeHandler(handler)

        assert (["first", "second"], ["second"]) == (messages(isolated), asked)
    assert ("", 0) == (console.getvalue(), len(json_handler._filter_results))


def test_a_logger_that_is_not_in_the_tree_loses_nothing(listening, console):
    """
    A logger that was made by hand has no handler of ours above it: what it says through a queue is written by who
    listens.
    """
    logger, listener = listening
    own = logging.Logger("shop.own")
    own.addHandler(logger.handlers[-1])
    alone = logging.Logger("shop.alone")
    alone.addHandler(logging.handlers.QueueHandler(listener.queue))
    with isolated_runtime() as isolated:
        obskit.instrument_logging()
        own.warning("own")
        alone.warning("alone")
        listener.stop()

        assert ["own", "alone"] == messages(isolated)
    assert "" == console.getvalue()


def test_a_record_of_another_process_is_written_by_who_listens(listening, console):
    """
    What a process without obskit sends to a console behind a queue is a line of ours, and nothing is lost.
    """
    listener = listening[1]
    with isolated_runtime() as isolated:
        obskit.instrument_logging()
        listener.queue.put(logging.makeLogRecord({"name": "worker", "levelno": 20, "msg": "from elsewhere"}))
        listener.stop()

        assert ["from elsewhere"] == messages(isolated)
    assert "" == console.getvalue()


@pytest.mark.parametrize("ours", [True, False])
def test_a_handler_behind_others_writes_once(console, ours):
    """
    A console, or a handler of ours, that a `MemoryHandler` writes to has each record once; afterwards it is as before.
    """
    target = JsonHandler() if ours else logging.StreamHandler(sys.__stderr__)
    memory = logging.handlers.MemoryHandler(10, target=target)
    logger = logging.getLogger("shop.kept")
    logger.addHandler(memory)
    before = list(target.filters)
    with isolated_runtime() as isolated:
        obskit.instrument_logging()
        logger.info("x")
        memory.flush()
        told = messages(isolated)
        obskit.uninstrument_logging()
    logger.removeHandler(memory)

    assert (["x"], "", before) == (told, console.getvalue(), target.filters)


class ToStandardError:
    """
    Ask for standard error each time, as MLflow's stream does.
    """

    is_on = True

    def write(self, text):
        if self.is_on:
            sys.__stderr__.write(text)

    def flush(self):
        sys.__stderr__.flush()


class Holding:
    """
    A stream and write to it, as colorama's and tqdm's do.
    """

    def __init__(self, *streams):
        self._streams = dict(enumerate(streams))
        self.__dict__.update({f"stream_{number}": stream for number, stream in enumerate(streams)})

    def write(self, text):
        for stream in self._streams.values():
            stream.write(text)

    def flush(self): ...


class AndElsewhere:
    """
    Ask for standard error, and write to a file besides.
    """

    def write(self, text):
        sys.__stderr__.write(text)
        with open("/dev/null", "a") as file:
            file.write(text)


class Capture:
    """
    A console, and do something else with what is written besides.
    """

    path = "/dev/null"

    def __init__(self, stream, **more):
        self.out = stream
        self._streams = {0: stream}
        self.__dict__.update(more)

    def flush(self):
        self.out.flush()


def keeps(self, text):
    self.lines.append(text)
    self.out.write(text)


def keeps_in_its_class(self, text):
    self.shown.append(text)
    self.out.write(text)


def keeps_the_last(self, text):
    self.last = text
    self.out.write(text)


def keeps_by_number(self, text):
    self._streams[1] = text
    self.out.write(text)


def pushes(self, text):
    self.push(text)
    return self.out.write(text)


def pushes_by_name(self, text):
    getattr(self, "flush")()  # noqa: B009
    self.out.write(text)


def writes_a_file(self, text):
    with open(self.path, "a") as file:
        file.write(text)
    self.out.write(text)


def imports(self, text):
    import shutil as out

    out.write(text)


def has_a_default(self, text, push=print):
    push(text)
    self.out.write(text)


def keeps_and_asks(self, text):
    self.shown.append(text)
    sys.__stderr__.write(text)


def does_nothing(self, text):
    return len(text)


def has_what_is_around(push):
    def write(self, text):
        push(text)
        self.out.write(text)

    return write


def has_functions_inside(self, text):
    return [self.out.write(part) for part in (lambda: text)()]


@pytest.mark.parametrize(
    ("write", "more"),
    [
        (keeps, {"lines": []}),
        (keeps, {"lines": ["x"]}),
        (keeps_in_its_class, {}),
        (keeps_the_last, {"last": ""}),
        (keeps_by_number, {}),
        (pushes, {"push": print}),
        (pushes_by_name, {}),
        (writes_a_file, {}),
        (imports, {}),
        (has_a_default, {}),
        (keeps_and_asks, {}),
        (does_nothing, {}),
        (has_what_is_around(print), {}),
        (has_functions_inside, {}),
        (Holding.write, {"lock": threading.Lock()}),
        (ToStandardError.write, {"is_on": True, "seen": set()}),
    ],
)
def test_what_may_do_more_than_write_to_a_console_is_left_alone(console, write, more):
    """
    A stream that keeps what it is given, or hands it to others too, or holds what is no stream, is no console.
    """
    own = type("Own", (Capture,), {"write": write, "shown": []})

    def only_writes(self, text):
        self.out.write(text)

    control = type("Own", (Capture,), {"write": only_writes})

    assert capture.is_console(logging.StreamHandler(control(sys.__stderr__)))
    assert [False] * 2 == [
        capture.is_console(logging.StreamHandler(stream))
        for stream in (own(sys.__stderr__, **more), Holding(own(sys.__stderr__, **more)))
    ]


def test_what_captures_goes_on_to(console):
    """
    A stream of the application's that keeps lines beside the console has them after `instrument_logging()` too.
    """
    own = type("Own", (Capture,), {"write": keeps})(sys.__stderr__, lines=[])
    logger = logging.getLogger("shop.captured")
    logger.addHandler(handler := logging.StreamHandler(own))
    try:
        with isolated_runtime():
            obskit.instrument_logging()
            logger.warning("x")
    finally:
        logger.removeHandler(handler)

    assert ["x\n"] == own.lines


def test_a_proxy_of_a_console_is_one(console):
    """
    A handler that writes to standard error by way of a proxy is muted; a tee, which also fills a file, is not.
    """
    file = io.StringIO()
    handlers = [ToStandardError(), Holding(console), Holding(Holding(console)), codecs.getwriter("utf-8")(console)]
    others = [Holding(console, file), Holding(file), file, AndElsewhere()]

    assert [True] * 4 == [capture.is_console(logging.StreamHandler(stream)) for stream in handlers]
    assert [False] * 4 == [capture.is_console(logging.StreamHandler(stream)) for stream in others]


ALEMBIC = """
[loggers]
keys = root,alembic
[handlers]
keys = console
[formatters]
keys = generic
[logger_root]
level = WARNING
handlers = console
[logger_alembic]
level = INFO
handlers =
qualname = alembic
[handler_console]
class = StreamHandler
args = (sys.__stderr__,)
formatter = generic
[formatter_generic]
format = %(levelname)s %(message)s
"""
PLAIN_FILE_CONFIG = logging.config.fileConfig


@pytest.mark.parametrize("way", ["fileConfig", "dictConfig"])
def test_what_disables_all_loggers_leaves_servers_and_the_root(tmp_path, console, way):
    """
    After Alembic's `fileConfig()`, or a `dictConfig()` like it, the root has its level, and servers' loggers still
    write; one that somebody had switched off before stays so.
    """
    (tmp_path / "alembic.ini").write_text(ALEMBIC)
    set_up = {
        "fileConfig": lambda: PLAIN_FILE_CONFIG(tmp_path / "alembic.ini"),
        "dictConfig": lambda: logging.config.dictConfig(
            {
                "version": 1,
                "handlers": CONSOLE["handlers"],
                "root": {"level": "WARNING", "handlers": ["console"]},
                "loggers": {"alembic": {"level": "INFO"}},
            }
        ),
    }
    servers = [logging.getLogger(name) for name in ("uvicorn.error", "gunicorn.error", "py.warnings", "obskit")]
    off = logging.getLogger("hypercorn.error")
    off.disabled = True
    existing = logging.getLogger("shop.existing")
    handlers, level = list(logging.root.handlers), logging.root.level
    try:
        with isolated_runtime() as isolated:
            obskit.instrument_logging()
            set_up[way]()
            for logger in (*servers, off, logging.getLogger("alembic"), logging.getLogger(f"shop.{way}")):
                logger.info(logger.name)
            told = messages(isolated)
            obskit.uninstrument_logging()
    finally:
        off.disabled = existing.disabled = False
        for logger in capture._loggers()[1:]:
            logger.disabled = False
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)

    assert ["uvicorn.error", "gunicorn.error", "py.warnings", "obskit", "alembic", f"shop.{way}"] == told
    assert "" == console.getvalue()


def test_a_file_config_beside_a_takeover_waits_for_nobody(tmp_path, console):
    """
    One thread that sets up loggers while another takes them over: neither waits for the other for ever.
    """
    (tmp_path / "alembic.ini").write_text(ALEMBIC)
    handlers, level = list(logging.root.handlers), logging.root.level
    with isolated_runtime():
        obskit.instrument_logging()
        threads = [
            threading.Thread(target=lambda: [PLAIN_FILE_CONFIG(tmp_path / "alembic.ini") for _ in range(30)]),
            threading.Thread(target=lambda: [capture.reapply() for _ in range(30)]),
        ]
        for thread in threads:
            thread.daemon = True
            thread.start()
        for thread in threads:
            thread.join(60)
        alive = [thread.is_alive() for thread in threads]
        capture.reapply()
        root = logging.root.level
        obskit.uninstrument_logging()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    for logger in capture._loggers()[1:]:
        logger.disabled = False

    assert ([False, False], logging.INFO) == (alive, root)


# structlog's chains


@pytest.fixture
def chain():
    """
    Configure structlog with a chain, and forget it again.
    """
    yield lambda *processors, **given: structlog.configure(processors=list(processors), **given)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


CHAINS = {
    "plain": [],
    "format_exc_info": [structlog.processors.format_exc_info],
    "dict_tracebacks": [structlog.processors.dict_tracebacks],
    "with locals": [
        structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=True))
    ],
    "EventRenamer": [structlog.processors.EventRenamer("msg")],
    "EventRenamer, replaced": [structlog.processors.EventRenamer("said", "_event")],
    "EventRenamer and text": [structlog.processors.format_exc_info, structlog.processors.EventRenamer("message")],
}


@pytest.mark.parametrize("through", ["processor", "formatter"])
@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_keeps_exception_and_message(chain, name, through):
    """
    Whatever processors have made of the message and the exception, and whether the chain ends with ours or with
    structlog's own wrapper, the line has both, and the fields.
    """
    start = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    end = {"processor": structlog_processor, "formatter": structlog.stdlib.ProcessorFormatter.wrap_for_formatter}
    secret = "-".join(["hunter2", "s3cr3t"])
    chain(
        *start,
        *CHAINS[name],
        end[through],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    with isolated_runtime() as isolated:
        obskit.instrument_logging()
        structlog.contextvars.bind_contextvars(till=3)
        try:
            try:
                {}["fern"]
            except KeyError as error:
                raise ValueError(f"password={secret}") from error
        except ValueError:
            structlog.get_logger("shop.chain").exception("failed", plant="fern", _event="sale")
        obskit.uninstrument_logging()
        [line] = isolated.lines

    assert ("failed", "ERROR", "shop.chain", "fern", 3) == tuple(
        line[field] for field in ("message", "level", "logger", "plant", "till")
    )
    assert ("ValueError", "password=[redacted:password]") == (line["exception"]["type"], line["exception"]["message"])
    trace = line["exception"]["traceback"]
    assert trace.index("KeyError: 'fern'") < trace.index("direct cause") < trace.index("ValueError: ")
    assert 2 == trace.count("in test_a_chain_keeps_exception_and_message")
    assert secret not in json.dumps(line)
    expected = {"timestamp", "level", "logger", "message", "service", "plant", "till", "exception"}
    assert expected | {"event" if "replaced" in name else "_event"} == line.keys()


# Lines that go through the standard library too


def test_lines_may_go_through_the_standard_library_too(tmp_path, console, caplog):
    """
    With `log_through_logging` handlers of others have the lines of `get_logger()`, with their fields and exceptions and
    without what is secret; the line itself is there once, and levels are those of the standard library's loggers.
    """
    with_console(None)
    file = logging.FileHandler(tmp_path / "own.jsonl")
    file.setFormatter(JsonFormatter())
    logging.getLogger("shop").addHandler(file)
    with isolated_runtime(log_through_logging=True) as isolated, caplog.at_level(logging.INFO):
        obskit.instrument_logging()
        log = obskit.get_logger("shop.through", till=3)
        in_request("id-1", lambda: log.info("paid %d", 7, name="ada", password="hunter2-s3cr3t"))
        try:
            {}["fern"]
        except KeyError:
            log.exception("failed")
        logging.getLogger("shop.through").setLevel(logging.CRITICAL)
        log.error("quiet there")
        told = isolated.lines
        obskit.uninstrument_logging()
    logging.getLogger("shop").removeHandler(file)
    file.close()
    first, second = [record for record in caplog.records if record.name == "shop.through"]
    written = [json.loads(row) for row in (tmp_path / "own.jsonl").read_text().splitlines()]

    assert ["paid 7", "failed", "quiet there"] == [line["message"] for line in told]
    assert ("paid 7", "INFO", "ada", "[redacted:password]", 3) == (
        *(first.getMessage(), first.levelname, first.extra_name, first.password, first.till),
    )
    assert ("test_logging.py", KeyError) == (first.filename, second.exc_info[0])
    assert [("paid 7", "id-1"), ("failed", None)] == [(line["message"], line.get("correlation_id")) for line in written]
    assert "" == console.getvalue()


def test_lines_do_not_go_there_by_themselves(caplog):
    """
    Without the setting the standard library's handlers see nothing of `get_logger()`.
    """
    with isolated_runtime() as isolated, caplog.at_level(logging.INFO):
        obskit.get_logger("shop.alone").error("x")

        assert (["x"], []) == (messages(isolated), caplog.records)


# Banners

TRACEBACK = "Traceback (most recent call last):\n  File\nX: y"


@pytest.mark.parametrize(
    ("name", "said", "shown"),
    [
        (
            "werkzeug",
            "\x1b[31m\x1b[1mWARNING: This is a development server.\x1b[0m\n * Running on http://127.0.0.1:5000",
            "WARNING: This is a development server. * Running on http://127.0.0.1:5000",
        ),
        ("werkzeug", "\x1b[33mPress CTRL+C to quit\x1b[0m", "Press CTRL+C to quit"),
        ("uvicorn.error", "Exception in ASGI application\n", "Exception in ASGI application"),
        (
            "uvicorn.error",
            "Traceback (most recent call last):\n  File\nX: y\n",
            "Traceback (most recent call last):\n  File\nX: y",
        ),
        ("gunicorn.error", "\n  Listening\r\n\n at: here", "Listening at: here"),
        ("shop.banner", "\x1b[1mtheirs\x1b[0m\n", "\x1b[1mtheirs\x1b[0m\n"),
    ],
)
def test_banners_have_no_colours_and_line_ends(name, said, shown):
    """
    What servers say to a terminal is one row of text; what an application says is its own.
    """
    record = logging.LogRecord(name, logging.INFO, "", 0, said, (), None)
    with isolated_runtime() as isolated:
        JsonHandler().handle(record)

        assert [shown] == messages(isolated)
        assert shown == json.loads(JsonFormatter().format(record))["message"]
