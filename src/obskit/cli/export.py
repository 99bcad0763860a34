"""
Write files for other systems from what an application knows of itself. It is imported; nothing is served.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path

from obskit.cli.applications import load_application
from obskit.cli.usage import UsageError, print_result
from obskit.errors import ObskitError

KINDS = ("prometheus",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add what can be written, and how.
    """
    parser.add_argument("kind", choices=KINDS, help="for which system")
    parser.add_argument("--app", metavar="MODULE:NAME", required=True, help="import this application, as a server does")
    parser.add_argument("-o", "--output", metavar="DIRECTORY", required=True, help="where the files go, or are")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 and a diff where files differ")
    parser.add_argument("--target", metavar="VERSION", default="2.42", help="of the oldest server that reads the files")
    parser.add_argument(
        "--scrape",
        metavar="HOST:PORT",
        action="append",
        help="where an instance is, once each; default: localhost:8000",
    )
    parser.add_argument("--tls", action="store_true", help="read the metrics page by https")
    parser.add_argument(
        "--with", metavar="NAME,...", dest="companions", default="", help="exporters beside it, such as node,postgres"
    )
    parser.add_argument(
        "--runbooks-url", metavar="URL", default="runbooks", help="where the folder runbooks/ is published"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(wanted: argparse.Namespace) -> int:
    """
    Write the files, or compare them with those that are there; return 1 where they differ or cannot be written.
    """
    from obskit.export.for_prometheus import prometheus_difference, write_files
    from obskit.runtime import shutdown

    output = Path(wanted.output).absolute()  # before the application is imported, which may go elsewhere
    with redirect_stdout(sys.stderr):  # what the application prints is not the result
        try:
            files = _files(wanted)
        except (UsageError, KeyboardInterrupt):
            raise
        except ObskitError as error:
            raise UsageError(f"{type(error).__name__}: {error}") from None
        except BaseException as error:
            print(f"obskit: it cannot be imported: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
        finally:
            shutdown()
    try:
        if wanted.check:
            told = prometheus_difference(output, files)
            print_result(wanted, {"stale": bool(told), "difference": told}, told.rstrip("\n") or "nothing has changed")
            return 1 if told else 0
        paths = [str(Path(wanted.output) / path.relative_to(output)) for path in write_files(output, files)]
    except OSError as error:
        raise UsageError(f"-o {wanted.output}: {error.strerror or error}: {error.filename or output}") from None
    print_result(wanted, {"files": paths}, "\n".join(paths))
    return 0


def _files(wanted: argparse.Namespace) -> dict[str, str]:
    from obskit.export.for_prometheus import prometheus_files

    load_application(wanted.app)
    companions = [name for name in wanted.companions.split(",") if name]
    targets = wanted.scrape or ["localhost:8000"]
    return prometheus_files(targets, wanted.tls, companions, wanted.target, wanted.runbooks_url)
