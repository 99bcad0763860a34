"""
A record keeps the request that made it, whichever handler keeps or sends it, and whoever writes it in the end.
"""

import inspect
import json
import logging
import logging.handlers
import multiprocessing
import pickle
import queue
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import obskit
from forked import in_child
from obskit.context import current
from obskit.logs import JsonFormatter, JsonHandler, OriginFilter, record_origin
from obskit.operation import HttpOperation, Operation
from obskit.recorder import recorder
from obskit.testing import FakeClock, isolated_runtime
from within import in_request

REQUESTS = 1000


@contextmanager
def request(identity, **fields):
    """
    Begin a request with bound fields, which is current until the end of the block.
    """
    operation = HttpOperation("GET", "/")
    operation.correlation_id, operation.started = identity, recorder.clock()
    token = current.set(operation)
    try:
        obskit.bind(**fields)
        yield operation
    finally:
        current.reset(token)


@pytest.fixture
def logger():
    logger = logging.getLogger("shop.origin")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def two_users(log, count=REQUESTS):
    """
    Serve two users' requests side by side, each in its thread, request by request.
    """
    turn = threading.Barrier(2)

    def serve(user):
        for number in range(count):
            turn.wait(60)
            with request(f"{user}-{number}", user=user):
                log(f"{user}-{number}")

    threads = [threading.Thread(target=serve, args=(user,)) for user in ("ada", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)


def right(lines, count=REQUESTS, has_user=True):
    """
    Return whether each request's line is there once, with its own id and its own user, or without one.
    """
    seen = {(line["message"], line.get("correlation_id"), line.get("user")) for line in lines}
    ids = [f"{user}-{number}" for user in ("ada", "bob") for number in range(count)]
    expected = {(name, name, name.partition("-")[0] if has_user else None) for name in ids}
    return len(lines) == len(ids) and seen == expected


# Handlers that write a record where it was logged, in its thread: they need to keep nothing.
AT_ONCE = {
    *("Handler", "StreamHandler", "FileHandler", "NullHandler", "_StderrHandler"),
    *("BaseRotatingHandler", "RotatingFileHandler", "TimedRotatingFileHandler", "WatchedFileHandler"),
    *("SysLogHandler", "SMTPHandler", "NTEventLogHandler"),
}


def buffering(logger, lines):
    class Buffer(logging.handlers.BufferingHandler):
        def flush(self):
            for record in self.buffer:
                JsonHandler().handle(record)
            self.buffer.clear()

    logger.addHandler(handler := Buffer(37))
    return handler.flush


def memory(logger, lines):
    logger.addHandler(handler := logging.handlers.MemoryHandler(37, target=JsonHandler()))
    return handler.flush


def queued(logger, lines):
    records = queue.SimpleQueue()
    logger.addHandler(logging.handlers.QueueHandler(records))
    listener = logging.handlers.QueueListener(records, JsonHandler())
    listener.start()
    return listener.stop


def socketed(logger, lines):
    return served(logger, socketserver.ThreadingTCPServer, logging.handlers.SocketHandler)


def datagrams(logger, lines):
    return served(logger, socketserver.UDPServer, logging.handlers.DatagramHandler)


def served(logger, server_class, handler_class):
    """
    Receive pickled records as the standard library's cookbook does.
    """
    got = threading.Semaphore(0)

    def write(data):
        JsonHandler().handle(logging.makeLogRecord(pickle.loads(data)))
        got.release()

    class Stream(socketserver.StreamRequestHandler):
        def handle(self):
            while size := self.rfile.read(4):
                write(self.rfile.read(int.from_bytes(size, "big")))

    class Packet(socketserver.DatagramRequestHandler):
        def handle(self):
            write(self.packet[4:])

    class Waits(logging.Handler):
        def emit(self, record):
            got.acquire(timeout=30)  # or the system would throw packets away

    server = server_class(("127.0.0.1", 0), Packet if server_class is socketserver.UDPServer else Stream)
    server.daemon_threads = True
    server.max_packet_size = 65536
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    logger.addHandler(handler := handler_class(*server.server_address))
    logger.addHandler(Waits())

    def end():
        handler.close()
        server.shutdown()
        thread.join(30)
        server.server_close()

    return end


def http(logger, lines):
    """
    Receive what `HTTPHandler` posts: the attributes of a record as text, of which the ids can be read.
    """

    class Received(BaseHTTPRequestHandler):
        def do_POST(self):
            from ast import literal_eval
            from urllib.parse import parse_qs

            sent = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            kept = literal_eval(sent[record_origin.ORIGIN][0])
            lines.append({"message": sent["msg"][0], **kept["fields"]})
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Received)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    logger.addHandler(logging.handlers.HTTPHandler(f"127.0.0.1:{server.server_address[1]}", "/", "POST"))

    def end():
        server.shutdown()
        thread.join(30)
        server.server_close()

    return end


