"""
Write docs/reference/ from the code: settings, metrics, errors, log fields, events, names, the listing of them all, and
which of them are stable.

    python scripts/reference.py            write the pages
    python scripts/reference.py --check    fail where a page is not what would be written
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import stability
import surface

import obskit
import obskit.ai
import obskit.alerts
import obskit.db
import obskit.export
import obskit.history
import obskit.logs
import obskit.metrics
import obskit.signals
import obskit.testing
from obskit import catalogue, errors
from obskit.catalogue import Metric
from obskit.catalogue.events import EVENTS
from obskit.catalogue.spec import UNITS
from obskit.fields import default_of
from obskit.metrics import family
from obskit.rows.ai_calls import AI
from obskit.rows.field import Field
from obskit.rows.functions import FUNCTION, JOB
from obskit.rows.lines import LEFT_OUT, LINE
from obskit.rows.queries import DATABASE
from obskit.rows.requests import HTTP
from obskit.settings import SECTIONS, Settings

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
COMMAND = "python scripts/reference.py"
NOTICE = f"<!-- Written by `{COMMAND}` from the code. Do not edit. -->\n"

# Methods of metrics that the collector calls, and users do not.
MACHINERY = {
    *("cell", "cell_for", "check_label_names", "clear", "items", "keys_and_cells", "move_to"),
    *("fine_bounds_of", "record_exemplar", "remove", "replace"),
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """
    Write a Markdown table; a pipe in a cell is escaped.
    """
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def sentences(text: str) -> str:
    """
    Put each sentence of a wrapped paragraph on a line of its own.
    """
    return re.sub(r"(?<=[a-z0-9)`\]][.!?]) (?=[A-Z`])", "\n", " ".join(text.split())) + "\n"


# Pages


def settings() -> str:
    tables = ""
    for section in SECTIONS:
        rows = [
            (code(field.name), shown_default(default_of(field)), variable(field), meaning_of(field))
            for field in fields(section)
        ]
        tables += f"## {section.subject}\n\n" + table(("setting", "default", "variable", "meaning"), rows) + "\n"
    return (
        "# Settings\n\n"
        "Give them to `obskit.instrument()` or `obskit.configure()`, or set the variable.\n"
        "Arguments beat variables, and variables beat defaults; all are read once, at `configure()`.\n"
        "An unknown argument, or a value of the wrong type or range, is a "
        "[`ConfigurationError`](errors.md#configurationerror).\n"
        "An unknown `OBSKIT_*` variable is one warning.\n"
        "Both name the nearest setting.\n\n" + tables + "## How values are written\n\n"
        "In variables, flags are `1`/`0`, `true`/`false`, `yes`/`no` or `on`/`off`, lists are comma-separated, "
        "mappings are JSON objects, and `none` is `None`.\n"
        "A length of time is a text with its unit, such as `90s`, `15m`, `12h` or `30d`, or a `timedelta`.\n"
        "A secret may be `file:` and the absolute path of a file that has it, such as `file:/run/secrets/token`; one "
        "line end at its end is not part of it.\n"
        "No error and no `repr()` shows a secret.\n"
    )


def meaning_of(field: Any) -> str:
    secret = " A secret." if field.metadata["secret"] else ""
    return f"{field.metadata['doc']}{secret}{mark('settings', field.name)}"


def shown_default(value: Any) -> str:
    if isinstance(value, tuple) and value:
        return ", ".join(code(item) if isinstance(item, str) else f"{item:g}" for item in value)
    return code(repr(value)) if value != "" else ""


def variable(field: Any) -> str:
    kind = field.metadata["env"]
    if kind is None:
        return "none"
    return code("OBSKIT_" + field.name.upper()) + {"list": " (list)", "json": " (JSON)"}.get(kind, "")


def metrics() -> str:
    text = (
        "# Metrics\n\n"
        'The names are those without a namespace: `namespace="shop"` makes `http_requests_total` '
        "`shop_http_requests_total`.\n"
        "[`metric_names`](settings.md) renames a metric, or leaves it out; `metric_labels` renames labels, and "
        "`metric_buckets` gives a histogram other bounds.\n"
        "`endpoint` is the route template as the framework writes it, with a leading slash, or `<unmatched>`.\n"
        "`workers` says how the figures of several workers make one: their sum, the least, the greatest or the latest "
        "of them, or one figure that all of them read alike, of the machine or of a file.\n"
        "[What is counted](../explanation/what-is-counted.md) says when, and what the caps do.\n"
    )
    for name in catalogue.__all__:
        module = getattr(catalogue, name)
        if isinstance(module, ModuleType):
            text += f"\n## {name}\n\n{sentences(inspect.getdoc(module) or '')}\n"
            text += table(("metric", "type", "unit", "workers", "labels", "meaning"), map(metric_row, module.METRICS))
    histograms = [metric for metric in catalogue.CATALOGUE if metric.kind == "histogram"]
    text += "\n## Buckets\n\nUpper bounds; `+Inf` follows.\n\n"
    text += table(("histogram", "bounds"), ((code(metric.name), bounds(metric)) for metric in histograms))
    text += "\n## Units\n\nAn application's own metrics may have [others](../how-to/own-metrics.md).\n\n"
    text += table(("unit", "meaning"), UNITS.items())
    text += "\n## States\n\nWhat the numbers of a state stand for.\n\n"
    states = [metric for metric in catalogue.CATALOGUE if metric.values]
    return text + table(("metric", "values"), ((code(metric.name), shown_values(metric)) for metric in states))


def shown_values(metric: Metric) -> str:
    return ", ".join(f"{value:g} {word}" for value, word in metric.values)


def metric_row(metric: Metric) -> tuple[str, ...]:
    meaning = metric.help.rstrip(".") + f" ({metric.note})." if metric.note else metric.help
    workers = "one figure" if metric.is_shared else metric.workers
    labels = ", ".join(map(code, metric.labels))
    return code(metric.name), metric.kind, metric.unit, workers, labels, meaning + mark("metrics", metric.name)


def bounds(metric: Metric) -> str:
    setting = f"{metric.name.partition('_')[0].replace('database', 'db')}_buckets"
    known = {field.name: field for field in fields(Settings)}
    given = metric.buckets or default_of(known[setting])
    return ", ".join(f"{bound:.9g}" for bound in given) + ("" if metric.buckets else f" (setting `{setting}`)")


def error_page() -> str:
    tree = inspect.getdoc(errors).partition("\n\n")[2]  # type: ignore[union-attr]
    classes = [cls for cls in vars(errors).values() if inspect.isclass(cls)]
    text = (
        "# Errors\n\n"
        "Each mistake has a class of its own in `obskit.errors`.\n"
        "A message says what was asked, what was found, and what to do.\n"
        "Configuration errors are raised at `configure()` and `instrument()`, never in a request.\n\n"
        f"```text\n{inspect.cleandoc(tree)}\n```\n"
    )
    return text + "".join(f"\n## {cls.__name__}\n\n{sentences(inspect.getdoc(cls) or '')}" for cls in classes)


def log_fields() -> str:
    fields = (*LINE, *HTTP.on_lines(), LEFT_OUT)
    rows = [(code(field.line), field.on, field.meaning) for field in fields]
    return (
        "# Log fields\n\n"
        "Each line is one JSON object.\n"
        "These names are reserved: a field of the application's that has one of them becomes `extra_<name>`.\n"
        "[`log_names`](settings.md) renames a field, or leaves it out.\n\n"
        + table(("field", "lines", "meaning"), rows)
        + "\nAn access line is `ERROR` from status 500 up, else `WARNING` where it took longer than `slow_request_ms`, "
        "else `INFO`.\n\n"
        "Some lines have more, under names that are not reserved: `stack` where a logger was asked for it, "
        "`level_name` where the level is an application's own, `file` on a warning, `task` and `task_id` in a Celery "
        "task.\n"
        "`log_callsite` adds `module`, `function`, `line`, `thread` and `process`, which are reserved then.\n"
        "`log_category` adds `category`, which is reserved then.\n"
        "[`log_schema`](settings.md) writes them all under the names of another schema.\n"
    )


def span_attributes() -> str:
    text = (
        "# Span attributes\n\n"
        "A field that an operation does not have is left out.\n"
        "`op.extra`, and fields of `obskit.bind()` that are strings or numbers, become attributes under their own "
        "names.\n"
        "[Trace requests](../how-to/tracing.md) says how spans are named, and when they are errors.\n"
    )
    for kind in (HTTP, FUNCTION, JOB, DATABASE, AI):
        fields = sorted((field for field in kind.fields if field.span), key=lambda field: field.span)
        rows = [(code(field.span), field.type.__name__, shown_meaning(field)) for field in fields]
        text += f"\n## {kind.kind[0].upper()}{kind.kind[1:]}\n\n" + table(("attribute", "type", "meaning"), rows)
    return text


def shown_meaning(field: Field) -> str:
    """
    Return a field's meaning; what it says of a line's form does not hold for a span.
    """
    return field.meaning + (" Samplers see it." if field.at_begin else "")


def api() -> str:
    text = "# Names\n\n## obskit\n\nEach is imported when it is first used.\n"
    names = [name for name in obskit.__all__ if not name.startswith("__")]
    for name in sorted(names, key=str.lower):
        thing = getattr(obskit, name)
        has_page = thing is Settings or (inspect.isclass(thing) and issubclass(thing, Exception))
        is_made = name not in ("Gate", "Request")
        text += linked(name) if has_page else described(f"obskit.{name}", thing, made_by_users=is_made)
    text += "\n## What counter(), gauge() and histogram() give\n"
    for cls in (family.Counter, family.Gauge, family.Histogram):
        text += described(cls.__name__, cls, made_by_users=False)
    text += "\n## obskit.logs\n\n" + docstring(inspect.getdoc(obskit.logs) or "")
    for name in obskit.logs.__all__:
        text += f"\n### obskit.logs.{name}\n\n" + docstring(inspect.getdoc(getattr(obskit.logs, name)) or "")
    text += "\n## obskit.ai\n\n" + docstring(inspect.getdoc(obskit.ai) or "")
    for name in obskit.ai.__all__:
        thing = getattr(obskit.ai, name)
        text += described(f"obskit.ai.{name}", thing, made_by_users=name == "Price" or not inspect.isclass(thing))
    text += "\n## obskit.db\n\n" + docstring(inspect.getdoc(obskit.db) or "")
    for name in obskit.db.__all__:
        thing = getattr(obskit.db, name)
        text += described(f"obskit.db.{name}", thing, made_by_users=not inspect.isclass(thing))
    text += "\n## obskit.health\n\n" + docstring(inspect.getdoc(obskit.health) or "")
    for name in sorted(obskit.health.__all__, key=str.lower):
        thing = getattr(obskit.health, name)
        text += described(f"obskit.health.{name}", thing, made_by_users=name != "Heartbeat")
    text += "\n## obskit.history\n\n" + docstring(inspect.getdoc(obskit.history) or "")
    for name in sorted(obskit.history.__all__, key=str.lower):
        thing = getattr(obskit.history, name)
        text += described(f"obskit.history.{name}", thing, made_by_users=not inspect.isclass(thing))
    text += "\n## obskit.metrics\n\n" + docstring(inspect.getdoc(obskit.metrics) or "")
    for name in obskit.metrics.__all__:
        thing = getattr(obskit.metrics, name)
        text += described(f"obskit.metrics.{name}", thing, made_by_users=not inspect.isclass(thing))
    text += "\n## obskit.alerts\n\n" + docstring(inspect.getdoc(obskit.alerts) or "")
    for name in sorted(obskit.alerts.__all__, key=str.lower):
        text += described(f"obskit.alerts.{name}", getattr(obskit.alerts, name), made_by_users=name != "Rule")
    text += "\n## obskit.export\n\n" + docstring(inspect.getdoc(obskit.export) or "")
    for name in sorted(obskit.export.__all__, key=str.lower):
        text += described(f"obskit.export.{name}", getattr(obskit.export, name))
    text += "\n## obskit.signals\n\n" + docstring(inspect.getdoc(obskit.signals) or "")
    for name in sorted(obskit.signals.__all__, key=str.lower):
        thing = getattr(obskit.signals, name)
        made_by_users = name == "MemorySamples" or not inspect.isclass(thing)
        text += described(f"obskit.signals.{name}", thing, made_by_users=made_by_users)
    text += "\n## obskit.system\n" + described("obskit.system.snapshot", obskit.system.snapshot)
    text += "\n## obskit.testing\n\n" + docstring(inspect.getdoc(obskit.testing) or "")
    for name in surface.names_of(obskit.testing):
        text += described(f"obskit.testing.{name}", getattr(obskit.testing, name))
    return text


def linked(name: str) -> str:
    page = (
        "[Settings](settings.md) lists its fields" if name == "Settings" else f"See [Errors](errors.md#{name.lower()})"
    )
    return f"\n### obskit.{name}\n\n{page}.\n"


def described(title: str, thing: Any, *, made_by_users: bool = True) -> str:
    """
    Write a function's or class's section: signature, docstring, and a class' public methods.
    """
    head = signature(title, thing) + "\n" if made_by_users else ""
    marked = mark("names", title).strip()
    head += f"{marked}\n\n" if marked else ""
    text = f"\n### {title}\n\n" + head + docstring(inspect.getdoc(thing) or "")
    if inspect.isclass(thing):
        for name, method in inspect.getmembers(thing, inspect.isfunction):
            if not name.startswith("_") and name not in MACHINERY:
                text += f"\n#### {title}.{name}\n\n" + signature(f"{title}.{name}", method) + "\n"
                text += docstring(inspect.getdoc(method) or "")
    return text


def mark(part: str, name: str) -> str:
    """
    Write the mark of a provisional name, for a cell of a table; nothing of a stable one.
    """
    return "" if stability.reason(part, name) is None else " [Provisional](stability.md)."


def signature(title: str, thing: Any) -> str:
    found = str(inspect.signature(thing))
    bare = re.sub(r"""((?:: |-> ))(["'])(.*?)\2(?=,|\)|$| = )""", r"\1\3", found)
    return f"```text\n{title}{re.sub(r'^[(]self(, )?', '(', bare)}\n```\n"


def docstring(text: str) -> str:
    """
    Turn a docstring into Markdown: paragraphs, and a list for each of its sections.
    """
    parts = []
    for paragraph in re.split(r"\n\n+", text):
        title, _, body = paragraph.partition("\n")
        if re.fullmatch(r"(Args|Returns|Raises|Attributes):", title):
            parts.append(f"{title}\n\n" + "".join(map(bullet, re.split(r"\n(?=    \S)", "\n" + body)[1:])))
        elif paragraph.startswith("    "):
            parts.append(f"```text\n{inspect.cleandoc(paragraph)}\n```\n")
        else:
            parts.append(sentences(paragraph))
    return "\n".join(parts)


def bullet(entry: str) -> str:
    name, colon, meaning = " ".join(entry.split()).partition(": ")
    text = f"{code(name)}: {meaning}" if colon and re.fullmatch(r"[*\w, ]+", name) else " ".join(entry.split())
    return "- " + sentences(text).replace("\n", "\n  ").rstrip() + "\n"


@cache
def event_page() -> str:
    rows = [
        (code(kind.name), ", ".join(map(code, kind.levels)), ", ".join(map(code, kind.fields)), kind.meaning)
        for kind in EVENTS.values()
    ]
    fields = sorted({(name, meaning) for kind in EVENTS.values() for name, meaning in kind.fields.items()})
    by_name: dict[str, list[str]] = {}
    for name, meaning in fields:
        by_name.setdefault(name, []).append(meaning)
    return (
        "# Events\n\n"
        "An event is a fact without a duration.\n"
        "Each is a line of the logger `obskit.` and its first word, with the event's message and fields, and sinks get "
        "it in `emit()`.\n"
        "Not every event has all of its fields.\n\n"
        + table(("event", "level", "fields", "meaning"), rows)
        + "\n## Fields\n\n"
        + table(("field", "meaning"), ((code(name), " ".join(meanings)) for name, meanings in by_name.items()))
    )


def listing() -> str:
    return surface.listing({name: write() for name, write in PAGES.items() if write not in (listing, stable_page)})


def stable_page() -> str:
    return stability.page(listing())


PAGES = {
    "settings.md": settings,
    "metrics.md": metrics,
    "errors.md": error_page,
    "log-fields.md": log_fields,
    "span-attributes.md": span_attributes,
    "events.md": event_page,
    "api.md": api,
    "surface.txt": listing,
    "stability.md": stable_page,
}


def stale(folder: Path) -> list[str]:
    """
    List the pages of a folder that are not what the code says.
    """
    return [
        name
        for name, write in PAGES.items()
        if not (folder / name).is_file() or (folder / name).read_text("utf-8") != NOTICE + write()
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is stale")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the pages are")
    asked = parser.parse_args(arguments)
    found = stale(asked.folder)
    if asked.check and found:
        print(f"stale: {', '.join(found)} in docs/reference; run: {COMMAND}", file=sys.stderr)
        return 1
    for name in () if asked.check else found:
        (asked.folder / name).write_text(NOTICE + PAGES[name](), "utf-8")
        print(f"written: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
