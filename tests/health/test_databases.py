"""
Ready-made checks against real databases: well, broken in each way, and well again.
"""

import asyncio
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

import servers
from obskit import health
from obskit.health.outcome import Outcome
from obskit.web.request import Request


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE plants (name TEXT)")
        connection.execute("INSERT INTO plants VALUES ('fern')")
        connection.commit()
    return path


def found(outcome):
    return outcome.status, outcome.reason


def test_sqlite(database):
    """
    A file that is well passes with its figures, and is left byte for byte as it was.
    """
    before = database.read_bytes()
    outcome = health.sqlite(database)()

    assert ("pass", None) == found(outcome)
    assert (1, len(before), "delete") == tuple(outcome.details[key] for key in ("tables", "size_bytes", "journal_mode"))
    assert 0 < outcome.details["query_ms"] < 60_000
    assert before == database.read_bytes()
    assert ["app.db"] == os.listdir(database.parent)


def test_sqlite_with_a_write_ahead_log(database):
    """
    The log's size is told, and a large one is a warning.
    """
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("INSERT INTO plants VALUES ('ivy')")
        connection.commit()
        large, small = health.sqlite(database, wal_warn_bytes=1)(), health.sqlite(database)()

    assert (("warn", "the write-ahead log is large"), ("pass", None)) == (found(large), found(small))
    assert "wal" == small.details["journal_mode"]
    assert small.details["wal_bytes"] > 0


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_sqlite_locked(database, mode):
    """
    Somebody else's write transaction is a warning, at once and without waiting; when it is over, it is well again.
    """
    check = health.sqlite(database)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        before = check()
        connection.execute("BEGIN IMMEDIATE")
        during = check()
        connection.execute("ROLLBACK")
        after = check()

    assert [("pass", None), ("warn", "locked"), ("pass", None)] == [found(it) for it in (before, during, after)]


def test_sqlite_locked_for_readers_too(database):
    """
    An exclusive lock, under which not even a query runs, is told in the same way.
    """
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")

        assert ("warn", "locked") == found(health.sqlite(database)())


def test_sqlite_missing(database):
    """
    A file that is gone fails, is not made anew, and passes when it is back.
    """
    check, elsewhere = health.sqlite(database), database.with_name("elsewhere.db")
    database.rename(elsewhere)
    during, made = check(), database.exists()
    elsewhere.rename(database)

    assert (("fail", "missing"), False, ("pass", None)) == (found(during), made, found(check()))


@pytest.mark.parametrize("damage", [b"this is no database, whatever it is called", None])
def test_sqlite_corrupt(database, damage):
    """
    A file that is no database, or whose schema is damaged, fails; put back, it passes.
    """
    whole = database.read_bytes()
    check = health.sqlite(database)
    database.write_bytes((damage * 100) if damage else whole[:100] + b"\xff" * 1000 + whole[1100:])
    during = check()
    database.write_bytes(whole)

    assert (("fail", "corrupt"), ("pass", None)) == (found(during), found(check()))


PROBE = """
import os, sys
from obskit import health
for write in (True, False):
    health.sqlite(sys.argv[1], write=write)()
if os.geteuid() == 0:
    os.seteuid(65534)  # a user who owns nothing: for root no file is read-only
for write in (True, False):
    outcome = health.sqlite(sys.argv[1], write=write)()
    print(outcome.status, outcome.reason)
"""


