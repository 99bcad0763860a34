"""
Each field of an operation is declared once; lines, spans and rows have those fields and no others.
"""

import ast
import gc
import json
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import obskit
from obskit.ai.ai_operation import AiOperation
from obskit.ai.recent_calls import recent_calls
from obskit.ai.token_kinds import Usage
from obskit.db.database import Database, QueryLabels
from obskit.db.db_operation import DbOperation
from obskit.db.statement import Statement
from obskit.jobs import JobOperation
from obskit.observation import FunctionOperation
from obskit.operation import Event, HttpOperation, Operation, RequestTotals
from obskit.recorder import recorder
from obskit.rows.ai_calls import AI
from obskit.rows.compiled import is_sparse, renderer, row_maker
from obskit.rows.events import EVENT
from obskit.rows.field import Field, Rows
from obskit.rows.functions import FUNCTION, JOB
from obskit.rows.lines import LEFT_OUT, LINE
from obskit.rows.queries import DATABASE
from obskit.rows.requests import HTTP
from obskit.sparse_field import SparseField
from obskit.testing import isolated_runtime

SOURCES = Path(obskit.__file__).parent
KINDS = {
    HttpOperation: HTTP,
    JobOperation: JOB,
    FunctionOperation: FUNCTION,
    DbOperation: DATABASE,
    AiOperation: AI,
    Event: EVENT,
}
# What reads operations for lines, spans and rows.
READERS = (
    "sinks/log_sink.py",
    "sinks/genai_attributes.py",
    *(f"sinks/spans_by_kind/{kind}.py" for kind in ("ai_calls", "functions", "queries", "requests")),
    "db/slow_log.py",
    "ai/recent_calls.py",
)
SECRET = "sk-ant-api03-" + "Zx81" * 20


# What operations have


def attributes_of(kind: type) -> set[str]:
    """
    List what an operation of a kind has: slots, sparse fields and properties.
    """
    found = set()
    for cls in kind.__mro__[:-1]:
        found |= {name for name, value in vars(cls).items() if isinstance(value, (SparseField, property))}
        found |= set(cls.__dict__.get("__slots__", ()))
    return found - {"__weakref__", "extra", "root"}


def undeclared(kind: type, rows: Rows) -> set[str]:
    told = {field.source.partition(".")[0] for field in rows.in_rows()}
    return attributes_of(kind) - told - rows.untold.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_each_attribute_is_told_or_has_a_reason(kind):
    """
    An operation has no attribute that is neither declared nor left out with a reason, and no such reason is stale.
    """
    rows = KINDS[kind]

    assert set() == undeclared(kind, rows)
    assert set() == rows.untold.keys() - attributes_of(kind)


@pytest.mark.parametrize("field", ["slot", "sparse", "property"])
def test_a_field_of_an_operation_alone_is_found(field):
    """
    A slot, a sparse field or a property that an operation has and the declaration has not is found.
    """

    class Planted(HttpOperation):
        __slots__ = ("slot",)

        sparse_one = SparseField(False)

        @property
        def derived(self):
            return 1

    assert {"slot": "slot", "sparse": "sparse_one", "property": "derived"}[field] in undeclared(Planted, HTTP)


@pytest.mark.parametrize("rows", KINDS.values(), ids=lambda rows: rows.kind)
def test_names_are_given_once(rows):
    """
    No two fields of a kind have one name in rows, on lines or on spans.
    """
    for names in (
        [field.name for field in rows.fields],
        [field.line for field in rows.on_lines()],
        [field.span for at_begin in (True, False) for field in rows.on_spans(at_begin=at_begin)],
    ):
        assert sorted(set(names)) == sorted(names)


# What reads them