KEEPERS = {
    "BufferingHandler": buffering,
    "MemoryHandler": memory,
    "QueueHandler": queued,
    "SocketHandler": socketed,
    "DatagramHandler": datagrams,
    "HTTPHandler": http,
}


def test_every_handler_of_the_standard_library_is_known():
    """
    Each class keeps records or sends them, and is tried below, or writes them at once.
    """
    found = {
        name
        for module in (logging, logging.handlers)
        for name, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, logging.Handler)
    }

    assert found == AT_ONCE | KEEPERS.keys()


@pytest.mark.parametrize("name", KEEPERS)
def test_no_line_has_anothers_id(name, logger):
    """
    Of 1,000 requests each of two users side by side, every line has its own request's id and fields; what goes into
    URLs has the id alone.
    """
    with isolated_runtime() as isolated:
        end = KEEPERS[name](logger, isolated.lines)
        two_users(logger.info)
        with request("other-1", user="eve"):
            end()

        assert right(isolated.lines, has_user=name != "HTTPHandler")


def test_a_url_has_no_traceback_and_no_bound_field():
    """
    What `HTTPHandler` puts into a URL grows by the ids only, whatever is bound, and whatever has failed.
    """
    handler = logging.handlers.HTTPHandler("127.0.0.1:1", "/log")
    with isolated_runtime(), request("id-1", user="ada"):
        try:
            {}["fern"]
        except KeyError:
            parts = sys.exc_info(), None, "Stack (most recent call last):"
            record = logging.LogRecord("shop", logging.ERROR, "", 0, "failed", (), *parts)
        sent = handler.mapLogRecord(record)

    assert {"fields": {"correlation_id": "id-1"}, "written": None} == sent[record_origin.ORIGIN]
    assert {**record.__dict__, record_origin.ORIGIN: sent[record_origin.ORIGIN]} == sent


def test_handlers_that_are_derived_keep_it_too(logger):
    """
    Whoever overrides `prepare()`, `emit()` or `enqueue()`, and calls the other of them, has the request as well.
    """

    class Plain(logging.handlers.QueueHandler):
        def prepare(self, record):
            return record

    class Own(logging.handlers.QueueHandler):
        def emit(self, record):
            self.queue.put(self.prepare(record))

    records = queue.SimpleQueue()
    logger.addHandler(Plain(records))
    logger.addHandler(Own(records))
    with isolated_runtime() as isolated:
        with request("id-1", user="ada"):
            logger.info("x")
        with request("id-2", user="bob"):
            for _ in range(2):
                JsonHandler().handle(records.get())

        assert [("id-1", "ada")] * 2 == [(line["correlation_id"], line["user"]) for line in isolated.lines]


class Later(logging.Handler):
    """
    A handler of another library's, which keeps records in a way of its own.
    """

    def __init__(self):
        super().__init__()
        self.kept = []

    def emit(self, record):
        self.kept.append(record)


def test_a_filter_keeps_it_for_handlers_of_others(logger):
    """
    A handler that nobody knows has each record's request with `OriginFilter`, in another's request too.
    """
    logger.addHandler(later := Later())
    later.addFilter(OriginFilter())
    with isolated_runtime() as isolated:
        with request("old", user="eve"):
            two_users(logger.info, 50)
            for record in later.kept:
                JsonHandler().handle(record)

        assert right(isolated.lines, 50)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_record_with_the_filter_is_written_once(logger, is_first):
    """
    A handler of ours beside the one that keeps a record writes it, whichever has it first, and no other does it again.
    """
    later = Later()
    later.addFilter(OriginFilter())
    for handler in (later, JsonHandler()) if is_first else (JsonHandler(), later):
        logger.addHandler(handler)
    with isolated_runtime() as isolated:
        logger.info("x")
        if is_first:
            JsonHandler().handle(later.kept[0])

        assert ["x"] == [line["message"] for line in isolated.lines]


