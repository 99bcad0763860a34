"""
Imports point down only: the table below is the law, and these tests are its police.
"""

import ast
import graphlib
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "obskit"

# Level 0 from the ground up: each imports those that stand before it.
GROUND = (
    *(
        "_version",
        "lazy_names",
        "wrapper_signatures",
        "errors",
        "text_table",
        "late_patterns",
        "time",
        "event_loop",
        "sqlite_doctor",
        "forks",
        "correlation_ids",
        "interpreters",
        "background",
        "bounded_calls",
        "http_methods",
        "sparse_field",
        "rows",
        "request_totals",
        "bounded_cache",
        "loss_counts",
        "late_imports",
    ),
    *(
        "file_modes",
        "redaction",
        "settings_arguments",
        "fields",
        "default_service",
        "service_settings",
        "operation",
        "catalogue",
    ),
    *("context", "deferred_endings"),
)
# A part is a name directly under src/obskit: a module or a folder.
# It imports itself, whatever lies on a lower level, and what ALSO adds. Level 5 imports anything.
LEVELS = {
    0: set(GROUND),
    1: {
        *("recorder", "context_manager_entries", "observation", "process_identity", "sigterm", "jobs"),
        *("storage", "workers", "components", "outbound", "event_exchange", "subscribers"),
    },
    2: {
        *(
            "metrics",
            "sinks",
            "db",
            "ai",
            "logs",
            "health",
            "system",
            "web",
            "propagation",
            "signals",
            "rules",
            "alerts",
            "export",
            "history",
        ),
    },
    3: {"settings", "runtime"},
    4: {"integrations"},
    5: {"__init__", "api", "cli", "testing"},  # and every top-level module with a leading underscore
}
TOP = max(LEVELS)
ALSO = {
    **{part: set(GROUND[:place]) for place, part in enumerate(GROUND)},
    "context_manager_entries": {"recorder"},
    "jobs": {"observation", "recorder"},
    "observation": {"recorder", "context_manager_entries"},
    "sigterm": {"recorder"},
    "storage": {"recorder"},
    "components": {"recorder"},
    "event_exchange": {"recorder", "storage", "workers"},
    "subscribers": {"components", "event_exchange", "recorder", "workers"},
    "runtime": {"settings"},
    "workers": {"process_identity", "recorder", "storage", "components"},
    "health": {"system", "ai"},
    "signals": {"metrics"},
    "rules": {"signals"},
    "alerts": {"rules"},
    "export": {"signals", "rules", "metrics"},
    "history": {"metrics", "signals"},
    "web": {"metrics", "health"},
    "sinks": {"metrics", "db", "ai", "health", "history", "system", "logs", "propagation"},
}
# Below level 5, only these import the part.
IMPORTERS = {"sinks": {"sinks", "runtime"}}
# The settings of a folder, whichever it is. They are below all that is in it, and import one part.
SECTION, SECTIONS_IMPORT = "<folder>/settings", "fields"
STDLIB_ONLY = {*LEVELS[0], SECTION}
LIBRARIES = {"time": {"cronsim"}}  # of those, all the same: imported late, and light
# What processes end without, unless it is registered by way of this part.
LAST_STEPS, LAST_STEPS_ONLY_IN = {"atexit"}, "forks"
FRAMEWORKS = {
    *("flask", "werkzeug", "starlette", "fastapi", "django", "asgiref"),
    *("sqlalchemy", "psycopg", "anthropic", "openai", "httpx", "httpx2", "requests", "celery"),
}
FRAMEWORKS_ONLY_IN = "integrations"
CORE = ("context.py", "operation.py", "recorder.py")
CORE_LINES = 400


class Import(NamedTuple):
    """
    One imported dotted name, and the line it stands on.
    """

    name: str
    line: int


def level_of(part: str) -> int | None:
    if part == SECTION:
        return 0
    named = next((level for level, parts in LEVELS.items() if part in parts), None)
    return TOP if named is None and part.startswith("_") else named


def part_of(inside: Path) -> str:
    return SECTION if is_section(inside) else inside.parts[0].removesuffix(".py")


def is_section(inside: Path) -> bool:
    """
    Whether a file declares the settings of its folder, and so lies below all that is in it.
    """
    return len(inside.parts) == 2 and inside.name == "settings.py"


def parts_of(package: Path) -> set[str]:
    return {part_of(path.relative_to(package)) for path in package.rglob("*.py")}


def unknown_names(package: Path) -> list[str]:
    """
    List what the tables name, and `package` does not have.
    """
    named = set().union(*LEVELS.values(), ALSO, *ALSO.values(), IMPORTERS, *IMPORTERS.values())
    return sorted({*named, *(name.removesuffix(".py") for name in CORE)} - parts_of(package))


