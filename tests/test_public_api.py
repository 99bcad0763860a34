"""
The public names are there, sorted and lazy, and nothing is imported before it is needed.
"""

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import obskit

FRAMEWORKS = ("flask", "werkzeug", "starlette", "fastapi", "django", "asgiref", "sqlalchemy", "psycopg")
PACKAGES = ("ai", "alerts", "db", "export", "health", "history", "metrics", "system")
SDK = ("opentelemetry.sdk", "opentelemetry.exporter")


def modules_after(source, **environ):
    """
    List what a fresh interpreter has imported after a program.
    """
    script = f"{source}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    environ = {**os.environ, **environ}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environ)
    return json.loads(done.stdout.splitlines()[-1])


def of(modules, *packages):
    return [name for name in modules if any(name == package or name.startswith(package + ".") for package in packages)]


def test_all_is_sorted():
    """
    `__all__` is sorted, names nothing twice, and is what `dir()` shows.
    """
    assert sorted(set(obskit.__all__)) == obskit.__all__
    assert obskit.__all__ == dir(obskit)


@pytest.mark.parametrize("name", obskit.__all__)
def test_each_name_can_be_imported(name):
    """
    Each public name is there, is documented, and is found under the name it is asked by.
    """
    value = getattr(obskit, name)

    assert isinstance(value, str) or value.__name__ == name
    assert isinstance(value, str) or (value.__doc__ or "").strip()


def test_the_types_are_those_of_the_names():
    """
    The stub has each public name, and each function that it writes out has the parameters of the real one.
    """
    tree = ast.parse(Path(obskit.__file__).with_suffix(".pyi").read_text("utf-8"))
    written = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    imported = {alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    typed = {name: f"({ast.unparse(node.args)}) -> {ast.unparse(node.returns)}" for name, node in written.items()}
    typed = {name: text.replace("Unpack[SettingsArguments]", "Any").replace(" ", "") for name, text in typed.items()}
    real = {name: re.sub("[ ']", "", str(inspect.signature(getattr(obskit, name)))) for name in written}

    assert {*obskit.__all__, *PACKAGES} == {*written, *imported} - {None}
    assert real == typed


@pytest.mark.parametrize("package", ["ai", "alerts", "db", "export", "health", "history", "logs", "metrics", "signals"])
def test_the_types_of_a_package_are_those_of_its_names(package):
    """
    The stub of a package has each of its public names, under that name.
    """
    module = importlib.import_module(f"obskit.{package}")
    tree = ast.parse(Path(module.__file__).with_suffix(".pyi").read_text("utf-8"))
    typed = [(alias.name, alias.asname) for node in tree.body for alias in node.names]

    assert [(name, name) for name in module.__all__] == sorted(typed)
    assert [name for name in module.__all__ if getattr(module, name).__name__ != name] == []


def test_a_hook_refuses_arguments_by_its_name():
    """
    What a hook does not take is refused before its library is asked for.
    """
    with pytest.raises(TypeError, match=r"uninstrument_celery\(\) too many positional arguments"):
        obskit.uninstrument_celery("now")


def test_a_name_that_is_not_there_is_an_attribute_error():
    """
    A misspelt name fails as in any module.
    """
    with pytest.raises(AttributeError, match="module 'obskit' has no attribute 'instrumnt'"):
        obskit.instrumnt  # noqa: B018


def test_star_import_gives_all():
    """
    `from obskit import *` works, though the names are lazy.
    """
    names = {}
    exec("from obskit import *", names)

    assert set(obskit.__all__) <= names.keys()


def test_the_import_order_does_not_matter():
    """
    A public function is one also where a submodule of a like name was imported first.
    """
    script = "import obskit.observation, obskit.runtime, obskit.db.observe, obskit\n@obskit.observe\ndef f(): ...\nf()"

    assert modules_after(script)


def test_the_version_is_one():
    """
    `__version__` is the one that the build reads.
    """
    assert re.fullmatch(r"\d+\.\d+\.\d+\w*", obskit.__version__)
    assert importlib.import_module("obskit._version").__version__ == obskit.__version__


def test_the_import_is_light():
    """
    `import obskit` imports no framework, no OpenTelemetry, no psutil, no prometheus_client, and no module of its own.
    """
    modules = modules_after("import obskit")

    assert [] == of(
        modules, *FRAMEWORKS, "opentelemetry", "psutil", "prometheus_client", "structlog", "orjson", "wrapt"
    )
    assert ["obskit", "obskit._version"] == of(modules, "obskit")


@pytest.mark.parametrize(
    "use",
    [
        "obskit.observe",
        "obskit.bind",
        "obskit.counter",
        "obskit.observe_db",
        "obskit.get_logger('x')",
        "obskit.with_context(print)",
    ],
)
def test_decorating_is_light(use):
    """
    What modules use at import brings no framework and no SDK.
    """
    assert [] == of(modules_after(f"import obskit\n{use}"), *FRAMEWORKS, "opentelemetry", "psutil")


def test_configure_imports_no_framework_and_no_sdk():
    """
    Without tracing `configure()` leaves frameworks, the OpenTelemetry SDK and prometheus_client alone.
    """
    modules = modules_after("import obskit\nobskit.configure(service='shop')\nobskit.shutdown()")

    assert [] == of(modules, *FRAMEWORKS, *SDK, "prometheus_client")


def test_instrument_imports_only_what_the_application_uses():
    """
    A bare WSGI application brings no framework, no ASGI and no SDK.
    """
    modules = modules_after("import obskit\nobskit.instrument(lambda environ, start_response: [])\nobskit.shutdown()")

    assert [] == of(modules, *FRAMEWORKS, *SDK, "obskit.integrations.asgi")


def test_without_metrics_prometheus_client_stays_out():
    """
    Who wants lines only pays for lines only.
    """
    modules = modules_after("import obskit\nobskit.configure(metrics=False)\nobskit.shutdown()")

    assert [] == of(modules, "prometheus_client")
