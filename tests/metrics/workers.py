"""
The workers of an instance: real processes, which really die.
"""

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable

from obskit.catalogue import Metric

SECONDS = Metric("request_seconds", "histogram", "Seconds.", ("path",), buckets=(0.1, 1.0, 10.0))
HITS = Metric("hits_total", "counter", "Hits.", ("path",))
PLAIN = Metric("plain_total", "counter", "No labels.")
TEMPERATURES = {
    how: Metric(f"temperature_{how}", "gauge", "Degrees.", ("room",), workers=how)
    for how in ("sum", "min", "max", "latest")
}
SIZE = len(SECONDS.buckets) + 3


class Worker:
    """
    Run a function in a forked child. What the child says and hears are lines.
    """

    def __init__(self, work: Callable[["Worker"], object]) -> None:
        here, there = os.pipe(), os.pipe()
        self.pid = os.fork()
        self._reader, self._writer = (there[0], here[1]) if self.pid else (here[0], there[1])
        for descriptor in (here[0], there[1]) if self.pid else (there[0], here[1]):
            os.close(descriptor)
        self._lines = os.fdopen(self._reader)
        if not self.pid:
            status = 0
            try:
                work(self)
            except BaseException:
                self.say(traceback.format_exc().replace("\n", "|"))
                status = 1
            finally:
                os._exit(status)

    def say(self, line: object) -> None:
        """
        Send a line to the other end.
        """
        os.write(self._writer, f"{line}\n".encode())

    def hear(self) -> str:
        """
        Wait for a line from the other end; empty when there is nobody.
        """
        return self._lines.readline().rstrip("\n")

    def wait(self) -> int:
        """
        Wait until the child has ended.
        """
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._close()
        return status

    def kill(self) -> None:
        """
        End the child as the system does when memory runs out.
        """
        os.kill(self.pid, signal.SIGKILL)
        os.kill(self.pid, signal.SIGCONT)
        self.wait()

    def _close(self) -> None:
        self._lines.close()
        os.close(self._writer)
        self.pid = 0


def observe(cell, seconds: float, buckets=SECONDS.buckets) -> None:
    """
    Update a histogram's cell as its contract says: bucket, sum, done.
    """
    index = sum(bound < seconds for bound in buckets)
    cell[2 + index] += 1
    cell[1] += seconds
    cell[0] += 1


# Mounts are the child's own, and go with it.
_MOUNT = {"full": "size=200k", "read-only": "ro"}


def mounts(options: str) -> list[list[str]]:
    """
    Return the command that another is run by where a mount of its own lies on its first argument; none if none may be.
    """
    script = f'mount -t tmpfs -o {options} none "$1" && shift && exec "$@"'
    for flags in ("-m", "-Urm"):
        command = ["unshare", flags, "sh", "-c", script, "sh"]
        try:
            subprocess.run([*command, "/mnt", "true"], check=True, stderr=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError):
            continue
        return [command]
    return []


MOUNTS = {kind: mounts(options) for kind, options in _MOUNT.items()}


def run(source, *arguments, before=None, mount=None):
    """
    Run a piece of Python that finds the tests' helpers, and give what it prints.
    """
    command = [sys.executable, "-c", source, *map(str, arguments)]
    if mount:
        command = [*mount, str(arguments[0]), *command]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, preexec_fn=before, env=environ, capture_output=True, text=True)
    assert not done.stderr
    return done.stdout.strip()
