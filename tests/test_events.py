"""
Events are written once, in the catalogue, and whoever emits one makes it there.
"""

import ast
from pathlib import Path

import pytest

import obskit
from obskit.catalogue import events
from obskit.catalogue.events import EVENTS, EventKind
from obskit.operation import Event

PACKAGE = Path(obskit.__file__).parent
CATALOGUE = PACKAGE / "catalogue" / "events.py"
CONTRACTS = PACKAGE / "_contracts"  # which give others' sinks events that none of ours emits
PASSED_ON = {"event_exchange.py"}  # events of another process, by the names that it has written
LEVELS = ("INFO", "WARNING", "ERROR", "CRITICAL")


def trees():
    for path in sorted(PACKAGE.rglob("*.py")):
        if path != CATALOGUE and CONTRACTS not in path.parents:
            yield path.relative_to(PACKAGE), ast.parse(path.read_text("utf-8"))


def makings():
    """
    Yield each call that makes an event: its file, its kind, and the innermost function that it is in.
    """
    for path, tree in trees():
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        for function in functions:
            for node in ast.walk(function):
                match node:
                    case ast.Call(
                        func=ast.Attribute(value=ast.Attribute(value=ast.Name("events"), attr=kind), attr="event")
                    ):
                        yield path, kind, node, function


def test_events_are_made_by_their_kind():
    """
    No file of the library makes an event by another's name, and none has the name of one in quotes.
    """
    found = []
    for path, tree in trees():
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name("Event") | ast.Attribute(attr="Event"), args=[name, _, *_]):
                    if str(path) in PASSED_ON and not isinstance(name, ast.Constant):
                        continue
                    found.append(f"{path}:{node.lineno}: Event(...)")
                case ast.Constant(value=str(name)) if name in EVENTS:
                    found.append(f"{path}:{node.lineno}: {name}")

    assert found == []


def test_each_kind_is_emitted():
    """
    No kind stands in the catalogue that nobody makes, and none is missing from the list.
    """
    kinds = {name: kind for name, kind in vars(events).items() if isinstance(kind, EventKind)}

    assert kinds.keys() == {kind for _, kind, _, _ in makings()}
    assert {kind.name for kind in kinds.values()} == EVENTS.keys()


def test_events_have_the_fields_of_their_kind():
    """
    What is put into an event where it is made are fields of its kind, and levels are its own.
    """
    wrong = []
    for path, name, call, function in makings():
        kind = getattr(events, name)
        given = call if len(call.args) > 1 and isinstance(call.args[1], ast.Dict) else function
        dicts = [node for node in ast.walk(given) if isinstance(node, ast.Dict)] if len(call.args) > 1 else []
        fields = {key.value for node in dicts for key in node.keys if isinstance(key, ast.Constant)}
        levels = {k.value.value for k in call.keywords if k.arg == "level" and isinstance(k.value, ast.Constant)}
        wrong += [f"{path}: {name} has no {field}" for field in fields - kind.fields.keys()]
        wrong += [f"{path}: {name} is never {level}" for level in levels - set(kind.levels)]
        if (len(kind.levels) > 1) != any(k.arg == "level" for k in call.keywords):
            wrong.append(f"{path}: {name}: its level is {kind.levels}")

    assert wrong == []


@pytest.mark.parametrize("kind", EVENTS.values(), ids=lambda kind: kind.name)
def test_a_kind_says_what_it_is(kind):
    """
    Names are lower case with dots, levels rise, and meanings are sentences.
    """
    places = [LEVELS.index(level) for level in kind.levels]

    assert kind.name == kind.name.lower()
    assert "." in kind.name
    assert sorted(set(places)) == places
    assert [text for text in (kind.meaning, *kind.fields.values()) if not text.endswith(".")] == []


def test_a_kind_makes_an_event():
    """
    An event has its kind's name, and the only level unless another is said.
    """
    one = events.UNKNOWN_SDK.event("no", {"sdk": "openai"})
    other = events.SLOW_QUERY.event("slow", level="ERROR")

    assert Event("ai.unknown_sdk", "WARNING", "no", {"sdk": "openai"}) == one
    assert Event("performance.slow_query", "ERROR", "slow", {}) == other
