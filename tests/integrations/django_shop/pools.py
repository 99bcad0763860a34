"""
Use a database through Django's own pool, and print what obskit saw of it: `python -m django_shop.pools <address>`.
"""

import json
import sys
import threading

import django
from django.conf import settings

from django_shop.addresses import database

one, two = ({"min_size": 1, "max_size": size, "timeout": 30} for size in (1, 2))
settings.configure(
    DATABASES={"default": database(sys.argv[1], "", pool=one), "greenhouse": database(sys.argv[1], "", pool=two)},
    INSTALLED_APPS=["obskit.integrations.django"],
    LOGGING_CONFIG=None,
    MIDDLEWARE=["obskit.integrations.django.ObskitMiddleware"],
    OBSKIT={"access_log": False, "metrics_path": "/metrics"},
    SECRET_KEY="shop",
    USE_TZ=True,
)
django.setup()

from django.db import connections, transaction  # noqa: E402
from django.db.utils import OperationalError  # noqa: E402
from prometheus_client import REGISTRY  # noqa: E402

import obskit  # noqa: E402


def value(name, **labels):
    return REGISTRY.get_sample_value(name, labels)


def sizes(alias):
    return [value(f"database_connections_{which}", pool=alias) for which in ("active", "idle", "max")]


def ask(alias):
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone()[0]


class Holder(threading.Thread):
    """
    A connection of a pool until it is told to let go.
    """

    def __init__(self):
        super().__init__()
        self.holds, self.may_go = threading.Event(), threading.Event()
        self.start()
        self.holds.wait()

    def run(self):
        with transaction.atomic("greenhouse"):
            ask("greenhouse")
            self.holds.set()
            self.may_go.wait()
        connections["greenhouse"].close()


said = {"answers": [ask("default"), ask("default")], "in use": sizes("default")}
connections["default"].close()
said["given back"] = sizes("default")
holders = [Holder(), Holder()]
said["all in use"] = sizes("greenhouse")
connections["greenhouse"].pool.timeout = 0.05
try:
    ask("greenhouse")
except OperationalError as error:
    said["refused"] = [type(error).__name__, type(error.__cause__).__name__]
for holder in holders:
    holder.may_go.set()
    holder.join()
for alias in ("default", "greenhouse"):
    names = ("connection_wait_seconds_count", "connection_use_seconds_count", "connection_timeouts_total")
    said[alias] = [value(f"database_{name}", pool=alias) for name in names]
said["queries"] = value("database_query_duration_seconds_count", system="postgresql", table="", operation="select")
obskit.uninstrument_django_orm()
obskit.uninstrument_psycopg()
said["afterwards"] = [ask("greenhouse"), value("database_connection_wait_seconds_count", pool="greenhouse")]
for connection in connections.all():
    connection.close()
    connection.close_pool()
print(json.dumps(said))
