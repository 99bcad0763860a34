"""
Prove that what docs/how-to/migrate.md ends with puts out the names that it starts from, and what dashboards ask for.
"""

import json
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import fields
from functools import reduce

import pytest
from dashboards import GATE_EXPRESSIONS, GATE_METRICS, SHOP_EXPRESSIONS, SHOP_METRICS, TO_COME
from pages import ROOT, Page

import obskit
import servers
from obskit.catalogue import CATALOGUE
from obskit.settings import Settings

PAGE = Page(ROOT / "docs" / "how-to" / "migrate.md")
ASK = """
import sys
from importlib import import_module

client = import_module(sys.argv[1]).app.test_client()
client.post("/orders/7", headers={"X-Request-ID": "r-1"})
assert client.get("/health").status_code == 200
open(sys.argv[1] + ".page", "w").write(client.get("/metrics").text)
"""

VISIT = """
import sys
from importlib import import_module

client = import_module(sys.argv[1]).app.test_client()
for path in sys.argv[3:]:
    method, path = path.split(" ")
    client.open(path, method=method)
page, asked = "", 0
while not all(f"{name}" in page for name in sys.argv[2].split()):  # what other threads bring
    page, asked = client.get("/metrics").text, asked + 1
    assert asked < 10_000, page
print(page, file=sys.stderr)
"""
SHOP_VISITS = [
    *("GET /health", "POST /orders/new", "POST /planograms/m-1", "POST /planograms/none"),
    *("POST /login/flora", "POST /login/mallory"),
]
GATE_VISITS = ["GET /health", "GET /plates/b-7", "GET /plates/ö", "GET /admin"]

RULES = {
    block.file: dict(re.findall(r"record: (\S+)\n +expr: (.+)", block.text)) for block in PAGE.of("yaml") if block.file
}
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.prose.splitlines() if "|" in line]
NAMES = next(
    {name: row for row in ROWS[start:] for name in re.findall(r"`(\w+)(?:\{[^`]*\})?`", row[0])}
    for start, row in enumerate(ROWS)
    if row[0] == "yours"
)

# PromQL, as far as it is needed to know what an expression asks for.
_strings = re.compile(r'"[^"]*"')
_selector = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{([^}]*)\})?(?=[\s)\[]|$)")
_matcher = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
_grouping = re.compile(r"\b(?:by|without) \(([^)]*)\)")
_WORDS = {"by", "without", "or", "and", "sum", "rate", "absent"}


def selectors(expression):
    """
    List the selectors of an expression: name, and matchers.
    """
    plain = _grouping.sub("", expression)
    found = [m for m in _selector.finditer(plain) if m[1] not in _WORDS and not m[1].isdecimal()]
    return [(m[1], _matcher.findall(m[2] or "")) for m in found]


def grouping(expression):
    """
    List the labels that an expression adds up by.
    """
    return {label.strip() for found in _grouping.findall(expression) for label in found.split(",")}


def holds(sample, name, matchers):
    """
    Return whether a sample is one that a selector asks for; `job` is the scrape's own.
    """
    labels = {"job": "gate", **sample.labels}
    tests = {
        "=": lambda found, value: found == value,
        "!=": lambda found, value: found != value,
        "=~": lambda found, value: re.fullmatch(value, found),
        "!~": lambda found, value: not re.fullmatch(value, found),
    }
    return sample.name == name and all(tests[kind](labels.get(label, ""), value) for label, kind, value in matchers)


def unanswered(expression, samples, rules):
    """
    List what an expression asks for and finds nowhere: series, and labels to add up by.
    """
    missing, known = [], {"job"}
    for name, matchers in selectors(expression):
        if name in rules:
            missing += unanswered(rules[name], samples, {})
            known |= grouping(rules[name])
            continue
        found = [sample for sample in samples if holds(sample, name, matchers)]
        known |= {label for sample in found for label in sample.labels}
        missing += [] if found else [name]
    return missing + sorted(grouping(expression) - known)


def replaced(expression):
    """
    Write an expression as the page says: there it stands in a row, with what to write in its place.
    """
    return next((row[2].strip("`") for row in ROWS if row[0] == f"`{expression}`"), expression)


