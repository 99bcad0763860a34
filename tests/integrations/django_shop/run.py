"""
Use Django's databases, plain and timed, and print what came out as JSON: `python -m django_shop.run sqlite|<address>`.
"""

import asyncio
import gc
import json
import sys
from threading import Thread
from unittest.mock import patch

import django
from django.conf import settings

from django_shop.addresses import database

address = sys.argv[1]
settings.configure(
    DATABASES={"default": database(address, "a.db"), "reports": database("sqlite", "b.db")},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["obskit.integrations.django", "django_shop"],
    LOGGING_CONFIG=None,
    MIDDLEWARE=["obskit.integrations.django.ObskitMiddleware"],
    OBSKIT={"access_log": False, "metrics": False},
    SECRET_KEY="shop",
    USE_TZ=True,
)
django.setup()

from django.db import IntegrityError, connection, connections, transaction  # noqa: E402
from django.db.models import Count, F  # noqa: E402
from django.db.models.functions import Upper  # noqa: E402
from django.db.utils import DatabaseError  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

import obskit  # noqa: E402
from django_shop.models import Leaf, Plant  # noqa: E402
from forked import in_child  # noqa: E402
from obskit.context import current  # noqa: E402
from obskit.db import slow_queries  # noqa: E402
from obskit.db.db_operation import DbOperation  # noqa: E402
from obskit.db.explain import explainer  # noqa: E402
from obskit.integrations.django import databases  # noqa: E402
from obskit.operation import HttpOperation  # noqa: E402
from obskit.recorder import recorder  # noqa: E402
from obskit.testing import RecordingSink, isolated_runtime  # noqa: E402
from obskit.time.clock import Deadline  # noqa: E402

ODD = ("", " ", ";", "-- nothing", "SELECT 'abc", 'SELECT "abc', "SELECT 1 /* abc", b"SELECT 1", None, 7, [])


def use():
    """
    Use transactions, savepoints, bulk operations, iterators, raw cursors, wrappers and errors.
    """
    told = []
    Plant.objects.bulk_create([Plant(name=f"plant {n}") for n in range(250)])
    fern = Plant.objects.create(name="fern")
    Leaf.objects.bulk_create([Leaf(plant=fern, colour=c) for c in "ab"])
    told.append(Plant.objects.filter(name__startswith="plant 1").count())
    told.append([plant.name for plant in Plant.objects.order_by("id").iterator(chunk_size=40)])
    told.append(len(Plant.objects.order_by("id")[:30]))
    told.append(Plant.objects.filter(name="plant 3").update(name=Upper(F("name"))))
    told.append(sorted(Plant.objects.annotate(n=Count("leaves")).filter(n__gt=0).values_list("name", "n")))
    told.append(Plant.objects.filter(name="nobody").first())
    told.append([leaf.colour for leaf in Leaf.objects.select_related("plant").order_by("id")])
    told.append([len(p.leaves.all()) for p in Plant.objects.prefetch_related("leaves").filter(name="fern")])
    with transaction.atomic():
        Plant.objects.create(name="kept")
        try:
            with transaction.atomic():
                Plant.objects.create(name="kept")
        except IntegrityError as error:
            told.append((type(error).__name__, type(error.__cause__).__name__))
        told.append(Plant.objects.filter(name="kept").exists())
    try:
        with transaction.atomic():
            Plant.objects.filter(name="kept").delete()
            raise KeyError("rolled back")
    except KeyError as error:
        told.append(str(error))
    told.append(Plant.objects.filter(name="kept").count())
    Plant.objects.bulk_update([Plant(id=fern.id, name="moss")], ["name"])
    told.append(Plant.objects.get(id=fern.id).name)
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM django_shop_plant WHERE name LIKE %s ORDER BY id", ["plant 2%"])
        told.append((cursor.fetchone(), cursor.fetchmany(2), len(cursor.fetchall()), cursor.fetchone()))
        cursor.execute("SELECT name FROM django_shop_plant ORDER BY id")
        told.append([row[0] for row in cursor][:3])
        cursor.executemany("UPDATE django_shop_plant SET name = %s WHERE id = %s", [("x", 1), ("y", 2)])
        told.append(cursor.rowcount)
        for wrong in ("SELEC", "SELECT * FROM nowhere", "SELECT 'abc", "SELECT %s"):
            try:
                with transaction.atomic():
                    cursor.execute(wrong, ["a", "b"] if "%s" in wrong else None)
            except Exception as error:
                told.append((wrong, type(error).__name__, isinstance(error, DatabaseError)))
    with CaptureQueriesContext(connection) as captured:
        Plant.objects.count()
    told.append(len(captured))
    with connection.execute_wrapper(lambda execute, *given: execute(*given)):
        told.append(Plant.objects.filter(name="x").count())
    with connections["reports"].cursor() as cursor:
        cursor.execute("SELECT 1 UNION SELECT 2")
        told.append(cursor.fetchall())
    try:
        cursor.execute("SELECT 1")
    except Exception as error:
        told.append(type(error).__name__)
    return told


