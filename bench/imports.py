"""
Measure what `import obskit` and `obskit.configure()` take of the processor in a fresh interpreter, and what they bring.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from tempfile import TemporaryDirectory

from bench.figures import keep

LIMIT_MS = 60.0
# None of these may come with `import obskit`; frameworks and the SDK not with `configure()` either.
FRAMEWORKS = ("flask", "starlette", "fastapi", "django", "werkzeug")
HEAVY = (*FRAMEWORKS, "opentelemetry.sdk")
LATE = (*HEAVY, "psutil", "prometheus_client", "structlog")
CASES = {
    "import obskit": "import obskit",
    "obskit.configure()": "import obskit; obskit.configure(service='bench')",
    "without metrics": "import obskit; obskit.configure(service='bench', metrics=False)",
    "metrics and lines": "import obskit; obskit.configure(service='bench', health_path=None, log_server=False)",
    "disabled": "import obskit; obskit.configure(service='bench', enabled=False)",
    "import prometheus_client": "import prometheus_client",
    "import structlog": "import structlog",
}
_PROBE = """
import sys, time
before = set(sys.modules)
started = time.process_time_ns()
{code}
spent = time.process_time_ns() - started
import json
print(json.dumps([spent / 1e6, sorted(set(sys.modules) - before)]))
"""


def fresh(code: str, bytecode: str) -> tuple[float, list[str]]:
    """
    Run code in an interpreter of its own; give its milliseconds and the modules that it brought.

    Args:
        code: What to run.
        bytecode: A folder for compiled modules, whatever the environment says of these.
    """
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", _PROBE.format(code=code)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
    spent, modules = json.loads(done.stdout)
    return spent, modules


def main(arguments: list[str]) -> None:
    """
    Print a table, and fail where `import obskit` is slow or brings what it must not.
    """
    parser = argparse.ArgumentParser(prog="python -m bench imports")
    parser.add_argument("--replicas", type=int, default=11)
    options = parser.parse_args(arguments)
    print(f"{'case':28}{'median ms':>10}{'modules':>9}  of which late")
    failed = []
    for case, code in CASES.items():
        with TemporaryDirectory() as bytecode:
            runs = [fresh(code, bytecode) for _ in range(options.replicas + 1)][1:]  # the first compiles
        milliseconds, modules = statistics.median(spent for spent, _ in runs), runs[0][1]
        late = [name for name in LATE if name in modules]
        print(f"{case:28}{milliseconds:10.1f}{len(modules):9}  {', '.join(late) or '-'}")
        if "import obskit" in code:
            keep(f"{case}: ms", milliseconds)
        if case == "import obskit" and (late or milliseconds > LIMIT_MS):
            failed.append(f"{case}: over {LIMIT_MS:.0f} ms, or brings {late}")
        if case == "obskit.configure()" and (heavy := [name for name in late if name in HEAVY]):
            failed.append(f"{case}: brings {heavy}")
    if failed:
        raise SystemExit("; ".join(failed))