def modules_of(package: Path) -> dict[str, Path]:
    """
    Find each file by the dotted name of its module.
    """
    named = {}
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package).with_suffix("")
        parts = inside.parts[:-1] if inside.name == "__init__" else inside.parts
        named[".".join(["obskit", *parts])] = path
    return named


def names_in(tree: ast.Module, package: list[str], modules: Iterable[str]) -> Iterator[str]:
    """
    Yield what a file imports ever: in a function, for the type checker, or by `import_module()` of a name.

    Where part of that name is looked up, as in `import_module(f"obskit.{_MODULES[name]}")`, each module counts that a
    text of the file completes it to; and so does each module that `lazy_names()` is given.
    """
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    for node in ast.walk(tree):
        match node:
            case ast.Import() | ast.ImportFrom():
                yield from (imported.name for imported in imports_in(node, package))
            case ast.Call(func=ast.Name("lazy_names"), args=[_, ast.Dict(keys=keys)]):
                yield from (".".join([*package, key.value]) for key in keys if isinstance(key, ast.Constant))
            case ast.Call(
                func=ast.Name("import_module") | ast.Attribute(attr="import_module"), args=[ast.Constant(value=name)]
            ):
                yield name
            case ast.Call(
                func=ast.Name("import_module") | ast.Attribute(attr="import_module"),
                args=[ast.JoinedStr(values=[ast.Constant(value=start), *_])],
            ):
                yield from (name for name in modules if name.startswith(start) and name.removeprefix(start) in texts)


def circle_in(package: Path) -> list[str]:
    """
    Find files that import each other in a circle, as their modules' names from the first to the first again.
    """
    modules = modules_of(package)
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        home = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
        found = graph[module] = set()
        for name in names_in(ast.parse(path.read_text("utf-8")), home, modules):
            target = name if name in modules else name.rpartition(".")[0]
            if target in modules and target != module:
                found.add(target)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


def imports_in(node: ast.AST, package: list[str]) -> Iterator[Import]:
    """
    Yield what the code imports at run time, with relative names made absolute.
    """
    match node:
        case ast.Import(names=names):
            yield from (Import(alias.name, node.lineno) for alias in names)
        case ast.ImportFrom(module=module, names=names, level=dots):
            base = package[: len(package) + 1 - dots] if dots else []
            origin = ".".join([*base, *([module] if module else [])])
            yield from (Import(f"{origin}.{alias.name}", node.lineno) for alias in names)
        case ast.If(test=test, orelse=orelse) if is_type_checking(test):
            for child in orelse:
                yield from imports_in(child, package)
        case _:
            for child in ast.iter_child_nodes(node):
                yield from imports_in(child, package)


def judge(part: str, name: str, parts: set[str]) -> str | None:
    """
    Return which law an import of `name` in `part` breaks, if any.
    """
    top, *rest = name.split(".")
    if top != "obskit":
        if part in STDLIB_ONLY and top not in sys.stdlib_module_names | LIBRARIES.get(part, set()):
            return f"{part} uses the standard library only, not {top}"
        if top in LAST_STEPS and part != LAST_STEPS_ONLY_IN:
            return f"{part} imports {top}: only {LAST_STEPS_ONLY_IN} may, which knows how children end"
        if top in FRAMEWORKS and part != FRAMEWORKS_ONLY_IN:
            return f"{part} imports {top}: only {FRAMEWORKS_ONLY_IN} may"
        return None
    target = rest[0] if rest and rest[0] in parts else "__init__"
    if rest[1:2] == ["settings"]:
        target = SECTION
    if part == SECTION:
        return None if target == SECTIONS_IMPORT else f"{part} imports {target}: it may {SECTIONS_IMPORT} alone"
    level, target_level = level_of(part), level_of(target)
    if target == part or level == TOP or level is None or target_level is None:
        return None
    if part not in IMPORTERS.get(target, {part}):
        return f"{part} imports {target}: only runtime may"
    if target_level < level or target in ALSO.get(part, ()):
        return None
    return f"{part} (level {level}) imports {target} (level {target_level})"


def breaches(package: Path) -> list[str]:
    """
    List every import under `package` that breaks the law, and every name without a place.
    """
    parts = parts_of(package)
    found = [f"{part} has no level" for part in sorted(parts) if level_of(part) is None]
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package)
        part, home = part_of(inside), ["obskit", *inside.parts[:-1]]
        for imported in imports_in(ast.parse(path.read_text("utf-8")), home):
            if verdict := judge(part, imported.name, parts):
                found.append(f"{inside}:{imported.line}: {verdict}")
    return found


