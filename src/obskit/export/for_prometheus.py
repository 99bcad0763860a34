"""
Everything that a Prometheus server needs to watch an application: what to read, rules, their tests, and runbooks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from obskit.errors import ExportError
from obskit.export.directory import difference, write
from obskit.export.objective_files import recorded_files
from obskit.export.rule_files import FOLDER, HEAD, commented, rule_files
from obskit.export.runbooks import runbooks
from obskit.export.scrape import COMPANIONS, Scrape, scrape_configuration
from obskit.export.target import OLDEST, check_target
from obskit.export.waiting import waiting_text
from obskit.export.written import written_rules
from obskit.rules import objectives
from obskit.signals.page import Page, configured_page

_is_target = re.compile(r"\A(?:[^\s/:@]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}\Z").match


def prometheus(
    directory: str | os.PathLike[str],
    *,
    targets: Sequence[str] = ("localhost:8000",),
    tls: bool = False,
    companions: Sequence[str] = (),
    target: str = OLDEST,
    runbooks_url: str = "runbooks",
) -> list[Path]:
    """
    Write what a Prometheus server needs to watch this application.

    It is `prometheus.yml`, `rules/` with a file of rules and one of their tests for each area, `runbooks/` with a page
    for each alert, and `waiting.json`, which lists what has no figures before something happens. The same application
    gives the same bytes. What an earlier call wrote, and this one does not, is removed.

    Args:
        directory: Made where it is not there.
        targets: Host and port of each instance.
        tls: Whether the page is read by https.
        companions: Exporters beside it that are read as well: `cadvisor`, `haproxy`, `nginx`, `node`, `postgres`,
            `redis`.
        target: The oldest version of Prometheus that is to read it, from `"2.42"`.
        runbooks_url: Where `runbooks/` is published; alerts link to the pages below.

    Returns:
        The files.

    Raises:
        ExportError: Nothing is configured, metrics are off, or an argument has no meaning.
        SignalError: An own rule asks for what the page leaves out.
    """
    files = prometheus_files(targets, tls, companions, target, runbooks_url)
    return write_files(directory, files)


def write_files(directory: str | os.PathLike[str], files: dict[str, str]) -> list[Path]:
    """
    Write files, as `prometheus()` does, and return their paths.
    """
    return write(Path(directory), files, HEAD)


def prometheus_difference(directory: str | os.PathLike[str], files: dict[str, str]) -> str:
    """
    Return how a directory differs from files; empty where it does not.
    """
    return difference(Path(directory), files, HEAD)


def prometheus_files(
    targets: Sequence[str],
    tls: bool,
    companions: Sequence[str],
    target: str,
    runbooks_url: str,
) -> dict[str, str]:
    """
    Return the files by path, as `prometheus()` writes them.
    """
    check_target(target)
    scrape = Scrape(_targets(targets), bool(tls), _companions(companions))
    page = _page()
    rules, left_out = written_rules(page)
    return {
        "prometheus.yml": commented(scrape_configuration(scrape, page, [f"{FOLDER}/*.rules.yml"])),
        **rule_files(rules, page, runbooks_url.rstrip("/")),
        **recorded_files(objectives.declared.values(), page),
        **runbooks(rules, left_out, page),
        "waiting.json": waiting_text(rules),
    }


def _page() -> Page:
    page = configured_page()
    if page is None:
        raise ExportError(
            "there are no metrics to write about: call obskit.instrument() or configure() first, with metrics=True"
        )
    return page


def _targets(given: object) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ExportError(f"targets={given!r}: expected a list, such as ['localhost:8000']")
    targets = tuple(map(str, given))
    for it in targets:
        if not _is_target(it):
            raise ExportError(f"targets has {it!r}: expected host and port, such as 'localhost:8000'")
    if not targets:
        raise ExportError("targets is empty: name where the page is, such as ['localhost:8000']")
    return targets


def _companions(given: object) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ExportError(f"companions={given!r}: expected a list, such as ['node']")
    for name in (names := tuple(map(str, given))):
        if name not in COMPANIONS:
            near = get_close_matches(name, COMPANIONS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMPANIONS)}"
            raise ExportError(f"companions has {name!r}, which is not known; {hint}")
    return names