def test_the_parts_of_expressions_are_found():
    """
    Series, matchers and labels to add up by are seen, and functions and units are not.
    """
    expression = 'histogram_quantile(0.95, sum(rate(a_bucket{x="1",y=~"5.."}[5m])) by (le, z)) / 1024 > 2 * absent(b)'

    assert selectors(expression) == [("a_bucket", [("x", "=", "1"), ("y", "=~", "5..")]), ("b", [])]
    assert grouping(expression) == {"le", "z"}


if PAGE.runs_here:

    @pytest.fixture(scope="module")
    def outputs(tmp_path_factory):
        """
        Run both applications, and keep the page and the lines of each.
        """
        folder = tmp_path_factory.mktemp("migrate")
        write_files(folder)
        return [output_of(name, folder) for name in ("before", "after")]

    def write_files(folder):
        for block in PAGE.blocks:
            if block.file:
                (folder / block.file).write_text(block.text)

    @pytest.fixture(scope="module")
    def metrics(tmp_path_factory):
        """
        Run the two larger applications, and keep what their metrics pages have: families by name.
        """
        from prometheus_client.parser import text_string_to_metric_families

        folder = tmp_path_factory.mktemp("larger")
        write_files(folder)
        with closing(sqlite3.connect(folder / "shop.db")) as connection:
            for table in ("devices", "service_orders"):
                connection.execute(f"create table {table} (status text)")
                connection.execute(f"insert into {table} values ('new')")
            connection.commit()
        sqlite3.connect(folder / "gate.db").close()
        found = []
        for name, waits, visits in (
            (
                "larger",
                "shop_devices_total{ shop_service_orders_total{ shop_active_users_total shop_system_cpu",
                SHOP_VISITS,
            ),
            ("gate", "gate_active_users cpu_usage_percent", GATE_VISITS),
        ):
            command = [sys.executable, "-c", VISIT, name, waits, *visits]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
            text = done.stderr[done.stderr.index("# HELP") :]
            found.append({family.name: family for family in text_string_to_metric_families(text)})
        return found

    @pytest.mark.parametrize("which", [0, 1], ids=["shop", "gate"])
    def test_every_metric_is_there_with_its_type_and_labels(metrics, which):
        """
        Each metric that the hand-written applications had has its name, type and labels, and perhaps some more labels.
        """
        for name, (kind, labels) in (SHOP_METRICS, GATE_METRICS)[which].items():
            family = metrics[which].get(name.removesuffix("_total") if kind == "counter" else name)
            found = None if family is None else {label for sample in family.samples for label in sample.labels}

            assert (name, kind) == (name, family and family.type)
            assert (name, set()) == (name, labels - found)

    def test_endpoints_have_the_names_of_views(metrics):
        """
        The larger application counts by Flask's endpoint, as its dashboards have it.
        """
        requests = metrics[0]["shop_http_requests"].samples

        assert {sample.labels["endpoint"] for sample in requests} == {"create_order", "change_planogram", "login"}

    @pytest.mark.parametrize("which", [0, 1], ids=["shop", "gate"])
    def test_every_expression_finds_its_series(metrics, which):
        """
        Each expression of dashboards and alerts asks for series, label values and labels that are there, but for what
        the page says comes later.
        """
        samples = [sample for family in metrics[which].values() for sample in family.samples]
        rules = RULES["rules.yml"]
        missing = {
            expression: lacking
            for expression in (SHOP_EXPRESSIONS, GATE_EXPRESSIONS)[which]
            if (lacking := [name for name in unanswered(replaced(expression), samples, rules) if name not in TO_COME])
        }

        assert missing == {}

    def output_of(name, folder):
        done = subprocess.run([sys.executable, "-c", ASK, name], cwd=folder, capture_output=True, text=True, check=True)
        lines = [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]
        return (folder / f"{name}.page").read_text(), lines

    def series(page):
        """
        Return the shop's samples with their type, labels and bound, as dashboards and alerts name them.
        """
        from prometheus_client.parser import text_string_to_metric_families

        return {
            (sample.name, family.type, label, sample.labels.get("le"))
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            for label in sample.labels
            if sample.name.startswith("shop_") and not sample.name.endswith("_created")
        }

    def test_the_old_names_types_labels_and_bounds_come_out(outputs):
        """
        Each series of the hand-written metrics has a successor that the same query finds.
        """
        before, after = (series(page) for page, _ in outputs)

        assert {name for name, *_ in before} >= {"shop_requests_total", "shop_request_latency_seconds_bucket"}
        assert before - after == set()

    def test_the_old_fields_come_out(outputs):
        """
        The access line and the application's own line have the fields they had, with the id of the request.
        """
        for message in ("request", "ordered"):
            before, after = (next(line for line in lines if line["msg"] == message) for _, lines in outputs)

            assert before.keys() - after.keys() == set()
            assert after["request_id"] == "r-1"