def plant(package: Path, **sources: str) -> Path:
    """
    Make a small tree that has every part as an empty module, and these sources.
    """
    for part in (*set().union(*LEVELS.values()), "_start"):
        (package / f"{part}.py").write_text("")
    for name, source in sources.items():
        path = package / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
    return package


def test_imports_point_down():
    """
    No module of the library imports from its own level, or above, what the table does not allow.
    """
    assert breaches(PACKAGE) == []


def test_the_library_is_what_is_checked():
    """
    The folder that is searched holds the library, so finding no breach means something.
    """
    assert {"__init__", "settings", "recorder", "runtime", "integrations"} <= parts_of(PACKAGE)


def test_the_tables_name_what_is_there():
    """
    Each part that the tables place, allow or forbid is a module or a folder of the library.
    """
    assert unknown_names(PACKAGE) == []


def test_the_page_names_each_part():
    """
    The picture of the house in the documentation has every part of the library.
    """
    page = (PACKAGE.parents[1] / "docs" / "explanation" / "architecture.md").read_text("utf-8")
    house = page.partition("## The house")[2].partition("```text\n")[2].partition("```")[0]
    public = {part for part in parts_of(PACKAGE) if re.fullmatch(r"[a-z]\w*", part)}

    assert public - set(re.findall(r"\w+", house)) == set()


def arrows_in(page: str) -> list[tuple[str, str]]:
    """
    Return the arrows that a page draws from part to part.
    """
    drawn = page.partition("## Ways through the house")[2].partition("```text\n")[2].partition("```")[0]
    return re.findall(r"(\w+) -> (\w+)", drawn)


def imports_between_parts(package: Path) -> set[tuple[str, str]]:
    """
    Return each pair of parts of which the first imports the second, be it late.
    """
    modules, found = modules_of(package), set()
    for module, path in modules.items():
        home = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
        part = path.relative_to(package).parts[0].removesuffix(".py")
        for name in names_in(ast.parse(path.read_text("utf-8")), home, modules):
            if name.startswith("obskit."):
                found.add((part, name.split(".")[1]))
    return found


def test_the_page_draws_what_is_imported():
    """
    Each arrow in the documentation is an import, and none is one in the other direction.
    """
    page = (PACKAGE.parents[1] / "docs" / "explanation" / "architecture.md").read_text("utf-8")
    arrows, imports = arrows_in(page), imports_between_parts(PACKAGE)

    assert len(arrows) > 15
    assert [arrow for arrow in arrows if arrow not in imports] == []
    assert [arrow for arrow in arrows if arrow[::-1] in imports] == []


def test_no_files_import_each_other():
    """
    No file imports itself by way of others, be it late, for its types, or by a name that is put together.
    """
    assert circle_in(PACKAGE) == []


def test_core_stays_small():
    """
    The three files of the core have fewer than 400 lines together.
    """
    lines = sum(len((PACKAGE / name).read_text("utf-8").splitlines()) for name in CORE)

    assert lines < CORE_LINES


@pytest.mark.parametrize(
    ("part", "source", "expected"),
    [
        ("errors", "from obskit import settings", "errors (level 0) imports settings (level 3)"),
        ("logs", "from obskit.settings import Settings", "logs (level 2) imports settings (level 3)"),
        ("fields", "from obskit.db.settings import x", "fields (level 0) imports <folder>/settings (level 0)"),
        (
            "db__in__settings",
            "from obskit.ai.settings import x",
            "imports <folder>/settings: it may fields alone",
        ),
        (
            "db__in__settings",
            "from obskit import errors",
            "<folder>/settings imports errors: it may fields alone",
        ),
        ("db__in__settings", "import orjson", "<folder>/settings uses the standard library only, not orjson"),
        ("operation", "from obskit.context import x", "operation (level 0) imports context (level 0)"),
        ("sqlite_doctor", "from obskit.context import x", "sqlite_doctor (level 0) imports context (level 0)"),
        ("sqlite_doctor", "def f():\n from obskit.db import x", "sqlite_doctor (level 0) imports db (level 2)"),
        ("sqlite_doctor", "import orjson", "sqlite_doctor uses the standard library only, not orjson"),
        ("context", "import orjson", "context uses the standard library only, not orjson"),
        ("context", "import cronsim", "context uses the standard library only, not cronsim"),
        ("errors", "from obskit.recorder import x", "errors (level 0) imports recorder (level 1)"),
        ("recorder", "from obskit import observation", "recorder (level 1) imports observation (level 1)"),
        ("db", "import obskit.metrics.cells", "db (level 2) imports metrics (level 2)"),
        ("metrics", "from .runtime import x", "metrics (level 2) imports runtime (level 3)"),
        ("health", "from . import web", "health (level 2) imports web (level 2)"),
        ("web", "from .logs import files", "web (level 2) imports logs (level 2)"),
        ("logs", "from obskit import x", "logs (level 2) imports __init__ (level 5)"),
        ("logs", "import obskit", "logs (level 2) imports __init__ (level 5)"),
        ("runtime", "from . import _start", "runtime (level 3) imports _start (level 5)"),
        ("web", "from . import sinks", "web imports sinks: only runtime may"),
        ("integrations", "from . import sinks", "integrations imports sinks: only runtime may"),
        ("logs", "import atexit", "logs imports atexit: only forks may, which knows how children end"),
        ("errors", "from atexit import register", "only forks may, which knows how children end"),
        ("health", "def f():\n import httpx", "health imports httpx: only integrations may"),
        ("testing", "from django import db", "testing imports django: only integrations may"),
        ("colours", "", "colours has no level"),
    ],
)
def test_a_breach_is_found(tmp_path, part, source, expected):
    """
    Each kind of forbidden import, planted in a small tree, is the one breach that is found.
    """
    [breach] = breaches(plant(tmp_path, **{part: source}))

    assert breach.endswith(expected)


