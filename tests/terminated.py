"""
A program that SIGTERM ends, again and again, in the middle of what takes locks; `test_sigterm.py` runs it.

Each run is a forked child that has just been configured; its main loop asks a blocking budget and logs to a queue.
"""

import os
import random
import select
import signal
import sys
import tempfile
import threading
import time

ENDS_WITHIN = 30.0  # seconds; the deadline of the drain is 5, and machines are slow
held = {"armed": False, "site": None, "seen": set()}


MAIN = threading.get_ident()


def told_lock(make):
    """
    Make obskit's locks such that they send SIGTERM when the main thread holds the one made at `held["site"]`.
    """

    class Told:
        def __init__(self, site):
            self.lock, self.site = make(), site

        def acquire(self, *args, **kwargs):
            taken = self.lock.acquire(*args, **kwargs)
            if taken and held["armed"] and threading.get_ident() == MAIN:
                held["seen"].add(self.site)
                if self.site == held["site"]:
                    held["armed"] = False
                    os.kill(os.getpid(), signal.SIGTERM)
            return taken

        def __enter__(self):
            return self.acquire()

        def __exit__(self, *raised):
            self.lock.release()

        def __getattr__(self, name):
            return getattr(self.lock, name)

    def made():
        code, line = sys._getframe(1).f_code, sys._getframe(1).f_lineno
        return Told(f"{os.path.basename(code.co_filename)}:{line}") if "obskit" in code.co_filename else make()

    return made


threading.Lock, threading.RLock = told_lock(threading.Lock), told_lock(threading.RLock)

import obskit  # noqa: E402  # the locks that it makes are to be told
import obskit.ai.ledger  # noqa: E402  # what each child would import
import obskit.db.query_watch  # noqa: E402
import obskit.sinks.metrics_sink  # noqa: E402
import obskit.sinks.span_sink  # noqa: E402
from obskit.web.routes import Request  # noqa: E402


def loop(folder, turns):
    """
    Ask, log, count and observe, over and over.
    """
    runtime = obskit.configure(log_queue=1000, state_dir=folder, service="shop", log_level="INFO")
    budget = obskit.ai.budget("all", usd=1e6, action="block", unknown_price=obskit.ai.Price(input=1.0, output=1.0))
    logger, counter = obskit.get_logger("shop"), obskit.counter("turns_total", "Turns.")
    for turn in range(turns):
        with obskit.observe_ai(provider="p", model="m"):
            pass
        logger.info("turn", turn=turn)
        if turn % 5 == 0:
            logger.warning("at once")
            budget.status()
            runtime.routes.answer(Request("GET", "/metrics", "", {}.get, "192.0.2.1"))
        counter.inc()
        held["armed"] = turn > 2
    print("\n".join(sorted(held["seen"])), file=sys.stderr)
    os._exit(0)


def forked(folder, turns, site=None):
    """
    Start a child; give its id and the end of the pipe that its lines come out of.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writer, 1)
        os.close(writer)
        held["site"] = site
        try:
            loop(folder, turns)
        finally:
            os._exit(1)
    os.close(writer)
    return child, reader


def ended(child, reader, lines_before_signal=None):
    """
    Read a child's lines, send SIGTERM after so many, and give its status and its lines; None: it did not end.
    """
    text, deadline = b"", time.monotonic() + ENDS_WITHIN
    while time.monotonic() < deadline:
        if not select.select([reader], [], [], 1.0)[0]:
            continue
        piece = os.read(reader, 65536)
        if not piece:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text
        text += piece
        if lines_before_signal is not None and text.count(b"\n") > lines_before_signal:
            os.kill(child, signal.SIGTERM)
            lines_before_signal = None
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None, text


def sites(folder):
    """
    Find where the locks were made that the loop takes.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writer, 2)
        os.close(writer)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        loop(folder, 20)
    os.close(writer)
    with os.fdopen(reader) as told:
        found = told.read()
    os.waitpid(child, 0)
    return found.split()


def main(kind):
    """
    Print how each run ended, one a line.
    """
    with tempfile.TemporaryDirectory() as folder:
        if kind == "random":
            draw = random.Random(20)
            runs = [(None, draw.randrange(1, 100)) for _ in range(20)]
        else:
            runs = [(site, None) for site in sites(folder)]
        for site, lines in runs:
            status, text = ended(*forked(folder, 10**9, site), lines)
            whole = text.endswith(b"\n") and b'"turn"' in text
            print(status, whole, site or lines)


if __name__ == "__main__":
    main(sys.argv[1])
