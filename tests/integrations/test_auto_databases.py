"""
`auto=True` in a process of its own, as a user starts one: what is counted, and what is left when it is undone.
"""

import json
import os
import subprocess
import sys
import textwrap

import pytest

CONFIGURE = """
import obskit
obskit.configure(service="auto", access_log=False, auto=True)
"""
COUNT = """
from prometheus_client import REGISTRY
def counted(system):
    name, labels = "database_query_duration_seconds_count", {"table": "auto_plants", "operation": "select"}
    return REGISTRY.get_sample_value(name, {"system": system, **labels}) or 0.0
"""
SQL = "CREATE TEMPORARY TABLE auto_plants (id INTEGER)"
# What an application writes: its imports, how it opens a database, and how it asks that.
USES = {
    "sqlite3": (
        "import sqlite3",
        f"db = sqlite3.connect(':memory:'); db.execute({SQL!r})",
        "db.execute('SELECT id FROM auto_plants').fetchall()",
    ),
    "sqlite3, by SQLAlchemy": (
        "from sqlalchemy import create_engine, text",
        f"db = create_engine('sqlite://').connect(); db.execute(text({SQL!r}))",
        "db.execute(text('SELECT id FROM auto_plants')).all()",
    ),
    "psycopg": (
        "import os, psycopg",
        f"db = psycopg.connect(os.environ['POSTGRES']); db.execute({SQL!r})",
        "db.execute('SELECT id FROM auto_plants').fetchall()",
    ),
    "psycopg, by SQLAlchemy": (
        "import os\nfrom sqlalchemy import create_engine, text",
        "address = os.environ['POSTGRES'].replace('postgresql:', 'postgresql+psycopg:')\n"
        f"db = create_engine(address).connect(); db.execute(text({SQL!r}))",
        "db.execute(text('SELECT id FROM auto_plants')).all()",
    ),
    "sqlite3, by Django": (
        "import os, tempfile, django\nfrom django.conf import settings",
        "name = os.path.join(tempfile.mkdtemp(), 'auto.db')\n"
        "settings.configure(DATABASES={'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': name}})\n"
        f"django.setup()\nfrom django.db import connection\ndb = connection.cursor(); db.execute({SQL!r})",
        "db.execute('SELECT id FROM auto_plants'); db.fetchall()",
    ),
    "psycopg, by Django": (
        "import os, django\nfrom urllib.parse import parse_qs, urlsplit\nfrom django.conf import settings",
        "url = urlsplit(os.environ['POSTGRES'])\n"
        "settings.configure(DATABASES={'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': 'postgres',\n"
        "    'USER': url.username, 'HOST': parse_qs(url.query)['host'][0]}})\n"
        f"django.setup()\nfrom django.db import connection\ndb = connection.cursor(); db.execute({SQL!r})",
        "db.execute('SELECT id FROM auto_plants'); db.fetchall()",
    ),
}
# Those whose own hook does it where the driver's is taken back.
LAYERS = {"SQLAlchemy": "sqlalchemy", "Django": "django_orm"}


@pytest.fixture(params=USES)
def name(request):
    """
    Return one way to ask a database, where what it needs is installed.
    """
    driver, _, layer = request.param.partition(", by ")
    for library in filter(None, (driver, layer.lower())):
        pytest.importorskip(library)
    if driver == "psycopg":
        request.getfixturevalue("postgres")
    return request.param


@pytest.fixture
def run(name, request):
    """
    Run parts of a program one after the other, and read what the last one prints.
    """

    def run(*parts):
        environ = dict(os.environ)
        if name.startswith("psycopg"):
            environ["POSTGRES"] = request.getfixturevalue("postgres")
        source = "\n".join(textwrap.dedent(part) for part in parts)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", source], env=environ, capture_output=True, text=True, timeout=100
        )

        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def said(name):
    return f"counted({'postgresql' if name.startswith('psycopg') else 'sqlite'!r})"


def tell(name):
    return f"import json; print(json.dumps([before, {said(name)}]))"


def undo(name):
    driver, _, layer = name.partition(", by ")
    return "\n".join(f"obskit.uninstrument_{it}()" for it in filter(None, (driver, LAYERS.get(layer))))


def test_what_is_imported_later_is_timed_until_it_is_undone(run, name):
    """
    One line at the start, and each query is counted once, however many layers it goes through; with the hooks taken
    back, a database that is opened then is asked without anything being counted.
    """
    imports, opens, asks = USES[name]
    closes = "connection.close()" if "Django" in name else ""
    again = opens[opens.index("from django.db") :] if "Django" in name else opens
    before = f"before = {said(name)}"

    found = run(CONFIGURE, COUNT, imports, opens, asks, asks, before, undo(name), closes, again, asks, tell(name))
    assert found == [2.0, 2.0]


def test_what_is_imported_before_is_timed(run, name):
    """
    The order of imports does not matter.
    """
    imports, opens, asks = USES[name]

    assert run(imports, CONFIGURE, COUNT, opens, "before = 0.0", asks, tell(name)) == [0.0, 1.0]


def test_the_layer_is_timed_by_itself(run, name):
    """
    Where the driver's hook is taken back, that of SQLAlchemy or Django counts its queries.
    """
    driver, _, layer = name.partition(", by ")
    imports, opens, asks = USES[name]
    found = run(CONFIGURE, COUNT, imports, f"obskit.uninstrument_{driver}()", opens, "before = 0.0", asks, tell(name))

    assert found == [0.0, 1.0 if layer else 0.0]


START = """
import json, sys, obskit
sys.modules["pymongo"] = None
from obskit.testing import isolated_runtime
from obskit.integrations._start import configure
with isolated_runtime(auto={auto}) as isolated:
    configure()
    isolated.runtime.announce()
    print(json.dumps(isolated.lines[-1].get("not_timed")))
"""


def started(folder, auto):
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", START.format(auto=auto)], env=environ, capture_output=True, text=True, timeout=100
    )

    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_what_is_not_timed_is_said(tmp_path):
    """
    The line at the start names the installed libraries of databases that have no hook, and imports none of them.
    """
    for library in ("duckdb", "pymssql"):
        (tmp_path / f"{library}.py").write_text("raise RuntimeError('imported')")
    named = started(tmp_path, auto=True)

    assert {"duckdb", "pymssql"} <= set(named)
    assert not {"sqlite3", "psycopg", "sqlalchemy", "pymongo"} & set(named)
    assert started(tmp_path, auto=False) is None
