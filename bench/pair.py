"""
Compare what a benchmark measures with what it measured at another commit: `python -m bench pair http --before main`.

The library of the commit and the library of this folder take turns under this folder's benchmark, each time in a fresh
process, all on one core: before, after, after, before, and so on, so that a drift of the machine meets both alike.
Options of the benchmark's own stand in for the short ones: `python -m bench pair http --before main -f flask`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from math import exp, log, sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

from bench.applications import FRAMEWORKS
from bench.figures import VARIABLE, read

ROOT = Path(__file__).parents[1]
LIMIT = 1.02
SIDES = "before", "after"
_fast_frameworks = [word for name in FRAMEWORKS if name != "django_asgi" for word in ("-f", name)]
# The benchmarks that keep figures, each with options that make one run short, and take turns often.
SHORT = {
    "ai": ["--blocks", "40", "--calls", "10"],
    "db": ["--replicas", "1", "--rounds", "60", "--block", "128"],
    "health": ["--rounds", "40"],
    # Turns of eight requests: obskit writes sixty-four down at once, so each place in a block has its own median.
    "http": ["--replicas", "1", "--blocks", "48", "--block", "64", "--turns", "8", *_fast_frameworks],
    "imports": ["--replicas", "3"],
    "logs": ["--rounds", "60"],
    "memory": ["--requests", "20000", "--warm-up", "5000"],
    "primitives": ["--blocks", "200", "--block", "500"],
    "scrape": ["--label-sets", "1000", "--rounds", "5"],
    "sql": ["--sizes", "1,10"],
    "store": ["--label-sets", "1000", "--rounds", "3"],
}
# Student's t at 0.975 for 1 to 19 degrees of freedom: NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2.
T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093),
)


class Ratio(NamedTuple):
    """
    How many times its cost before a figure costs after, with the ends of the 95 % interval.
    """

    typical: float
    low: float
    high: float

    @property
    def slower(self) -> bool:
        """
        Whether all of the interval lies above the limit.
        """
        return self.low > LIMIT


def ratio(before: list[float], after: list[float]) -> Ratio:
    """
    Compare costs that were measured in pairs: the geometric mean of their ratios, with its 95 % interval.

    The interval is that of the paired t-test, on the logarithms of the ratios: mean ± t(0.975, n - 1) × s / √n.
    Source: NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.2, "Confidence Limits for the Mean".
    """
    logs = [log(new / old) for old, new in zip(before, after, strict=True)]
    middle, margin = mean(logs), T[len(logs) - 2] * stdev(logs) / sqrt(len(logs))
    return Ratio(exp(middle), exp(middle - margin), exp(middle + margin))


def compare(before: list[dict[str, float]], after: list[dict[str, float]]) -> dict[str, Ratio]:
    """
    Return the ratio of each figure that all runs have and that is above zero in all, as the logarithm asks.
    """
    runs = [*before, *after]
    figures = [figure for figure in runs[0] if all(run.get(figure, 0.0) > 0.0 for run in runs)]
    return {figure: ratio([run[figure] for run in before], [run[figure] for run in after]) for figure in figures}


def measure(name: str, options: list[str], library: Path) -> dict[str, float]:
    """
    Run a benchmark of this folder with the library of a folder, in a process of its own, and give its figures.
    """
    with tempfile.NamedTemporaryFile() as kept:
        command = [sys.executable, "-m", "bench", name, *options]
        environ = {**os.environ, "PYTHONPATH": str(library), VARIABLE: kept.name}
        done = subprocess.run(
            command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode:
            raise SystemExit(f"{done.stdout}\n{' '.join(command)} failed with the library in {library}")
        return read(kept.name)


def libraries(commit: str, folder: Path) -> tuple[Path, Path]:
    """
    Copy the library of a commit, and that of this folder as it is, both compiled, to where nobody changes them.
    """
    before, after = (folder / side for side in SIDES)
    before.mkdir()
    archive = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, stdout=subprocess.PIPE)
    if archive.returncode:
        raise SystemExit(f"git knows no commit {commit!r}")
    subprocess.run(["tar", "-x", "-C", before], input=archive.stdout, check=True)
    shutil.copytree(ROOT / "src", after / "src")
    subprocess.run([sys.executable, "-m", "compileall", "-q", before, after], check=True)
    return before / "src", after / "src"


def main(arguments: list[str]) -> None:
    """
    Print the ratio of each figure, and fail where one is slower for sure.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bench pair", epilog="Options of the benchmark's own stand in for the short ones."
    )
    parser.add_argument("name", choices=SHORT)
    parser.add_argument("--before", required=True, metavar="COMMIT")
    parser.add_argument("--replicas", type=int, default=10, choices=range(2, len(T) + 2), metavar="2..20")
    options, others = parser.parse_known_args(arguments)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    runs: tuple[list[dict[str, float]], list[dict[str, float]]] = [], []
    with tempfile.TemporaryDirectory() as folder:
        both = libraries(options.before, Path(folder))
        for number in range(options.replicas):
            for side in (0, 1) if number % 2 == 0 else (1, 0):
                print(f"replica {number + 1} of {options.replicas}, {SIDES[side]}", file=sys.stderr, flush=True)
                runs[side].append(measure(options.name, others or SHORT[options.name], both[side]))
    _print(compare(*runs), {figure for side in runs for run in side for figure in run})


def _print(ratios: dict[str, Ratio], figures: set[str]) -> None:
    print(f"{'after / before':48}{'ratio':>8}{'95 % interval':>18}")
    for figure, found in ratios.items():
        print(f"{figure:48}{found.typical:8.3f}{found.low:10.3f} ..{found.high:6.3f}")
    for figure in sorted(figures - ratios.keys()):
        print(f"{figure:48} not compared: it is not above zero in every run")
    slower = [figure for figure, found in ratios.items() if found.slower]
    if slower:
        raise SystemExit(f"all of the interval is above {LIMIT}: {', '.join(slower)}")
    print(f"no interval lies wholly above {LIMIT}")
