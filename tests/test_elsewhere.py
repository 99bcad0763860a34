"""
The library works where the system has no forks, no POSIX locks and no user ids: each process then counts for itself.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from obskit import forks
from obskit.forks import at_fork

# Takes away what Windows has not, before anything else is imported; `random` asks for `fork` itself.
BARE = """
import os, select, signal, sys

for name in (
    "fork", "forkpty", "register_at_fork", "geteuid", "getegid", "getuid", "getgid", "posix_fallocate", "pread",
    "pwrite", "statvfs", "getloadavg", "sched_getaffinity", "setpriority", "PRIO_PROCESS", "fchmod", "fchown",
    "set_blocking", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "uname",
):
    delattr(os, name)
del select.PIPE_BUF
for name in ("SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGHUP", "SIGKILL"):
    delattr(signal, name)
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
"""

SERVED = """
import obskit
from wsgiref.util import setup_testing_defaults

given = {} if len(sys.argv) < 2 else {"metrics_dir": sys.argv[1]}

def ask(path, accept="text/plain"):
    environ = {"PATH_INFO": path, "HTTP_ACCEPT": accept}
    setup_testing_defaults(environ)
    return b"".join(app(environ, lambda status, headers: told.append(status)))

def shop(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    plants.inc(kind="fern")
    return [b"ok"]

told = []
plants = obskit.counter("plants_sold_total", "Plants.", ["kind"])
app = obskit.instrument(shop, service="shop", log_stream=sys.stderr, **given)
for path in ("/", "/", "/health/ready"):
    ask(path)
sys.stdout.write(ask("/metrics").decode())
assert told == ["200 OK"] * 4, told
assert ask("/metrics", "application/openmetrics-text").endswith(b"# EOF\\n")
obskit.shutdown()
"""

LOGGED = """
import obskit
from obskit.errors import ConfigurationError

try:
    obskit.configure(service="shop", log_file=sys.argv[1])
except ConfigurationError as error:
    print(error)
"""

FORKED = """
import os
from obskit.forks import at_fork

taken, register = [], os.register_at_fork
del os.register_at_fork
at_fork(before=lambda: taken.append("without"))
os.register_at_fork = register
at_fork(before=lambda: taken.append("with"))
child = os.fork()
if not child:
    os._exit(0)
os.waitpid(child, 0)
print(taken)
"""


def run(*parts, arguments=()):
    """
    Run a piece of Python on a system that lacks all that; give what it prints, and what it warns of.
    """
    command = [sys.executable, "-W", "error", "-c", BARE + "".join(parts), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert 0 == done.returncode, done.stderr
    return done.stdout, done.stderr


def value(page, sample, **labels):
    return next(
        found.value
        for family in text_string_to_metric_families(page)
        for found in family.samples
        if found.name == sample and labels.items() <= found.labels.items()
    )


def test_a_single_process_counts():
    """
    Requests, own metrics, health and both formats of the page work, and no warning is given.
    """
    page, lines = run(SERVED)

    assert [2.0, 2.0, 0.0] == [
        value(page, "http_requests_total"),
        value(page, "plants_sold_total", kind="fern"),
        value(page, "obskit_metrics_degraded"),
    ]
    assert "WARNING" not in lines
    assert "ERROR" not in lines


def test_workers_count_for_themselves(tmp_path):
    """
    Where workers are to share their figures, each counts all the same, warns once and says why, and its page tells.
    """
    page, lines = run(SERVED, arguments=[tmp_path / "metrics"])

    assert [2.0, 1.0] == [value(page, "http_requests_total"), value(page, "obskit_metrics_degraded")]
    assert 1 == lines.count("this system has no locks that end with their process (fcntl)")
    assert [] == list(tmp_path.iterdir())


def test_a_log_file_is_refused(tmp_path):
    """
    Rotation needs locks, so `configure()` says what to do instead.
    """
    told, _ = run(LOGGED, arguments=[tmp_path / "shop.jsonl"])

    assert "this system lacks the file locks that rotation needs (fcntl); write to standard output" in told


def test_one_function_asks_the_system_for_forks():
    """
    What is to be done at a fork is registered by `at_fork()` alone, so that every module can be imported anywhere.
    """
    package = Path(forks.__file__).parent
    asking = [path.name for path in package.rglob("*.py") if "register_at_fork(" in path.read_text("utf-8")]

    assert ["forks.py"] == asking


def test_nothing_is_registered_without_forks():
    """
    Registering a step does nothing where no process can fork; elsewhere the step is taken.
    """
    done = subprocess.run([sys.executable, "-W", "error", "-c", FORKED], capture_output=True, text=True, timeout=60)

    assert ("['with']\n", "", 0) == (done.stdout, done.stderr, done.returncode)


def test_a_misspelt_step_is_refused():
    """
    Where processes fork, a step that the system does not know is an error at once.
    """
    with pytest.raises(TypeError, match="after_in_cild"):
        at_fork(after_in_cild=int)
