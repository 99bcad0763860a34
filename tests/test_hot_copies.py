"""
Hot code that writes out how an operation is made, begun or ended, in place of the call, does what the call does.
"""

import ast
import asyncio
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from contextvars import Context
from importlib import import_module
from itertools import count
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from obskit.context import current
from obskit.db import observe
from obskit.db.database import Database
from obskit.db.db_operation import DbOperation
from obskit.deferred_endings import end_later
from obskit.integrations import asgi, wsgi
from obskit.integrations.sqlite3 import TimedConnection
from obskit.operation import HttpOperation, Operation
from obskit.recorder import Sink, recorder
from obskit.testing import isolated_runtime

SOURCES = Path(import_module("obskit").__file__).parent

# Finding the copies.


def is_plan(node: ast.expr) -> bool:
    return isinstance(node, (ast.Name, ast.Attribute)) and ast.unparse(node).endswith("plan")


def locals_made(function: ast.AST) -> set[str]:
    """
    Find the names that are bound to what a call returns.
    """
    made = [node for node in ast.walk(function) if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)]
    return {target.id for node in made for target in node.targets if isinstance(target, ast.Name)}


def parts_copied(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """
    List which of making, beginning and ending an operation a function writes out.
    """
    found, made = set(), locals_made(function)
    for node in ast.walk(function):
        match node:
            case ast.Attribute(value=plan, attr="start", ctx=ast.Load()) if is_plan(plan):
                found.add("begin")
            case ast.Attribute(value=plan, attr="finish" | "finish_too" | "finish_sparse") if is_plan(plan):
                found.add("end")
            case ast.Attribute(value=plan, attr="start", ctx=ast.Store()) if is_plan(plan):
                return set()  # it changes the plan
            case ast.Attribute(value=ast.Name(id=name), attr="ended", ctx=ast.Store()):
                if name in made or (name == "self" and function.name == "__init__"):
                    found.add("make")
    return found


def copies_in(sources: Path) -> dict[str, set[str]]:
    """
    Find the functions of a package that write out a part of an operation's life, as `module:qualified.name`.
    """
    found = {}

    def visit(node: ast.AST, module: str, name: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = f"{name}.{child.name}".lstrip(".") if hasattr(child, "name") else name
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                parts = parts_copied(child)
                if parts:
                    found[f"{module}:{inner}"] = parts
            else:
                visit(child, module, inner)

    for path in sorted(sources.rglob("*.py")):
        module = ".".join(["obskit", *path.relative_to(sources).with_suffix("").parts])
        text = path.read_text("utf-8")
        if module != "obskit.recorder" and ("plan." in text or ".ended" in text):  # the recorder has the plain form
            visit(ast.parse(text), module, "")
    return found


# Living a life, and what is seen of it.


class Watcher(Sink):
    """
    A sink that writes down each step, and what the operation is like then.
    """

    def __init__(self, name: str, seen: list[Any], sparse_only: bool = False) -> None:
        self.name, self.seen, self.sparse_only = name, seen, sparse_only

    def bind(self, kind: type[Operation]) -> tuple[Any, Any]:
        return (None if self.sparse_only else self.start), self.finish

    def start(self, op: Operation) -> None:
        self.seen.append((self.name, "start", type(op).__mro__[-3:], slots_of(op), state_of(op)))

    def finish(self, op: Operation) -> None:
        self.seen.append((self.name, "finish", type(op).__mro__[-3:], set(slots_of(op)), state_of(op)))


# Set by the hook as it goes, or not compared with the plain form's, which knows nothing of a server or a driver.
GIVEN = {"agent", "bytes_sent", "client", "correlation_id", "database", "endpoint", "labels", "rows", "span", "sparse"}
GIVEN |= {"status", "totals"}


def slots_of(op: Operation) -> dict[str, Any]:
    """
    Read the slots that are set, of those that the kind's plain form has.
    """
    kind = next(kind for kind in (HttpOperation, DbOperation) if isinstance(op, kind))
    names = {name for cls in kind.__mro__ for name in getattr(cls, "__slots__", ())}
    return {
        name: None if name in GIVEN else getattr(op, name)
        for name in sorted(names)
        if hasattr(op, name) and name not in ("started", "duration_seconds")
    }


def state_of(op: Operation) -> tuple[bool, bool, bool, bool]:
    started, seconds = getattr(op, "started", 0.0), getattr(op, "duration_seconds", 0.0)
    return op.ended, started > 0, seconds > 0, op.sparse is not None


def drop(seen: list[Any]) -> None:
    """
    Drop an operation, which whatever begins or ends next is to end first.
    """
    end_later(Operation(), lambda op, at: seen.append("dropped"), 0.0)


def plain_request(middle: Callable[[Any], None]) -> None:
    op, plan = HttpOperation("GET", "/plants"), recorder.plan(HttpOperation)
    plan.begin(op)
    middle(op)
    plan.end(op)
    plan.end(op)


def plain_query(middle: Callable[[Any], None]) -> None:
    op, plan = DbOperation("sqlite", "plants", "select"), recorder.plan(DbOperation)
    plan.begin(op)
    middle(op)
    plan.end(op)
    plan.end(op)


def wsgi_request(middle: Callable[[Any], None]) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        middle(current.get())
        current.get().whole_size = 2  # as integrations of frameworks set it; other replies end by the plain form
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/plants", "SCRIPT_NAME": ""}
    served = wsgi.ObskitMiddleware(app)(environ, lambda *_: None)
    assert list(served) == [b"ok"]


def asgi_request(middle: Callable[[Any], None]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        middle(current.get())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    async def nothing(*_: Any) -> None:
        return None

    scope = {"type": "http", "method": "GET", "path": "/plants", "headers": []}
    asyncio.run(asgi.ObskitMiddleware(app)(scope, nothing, nothing))


def hooked_query(middle: Callable[[Any], None]) -> None:
    op = observe.begin(Database("sqlite"), "select 1 from plants")
    middle(op)
    op.duration_seconds += 1.0
    observe.end(op)
    observe.end(op)


def sqlite_query(middle: Callable[[Any], None]) -> None:
    begun = []

    def in_query() -> int:
        middle(begun[-1])
        return 1

    plan = recorder.plan(DbOperation)
    with closing(sqlite3.connect(":memory:", factory=TimedConnection)) as connection:
        connection.create_function("middle", 0, in_query)
        before = plan.start

        def start(op: Any) -> None:
            begun.append(op)
            before(op)

        plan.start = start
        try:
            connection.execute("select middle()").fetchone()
        finally:
            plan.start = before


# Which life goes through a copy, and by what plain form it is judged.
LIVES: dict[str, tuple[Any, type[Operation], Any]] = {
    "obskit.integrations.wsgi:ObskitMiddleware.__call__": (wsgi_request, HttpOperation, plain_request),
    "obskit.integrations.asgi:ObskitMiddleware.__call__": (asgi_request, HttpOperation, plain_request),
    "obskit.integrations.asgi:AsgiOperation.send": (asgi_request, HttpOperation, plain_request),
    "obskit.db.observe:begin": (hooked_query, DbOperation, plain_query),
    "obskit.db.observe:end": (hooked_query, DbOperation, plain_query),
    "obskit.integrations.sqlite3:_TimingMixin.execute": (sqlite_query, DbOperation, plain_query),
}


OUTSIDE = HttpOperation("GET", "/outside")
# What none of them is compared with, but each other: to make an operation.
MAKERS = {"obskit.operation:Operation.__init__", "obskit.operation:HttpOperation.__init__"}


def what_happens(live: Any, kind: type[Operation], sparse: bool = True, inside: bool = False) -> list[Any]:
    """
    Live a life, and return the steps of all sinks and what each found, in order.
    """
    seen: list[Any] = []
    ticks = count(1.0)

    def middle(op: Any) -> None:
        seen.append(("middle", *state_of(op)))
        drop(seen)
        if sparse:
            op.error = "failed"

    with isolated_runtime():
        recorder.bind([*(Watcher(name, seen) for name in ("one", "two", "three")), Watcher("rare", seen, True)])
        recorder.plan(kind).clock = lambda: next(ticks)
        drop(seen)
        context = Context()
        context.run(current.set, OUTSIDE if inside else None)
        context.run(live, middle)
    return seen


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("copy", LIVES)
def test_a_copy_does_what_the_plain_form_does(copy, sparse):
    """
    The same slots are set before the first step, all sinks are called in the same order with an operation in the same
    state, what was dropped is ended before, and the second end does nothing.
    """
    live, kind, plain = LIVES[copy]
    for inside in [False, True] if kind is DbOperation else [False]:
        expected = what_happens(plain, kind, sparse, inside)

        assert what_happens(live, kind, sparse, inside) == expected


def test_a_request_is_made_as_every_operation_is():
    """
    `HttpOperation` sets by itself what the constructor of all operations sets, with the same values.
    """
    request, plain = HttpOperation("GET", "/plants"), Operation()

    assert [getattr(request, name) for name in Operation.__slots__] == [
        getattr(plain, name) for name in Operation.__slots__
    ]


def test_every_copy_is_compared():
    """
    Whatever writes out a part of an operation's life is found, and has a life that goes through it.
    """
    assert set(copies_in(SOURCES)) == {*LIVES, *MAKERS}


def test_a_copy_that_is_new_is_found(tmp_path):
    """
    The search finds what is written out, whatever it is called, and not who calls the plain form.
    """
    (tmp_path / "fresh.py").write_text(
        "class Middleware:\n"
        "    def serve(self):\n"
        "        op = HttpOperation.__new__(HttpOperation)\n"
        "        op.ended = False\n"
        "        begin = self._plan.start\n"
        "        begin(op)\n"
        "async def send(op):\n"
        "    db_plan.finish(op)\n"
        "def plainly(op):\n"
        "    plan.begin(op)\n"
        "    plan.end(op)\n"
    )

    assert copies_in(tmp_path) == {
        "obskit.fresh:Middleware.serve": {"make", "begin"},
        "obskit.fresh:send": {"end"},
    }


# Planting drifts.

# What a copy consists of, as it is written in one place or another.
STATEMENTS = re.compile(
    r"drain\(\)|start\(op\)|\.(?:started|ended|parent|sparse|method) = |\bfinish(?:_too|_sparse)?\((?:op|self)\)"
)


def found_in(path: str) -> FunctionType:
    module, _, name = path.partition(":")
    found: Any = import_module(module)
    for part in name.split("."):
        found = vars(found)[part]
    return found


def code_of(tree: ast.Module, module: Any, name: str) -> CodeType:
    """
    Compile a module's tree, and find the code of a function of it.
    """
    code = compile(ast.fix_missing_locations(tree), module.__file__, "exec", dont_inherit=True)
    waiting = [code]
    while waiting:
        code = waiting.pop()
        if code.co_qualname == name:
            return code
        waiting.extend(const for const in code.co_consts if isinstance(const, CodeType))
    raise LookupError(name)


class Without(ast.NodeTransformer):
    """
    Takes the statement at a line out of a function.
    """

    def __init__(self, line: int) -> None:
        self.line = line

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.stmt) and node.lineno == self.line:
            return ast.copy_location(ast.Pass(), node)
        return super().generic_visit(node)


def drifts() -> Iterator[Any]:
    for path in LIVES:
        module, _, name = path.partition(":")
        tree = ast.parse(Path(import_module(module).__file__).read_text("utf-8"))
        [function] = [
            node
            for node in ast.walk(tree)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            and node.name == name.rpartition(".")[2]
            and parts_copied(node)
        ]
        for node in ast.walk(function):
            text = ast.unparse(node) if isinstance(node, (ast.Expr, ast.Assign)) else ""
            if STATEMENTS.search(text):
                yield pytest.param(path, node.lineno, id=f"{path}: {text}")


@pytest.mark.parametrize(("path", "line"), list(drifts()))
def test_a_drift_is_noticed(path, line):
    """
    A copy that lacks one of its statements is told from the plain form.
    """
    module, _, name = path.partition(":")
    function, live = found_in(path), LIVES[path]
    source = Path(import_module(module).__file__)
    drifted = code_of(Without(line).visit(ast.parse(source.read_text("utf-8"))), import_module(module), name)
    expected = [what_happens(live[2], live[1], inside=inside) for inside in (False, live[1] is DbOperation)]
    code, function.__code__ = function.__code__, drifted
    try:
        found = [what_happens(live[0], live[1], inside=inside) for inside in (False, live[1] is DbOperation)]
    except Exception as error:
        found = [error]
    finally:
        function.__code__ = code

    assert found != expected
