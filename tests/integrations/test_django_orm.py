"""
Django's databases with their queries timed, once, and everything else as it was, on SQLite and PostgreSQL.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def said(request):
    """
    Run the project in a process of its own, since Django is configured once a process.
    """
    address = "sqlite"
    if request.param == "postgresql":
        pytest.importorskip("psycopg")
        address = request.getfixturevalue("postgres")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    command = [sys.executable, "-m", "django_shop.run", address]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100)

    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout.splitlines()[-1]), "system": request.param}


def test_installing_the_app_times_the_databases(said):
    """
    With `obskit.integrations.django` in `INSTALLED_APPS` there is nothing more to write.
    """
    assert said["timed_at_start"] is True


def test_django_is_as_it_was(said):
    """
    Transactions, savepoints, bulk operations, iterators, raw cursors, wrappers and the asynchronous ORM give the same
    results and exceptions without timing, with it, and after it was taken back.
    """
    assert (said["differing"], said["same"]) == ([], True)


def test_each_query_is_one_observation(said):
    """
    Each is named by verb and table, counts with its request, in threads of the asynchronous ORM too, and has ended.
    """
    made = [(operation, table) for _, operation, table, _, _ in said["named"]]

    assert {("insert", "django_shop_plant"), ("update", "django_shop_plant"), ("delete", "django_shop_plant")} <= {
        *made
    }
    assert (said["queries"], said["open"]) == (len(made), 0)


def test_every_alias_is_timed(said):
    """
    Queries of each alias have the system of its backend.
    """
    assert {system for system, *_ in said["named"]} == {said["system"], "sqlite"}


def test_rows_are_told(said):
    """
    A query tells how many rows it gave or changed; one that goes through an iterator all of them.
    """
    rows = [
        rows for _, operation, table, _, rows in said["named"] if (operation, table) == ("select", "django_shop_plant")
    ]

    assert 251 in rows


def test_failures_have_their_class(said):
    """
    A failed query is counted under the class of Django's exception.
    """
    errors = {error for *_, error, _ in said["named"]} - {None}

    assert "IntegrityError" in errors
    assert errors & {"OperationalError", "ProgrammingError"}


def test_layers_count_once(said):
    """
    With the driver hooked as well, a query is still one observation.
    """
    assert said["once"] == 1


def test_slow_queries_are_explained(said):
    """
    A slow SELECT says how the database runs it, without its values; the transaction goes on, and what writes is not
    asked about.
    """
    explained = said["explained"]
    plans = [plan for verb, plan in explained["plans"] if verb == "select"]

    assert (explained["found"], explained["names"]) == (["s3cret"], ["fern"])
    assert (explained["waited"], explained["errors"]) == (True, {})
    assert ["django_shop_plant" in plan for plan in plans] == [True, True]
    assert "s3cret" not in str(explained["plans"])
    assert [plan for verb, plan in explained["plans"] if verb in ("insert", "update")] == [None, None]
