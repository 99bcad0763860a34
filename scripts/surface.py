"""
List what applications build on, one thing a line, so that the diff of a change shows it.

It is read at the public door alone: names, the pages of the reference, events as they are made; never where a thing
lies. `scripts/reference.py` writes it.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import obskit
from obskit.catalogue.events import EVENTS

Pages: TypeAlias = Mapping[str, str]

ROOT = Path(__file__).parents[1]
HEAD = "# What applications build on: a line that changes here changes for users.\n"

# Modules that are read whole; what else is public is what the pages of docs/ import or name.
DOORS = (
    "obskit",
    *(
        f"obskit.{part}"
        for part in (
            "ai",
            "alerts",
            "db",
            "errors",
            "export",
            "health",
            "history",
            "logs",
            "metrics",
            "signals",
            "system",
            "testing",
        )
    ),
)
NAMED = re.compile(r"(?:from (obskit\.integrations[a-z_.]*) import (\w+)|(obskit\.integrations\.[A-Za-z_.]+\w))")
OBJECT = re.compile(r"<[^<>]* at 0x[0-9a-f]+>")


# Names


def names(pages: Pages) -> list[str]:
    """
    List functions with their signatures, classes with their members, and values.
    """
    lines: list[str] = []
    for door in DOORS:
        module = import_module(door)
        for name in names_of(module):
            thing, title = getattr(module, name), f"{door}.{name}"
            if inspect.isclass(thing):
                lines += class_lines(title, thing, pages)
            else:
                lines.append(called(title, thing) if callable(thing) else title)
    return sorted({*lines, *integrations()}) + sorted(handles(pages))


def names_of(module: ModuleType) -> list[str]:
    """
    List what a module offers: its `__all__`, or what it, or a folder that it is the door of, defines.
    """
    offered = getattr(module, "__all__", None)
    if offered is not None:
        return list(offered)
    return [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and is_of(module, str(getattr(thing, "__module__", None)))
    ]


def is_of(module: ModuleType, home: str) -> bool:
    of_testing = home.startswith("obskit._contracts.") or home in ("obskit.rules.replaying", "obskit._moved_clock")
    return home == module.__name__ or (module.__name__ == "obskit.testing" and of_testing)


def class_lines(title: str, cls: type, pages: Pages) -> Iterator[str]:
    bases = [base.__name__ for base in cls.__mro__[1:] if base.__module__ == "builtins" or base in errors()]
    yield f"{title}: class({', '.join(bases[:-1])})"
    if cls is obskit.Settings:  # whose fields have a part of their own
        return
    if f"```text\n{title}(" in pages["api.md"]:  # else applications are given them
        yield called(title, cls)
    for part in cls.__mro__:
        if part.__module__.startswith("obskit"):
            yield from members(title, cls, part)


def errors() -> set[type]:
    return {thing for thing in vars(import_module("obskit.errors")).values() if inspect.isclass(thing)}


def members(title: str, cls: type, part: type) -> Iterator[str]:
    """
    Yield what a class has of its own, or from a base of obskit's.
    """
    narrower = cls.__mro__[: cls.__mro__.index(part)]
    for name, kind in inspect.get_annotations(part).items():
        if not name.startswith("_") and not any(name in inspect.get_annotations(sub) for sub in narrower):
            yield f"{title}.{name}: {plain(str(getattr(kind, '__forward_arg__', kind)))}"
    for name, member in vars(part).items():
        if name.startswith("_"):
            continue
        if inspect.isfunction(member):
            yield called(f"{title}.{name}", member)
        elif isinstance(member, (staticmethod, classmethod)):
            yield called(f"{title}.{name}", getattr(cls, name))
        elif isinstance(member, property):
            yield f"{title}.{name}: {plain(str(inspect.get_annotations(member.fget).get('return', 'Any')))}"


def handles(pages: Pages) -> Iterator[str]:
    """
    Yield what is said in api.md of objects that functions return and no door names, such as `Counter`.
    """
    for title, shown in re.findall(
        r"^###+ ([A-Z]\w+(?:\.\w+)?)\n\n(?:```text\n(.*)\n```)?", pages["api.md"], re.MULTILINE
    ):
        yield plain(shown) or f"{title}: class()"


def called(title: str, thing: Any) -> str:
    found = re.sub(r"^\(self(, )?", "(", str(inspect.signature(thing)))
    return f"{title}{plain(OBJECT.sub('...', found))}"


def plain(text: str) -> str:
    """
    Take the quotes off annotations, and folders off names.
    """
    text = re.sub(r"""((?:: |-> ))(["'])(.*?)\2(?=,|\)|$| = )""", r"\1\3", text)
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", text)


def integrations() -> Iterator[str]:
    """
    Yield the integrations that pages tell applications to import; their libraries may not be here, so they are not.
    """
    for path in sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]):
        for module, name, dotted in NAMED.findall(path.read_text("utf-8")):
            whole = dotted or f"{module}.{name}"
            if not is_there(whole):
                raise SystemExit(f"scripts/surface.py: {path.name} names {whole}, which is not there")
            yield whole