def test_sqlite_read_only(database):
    """
    A file that cannot be written to fails for whoever writes, and passes for whoever only reads.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "app.db"
        shutil.copy(database, copy)
        copy.chmod(0o444)
        os.chmod(folder, 0o555)
        done = subprocess.run([sys.executable, "-c", PROBE, str(copy)], capture_output=True, text=True, check=True)
        os.chmod(folder, 0o755)

    assert ["fail read-only", "pass None"] == done.stdout.splitlines()


SMALL_DISK = """
import resource, signal, sys
from obskit import health
size = __import__("os").path.getsize(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
outcome = health.sqlite(sys.argv[1])()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
again = health.sqlite(sys.argv[1])()
print(outcome.status, again.status)
"""


def test_sqlite_on_a_disk_that_takes_nothing_more(database):
    """
    Where no byte more can be written it fails, since the test of writing writes; with room again it passes.
    """
    done = subprocess.run([sys.executable, "-c", SMALL_DISK, str(database)], capture_output=True, text=True, check=True)

    assert "fail pass" == done.stdout.strip()


def test_sqlalchemy(database):
    """
    A connection of the engine's own pool answers, with the pool's figures; a database that is gone fails.
    """
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine(f"sqlite:///{database}")
    outcome = health.sqlalchemy(engine)()
    engine.dispose()
    nowhere = sqlalchemy.create_engine("sqlite:////nowhere/at/all.db")

    assert ("pass", "sqlite") == (outcome.status, outcome.details["system"])
    with pytest.raises(sqlalchemy.exc.OperationalError):
        health.sqlalchemy(nowhere)()


def test_redis(ask, redis_server):
    """
    Up, stopped in the middle, up again: pass, fail, pass.
    """
    redis = pytest.importorskip("redis")
    retry = redis.retry.Retry(redis.backoff.NoBackoff(), 1)  # by itself it waits for seconds in between
    client = redis.Redis(port=redis_server.port, socket_connect_timeout=1, socket_timeout=1, retry=retry)
    health.add("redis", health.redis(client), every=0, timeout=10)
    codes = [ask().status]
    redis_server.stop()
    codes.append(ask().status)
    redis_server.start()
    codes.append(ask().status)
    client.close()

    assert [200, 503, 200] == codes


def test_django(tmp_path):
    """
    Django's databases and caches are asked through Django; a cache that drops what it is given fails. No two runs have
    one key, whichever containers ask.
    """
    pytest.importorskip("django")
    script = """
from django.conf import settings
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "app.db"},
               "gone": {"ENGINE": "django.db.backends.sqlite3", "NAME": "/nowhere/at/all.db"}},
    CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
            "dummy": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}},
)
import django
django.setup()
import django.core.cache
from django.db.utils import OperationalError
from obskit import health
keys = []
cache = django.core.cache.caches["default"]
kept = cache.set
cache.set = lambda key, *rest: keys.append(key) or kept(key, *rest)
health.django_cache()()
for check in (health.django(), health.django_cache(), health.django_cache("dummy")):
    outcome = check()
    print(outcome.status, outcome.reason, outcome.details.get("system") or outcome.details.get("backend"))
try:
    health.django("gone")()
except OperationalError:
    print("fail")
print(len(set(keys)), len(keys))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert [
        "pass None sqlite",
        "pass None LocMemCache",
        "fail what was written did not come back DummyCache",
        "fail",
        "2 2",
    ] == done.stdout.splitlines()


def test_django_that_is_not_set_up(monkeypatch):
    """
    Without Django in the process the check says so.
    """
    monkeypatch.setitem(sys.modules, "django.db", None)
    with pytest.raises(RuntimeError, match="Django is not set up"):
        health.django()()


@pytest.fixture
def postgresql(tmp_path, monkeypatch):
    """
    Start a PostgreSQL that can be stopped and started again.
    """
    pytest.importorskip("psycopg")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # where the package keeps its lock; it warns without
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # a short path: sockets lie in it
        server = servers.postgresql(folder)
        if server is None:
            pytest.skip("there is no PostgreSQL")
        yield server
        server.stop()


def test_postgresql(ask, postgresql, until):
    """
    Up, stopped in the middle, up again: pass, fail, pass, whatever the application goes through.
    """
    psycopg, pools = pytest.importorskip("psycopg"), pytest.importorskip("psycopg_pool")
    sqlalchemy = pytest.importorskip("sqlalchemy")
    uri = postgresql.get_uri()
    checked = pools.ConnectionPool.check_connection
    pool = pools.ConnectionPool(uri, min_size=1, max_size=2, timeout=1, check=checked, open=True)
    engine = sqlalchemy.create_engine(uri.replace("postgresql:", "postgresql+psycopg:"), pool_pre_ping=True)
    checks = {
        "connection": health.psycopg(lambda: psycopg.connect(uri, connect_timeout=2)),
        "pool": health.psycopg(pool),
        "engine": health.sqlalchemy(engine),
    }
    for name, check in checks.items():
        health.add(name, check, every=0, timeout=20)
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)

    def codes():
        return {name: ask(f"/health/{name}").status for name in checks}

    up = codes()
    postgresql.stop()
    down = codes()
    postgresql.ensure_postgres_running()
    until(lambda: set(codes().values()) == {200})
    pool.close()
    engine.dispose()

    assert [dict.fromkeys(checks, 200), dict.fromkeys(checks, 503)] == [up, down]