@pytest.mark.parametrize("write", [lambda record: JsonHandler().handle(record), None])
def test_a_record_that_is_older_than_the_request_has_no_id(logger, write):
    """
    Without the filter, a record that somebody has kept since before a request began has nothing of that request.
    """
    logger.addHandler(later := Later())
    with isolated_runtime() as isolated:
        with request("id-1", user="ada"):
            logger.info("old")
        time.sleep(0)
        while time.time() <= later.kept[0].created:
            pass
        with request("id-2", user="bob"):
            logger.info("new")
            lines = [json.loads(JsonFormatter().format(record)) for record in later.kept]
            if write is not None:
                for record in later.kept:
                    write(record)
                lines = isolated.lines

        assert [("old", None, None), ("new", "id-2", "bob")] == [
            (line["message"], line.get("correlation_id"), line.get("user")) for line in lines
        ]


def test_a_clock_that_a_test_has_set_tells_no_ages(logger):
    """
    With a fake clock each line has the id of the request that runs.
    """
    logger.addHandler(JsonHandler())
    with isolated_runtime(clock=FakeClock(10.0)) as isolated, request("id-1"):
        logger.info("x")

        assert "id-1" == isolated.lines[0]["correlation_id"]


def test_a_job_without_an_operation_has_its_fields(logger):
    """
    What is bound outside of any request is on lines there.
    """
    logger.addHandler(JsonHandler())
    token = current.set(Operation())
    try:
        with isolated_runtime() as isolated:
            obskit.bind(job="nightly")
            logger.info("x")

            assert "nightly" == isolated.lines[0]["job"]
    finally:
        current.reset(token)


def test_what_was_kept_outside_of_a_request_stays_outside(logger):
    """
    A record of no request that is flushed inside of one has nothing of it.
    """
    logger.addHandler(handler := logging.handlers.MemoryHandler(100, target=JsonHandler()))
    with isolated_runtime() as isolated:
        logger.info("of nobody")
        in_request("id-1", handler.flush)

        assert "correlation_id" not in isolated.lines[0]


def test_others_see_nothing_of_it(logger):
    """
    The record that other handlers have is the application's own, without a further attribute.
    """
    seen = []

    class Looks(logging.Handler):
        def emit(self, record):
            seen.append(sorted(record.__dict__.keys() - {*logging.makeLogRecord({}).__dict__, "message"}))

    for handler in (logging.handlers.MemoryHandler(100), logging.handlers.QueueHandler(queue.SimpleQueue()), Looks()):
        logger.addHandler(handler)
    with isolated_runtime(), request("id-1", user="ada"):
        logger.info("x", extra={"plant": "fern"})

    assert [["plant"]] == seen


def test_what_is_kept_can_be_pickled_and_is_redacted(logger):
    """
    Bound fields of any kind travel as plain values, and secrets do not travel.
    """
    handler = logging.handlers.SocketHandler("127.0.0.1", 1)
    record = logging.LogRecord("shop", logging.INFO, "", 0, "x", (), None)
    with isolated_runtime(), request("id-1", lock=threading.Lock(), password="hunter2-s3cr3t"):
        sent = handler.makePickle(record)
        fields = pickle.loads(sent[4:])[record_origin.ORIGIN]["fields"]

    assert b"hunter2" not in sent
    assert ["correlation_id", "lock", "password"] == list(fields)


@pytest.mark.parametrize("kind", ["queue", "socket"])
def test_an_exception_keeps_its_parts(logger, kind):
    """
    A record whose traceback was put into its message by the way has it in `exception`, and its message without.
    """
    records = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(records)
    sender = logging.handlers.SocketHandler("127.0.0.1", 1)
    with isolated_runtime() as isolated:
        try:
            {}["fern"]
        except KeyError:
            logger.addHandler(handler if kind == "queue" else later(records, sender))
            logger.exception("failed %s", "password=hunter2-s3cr3t", stack_info=True, extra={"plant": "fern"})
        JsonHandler().handle(records.get())
        [line] = isolated.lines

    assert ("failed password=[redacted:password]", "KeyError", "'fern'", "fern") == (
        *(line["message"], line["exception"]["type"], line["exception"]["message"], line["plant"]),
    )
    assert line["exception"]["traceback"].startswith("Traceback (most recent call last):\n")
    assert line["stack"].startswith("Stack (most recent call last):\n")