def is_there(dotted: str) -> bool:
    source = source_of(dotted)
    if source is not None:
        return True
    module, _, name = dotted.rpartition(".")
    source = source_of(module)
    return source is not None and name in bound_in(ast.parse(source.read_text("utf-8")))


def source_of(module: str) -> Path | None:
    """
    Find a module's file, without importing it or its folder.
    """
    path = Path(str(find_spec("obskit").origin)).parent.joinpath(*module.split(".")[1:])  # type: ignore[union-attr]
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def bound_in(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.ImportFrom(names=aliases):
                found |= {alias.asname or alias.name for alias in aliases}
    return found


# Settings, metrics, lines: as their pages have them, which another script writes from the code.


def rows_of(page: str) -> Iterator[list[str]]:
    """
    Yield the rows of a page's tables that are about one thing: those that begin with a name in backquotes.
    """
    for line in page.splitlines():
        if line.startswith("| `"):
            yield [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def bare(text: str) -> str:
    return text.replace("`", "")


def settings(pages: Pages) -> list[str]:
    types = {field.name: plain(str(field.type)) for field in fields(obskit.Settings)}
    return sorted(
        f"{bare(name)}: {types[bare(name)]} = {bare(default) or repr('')}, {bare(variable)}"
        for name, default, variable, *_ in rows_of(pages["settings.md"])
    )


def metrics(pages: Pages) -> list[str]:
    rows = list(rows_of(pages["metrics.md"]))
    bounds = {bare(row[0]): row[1] for row in rows if len(row) == 2}
    return sorted(
        f"{bare(row[0])}: {row[1]} {{{bare(row[4])}}}"
        + (f" at {bounds[bare(row[0])]}" if row[1] == "histogram" else "")
        for row in rows
        if len(row) == 6
    )


def line_fields(pages: Pages) -> list[str]:
    return sorted(f"{bare(name)}: {lines}" for name, lines, *_ in rows_of(pages["log-fields.md"]))


# Events


def events(_: Pages) -> list[str]:
    """
    List the events that obskit makes, with their severity where that is fixed.
    """
    return sorted(
        f"{kind.name}: {kind.levels[0] if len(kind.levels) == 1 else 'by its figures'}" for kind in EVENTS.values()
    )


# The listing

PARTS = {"names": names, "settings": settings, "metrics": metrics, "events": events, "line fields": line_fields}


def part(title: str, lines: Iterable[str]) -> str:
    return f"\n[{title}]\n" + "".join(f"{line}\n" for line in lines)


def listing(pages: Pages) -> str:
    """
    Write the listing.

    Args:
        pages: File name to text, of the other pages of the reference.
    """
    return HEAD + "".join(part(title, lines(pages)) for title, lines in PARTS.items())