def hostile():
    """
    Use odd statements, rows that cannot be made, connections that go away, cursors of other threads, and forks.
    """
    told = []
    Plant.objects.bulk_create([Plant(name=f"hostile {n}") for n in range(9)])
    statement = "SELECT name FROM django_shop_plant ORDER BY id"
    for odd in ODD:
        with connection.cursor() as cursor:
            try:
                with transaction.atomic():
                    cursor.execute(odd)
                    told.append(cursor.fetchall())
            except Exception as error:
                told.append((type(error).__name__, type(error.__cause__).__name__))
    with connection.cursor() as cursor:
        cursor.execute("SELECT '" + "x" * 1_000_000 + "'")
        told.append(len(cursor.fetchone()[0]))
        if connection.vendor == "postgresql":
            from psycopg import sql

            cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("django_shop_plant")))
            told.append(cursor.fetchone())
    told.append(in_child(lambda: in_fresh_connection(statement)))
    with patch.object(Plant, "from_db", side_effect=ZeroDivisionError):
        try:
            list(Plant.objects.all())
        except ZeroDivisionError as error:
            told.append(type(error).__name__)
    rows = Plant.objects.order_by("id").iterator(chunk_size=2)
    told.append(next(rows).name)
    del rows
    told += lost(statement)
    gc.collect()  # SQLite keeps its lock for as long as a cursor lives in a traceback
    told.append(Plant.objects.count())
    return told


def lost(statement):
    """
    Read rows in another thread, and after the connection is gone.
    """
    cursor = connection.cursor()
    cursor.execute(statement)
    told = [cursor.fetchone()]
    reading = Thread(target=lambda: told.append(outcome(cursor.fetchone)))
    reading.start()
    reading.join()
    connection.connection.close()
    told.append(outcome(cursor.fetchone))
    connection.close()
    return told


def in_fresh_connection(statement):
    connection.connection = None  # the parent's, which must not be closed here
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return len(cursor.fetchall())


def outcome(call):
    try:
        return call()
    except Exception as error:
        return type(error).__name__


async def use_async():
    """
    Use the asynchronous ORM.
    """
    told = [(await Plant.objects.aget(name="moss")).name, await Plant.objects.acount()]
    told.append([plant.name async for plant in Plant.objects.order_by("id")[:3]])
    await Plant.objects.acreate(name="ivy")
    return told


def fresh(work):
    with connection.schema_editor() as editor:
        for model in (Plant, Leaf):
            editor.create_model(model)
    try:
        return work()
    finally:
        with connection.schema_editor() as editor:
            for model in (Leaf, Plant):
                editor.delete_model(model)


def both():
    return [use(), asyncio.run(use_async()), hostile()]


def explain():
    """
    Ask for the plans of slow queries in the middle of a transaction.
    """
    with isolated_runtime(slow_query_warning_ms=0, explain_slow_queries=True):
        with transaction.atomic():
            fern = Plant.objects.create(name="s3cret")
            found = [plant.name for plant in Plant.objects.filter(name="s3cret", id__gt=0)[:3]]
            waited = explainer.flush(Deadline(30))
            fern.name = "fern"
            fern.save()
        names = list(Plant.objects.values_list("name", flat=True))
        waited = waited and explainer.flush(Deadline(30))
        plans = [(query.summary.split()[0].lower(), query.plan) for query in slow_queries()]
        return {"found": found, "names": names, "plans": plans, "waited": waited, "errors": dict(recorder.errors)}


def main():
    timed_at_start = databases._patches.on
    obskit.shutdown()
    obskit.uninstrument_django_orm()
    plain = fresh(both)
    obskit.instrument_django_orm()
    sink = RecordingSink()
    request = HttpOperation("GET", "/plants")
    with isolated_runtime(sinks=[sink]):
        token = current.set(request)
        timed = fresh(both)
        current.reset(token)
        queries = [op for op in sink.operations if isinstance(op, DbOperation)]
        named = [(op.system, op.operation, op.table, op.error, op.rows) for op in queries]
        made = request.totals.db_queries
        sink.operations.clear()
        driver = obskit.instrument_sqlite3 if address == "sqlite" else obskit.instrument_psycopg
        driver()
        connection.close()
        fresh(lambda: Plant.objects.count())
        asked = [(op.operation, op.table) for op in sink.operations if isinstance(op, DbOperation)]
        once = asked.count(("select", "django_shop_plant"))
        attributes = sorted(queries[-1].database.attributes)
        obskit.uninstrument_sqlite3()
        obskit.uninstrument_psycopg()
    connection.close()
    explained = fresh(explain)
    obskit.uninstrument_django_orm()
    after = fresh(both)
    connections.close_all()
    said = {
        "timed_at_start": timed_at_start,
        "same": plain == timed == after,
        "differing": [pair for pair in zip(plain, timed, strict=True) if pair[0] != pair[1]],
        "named": named,
        "queries": made,
        "once": once,
        "open": len([op for op in sink.begun if not op.ended]),
        "attributes": attributes,
        "explained": explained,
    }
    print(json.dumps(said, default=str))


main()
