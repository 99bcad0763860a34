"""
A stream that logs, blocks, fails or is entered again costs lines at most: nobody waits for ever, every line is whole.
"""

import contextlib
import gc
import io
import json
import logging
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import threading
from importlib import import_module
from importlib.util import find_spec

import pytest

import obskit
import obskit.logs
from obskit.logs import JsonHandler
from obskit.logs.stream import MAX_PENDING, LineStream
from obskit.recorder import recorder
from obskit.testing import isolated_runtime

LINE = b'{"message":"x"}\n'


@pytest.fixture
def dropped():
    """
    Return what was dropped in this test so far.
    """
    recorder.dropped.clear()
    yield lambda: {key: count for key, count in recorder.dropped.items() if count}
    recorder.dropped.clear()


@pytest.fixture
def printed():
    """
    Yield a logger whose records are obskit's lines.
    """
    logger, handler = logging.getLogger("printed"), JsonHandler()
    logger.addHandler(handler)
    logger.propagate = False
    yield logger
    logger.removeHandler(handler)
    logger.propagate = True


class Kept:
    """
    What is written, each time after `during()`.
    """

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.during()
        self.text += text

    def during(self): ...


def messages(text):
    return [json.loads(line)["message"] for line in text.splitlines()]


@pytest.mark.parametrize("method", ["write", "flush"])
def test_a_line_from_inside_of_the_stream_is_dropped(printed, dropped, method):
    """
    What `write()` or `flush()` logs is counted as `reentrant`; the line that was written is whole.
    """

    class Logs(io.StringIO):
        def inside(self):
            printed.warning("inside")

    class Writes(Logs):
        def write(self, text):
            self.inside()
            return super().write(text)

    class Flushes(Logs):
        def flush(self):
            if not self.closed:
                self.inside()

    stream = {"write": Writes, "flush": Flushes}[method]()
    with isolated_runtime(log_stream=stream):
        obskit.get_logger("shop").info("one")
        obskit.get_logger("shop").info("two")

        assert (["one", "two"], {("logs", "reentrant"): 2}) == (messages(stream.getvalue()), dropped())


def test_a_thread_that_the_stream_waits_for_may_log(printed, dropped):
    """
    A stream whose `write()` waits for a thread that logs gets that thread's line next, and each line but once.
    """

    class Waits(Kept):
        def during(self):
            if not self.text:
                thread = threading.Thread(target=printed.warning, args=("from the thread",))
                thread.start()
                thread.join(30)

    stream = Waits()
    with isolated_runtime(log_stream=stream):
        obskit.get_logger("shop").info("one")

        assert (["one", "from the thread"], {}) == (messages(stream.text), dropped())


def test_a_stream_that_makes_a_line_of_each_line_has_an_end(printed):
    """
    A stream that has another thread log for each line that it gets holds nobody for ever.
    """

    class Echoes(Kept):
        def during(self):
            thread = threading.Thread(target=printed.warning, args=("again",))
            thread.start()
            thread.join(30)

    stream = Echoes()
    with isolated_runtime(log_stream=stream):
        obskit.get_logger("shop").info("one")

        assert 1 < len(stream.text.splitlines()) <= 2 * MAX_PENDING


def test_who_finds_the_stream_busy_goes_on(dropped):
    """
    While one thread's `write()` blocks, others leave their lines and go on; they come out whole, in their order, and
    what finds no place is counted.
    """
    began, go = threading.Event(), threading.Event()

    class Blocks(Kept):
        def during(self):
            began.set()
            go.wait(30)

    stream = LineStream(kept := Blocks())
    first = threading.Thread(target=stream.write, args=(b"first\n",))
    first.start()
    began.wait(30)
    for number in range(MAX_PENDING + 7):
        stream.write(b"%d\n" % number)
    stuck = kept.text
    go.set()
    first.join(30)
    stream.flush()

    assert ("", ["first", *map(str, range(MAX_PENDING))]) == (stuck, kept.text.splitlines())
    assert {("logs", "queue_full"): 7} == dropped()


def test_a_line_that_waits_may_fail_alone(dropped):
    """
    A line that was left to another thread and is refused costs that thread nothing, and is counted by its reason.
    """

    class Picky(Kept):
        def write(self, text):
            if text == "bad\n":
                raise ConnectionResetError(104, "gone")
            super().write(text)

        def during(self):
            if not self.text:
                thread = threading.Thread(target=stream.write, args=(b"bad\n",))
                thread.start()
                thread.join(30)

    recorder.strict, kept = False, Picky()
    stream = LineStream(kept)
    stream.write(b"first\n")
    stream.write(b"second\n")
    failures = recorder.errors.pop("logs")

    assert ("first\nsecond\n", {("logs", "ECONNRESET"): 1}, 1) == (kept.text, dropped(), failures)


