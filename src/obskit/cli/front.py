"""
The front of the command line: which subjects there are, and how a command ends.

    0  fine
    1  something was found, or could not be done
    2  wrong use
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from obskit._version import __version__
from obskit.cli.usage import Parser, UsageError, nearest

# Subject, its module, and what it is for: neither is imported for another's sake, nor for the help.
SUBJECTS = {
    "check": ("obskit.cli.check", "show what is on in an application, and how its state folder is"),
    "export": ("obskit.cli.export", "write files for Prometheus, from what an application knows of itself"),
    "history": ("obskit.cli.history", "look at what is kept of figures, and export it"),
    "sqlite": ("obskit.cli.sqlite", "examine, optimise and copy a SQLite file"),
}
_INTERRUPTED = 130  # as a shell has it of SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Carry out a command and return its status.

    Args:
        arguments: In place of the program's.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without the sign gets its number
    try:
        status = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except UsageError as error:
        print(f"obskit: {error}", file=sys.stderr)
        return 2
    except SystemExit as end:  # of argparse: help, or wrong use
        status = end.code if isinstance(end.code, int) else 2
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _drop_output()
    except BrokenPipeError:  # whoever reads has read enough, as `head` does
        _drop_output()
        return 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    return status


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    if not arguments:
        _parser().print_help(sys.stderr)
        return 2
    if arguments[0].startswith("-"):
        _parser().parse_args(arguments)
        return 2
    name, *rest = arguments
    if name not in SUBJECTS:
        raise UsageError(f"no subject {name!r}{nearest(name, SUBJECTS)}\nThe subjects are: {', '.join(SUBJECTS)}")
    module, purpose = SUBJECTS[name]
    subject: Any = import_module(module)
    parser = Parser(
        prog=f"obskit {name}",
        description=subject.__doc__.strip().partition("\n\n")[0] if subject.__doc__ else purpose,
        allow_abbrev=False,
    )
    subject.add_arguments(parser)
    status: int = subject.run(parser.parse_args(rest))
    return status


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, SUBJECTS))
    subjects = "\n".join(f"  {name:{width}}  {purpose}" for name, (_, purpose) in SUBJECTS.items())
    parser = Parser(
        prog="obskit",
        usage="obskit SUBJECT [OPTION ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"subjects:\n{subjects}",
        epilog="`obskit SUBJECT --help` says more. The status is 0 where all is fine, 1 where something was found, "
        "2 for wrong use.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"obskit {__version__}")
    return parser


def _drop_output() -> None:
    """
    Send what is left to nowhere, so that Python does not tell at its end that the reader has gone.
    """
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
