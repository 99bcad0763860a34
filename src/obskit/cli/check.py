"""
Show what obskit has on in an application, and how the folder is in which its processes share their state.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from obskit.cli.applications import load_application
from obskit.cli.services import add_service_arguments, state_folder_of
from obskit.cli.usage import UsageError, print_result
from obskit.errors import ObskitError
from obskit.storage.filesystems import EPHEMERAL, filesystem_of, is_network
from obskit.storage.state_folder import StateFolder

_BROKEN = re.compile(r"\.broken-[0-9-]+$")  # a file of ours that was set aside; what lay beside it has other ends


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """
    Add what can be asked for.
    """
    parser.add_argument(
        "--app",
        metavar="MODULE:NAME",
        help="import this application, as a server does, and say what is on; with `()` at its end it is called first",
    )
    add_service_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(wanted: argparse.Namespace) -> int:
    """
    Print what is on and what was found; return 1 where something was.
    """
    findings: list[str] = []
    if wanted.app is None:
        value: dict[str, Any] = {"state": _state(state_folder_of(wanted), findings)}
    elif wanted.service is not None or wanted.state_dir is not None:
        raise UsageError("--app says which service it is and where its state is: leave --service and --state-dir out")
    else:
        value = _application(wanted, findings)
    value["findings"] = findings
    print_result(wanted, value, _text(value))
    return 1 if findings else 0


def _state(folder: StateFolder, findings: list[str]) -> dict[str, Any]:
    """
    Look at a service's folder; nothing is made.
    """
    occupant = folder.occupant()
    value: dict[str, Any] = {"folder": str(folder.path), "service": folder.service}
    if not folder.path.is_dir():
        return {**value, "is_there": False}
    kind = filesystem_of(folder.path)
    files = [path for path in folder.path.rglob("*") if not path.is_dir() or path.is_symlink()]
    broken = sorted(path.name for path in files if _BROKEN.search(path.name))
    if kind in EPHEMERAL:
        findings.append(f"{folder.path} is on {kind}, and goes with it: set state_dir to a directory that stays")
    if is_network(kind):
        findings.append(f"{folder.path} is on {kind}, of a network: set state_dir to a directory of this machine")
    if broken:
        findings.append(f"{len(broken)} files in {folder.path} were damaged and set aside: {', '.join(broken[:5])}")
    if not os.access(folder.path, os.W_OK | os.X_OK):
        findings.append(f"{folder.path} cannot be written to by this user")
    return {
        **value,
        "is_there": True,
        "project": None if occupant is None else occupant.project,
        "file_system": kind,
        "size_bytes": sum(map(_size, files)),
        "damaged": broken,
    }


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # it has gone meanwhile
        return 0


def _application(wanted: argparse.Namespace, findings: list[str]) -> dict[str, Any]:
    """
    Import an application, look at the runtime that it has configured, and end that.
    """
    from obskit.runtime import current_runtime, shutdown

    with redirect_stdout(sys.stderr):  # what it prints, its lines among that, is not the result
        try:
            load_application(wanted.app)
            runtime = current_runtime()
            if runtime is None:
                findings.append("nothing is on: the application does not call obskit.instrument() or configure()")
                return {"application": None}
            return _runtime(runtime, findings)
        except (UsageError, KeyboardInterrupt):
            raise
        except ObskitError as error:
            findings.append(f"it does not start: {type(error).__name__}: {error}")
        except BaseException as error:
            findings.append(f"it cannot be imported: {type(error).__name__}: {error}")
        finally:
            shutdown()
    return {"application": None}


def _runtime(runtime: Any, findings: list[str]) -> dict[str, Any]:
    from obskit.health.registry import registry

    settings = runtime.settings
    if not settings.enabled:
        findings.append("obskit is off: enabled=False (OBSKIT_ENABLED)")
    routes = sorted(runtime.routes.paths)
    restricted = bool(settings.metrics_token or settings.metrics_networks)
    return {
        "application": {
            "service": settings.service,
            "namespace": settings.namespace,
            "version": settings.version,
            "environment": settings.environment,
            "enabled": settings.enabled,
            "routes": routes,
            "metrics_access": ("restricted" if restricted else "everyone") if settings.metrics_path in routes else None,
            "hooks": sorted(runtime.hooks),
            "not_timed": sorted(runtime.without_hook),
            "health_checks": sorted(registry.checks),
        },
        "state": _state(StateFolder(settings.state_dir, settings.service), findings),
    }


def _text(value: dict[str, Any]) -> str:
    """
    Lay a result out for people.
    """
    lines = []
    for section in ("application", "state"):
        if fields := value.get(section):
            lines.append(section)
            lines += [f"  {name.replace('_', ' '):15}{_shown(field)}" for name, field in fields.items()]
    findings = [f"  {finding}" for finding in value["findings"]]
    return "\n".join([*lines, *(["findings", *findings] if findings else ["nothing was found"])])


def _shown(field: Any) -> str:
    if isinstance(field, list):
        return ", ".join(field) or "-"
    if isinstance(field, bool):
        return "yes" if field else "no"
    return "-" if field is None else str(field)
