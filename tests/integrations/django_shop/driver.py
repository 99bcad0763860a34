"""
Use what Django hands through to psycopg, and its checks of connections, and print what obskit saw:
`python -m django_shop.driver <address>`.
"""

import json
import sys

import django
from django.conf import settings

from django_shop.addresses import database

settings.configure(
    DATABASES={
        "default": database("sqlite", "a.db"),
        "plants": {**database(sys.argv[1], ""), "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True},
    },
    INSTALLED_APPS=[],
    SECRET_KEY="shop",
)
django.setup()

from django.db import connections  # noqa: E402

import obskit  # noqa: E402
from obskit.context import current  # noqa: E402
from obskit.db import slow_queries  # noqa: E402
from obskit.db.db_operation import DbOperation  # noqa: E402
from obskit.operation import HttpOperation  # noqa: E402
from obskit.testing import RecordingSink, isolated_runtime  # noqa: E402

plants = connections["plants"]


def asked(*uses):
    """
    Use a connection that was kept from another request, and give what a request has counted, and what was recorded.
    """
    plants.ensure_connection()
    plants.close_if_unusable_or_obsolete()
    request = HttpOperation("GET", "/plants")
    token = current.set(request)
    sink.operations.clear()
    try:
        for use in uses:
            use()
    finally:
        current.reset(token)
    seen = [op.operation for op in sink.operations if isinstance(op, DbOperation)]
    return [request.totals.db_queries if request.totals else 0, seen]


def select():
    with plants.cursor() as cursor:
        cursor.execute("SELECT 1")


def copy():
    with plants.cursor() as cursor, cursor.copy("COPY (SELECT 1) TO STDOUT") as copied:
        list(copied)


def stream():
    with plants.cursor() as cursor:
        list(cursor.stream("SELECT 1"))


def slow():
    for alias in ("default", "plants"):
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1").fetchone() if alias == "default" else cursor.execute("SELECT 1")
    return [query.database for query in slow_queries()][-2:]


sink, said = RecordingSink(), {}
with isolated_runtime(sinks=[sink], slow_query_warning_ms=0) as runtime:
    obskit.instrument_django_orm()
    said["by Django"] = asked(select, copy, stream)
    said["slow"] = slow()
    said["spans"] = [op.database.attributes.get("database") for op in sink.operations if isinstance(op, DbOperation)][
        -2:
    ]
    said["lines"] = [line.get("database") for line in runtime.lines if line["message"] == "slow query"][-2:]
    obskit.instrument_psycopg()
    said["by the driver"] = asked(select, copy, stream)
    said["slow, by the driver"] = slow()
    obskit.uninstrument_django_orm()
    obskit.uninstrument_psycopg()
    said["by nobody"] = asked(select, copy, stream)
    said["left"] = ["copy" in vars(vars(sys.modules["django.db.backends.postgresql.base"])["Cursor"])]
print(json.dumps(said))
