"""
Run a benchmark by name, or all of them with a short setting: `python -m bench`, `python -m bench http --help`.

`python -m bench pair http --before COMMIT` compares one with what it was.
"""

import sys
from importlib import import_module

SHORT = {
    "ai": ["--blocks", "10"],
    "db": ["--rounds", "20", "--replicas", "1"],
    "imports": ["--replicas", "5"],
    "primitives": ["--blocks", "20"],
    "logs": ["--rounds", "30"],
    "whole_lines": ["--runs", "1"],
    "scrape": ["--rounds", "5"],
    "store": ["--rounds", "3"],
    "kills": ["--seconds", "10"],
    "health": ["--rounds", "40"],
    "history": ["--days", "0.1"],
    "history_kills": ["--seconds", "12", "--kill-every", "3"],
    "http": ["--replicas", "1", "--blocks", "60"],
    "sql": ["--sizes", "1,10,100"],
    "memory": ["--requests", "20000", "--warm-up", "5000"],
}


def main(arguments: list[str]) -> None:
    """
    Run one, with its own arguments, or every one.
    """
    if arguments and arguments[0] not in (*SHORT, "pair"):
        raise SystemExit(f"usage: python -m bench [{'|'.join((*SHORT, 'pair'))} [options]]")
    chosen = {arguments[0]: arguments[1:]} if arguments else SHORT
    for name, options in chosen.items():
        if not arguments:
            print(f"\n{name} {' '.join(options)}", flush=True)
        import_module(f"bench.{name}").main(options)


if __name__ == "__main__":
    main(sys.argv[1:])