def later(records, sender):
    class Sends(logging.Handler):
        def emit(self, record):
            records.put(logging.makeLogRecord(pickle.loads(sender.makePickle(record)[4:])))

    return Sends()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Traceback (most recent call last):\n  File \"a.py\", line 1\nKeyError: 'fern'", ("KeyError", "'fern'")),
        ('Traceback (most recent call last):\n  File "a.py"\nshop.errors.Sold\n', ("Sold", "")),
        (
            "Traceback (most recent call last):\nValueError: x\n\nDuring handling of the above exception, another "
            "exception occurred:\n\nTraceback (most recent call last):\n  File\nOSError: two\nrows",
            ("OSError", "two\nrows"),
        ),
        ("no traceback at all", (None, None)),
        ("", None),
    ],
)
def test_a_text_of_an_exception_is_an_exception(text, parts):
    """
    Where only `exc_text` is left of an exception it is the line's, with class and message where its end says them.
    """
    record = logging.makeLogRecord({"name": "shop", "levelno": 20, "msg": "failed", "exc_text": text})
    with isolated_runtime() as isolated:
        JsonHandler().handle(record)
        line, formatted = isolated.lines[0], json.loads(JsonFormatter().format(record))

    assert line == formatted
    assert parts == ((line["exception"].get("type"), line["exception"].get("message")) if "exception" in line else None)


def worker(records):
    obskit.shutdown()
    with isolated_runtime():
        logger = logging.getLogger("shop.elsewhere")
        logger.propagate = False
        logger.setLevel(logging.INFO)
        logger.addHandler(logging.handlers.QueueHandler(records))
        two_users(logger.info, 50)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_records_of_another_process_keep_theirs(method):
    """
    A listener has the ids of requests in the process that logged them.
    """
    context = multiprocessing.get_context(method)
    records = context.Queue()
    process = context.Process(target=worker, args=(records,))
    process.start()
    got = [records.get(timeout=60) for _ in range(100)]
    process.join(60)
    with isolated_runtime() as isolated, request("here", user="eve"):
        for record in got:
            JsonHandler().handle(record)

        assert right(isolated.lines, 50)


NAMESAKE = """
import logging, logging.handlers, os, sys
os.getpid = lambda: 1
import obskit
from obskit.logs import JsonHandler
obskit.configure(log_stream=open(os.devnull, "w"))
logging.getLogger().addHandler(JsonHandler())
record = logging.getLogger("shop").makeRecord("shop", 40, "", 1, "order %s", (17,), None)
sys.stdout.buffer.write(logging.handlers.SocketHandler("127.0.0.1", 1).makePickle(record)[4:])
"""


def test_a_process_of_another_container_may_have_the_same_id(monkeypatch):
    """
    What a namesake has written and sent is written here too: in containers most processes are number 1.
    """
    sent = subprocess.run([sys.executable, "-c", NAMESAKE], stdout=subprocess.PIPE, check=True, timeout=60).stdout
    monkeypatch.setattr("os.getpid", lambda: 1)
    with isolated_runtime() as isolated:
        JsonHandler().handle(logging.makeLogRecord(pickle.loads(sent)))

        assert ["order 17"] == [line["message"] for line in isolated.lines]


def test_a_child_that_is_forked_has_a_name_of_its_own():
    """
    A child is not taken for its parent, nor the parent for another process after a fork.
    """
    before = record_origin.process_token()
    child = in_child(record_origin.process_token)

    assert (before, True) == (record_origin.process_token(), child != before)


def test_what_is_sent_by_others_is_no_way_in():
    """
    What a record says of its request is checked: an id is an id, and fields are fields.
    """
    odd = [
        *(None, 1, [], {}, {"fields": None}, {"fields": {"correlation_id": "x\n" * 9, "trace_id": 7, "level": "y"}}),
        {"fields": {"exception": 1, "message": 2, "stack": []}, "written": "me"},
    ]
    with isolated_runtime(service="shop") as isolated:
        for value in odd:
            JsonHandler().handle(
                logging.makeLogRecord({"name": "shop", "levelno": 20, "msg": "x", record_origin.ORIGIN: value})
            )
        lines = [line | {"timestamp": ""} for line in isolated.lines]

    plain = {"timestamp": "", "level": "INFO", "logger": "shop", "message": "x", "service": "shop"}
    expected = [plain] * len(odd)
    expected[5] = plain | {"extra_level": "y"}

    assert expected == lines


@pytest.mark.parametrize("taken_back", [True, False])
def test_a_record_factory_changes_no_field(logger, taken_back):
    """
    What a factory adds is a field, and what comes with `extra` is whole, also when the factory has gone again.
    """
    before = logging.getLogRecordFactory()

    def factory(*args, **kwargs):
        record = before(*args, **kwargs)
        record.region = "eu"
        return record

    logger.addHandler(JsonHandler())
    logging.setLogRecordFactory(factory)
    try:
        with isolated_runtime() as isolated:
            if taken_back:
                logging.setLogRecordFactory(before)
            logger.info("x", extra={"plant": "fern", "left": 3})
            [line] = isolated.lines
    finally:
        logging.setLogRecordFactory(before)

    assert (None if taken_back else "eu", "fern", 3) == (line.get("region"), line["plant"], line["left"])