class Asked:
    """
    Ask checks as a server without an event loop does, as one with a loop does, and directly.
    """

    def __init__(self, isolated):
        self.routes = isolated.runtime.routes

    def _request(self, name):
        return Request("GET", f"/health/{name}", "", {"authorization": "Bearer s3same"}.get, "192.0.2.1")

    def without_a_loop(self, name, check):
        return self.routes.answer(self._request(name)).status

    async def on_the_loop(self, name):
        return (await self.routes.answer_async(self._request(name))).status

    def directly(self, name, check):
        outcome = check()
        return {"pass": 200, "fail": 503}[outcome.status]


def declared(checks):
    for name, check in checks.items():
        health.add(name, check, every=0, timeout=20)


def test_postgresql_by_every_client(isolated, postgresql):
    """
    Each kind of client is asked, whoever serves: on the server's loop through its own pool, which stays the loop's.
    """
    psycopg, pools = pytest.importorskip("psycopg"), pytest.importorskip("psycopg_pool")
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy.ext.asyncio import create_async_engine

    uri = postgresql.get_uri()
    address = uri.replace("postgresql:", "postgresql+psycopg:")

    async def connected():
        return await psycopg.AsyncConnection.connect(uri)

    async def use():
        pool = pools.ConnectionPool(uri, min_size=1, open=True)
        async_pool = pools.AsyncConnectionPool(uri, min_size=1, open=False)
        await async_pool.open()
        engine, async_engine = sqlalchemy.create_engine(address), create_async_engine(address)
        checks = {
            "function": health.psycopg(lambda: psycopg.connect(uri)),
            "coroutine": health.psycopg(connected),
            "lambda": health.psycopg(lambda: psycopg.AsyncConnection.connect(uri)),
            "pool": health.psycopg(pool),
            "async-pool": health.psycopg(async_pool),
            "engine": health.sqlalchemy(engine),
            "async-engine": health.sqlalchemy(async_engine),
            "sync-side": health.sqlalchemy(async_engine.sync_engine),
        }
        declared(checks)
        asked, codes = Asked(isolated), {}
        for name, check in checks.items():
            codes[name] = [
                await asyncio.to_thread(asked.without_a_loop, name, check),
                await asyncio.to_thread(asked.directly, name, check),
            ]
        for name in checks:
            codes[name] += [await asked.on_the_loop(name), await asked.on_the_loop(name)]
        async with async_pool.connection() as connection, async_engine.connect() as other:
            await connection.execute("SELECT 1")
            await other.exec_driver_sql("SELECT 1")
        used = async_pool.get_stats()["requests_num"], async_engine.pool.checkedin()
        pool.close()
        await async_pool.close()
        engine.dispose()
        await async_engine.dispose()
        return checks, codes, used

    checks, codes, used = asyncio.run(use())

    assert codes == dict.fromkeys(checks, [200] * 4)
    assert used == (3, 1)


def test_redis_by_every_client(isolated, redis_server):
    """
    A synchronous and an asynchronous client, up and down, whoever serves; the latter's connections stay its loop's.
    """
    redis = pytest.importorskip("redis")
    pytest.importorskip("redis.asyncio.retry")
    options = {"port": redis_server.port, "socket_connect_timeout": 2, "socket_timeout": 2}

    async def use():
        once = redis.backoff.NoBackoff(), 1  # by themselves they wait for seconds in between
        client = redis.Redis(**options, retry=redis.retry.Retry(*once))
        async_client = redis.asyncio.Redis(**options, retry=redis.asyncio.retry.Retry(*once))
        checks = {
            "client": health.redis(client),
            "async-client": health.redis(async_client),
            "function": async_client.ping,
            "lambda": lambda: async_client.ping(),
        }
        declared(checks)
        asked, codes = Asked(isolated), {}
        for name, check in list(checks.items())[:2]:
            codes[name] = [
                await asyncio.to_thread(asked.without_a_loop, name, check),
                await asyncio.to_thread(asked.directly, name, check),
            ]
        up = {name: await asked.on_the_loop(name) for name in checks}
        await async_client.ping()
        redis_server.stop()
        down = {name: await asked.on_the_loop(name) for name in checks}
        redis_server.start()
        client.close()
        await async_client.aclose()
        return checks, codes, up, down

    checks, codes, up, down = asyncio.run(use())

    assert codes == {"client": [200, 200], "async-client": [200, 200]}
    assert (up, down) == (dict.fromkeys(checks, 200), dict.fromkeys(checks, 503))


