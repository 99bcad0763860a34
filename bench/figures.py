"""
What a benchmark measured, stored so that `python -m bench pair` can compare it with an earlier run.
"""

from __future__ import annotations

import json
import os

# Names the file that the figures are added to; where it is unset, a table is all that a benchmark gives.
VARIABLE = "BENCH_FIGURES"


def keep(figure: str, cost: float) -> None:
    """
    Store a cost of obskit's: less is better.

    Best it is a part of what took turns with it in the same process, since that feels the same machine; a cost that
    stands alone has its unit in its name.
    """
    if path := os.environ.get(VARIABLE):
        with open(path, "a") as file:
            file.write(json.dumps([figure, cost]) + "\n")


def read(path: str) -> dict[str, float]:
    """
    Return the figures that were kept in a file, in their order.
    """
    with open(path) as file:
        return dict(json.loads(line) for line in file)
