"""
What subjects share: wrong use and how it is told, and printing.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterable
from typing import Any, NoReturn


class UsageError(Exception):
    """
    Report that a command cannot be carried out as it was given. Its text says what to give.
    """


class Parser(argparse.ArgumentParser):
    """
    A parser whose errors propose the nearest option, or choice.
    """

    def error(self, message: str) -> NoReturn:
        """
        Print what is wrong, and how help is had; exit with 2.
        """
        if (unknown := re.match(r"unrecognized arguments: (-[^ =]*)", message)) is not None:
            message = f"no option {unknown[1]}{nearest(unknown[1], self._option_string_actions)}"
        self.exit(2, f"{self.prog}: {message}\n`{self.prog} --help` lists what there is\n")


def nearest(name: str, known: Iterable[str]) -> str:
    """
    Return a proposal to end a sentence with; empty where nothing is near.
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def print_result(wanted: argparse.Namespace, value: Any, text: str) -> None:
    """
    Print a result: as JSON where that is wanted, else as text.
    """
    if wanted.json:
        import json

        print(json.dumps(value, indent=2, default=str))
    else:
        print(text)


def warn(text: str) -> None:
    """
    Print something for people beside the result.
    """
    print(text, file=sys.stderr)