def test_a_stream_that_takes_pieces_gets_whole_lines():
    """
    A raw stream that takes three bytes at a time has each line whole; one that stops in the middle has the next line
    on a line of its own.
    """

    class Narrow(io.RawIOBase):
        def __init__(self):
            self.taken, self.left = b"", 1000

        def writable(self):
            return True

        def write(self, data):
            size = min(3, len(data), self.left)
            self.taken, self.left = self.taken + bytes(data[:size]), self.left - size
            return size or None

    raw = Narrow()
    stream = LineStream(raw)
    stream.write(LINE)
    raw.left = 5
    with pytest.raises(BlockingIOError):
        stream.write(LINE)
    raw.left = 1000
    stream.write(LINE)

    assert LINE + LINE[:5] + b"\n" + LINE == raw.taken


class Tee:
    """
    Write to two places, and be the first of them in all else, as those of tutorials are.
    """

    def __init__(self, stream, file):
        self.stream, self.file = stream, file

    def write(self, text):
        self.stream.write(text)
        self.file.write(text)

    def __getattr__(self, name):
        return getattr(self.stream, name)


def test_a_tee_gets_every_line(tmp_path):
    """
    A stream that hands on all but `write()` is written to, and not what is below it.
    """
    with open(tmp_path / "console", "w") as console:
        LineStream(Tee(console, copy := io.StringIO())).write(LINE)
        seen = (tmp_path / "console").read_bytes()

    assert (LINE, LINE.decode()) == (seen, copy.getvalue())


@pytest.mark.parametrize("mode", ["w+", "w+b"])
@pytest.mark.parametrize("kind", [tempfile.NamedTemporaryFile, tempfile.SpooledTemporaryFile, tempfile.TemporaryFile])
def test_temporary_files_take_lines(kind, mode):
    """
    Wrappers around files take text or bytes, as they were opened.
    """
    with kind(mode=mode) as file:
        LineStream(file).write(LINE)
        file.seek(0)
        written = file.read()

    assert written in (LINE, LINE.decode())


def test_a_text_wrapper_over_a_pipe_gets_one_write():
    """
    A `TextIOWrapper` over a pipe is written to at once, past both buffers.
    """
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as pipe, io.TextIOWrapper(open(writer, "wb")) as stream:
        LineStream(stream).write(LINE)
        got = pipe.read(4096)

    assert LINE == got


def test_a_redirected_standard_output_is_followed(capsys):
    """
    `contextlib.redirect_stdout()` and a test's capture have the lines of whoever configures inside of them.
    """
    with contextlib.redirect_stdout(io.StringIO()) as redirected, isolated_runtime(log_stream=None):
        obskit.get_logger("shop").info("redirected")
    with isolated_runtime(log_stream=None):
        obskit.get_logger("shop").info("captured")

    assert ["redirected"] == messages(redirected.getvalue())
    assert ["captured"] == messages(capsys.readouterr().out)


PROGRAM = """
import logging, sys, obskit
{stream}
sys.stdout = stream
obskit.configure(service="shop")
obskit.instrument_logging()
obskit.get_logger("shop").info("one")
print("printed")
obskit.get_logger("shop").info("two")
"""
STREAMS = {
    "asks for a logger": """
class ToLogger:
    def write(self, text):
        if text.strip():
            logging.getLogger("printed").warning(text.rstrip())
    def flush(self): pass
stream = ToLogger()
""",
    "has a logger": """
class ToLogger:
    def __init__(self, logger):
        self.logger = logger
    def write(self, text):
        for row in text.rstrip().splitlines():
            self.logger.log(30, row.rstrip())
    def flush(self): pass
stream = ToLogger(logging.getLogger("printed"))
""",
    "has a logger's method": """
class ToLogger:
    def __init__(self, log):
        self.log = log
    def write(self, text):
        if text.strip():
            self.log("said: %s", text.rstrip())
    def flush(self): pass
stream = ToLogger(logging.LoggerAdapter(logging.getLogger("printed"), {}).warning)
""",
    "protects itself": """
class ToLogger:
    inside = False
    def write(self, text):
        if not self.inside and text.strip():
            self.inside = True
            try:
                logging.getLogger("printed").warning("%s", text)
            finally:
                self.inside = False
    def flush(self): pass
stream = ToLogger()
""",
    "of Celery": """
from celery.utils.log import LoggingProxy
stream = LoggingProxy(logging.getLogger("celery.redirected"), 30)
""",
}
if find_spec("celery") is None:
    del STREAMS["of Celery"]


