"""
Lines are put out whole; a stream that refuses them costs the line, is counted, and harms nobody.
"""

import codecs
import fcntl
import io
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import obskit
from forked import in_child
from obskit.logs.stream import LineStream
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.testing import isolated_runtime

ROOT = Path(__file__).parents[2]
LINE = b'{"message": "request"}\n'


class Pipe:
    """
    Both ends of a pipe that holds one page and never blocks its writer.
    """

    def __init__(self):
        self.reader, writer = os.pipe()
        os.set_blocking(writer, False)
        os.set_blocking(self.reader, False)
        self.size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        self.stream = os.fdopen(writer, "wb", buffering=0)

    def fill(self, leave=0):
        os.write(self.stream.fileno(), b"-" * (self.size - leave - 1) + b"\n")

    def read(self):
        try:
            return os.read(self.reader, 1 << 20)
        except BlockingIOError:
            return b""

    def close(self):
        self.stream.close()
        os.close(self.reader)


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    pipe.close()


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def serve(app):
    seen = []
    body = app({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda status, headers, exc_info=None: seen.append(status))
    return seen[0], b"".join(body)


def unharmed(stream, reason, caplog):
    """
    Serve three requests over a stream that refuses every line: all are answered, counted, and logged once.
    """
    with isolated_runtime(strict=False, log_stream=stream) as isolated, caplog.at_level(logging.ERROR, "obskit"):
        app = obskit.instrument(wsgi)
        answers = [serve(app) for _ in range(3)]

        # One more is the start-up line.
        figures = isolated.value("obskit_dropped_total", sink="logs", reason=reason), recorder.errors["logs"]
        served = isolated.value("http_requests_total", method="GET", endpoint="<unmatched>", status="200")
    complaints = [record for record in caplog.records if record.name == "obskit"]
    return ([("200 OK", b"ok")] * 3, (4.0, 4), 3.0, 1) == (answers, figures, served, len(complaints))


def test_a_line_is_one_write(tmp_path):
    """
    A stream with a descriptor gets the line past its buffer, at once.
    """
    with open(tmp_path / "app.log", "w") as stream:
        LineStream(stream).write(LINE)

        assert LINE == (tmp_path / "app.log").read_bytes()


@pytest.mark.parametrize("kind", [io.StringIO, io.BytesIO])
def test_a_stream_without_a_descriptor_takes_text_or_bytes(kind):
    """
    Streams in memory get what they take.
    """
    stream = kind()
    LineStream(stream).write(LINE)

    assert stream.getvalue() in (LINE, LINE.decode())


class Encodes:
    """
    Take text, and hand on all else, the mode too, of the stream of bytes below.
    """

    def __init__(self, stream):
        self._stream = stream

    def write(self, text):
        return self._stream.write(text.encode())

    def __getattr__(self, name):
        return getattr(self._stream, name)


class Takes:
    """
    Take bytes, and have no mode.
    """

    def __init__(self, stream):
        self._stream = stream

    def write(self, line):
        return self._stream.write(line)


@pytest.mark.parametrize(
    "wrap",
    [
        codecs.getwriter("utf-8"),
        codecs.getwriter("shift_jis"),
        lambda file: codecs.StreamReaderWriter(file, *codecs.lookup("utf-8")[2:4]),
        lambda file: codecs.EncodedFile(file, "utf-8"),
        Encodes,
        Takes,
    ],
)
def test_a_stream_above_a_file_of_bytes_takes_what_it_takes(wrap, tmp_path):
    """
    Every line is there once, whatever the mode says that the stream has, or has from what is below it.
    """
    with open(tmp_path / "app.log", "wb") as file:
        stream = LineStream(wrap(file))
        for _ in range(3):
            stream.write(LINE)

    assert LINE * 3 == (tmp_path / "app.log").read_bytes()


def test_what_takes_neither_text_nor_bytes_says_why():
    """
    The reason of a line that is lost is what came of the first try; once one is taken, others are not tried.
    """
    tried = []

    class Choosy:
        def write(self, line):
            tried.append(type(line))
            if len(tried) != 3:
                raise TypeError(type(line).__name__)

    stream = LineStream(Choosy())
    with pytest.raises(TypeError, match="str"):
        stream.write(LINE)
    stream.write(LINE)
    with pytest.raises(TypeError, match="str"):
        stream.write(LINE)

    assert [str, bytes, str, str] == tried


def test_an_object_that_writes_is_flushed():
    """
    Whatever has `write()` is a stream; where it can be flushed, it is.
    """

    class Own:
        calls = ()

        def write(self, text):
            self.calls += (text,)

        def flush(self):
            self.calls += ("flush",)

    own = Own()
    LineStream(own).write(LINE)

    assert (LINE.decode(), "flush") == own.calls


def test_lines_of_threads_do_not_mix(tmp_path):
    """
    Eight threads that write at once leave whole lines only.
    """
    with open(tmp_path / "app.log", "w") as stream:
        write, gate = LineStream(stream).write, threading.Barrier(8)

        def work(number):
            gate.wait(10)
            for _ in range(200):
                write(json.dumps({"worker": number, "text": "x" * 500}).encode() + b"\n")

        workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(30)
    lines = (tmp_path / "app.log").read_text().splitlines()

    assert 1600 == len(lines)
    assert set(range(8)) == {json.loads(line)["worker"] for line in lines}


def test_a_closed_stream_costs_its_lines(tmp_path, caplog):
    """
    A closed file is counted as `closed`, and its descriptor's number, which may be a socket's by now, gets nothing.
    """
    with open(tmp_path / "app.log", "w") as stream, isolated_runtime(strict=False, log_stream=stream) as isolated:
        stream.close()
        operation = HttpOperation("GET", "/")
        with open(tmp_path / "other", "w+b", buffering=0) as other, caplog.at_level(logging.ERROR, "obskit"):
            recorder.plan(HttpOperation).end(operation)
            other.seek(0)
            leaked = other.read()

        assert b"" == leaked
        assert 1.0 == isolated.value("obskit_dropped_total", sink="logs", reason="closed")


def test_a_stream_that_was_closed_before(caplog):
    """
    An application that closes its output first is served all the same.
    """
    stream = io.StringIO()
    stream.close()

    assert unharmed(stream, "closed", caplog)


def test_a_full_disk(caplog):
    """
    Where no byte can be written the application answers, and each line is counted as `ENOSPC`.
    """
    with open("/dev/full", "w") as stream:
        assert unharmed(stream, "ENOSPC", caplog)


def test_a_full_pipe(pipe, caplog):
    """
    A pipe that nobody reads and that must not block refuses each line with `EAGAIN`.
    """
    pipe.fill()

    assert unharmed(pipe.stream, "EAGAIN", caplog)


def test_a_pipe_that_has_gone(pipe, caplog):
    """
    A reader that has ended is counted as `EPIPE`.
    """
    reader = pipe.reader
    pipe.reader = os.dup(pipe.stream.fileno())
    os.close(reader)

    assert unharmed(pipe.stream, "EPIPE", caplog)


def test_a_stream_that_raises_whatever_it_likes(caplog):
    """
    An error that is no `OSError` is no more harmful: it is counted by the guard.
    """

    class Own:
        def write(self, text):
            raise KeyError("own mistake")

    with isolated_runtime(strict=False, log_stream=Own()) as isolated, caplog.at_level(logging.ERROR, "obskit"):
        answer = serve(obskit.instrument(wsgi))

        assert ("200 OK", b"ok") == answer
        assert 2.0 == isolated.value("obskit_errors_total", sink="logs")


def test_a_line_that_was_lost_to_any_error_is_counted(caplog):
    """
    Each line that a stream did not take is a drop, under the name of what it raised.
    """

    class Own:
        def write(self, text):
            raise RuntimeError("own mistake")

    assert unharmed(Own(), "RuntimeError", caplog)


class Narrow(io.FileIO):
    """
    A file that takes at most so many bytes at once, as on a full disk, and then none for a while.
    """

    takes = (10, None)

    def write(self, line):
        size, *self.takes = self.takes or (None,)
        return None if size == 0 else super().write(line[:size])


def test_a_line_that_was_taken_in_part_does_not_spoil_the_next(tmp_path):
    """
    A file that takes the start of a line and then no more has the next line on a line of its own.
    """
    with Narrow(tmp_path / "app.log", "w") as file:
        file.takes = (10, 0)
        write = LineStream(file).write
        with pytest.raises(BlockingIOError):
            write(LINE)
        write(LINE)
        write(LINE)

    assert LINE[:10] + b"\n" + LINE + LINE == (tmp_path / "app.log").read_bytes()


def test_a_line_that_is_taken_in_pieces_is_whole(tmp_path):
    """
    A file that takes a line in pieces gets all of it.
    """
    with Narrow(tmp_path / "app.log", "w") as file:
        file.takes = (3, 4, 5)
        LineStream(file).write(LINE)

    assert LINE == (tmp_path / "app.log").read_bytes()


def test_a_line_longer_than_a_pipe_takes_at_once_is_cut(pipe):
    """
    A pipe gets a line in one piece, as an object that says where it was cut; one that just fits is whole.
    """
    os.set_blocking(pipe.reader, True)
    write = LineStream(pipe.stream).write
    fits = b'{"message": "' + b"x" * (4096 - 16) + b'"}\n'
    write(fits)
    got = pipe.read()
    write(fits.replace(b"x", b"xx"))
    cut = pipe.read()

    assert fits == got
    assert len(cut) <= 4096
    assert json.loads(cut)["message"].endswith(" characters cut]")


def test_a_line_for_a_full_pipe_is_refused_whole(pipe):
    """
    A pipe that must not block and has no room for a long line takes nothing of it, and the next one when it has.
    """
    pipe.fill(leave=100)
    write = LineStream(pipe.stream).write
    with pytest.raises(BlockingIOError):
        write(b'{"message": "' + b"x" * 8000 + b'"}\n')
    pipe.read()
    write(LINE)

    assert LINE == pipe.read()


def test_a_child_writes_while_a_thread_of_its_parent_does():
    """
    A fork while another thread writes to an object leaves the child able to write.
    """
    began, go = threading.Event(), threading.Event()

    class Own(io.StringIO):
        def write(self, text):
            began.set()
            go.wait(30)
            return super().write(text)

    stream = LineStream(own := Own())
    writing = threading.Thread(target=stream.write, args=(LINE,))
    writing.start()
    began.wait(30)
    stream.write(b"waits\n")

    def in_the_child():
        go.set()
        stream.write(LINE)
        return own.getvalue()

    told = in_child(in_the_child)
    go.set()
    writing.join(30)

    assert LINE.decode() == told
    assert LINE.decode() + "waits\n" == own.getvalue()


def program(source, **options):
    return subprocess.run([sys.executable, "-c", source], stderr=subprocess.PIPE, text=True, timeout=60, **options)


SERVE = """
import obskit, sys
def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
{before}
app = obskit.instrument(wsgi)
seen = []
body = app({{"REQUEST_METHOD": "GET", "PATH_INFO": "/"}}, lambda status, headers, exc_info=None: seen.append(status))
print(seen, list(body), file=sys.stderr)
from prometheus_client import REGISTRY
dropped = REGISTRY.get_sample_value("obskit_dropped_total", {{"sink": "logs", "reason": "{reason}"}})
print(int(dropped or 0), "dropped", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("before", "reason"),
    [("sys.stdout.close()", "closed"), ("sys.stdout = None", "closed"), ("import os; os.close(1)", "EBADF")],
)
def test_a_closed_standard_output(before, reason):
    """
    A program whose standard output is closed, or was never there, starts and serves; its lines are counted.
    """
    done = program(SERVE.format(before=before, reason=reason), stdout=subprocess.DEVNULL)

    assert 0 == done.returncode, done.stderr
    assert "['200 OK'] [b'ok']\n2 dropped\n" in done.stderr
    assert 1 == done.stderr.count("Traceback")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_output_is_the_default(unbuffered):
    """
    Without `log_stream` each line is on standard output, one JSON object a line, whether Python buffers or not.
    """
    environ = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = program(SERVE.format(before="", reason="closed"), stdout=subprocess.PIPE, env=environ)

    assert ["obskit is on", "request"] == [json.loads(line)["message"] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_lines_to_standard_output_go_past_its_buffer(unbuffered):
    """
    A line on a pipe is one write of the file itself, with Python's buffer and without.
    """
    source = "import sys; from obskit.logs.stream import LineStream; LineStream(None).write(b'x' * 9000 + b'\\n')"
    environ = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = program(source, stdout=subprocess.PIPE, env=environ)

    assert "x" * (4096 - 7) + " [cut]\n" == done.stdout


@pytest.mark.parametrize("longest", ["2000", "65536"])
def test_four_processes_on_one_pipe_lose_and_tear_nothing(longest):
    """
    Four processes, 2,000 lines each up to 64 kB, through one pipe: none is lost, torn or there twice.
    """
    command = [sys.executable, "-m", "bench", "whole_lines", "--runs", "1", "--lines", "2000", "--to", "pipe"]
    done = subprocess.run([*command, "--longest", longest], cwd=ROOT, capture_output=True, text=True, check=True)
    row = dict(zip(*(line.split() for line in done.stdout.splitlines()), strict=True))

    assert ("8000", "0", "0", "0") == (row["lines"], row["lost"], row["torn"], row["doubled"])