def test_the_fields_of_lines(tmp_path):
    """
    The page's settings give lines the fields of the rows, in both files, and readable ones on the console.
    """
    [block] = [block for block in PAGE.of("python") if block.file == "lines.py"]
    (tmp_path / block.file).write_text(block.text)
    done = subprocess.run([sys.executable, block.file], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = [
        json.loads((tmp_path / "logs" / name).read_text().splitlines()[-1]) for name in ("shop.jsonl", "errors.jsonl")
    ]

    for line in lines:
        assert {"timestamp", "level", "logger", "message", "module", "function", "line", "thread", "process"} <= set(
            line
        )
        assert ("LookupError", 7, {"message", "traceback"}) == (
            line["error_type"],
            line["extra_user"],
            line["exception"].keys(),
        )
    assert "failed" in done.stdout
    assert not done.stdout.startswith("{")


@pytest.mark.parametrize("name", [*SHOP_METRICS, *GATE_METRICS])
def test_every_metric_has_a_row(name):
    """
    The page has a row for each metric of the applications, without its prefix.
    """
    assert re.sub("^(shop|gate)_", "", name) in NAMES


@pytest.mark.parametrize(
    "name", sorted({name for expression in SHOP_EXPRESSIONS + GATE_EXPRESSIONS for name, _ in selectors(expression)})
)
def test_every_name_of_an_expression_has_a_row(name):
    """
    So has each metric that only a dashboard or an alert asks for.
    """
    plain = re.sub("^(shop|gate)_", "", name)

    assert {plain, re.sub("_(bucket|sum|count)$", "", plain)} & NAMES.keys()


@pytest.mark.parametrize(("name", "feature"), TO_COME.items())
def test_what_comes_later_is_said(name, feature):
    """
    A metric of a feature that is not there yet has a row that says so. Once it is there, the row says how it is kept.
    """
    assert f"comes with {feature}" in NAMES[name][2]
    assert [] == [spec.name for spec in CATALOGUE if spec.name.startswith(name.partition("_last")[0])]


def test_what_the_rows_name_exists():
    """
    Each metric, setting, variable and function of obskit's that a row names is there.
    """
    text = " ".join(" ".join(row[1:]) for row in ROWS)
    settings = {field.name for field in fields(Settings)}
    known = {spec.name for spec in CATALOGUE}
    missing = [name for name in re.findall(r"OBSKIT_(\w+)", text) if name.lower() not in settings]
    missing += [name for name in re.findall(r"`(\w+)=", text) if name not in settings | {"every", "workers"}]
    missing += [name for name, row in NAMES.items() if row[1] == "the same" and name not in known]
    for name in re.findall(r"`obskit\.([\w.]+)\(", text):
        reduce(getattr, name.split("."), obskit)

    assert missing == []


@pytest.mark.parametrize("promtool", servers.found("promtool"), ids=servers.folder_of)
def test_prometheus_takes_the_rules(tmp_path, promtool):
    """
    Prometheus' own tool finds no fault with the recording rules.
    """
    for block in PAGE.of("yaml"):
        (tmp_path / block.file).write_text(block.text)

    subprocess.run([promtool, "check", "rules", *RULES], cwd=tmp_path, check=True)