@pytest.mark.parametrize("name", STREAMS)
def test_lines_go_past_a_standard_output_that_logs(name):
    """
    Where what is printed becomes a record, lines go to the process's own standard output, and so does that record.
    """
    program = [sys.executable, "-c", PROGRAM.format(stream=STREAMS[name])]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    said = [message.removeprefix("said: ").rstrip() for message in messages(done.stdout)]

    assert (0, "") == (done.returncode, done.stderr)
    assert ["one", "printed", "two"] == said


@pytest.mark.parametrize("kind", ["file", "pipe", "object"])
def test_a_signal_in_the_middle_of_a_write_may_log(kind, tmp_path, printed, dropped):
    """
    A handler that interrupts the write of a line and logs neither tears that line nor waits for it.
    """

    def interrupt():
        signal.raise_signal(signal.SIGUSR1)

    class Interrupted(io.FileIO):
        def write(self, line):
            taken = super().write(line)
            interrupt()
            return taken

    class Own(Kept):
        def during(self):
            interrupt()

    reader, writer = os.pipe()
    stream = {
        "file": lambda: Interrupted(tmp_path / "file", "w"),
        "pipe": lambda: Interrupted(writer, "w", closefd=False),
        "object": Own,
    }[kind]()
    seen = []

    def handler(number, frame):
        if len(seen) < 3:
            seen.append(number)
            printed.error("told")

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with isolated_runtime(log_stream=stream):
            for _ in range(3):
                obskit.get_logger("shop").info("one")
            lost = dropped().get(("logs", "reentrant"), 0)
    finally:
        signal.signal(signal.SIGUSR1, before)
        os.close(writer)
    with open(reader) as pipe:
        texts = {"file": lambda: (tmp_path / "file").read_text(), "pipe": pipe.read, "object": lambda: stream.text}
        told = messages(texts[kind]())
    if kind != "object":
        stream.close()

    assert 3 == told.count("one")
    assert 3 == told.count("told") + lost


class Collecting:
    """
    A lock that is entered again, by way of a finaliser that logs, whenever it is taken.
    """

    made = 0

    def __init__(self):
        self._lock = threading._PyRLock()
        type(self).made += 1

    def acquire(self, *args, **kwargs):
        got = self._lock.acquire(*args, **kwargs)
        Garbage.make()
        return got

    def release(self):
        Garbage.make()
        self._lock.release()

    __enter__ = acquire

    def __exit__(self, *error):
        self.release()


class Garbage:
    """
    Log when it is collected, a few times.
    """

    left, is_loud = 0, False

    def __init__(self):
        self.itself = self

    def __del__(self):
        if not self.is_loud:
            return
        obskit.get_logger("garbage").warning("collected")
        logging.getLogger("printed").warning("collected")

    @classmethod
    def make(cls):
        if cls.left:
            cls.left -= 1
            cls()
            gc.collect()


@pytest.mark.parametrize("output", ["file", "object", "queue"])
def test_a_collection_inside_of_any_lock_may_log(output, tmp_path, printed, monkeypatch):
    """
    A finaliser that logs while any lock of this folder is held harms no line, whichever the output is.
    """
    modules = [import_module(f"obskit.logs.{module.name}") for module in pkgutil.iter_modules(obskit.logs.__path__)]
    for module in modules:
        if hasattr(module, "RLock"):
            monkeypatch.setattr(module, "RLock", Collecting)
    monkeypatch.setattr(threading, "RLock", Collecting)
    path, stream = tmp_path / "app.jsonl", Kept()
    given = {
        "file": {"log_file": str(path), "log_rotate_bytes": 2000, "log_keep_files": 100},
        "object": {"log_stream": stream},
        "queue": {"log_stream": stream, "log_queue": 10_000},
    }[output]
    Collecting.made = 0
    with isolated_runtime(log_sample_first=1000, strict=False, **given) as isolated:
        Garbage.left, Garbage.is_loud = 50, True
        for number in range(100):
            obskit.get_logger("shop").info("one", number=number)
            obskit.get_logger("shop").warning("one", number=number)
        isolated.runtime.flush()
        Garbage.left, Garbage.is_loud = 0, False
        gc.collect()
        failures = dict(recorder.errors)
    text = "".join(file.read_text() for file in tmp_path.iterdir()) if output == "file" else stream.text
    told = messages(text)

    assert 0 < Collecting.made
    assert ({}, 200) == (failures, told.count("one"))
    assert "collected" in told
