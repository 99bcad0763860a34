"""
Django's own pools of PostgreSQL connections, watched under their alias.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def said(request):
    """
    Run the project in a process of its own, since Django is configured once a process.
    """
    django = pytest.importorskip("django")
    pytest.importorskip("psycopg_pool")
    assert django.VERSION >= (5, 1), "pools came with Django 5.1"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    command = [sys.executable, "-W", "error", "-m", "django_shop.pools", request.getfixturevalue("postgres")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100)

    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_each_alias_has_its_pool(said):
    """
    Connections in use, idle and at most are read of each alias by its name.
    """
    assert said["in use"] == [1.0, 0.0, 1.0]
    assert said["given back"] == [0.0, 1.0, 1.0]
    assert said["all in use"] == [2.0, 0.0, 2.0]


def test_waiting_holding_and_timeouts_are_counted(said):
    """
    One wait and one use for each connection that was had, and one timeout for the one that was not.
    """
    assert said["default"] == [1.0, 1.0, None]
    assert said["greenhouse"] == [3.0, 2.0, 1.0]


def test_django_is_as_it_was(said):
    """
    Queries answer, each counted once, and an empty pool is refused with Django's exception.
    """
    assert said["answers"] == [1, 1]
    assert said["queries"] == 4.0
    assert said["refused"] == ["OperationalError", "PoolTimeout"]


def test_it_can_be_undone(said):
    """
    Taken back, pools go on and nothing more is counted.
    """
    assert said["afterwards"] == [1, said["greenhouse"][0]]


@pytest.fixture(scope="module")
def seen(request):
    """
    Run another project, which uses what Django hands through to psycopg.
    """
    pytest.importorskip("psycopg")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    command = [sys.executable, "-W", "error", "-m", "django_shop.driver", request.getfixturevalue("postgres")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100)

    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("hooks", ["by Django", "by the driver"])
def test_what_is_handed_through_to_the_driver_is_counted_once(seen, hooks):
    """
    COPY and streams are queries of their request, whichever hook is on; the check of a kept connection is none.
    """
    assert seen[hooks] == [3, ["select", "copy", "select"]]


def test_nothing_is_counted_or_left_afterwards(seen):
    """
    Taken back, Django's cursor classes have no method of ours.
    """
    assert (seen["by nobody"], seen["left"]) == ([0, []], [False])


def test_slow_queries_and_spans_have_the_alias(seen):
    """
    By which alias a database was asked is told in lines, in `slow_queries()` and on spans.
    """
    assert seen["slow"] == seen["spans"] == seen["lines"] == ["default", "plants"]
    assert seen["slow, by the driver"] == ["default", "plants"]
