"""
Run a benchmark by name: `python -m bench http --help`.
"""

import sys
from importlib import import_module

NAMES = ("http",)

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        raise SystemExit(f"usage: python -m bench {{{','.join(NAMES)}}} [options]")
    import_module(f"bench.{sys.argv[1]}").main(sys.argv[2:])