def strays(source: str, declared: set[str]) -> list[str]:
    """
    Find what code reads of an operation that is not declared, and names that it gives to a line or a span by itself.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="op"), attr=name, ctx=ast.Load()) if name not in declared:
                found.append(f"op.{name}")
            case ast.Subscript(value=ast.Name(), slice=ast.Constant(value=str(name)), ctx=ast.Store()):
                found.append(name)
            case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str(name)), *_]) if "." in name:
                found.append(name)
    return found


def declared_sources() -> set[str]:
    told = {field.source.partition(".")[0] for rows in KINDS.values() for field in rows.fields}
    return told | {name for rows in KINDS.values() for name in rows.untold} | {"extra", "root", "header"}


@pytest.mark.parametrize("reader", READERS)
def test_sinks_name_no_field_by_themselves(reader):
    """
    What renders operations reads declared attributes alone, and has every name from the declaration.
    """
    assert [] == strays((SOURCES / reader).read_text("utf-8"), declared_sources())


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        ("line['db_rows'] = 1", "db_rows"),
        ("attributes['obskit.tenant'] = op.status", "obskit.tenant"),
        ("line[name] = op.tenant", "op.tenant"),
    ],
)
def test_a_field_of_a_sink_alone_is_found(planted, found):
    """
    A name that a sink gives by itself is found, and so is an attribute that is not declared.
    """
    assert [found] == strays(f"def finish(op):\n    {planted}\n", declared_sources())


# What comes of it


def fill(op: Operation, told: Rows, text: str = "told") -> Operation:
    """
    Set each field of an operation, so that none is left out.
    """
    values = {str: text, int: 7, float: 0.5, bool: True, tuple: (text,), dict: {"planted": text}}
    for field in told.in_rows():
        if "." not in field.source and hasattr(type(op), field.source):
            declared = getattr(type(op), field.source)
            if not isinstance(declared, property):
                setattr(op, field.source, values[field.type])
    return op


def requested(text: str = "told") -> HttpOperation:
    op = fill(HttpOperation("GET", f"/{text}"), HTTP, text)
    op.method, op.path, op.endpoint, op.exception, op.error = "GET", f"/{text}", f"/{text}", "ValueError", "ValueError"
    op.client, op.correlation_id = "203.0.113.7", "id-1"
    op.totals = RequestTotals()
    op.totals.db_queries, op.totals.ai_calls = 1, 1
    return op


def test_an_access_line_has_what_is_declared(exporter_and_lines):
    """
    A request that has everything has each declared field on its line and its span, whatever way lines are written.
    """
    exporter, lines = exporter_and_lines
    run(requested())
    [line], [span] = lines(), exporter.get_finished_spans()
    declared = {field.line for field in (*LINE, *HTTP.on_lines())}

    assert declared == line.keys() - {"planted"}
    assert set(span.attributes) - {"planted"} <= {field.span for field in HTTP.fields}


@pytest.fixture(params=["as usual", "by level"])
def exporter_and_lines(request):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    ways = {"as usual": {}, "by level": {"access_log_sample": {"/other": 2}}}
    with isolated_runtime(
        service="shop", version="1", environment="test", tracing=provider, **ways[request.param]
    ) as it:
        yield exporter, lambda: [line for line in it.lines if line["logger"] == "obskit.access"]


def run(op: Operation) -> None:
    plan = recorder.plan(next(kind for kind in KINDS if isinstance(op, kind)))
    plan.begin(op)
    plan.end(op)


def test_other_spans_have_what_is_declared(exporter_and_lines):
    """
    Functions, jobs, queries and AI calls have no attribute on their spans that is not declared.
    """
    exporter, _ = exporter_and_lines
    ops = {
        FunctionOperation("bake"): FUNCTION,
        JobOperation("nightly"): JOB,
        DbOperation("sqlite", "devices", "select"): DATABASE,
        AiOperation("labels", "acme", "house-model"): AI,
    }
    for op, rows in ops.items():
        fill(op, rows)
        op.fields = op._extra = None
    [*_, query, call] = ops
    statement = Statement("select", "devices", ("devices",), "SELECT devices", "SELECT ? FROM devices", "f00d")
    query.labels = QueryLabels("sqlite", "devices", "select", statement, given=True)
    query.database = Database("sqlite", database="shop", host="db", port=5432, alias="default")
    call.tokens, call.attempts = Usage(input=1, output=2, cache_read=3, cache_write=4, reasoning=1, model="m"), 2
    call.estimated = False
    for op in ops:
        run(op)
    told = [set(span.attributes) for span in exporter.get_finished_spans()]
    declared = [{field.span for field in rows.fields if field.span} for rows in ops.values()]
    estimated = {AI["estimated_input_tokens"].span, AI["estimated_output_tokens"].span}

    assert [set()] * 4 == [found - names for found, names in zip(told, declared, strict=True)]
    assert [set()] * 3 + [estimated] == [names - found for found, names in zip(told, declared, strict=True)]


class Asked(HttpOperation):
    """
    A request whose every field may be set.
    """

    __slots__ = ("query", "raw_method", "scheme")

    def __init__(self, method: str, path: str) -> None:
        super().__init__(method, path)
        self.query, self.raw_method, self.scheme = "", "ODD", "http"


@pytest.mark.parametrize("field", [field for field in HTTP.in_rows() if field.secret], ids=lambda field: field.name)
def test_what_is_secret_is_redacted(exporter_and_lines, field):
    """
    A secret in any field that is declared to be one is on no line and no span.
    """
    exporter, lines = exporter_and_lines
    op = Asked("GET", "/plain")
    op.method = "_OTHER"
    setattr(op, field.source, {"planted": SECRET} if field.type is dict else f"key={SECRET}")
    run(op)
    shown = json.dumps(lines()) + "".join(span.to_json() for span in exporter.get_finished_spans())

    assert (True, False) == ("/plain" in shown or field.name == "path", SECRET in shown)


# The functions that are made


def test_a_declared_field_is_rendered_without_more():
    """
    A field that is declared is on lines and in rows without a change elsewhere, sparse ones where they are set.
    """

    class Planted(HttpOperation):
        __slots__ = ("shelf",)

        crate = SparseField("")

    fields = [Field("shelf", "shelf", int, "", line="shelf"), Field("crate", "crate", str, "", line="crate", unset="")]
    render, row_of = renderer("line", Planted, fields, {}), row_maker(Planted, fields)
    found = []
    for crate in ("", "c7"):
        op, line = Planted("GET", "/"), {}
        op.shelf, op.crate = 3, crate
        render(op, line)
        found.append((line, row_of(op)))

    assert [({"shelf": 3}, (3, "")), ({"shelf": 3, "crate": "c7"}, (3, "c7"))] == found


def test_a_row_is_plain():
    """
    A row is a tuple of the declared types, in the declared order, and does not lead back to the operation.
    """
    op = requested()
    row = row_maker(HttpOperation, HTTP.in_rows())(op)
    ill_typed = [
        field.name
        for field, value in zip(HTTP.in_rows(), row, strict=True)
        if value is not None and not isinstance(value, field.type)
    ]

    assert [] == ill_typed
    assert op not in gc.get_referents(*(value for value in row if gc.is_tracked(value)))


def test_a_row_of_little_has_what_stands_for_nothing():
    """
    An operation without sparse fields has a row as long as any other, with the values that stand for none.
    """
    fields = HTTP.in_rows()
    row = row_maker(HttpOperation, fields)(HttpOperation("GET", "/"))
    rare = [(field, value) for field, value in zip(fields, row, strict=True) if is_sparse(HttpOperation, field)]

    assert [field.unset for field, _ in rare] == [value for _, value in rare]


@pytest.mark.parametrize("source", ["a b", "a.b.c", "a[0]", "__import__('os')", "a.b()", "é"])
def test_a_source_is_an_attribute(source):
    """
    What is no attribute never becomes code.
    """
    with pytest.raises(ValueError, match="is no source"):
        row_maker(HttpOperation, [Field("x", source, int, "")])


def test_calls_are_kept_without_their_operation():
    """
    The store of AI calls has a call's figures, and lets the operation go.
    """
    with isolated_runtime(service="shop"):
        op = AiOperation("labels", "acme", "m")
        op.tokens = Usage(input=1, output=2)
        run(op)
        [row] = recent_calls.rows()

        assert (("labels", "acme", "m"), (1, 0, 0, 2)) == (row.labels[:3], row.tokens)
        assert LEFT_OUT.line == "left_out"