def test_a_breach_is_found_in_a_folder(tmp_path):
    """
    A relative import inside a folder is resolved against that folder, and names file and line.
    """
    package = plant(tmp_path, db__in__summary="from .fingerprint import x\n\nfrom ..web import y")

    assert breaches(package) == ["db/summary.py:3: db (level 2) imports web (level 2)"]


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("context", "import time\nfrom obskit import operation"),
        ("recorder", "from obskit.operation import Event"),
        ("metrics", "import prometheus_client\nfrom obskit import recorder"),
        ("sinks", "from obskit.db.settings import x\nfrom obskit.ai.settings import x"),
        ("ai__in__settings", "import re\nfrom obskit.fields import x"),
        ("web", "from obskit import health, metrics"),
        ("sinks", "from obskit import db, logs, metrics"),
        ("runtime", "from obskit import sinks, web"),
        ("integrations", "import flask\nfrom obskit import runtime"),
        ("_start", "from obskit import integrations, sinks, testing"),
        ("errors", "import typing\nif typing.TYPE_CHECKING:\n from obskit import runtime"),
    ],
)
def test_the_lawful_is_let_through(tmp_path, part, source):
    """
    What the table allows, and imports for the type checker alone, is no breach.
    """
    assert breaches(plant(tmp_path, **{part: source})) == []


@pytest.mark.parametrize(
    ("there", "back"),
    [
        ("from obskit.db import report", "from .advice import x"),
        ("import obskit.db.report", "def f():\n from obskit.db.advice import x"),
        ("from .report import x", "import typing\nif typing.TYPE_CHECKING:\n from .advice import x"),
        ("from . import report", "from importlib import import_module\nimport_module('obskit.db.advice')"),
        ("from .report import x", "import importlib\nM = 'advice'\nimportlib.import_module(f'obskit.db.{M}')"),
        ("from .report import x", "__getattr__, __all__ = lazy_names(globals(), {'advice': ('x',)})"),
    ],
)
def test_a_circle_is_found(tmp_path, there, back):
    """
    Two files that import each other are found, whichever way the second does.
    """
    package = plant(tmp_path, db__in__advice=there, db__in__report=back)

    assert {"obskit.db.advice", "obskit.db.report"} == set(circle_in(package))


def test_a_circle_by_way_of_others_is_found(tmp_path):
    """
    A circle of three folders is found, and starts and ends with the same file.
    """
    package = plant(
        tmp_path, web__in__a="import obskit.ai.b", ai__in__b="import obskit.logs.c", logs__in__c="import obskit.web.a"
    )
    first, *rest = circle_in(package)

    assert first == rest[-1]
    assert {"obskit.ai.b", "obskit.logs.c", "obskit.web.a"} == set(rest)


def test_what_only_goes_down_is_no_circle(tmp_path):
    """
    Two ways to the same file are none, nor is a folder's own map of names.
    """
    package = plant(
        tmp_path,
        db__in____init__="from importlib import import_module\nM = {'f': 'slow'}\nimport_module(f'obskit.db.{M}')",
        db__in__slow="from obskit.db import source, statement",
        db__in__statement="from obskit.db import source",
        db__in__source="from obskit import operation",
    )

    assert circle_in(package) == []


def test_a_name_without_a_part_is_found(tmp_path):
    """
    A part that is gone from the library, and not from the tables, is told.
    """
    package = plant(tmp_path)
    (package / "jobs.py").unlink()

    assert unknown_names(package) == ["jobs"]