def redis_clients(port, sentinel_port, cluster_port):
    """
    Make each kind of client, synchronous and asynchronous.
    """
    redis = pytest.importorskip("redis")
    made, options = {}, {"socket_connect_timeout": 2, "socket_timeout": 2}
    for kind, package in (("", redis), ("async-", redis.asyncio)):
        pool = package.BlockingConnectionPool(port=port, max_connections=2, **options)
        made[f"{kind}blocking"] = package.Redis.from_pool(pool)
        sentinel = package.sentinel.Sentinel([("127.0.0.1", sentinel_port)], **options)
        made[f"{kind}sentinel"] = sentinel.master_for("plants")
        made[f"{kind}cluster"] = package.cluster.RedisCluster("127.0.0.1", cluster_port, **options)
    return made


def test_redis_by_every_way_to_a_server(isolated, redis_server, redis_others):
    """
    Pools that wait, Sentinels and clusters are asked as well, whoever serves, and go on to serve the application.
    """
    redis = pytest.importorskip("redis")
    pytest.importorskip("redis.asyncio.cluster")
    pytest.importorskip("redis.asyncio.sentinel")
    sentinel, cluster = redis_others
    with closing(redis.Redis(port=cluster.port)) as node:
        node.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        while node.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            pass

    async def use():
        clients = redis_clients(redis_server.port, sentinel.port, cluster.port)
        checks = {name: health.redis(client) for name, client in clients.items()}
        declared(checks)
        asked, codes = Asked(isolated), {}
        for name, check in checks.items():
            ways = (asked.directly, asked.without_a_loop) * 2
            codes[name] = [await asyncio.to_thread(way, name, check) for way in ways]
        for name in checks:
            codes[name] += [await asked.on_the_loop(name), await asked.on_the_loop(name)]
        said = [await client.set("a", 1) if "async" in name else client.set("a", 1) for name, client in clients.items()]
        for name, client in clients.items():
            await client.aclose() if "async" in name else client.close()
        for name in ("", "async-"):
            manager = clients[name + "sentinel"].connection_pool.sentinel_manager
            for watcher in manager.sentinels:
                await watcher.aclose() if name else watcher.close()
        return checks, codes, said

    checks, codes, said = asyncio.run(use())

    assert codes == dict.fromkeys(checks, [200] * 6)
    assert said == [True] * 6


@pytest.mark.parametrize("answer", [False, b"ERR", {"node": False}, {}, None])
def test_redis_that_does_not_say_pong(answer):
    """
    Only a PONG passes, and of a cluster each node's.
    """
    client = type("Client", (), {"ping": lambda self: answer})()

    assert health.redis(client)().status == "fail"


def test_sqlalchemy_with_an_asynchronous_driver_of_sqlite(isolated, tmp_path):
    """
    An AsyncEngine passes, and one whose file cannot be made fails.
    """
    pytest.importorskip("aiosqlite")
    pytest.importorskip("sqlalchemy")
    from sqlalchemy.ext.asyncio import create_async_engine

    async def use():
        good = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}")
        bad = create_async_engine("sqlite+aiosqlite:////nowhere/at/all.db")
        declared({"good": health.sqlalchemy(good), "bad": health.sqlalchemy(bad)})
        codes = [await Asked(isolated).on_the_loop(name) for name in ("good", "bad")]
        await good.dispose()
        await bad.dispose()
        return codes

    assert asyncio.run(use()) == [200, 503]


def test_package_of_outcomes():
    """
    What a check answers is a plain value.
    """
    assert Outcome("pass", None, {"rows": 3}) == health.passed(rows=3)
    assert Outcome("warn", "slow", {}) == health.warned("slow")
    assert Outcome("fail", "gone", {}) == health.failed("gone")


def test_a_check_does_not_show_where_it_looks(database):
    """
    The `repr` of a ready-made check has no path, no URL and no key.
    """
    shown = repr(
        [
            health.sqlite(database),
            health.http("http://user:s3cret@shop.internal/"),
            health.ai_provider("anthropic", key="sk-ant-s3cret"),
            health.certificate("shop.internal"),
            health.storage(database.parent),
        ]
    )

    assert [] == [word for word in (str(database.parent), "s3cret", "internal") if word in shown]
