"""
SQLAlchemy with its statements timed, once, and everything else as it was.
"""

import asyncio
import gc
import sqlite3
import threading
import weakref
from contextlib import closing

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    bindparam,
    create_engine,
    engine_from_config,
    event,
    exc,
    func,
    insert,
    inspect,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Session, joinedload, mapped_column, relationship, selectinload
from sqlalchemy.pool import NullPool, QueuePool

import obskit
from forked import in_child
from obskit.context import current
from obskit.db import slow_queries
from obskit.db.db_operation import DbOperation
from obskit.db.explain import explainer
from obskit.db.pools import ConnectionUse, ConnectionWait
from obskit.errors import ConfigurationError
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.testing import FakeClock, isolated_runtime, no_n_plus_one
from obskit.time.clock import Deadline


class Base(DeclarativeBase):
    pass


class Plant(Base):
    __tablename__ = "plants"
    id = mapped_column(Integer, primary_key=True)
    name = mapped_column(String(40), unique=True)
    leaves = relationship("Leaf", back_populates="plant", order_by="Leaf.id", cascade="all, delete-orphan")


class Leaf(Base):
    __tablename__ = "leaves"
    id = mapped_column(Integer, primary_key=True)
    plant_id = mapped_column(ForeignKey("plants.id"))
    colour = mapped_column(String(20))
    plant = relationship(Plant, back_populates="leaves")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def runtime(sink):
    with isolated_runtime(sinks=[sink]) as runtime:
        # What `auto` has turned on in another test sees what SQLAlchemy asks when it connects.
        obskit.uninstrument_sqlalchemy()
        obskit.uninstrument_sqlite3()
        yield runtime
        obskit.uninstrument_sqlalchemy()
        obskit.uninstrument_sqlite3()


@pytest.fixture
def engine(runtime, sink):
    """
    Yield an engine that has connected once: the first time, SQLAlchemy asks for what the database can do.
    """
    engine = create_engine("sqlite://")
    engine.connect().close()
    obskit.instrument_sqlalchemy(engine)
    engine.dispose()
    yield engine
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """
    Yield the address of an empty database.
    """
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'plants.db'}"
        return
    pytest.importorskip("psycopg")
    address = request.getfixturevalue("postgres").replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(address, poolclass=NullPool)
    Base.metadata.drop_all(engine)  # other files have tables of these names
    yield address
    Base.metadata.drop_all(engine)
    engine.dispose()


def queries(sink):
    return [op for op in sink.operations if isinstance(op, DbOperation)]


def seen(sink):
    return [(op.operation, op.table) for op in queries(sink)]


def test_a_statement_is_one_query(engine, sink):
    """
    Each statement is timed once, under its labels; transactions are none.
    """
    with engine.begin() as connection:
        connection.execute(text("create table a (b integer)"))
        connection.execute(text("insert into a values (:b)"), {"b": 1})
        assert connection.execute(text("select b from a")).all() == [(1,)]

    assert seen(sink) == [("create", "a"), ("insert", "a"), ("select", "a")]
    assert [op.rows for op in queries(sink)] == [None, 1, 1]


def test_statements_of_the_orm_are_queries(engine, sink):
    """
    A unit of work, lazy loads and bulk inserts are timed as the driver sees them.
    """
    Base.metadata.create_all(engine)
    sink.operations.clear()
    with Session(engine) as session:
        session.add(Plant(name="fern", leaves=[Leaf(colour="green"), Leaf(colour="brown")]))
        session.commit()
        fern = session.scalars(select(Plant)).one()
        assert [leaf.colour for leaf in fern.leaves] == ["green", "brown"]

    assert [*dict.fromkeys(seen(sink))] == [
        ("insert", "plants"),
        ("insert", "leaves"),
        ("select", "plants"),
        ("select", "leaves"),
    ]


def test_fetching_is_timed(clock, sink):
    """
    Rows that SQLite makes while they are fetched count to their statement.
    """
    with isolated_runtime(sinks=[sink], clock=clock):
        engine = create_engine("sqlite://")
        obskit.instrument_sqlalchemy(engine)
        with engine.connect() as connection:
            driver = connection.connection.driver_connection
            driver.create_function("wait", 1, lambda seconds: clock.advance(seconds))
            connection.execute(text("select wait(1) union all select wait(1) union all select wait(1)")).all()
        engine.dispose()

        assert [op.duration_seconds for op in queries(sink)][-1] == 3.0
        obskit.uninstrument_sqlalchemy()


def test_a_failed_statement_is_counted_with_the_drivers_class(runtime, engine):
    """
    The class that the driver raised is the label; what SQLAlchemy makes of it leaves as it did.
    """
    with engine.connect() as connection, pytest.raises(exc.OperationalError):
        connection.execute(text("select * from nowhere"))
    labels = {"system": "sqlite", "table": "nowhere", "operation": "select", "error": "OperationalError"}

    assert runtime.value("database_errors_total", **labels) == 1.0


def test_observe_db_gives_its_labels(engine, sink):
    """
    An `observe_db` around a statement supplies labels, and is no observation itself.
    """
    with obskit.observe_db("greenhouse", "report"), engine.connect() as connection:
        connection.execute(text("select 1")).all()

    assert seen(sink) == [("report", "greenhouse")]


def test_statements_count_with_their_request(engine):
    """
    Queries and seconds are in the totals of the request.
    """
    request = HttpOperation("GET", "/plants")
    token = current.set(request)
    with engine.connect() as connection:
        for _ in range(3):
            connection.execute(text("select 1")).all()
    current.reset(token)

    assert request.totals.db_queries == 3
    assert request.totals.db_seconds > 0


# Which engines.


def test_one_engine_alone(runtime, sink):
    """
    Another engine is not timed, and neither is this one after it was taken back.
    """
    mine, other = create_engine("sqlite://"), create_engine("sqlite://")
    obskit.instrument_sqlalchemy(mine)
    obskit.instrument_sqlalchemy(mine)
    for engine in (mine, other, mine.execution_options(isolation_level="SERIALIZABLE")):
        with engine.connect() as connection:
            connection.execute(text("select 1"))
    obskit.uninstrument_sqlalchemy(mine)
    mine.dispose()
    with mine.connect() as connection:
        connection.execute(text("select 2"))
    mine.dispose()
    other.dispose()

    assert len([op for op in queries(sink) if op.operation == "select"]) == 2


def test_every_engine(runtime, sink):
    """
    Engines that are there already, and those that are made later, are timed.
    """
    before = create_engine("sqlite://")
    obskit.instrument_sqlalchemy()
    after = create_engine("sqlite://")
    for engine in (before, after):
        with engine.connect() as connection:
            connection.execute(text("select 1"))
    obskit.uninstrument_sqlalchemy()
    later = create_engine("sqlite://")
    for engine in (before, after, later):
        engine.dispose()
        with engine.connect() as connection:
            connection.execute(text("select 1"))
        engine.dispose()

    assert len([op for op in queries(sink) if op.operation == "select"]) == 2


def test_every_argument_of_an_engine_is_known(runtime):
    """
    SQLAlchemy finds the arguments of `create_engine()` in the code of its engine, which is its own.
    """
    arguments = {
        "echo": False,
        "hide_parameters": True,
        "logging_name": "plants",
        "execution_options": {},
        "query_cache_size": 100,
    }
    obskit.instrument_sqlalchemy()
    engine = create_engine("sqlite://", **arguments)
    from_config = engine_from_config({"sqlalchemy.url": "sqlite://", "sqlalchemy.echo": "false"})

    assert (engine.hide_parameters, engine.logging_name, from_config.echo) == (True, "plants", False)


def test_an_engine_is_taken_up_with_its_first_connection_by_whatever_options(runtime, sink):
    """
    One that is connected first through what `execution_options()` gave is timed and watched as the engine itself is.
    """
    obskit.instrument_sqlalchemy()
    engine = create_engine("sqlite://", poolclass=QueuePool)
    optioned = engine.execution_options(logging_token="a").execution_options(stream_results=False)
    with optioned.connect() as connection:
        connection.execute(text("select 1"))
    engine.dispose()

    assert len([op for op in queries(sink) if op.operation == "select"]) == 1
    assert engine.dialect.obskit.pool == "sqlite"
    assert engine.dialect.obskit.engine() is engine


def test_engines_are_let_go(runtime):
    """
    An engine that nobody needs any more is freed, instrumented or not.
    """
    obskit.instrument_sqlalchemy()
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        connection.execute(text("select 1"))
    engine.dispose()
    gone = weakref.ref(engine)
    del engine, connection
    gc.collect()

    assert gone() is None


@pytest.mark.parametrize("thing", [None, "sqlite://", object()])
def test_what_is_no_engine_is_refused(thing):
    """
    A wrong argument is an error that says what to pass.
    """
    if thing is None:
        thing = sqlite3
    with pytest.raises(ConfigurationError, match=r"instrument_sqlalchemy\(\) was given a .*create_engine\(\)"):
        obskit.instrument_sqlalchemy(thing)


def test_layers_count_once(runtime, sink):
    """
    SQLAlchemy over a hooked `sqlite3` is one observation, made by the inner hook; so is a connection of a creator.
    """
    obskit.instrument_sqlite3()
    obskit.instrument_sqlalchemy()
    for engine in (create_engine("sqlite://"), create_engine("sqlite://", creator=lambda: sqlite3.connect(":memory:"))):
        with engine.connect() as connection:
            sink.operations.clear()
            assert connection.execute(text("select 1")).all() == [(1,)]
        engine.dispose()

        assert seen(sink) == [("select", "")]


def test_a_connection_that_was_open_before_is_timed(runtime, sink):
    """
    Connections in the pool from before are timed without their fetches.
    """
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        connection.execute(text("create table a (b)"))
        obskit.instrument_sqlalchemy(engine)
        connection.execute(text("select b from a")).all()
    engine.dispose()

    assert seen(sink) == [("select", "a")]


def test_an_own_connection_class_is_kept(engine, sink):
    """
    `connect_args` with a factory give connections of that class.
    """

    class Library(sqlite3.Connection):
        pass

    engine = create_engine("sqlite://", connect_args={"factory": Library})
    obskit.instrument_sqlalchemy(engine)
    with engine.connect() as connection:
        assert isinstance(connection.connection.driver_connection, Library)
        connection.execute(text("select 1")).all()
    engine.dispose()

    assert seen(sink)[-1] == ("select", "")


def test_without_a_runtime_nothing_happens():
    """
    An instrumented engine works before `configure()` and after `shutdown()`.
    """
    engine = create_engine("sqlite://")
    obskit.instrument_sqlalchemy(engine)
    with engine.connect() as connection:
        assert connection.execute(text("select 1")).scalar() == 1
    engine.dispose()
    obskit.uninstrument_sqlalchemy()


def test_an_n_plus_one_of_the_orm_is_found(engine):
    """
    Lazy loads in a loop fail `no_n_plus_one`, with the line of the loop; eager loads do not.
    """
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Plant(name=f"plant {n}", leaves=[Leaf(colour="green")]) for n in range(8)])
        session.commit()

    def colours(*options):
        with Session(engine) as session, no_n_plus_one():
            return [plant.leaves[0].colour for plant in session.scalars(select(Plant).options(*options))]

    assert colours(selectinload(Plant.leaves)) == ["green"] * 8
    with pytest.raises(AssertionError, match=r"8 x SELECT leaves  .*test_sqlalchemy.py:\d+ <listcomp>|colours"):
        colours()


# Pools.


@pytest.mark.parametrize("opened", ["before", "after"])
def test_a_slow_statement_is_explained(url, sink, opened):
    """
    Slow SELECTs say how the database runs them, also on connections from before; the transaction goes on, and nothing
    that writes is asked about.
    """
    obskit.uninstrument_sqlalchemy()
    obskit.uninstrument_sqlite3()
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    with isolated_runtime(slow_query_warning_ms=0, explain_slow_queries=True):
        if opened == "after":
            engine.dispose()
            obskit.instrument_sqlalchemy(engine, pool="explained")
        with engine.begin() as connection:
            connection.exec_driver_sql(f"select '{opened}', 1").all()
            obskit.instrument_sqlalchemy(engine, pool="explained")
            connection.execute(insert(Plant).values(name="s3cret"))
            ordered = select(Plant.id, func.lower(Plant.name).label(opened)).where(Plant.name == "s3cret")
            found = connection.execute(ordered).all()
            assert explainer.flush(Deadline(30))
            connection.execute(insert(Plant).values(name="fern"))
        with engine.connect() as connection:
            names = connection.scalars(select(Plant.name).order_by(Plant.id)).all()
        assert explainer.flush(Deadline(30))
        plans = [query.plan for query in slow_queries() if query.text.count(opened) and query.summary.count("plants")]
        writing = [query.plan for query in slow_queries() if query.summary.lower().startswith("insert")]
        failures = dict(recorder.errors)
    obskit.uninstrument_sqlalchemy()
    engine.dispose()

    assert (found, names) == ([(1, "s3cret")], ["s3cret", "fern"])
    assert [("plants" in plan, "s3cret" in plan) for plan in plans] == [(True, False)]
    assert writing == [None, None]
    assert failures == {}


def test_a_pool_is_watched(runtime, sink, tmp_path):
    """
    Size, waiting and use of a pool are on the page, under one name for all files of SQLite.
    """
    engine = create_engine(f"sqlite:///{tmp_path / 'plants.db'}", poolclass=QueuePool, pool_size=2, max_overflow=3)
    obskit.instrument_sqlalchemy(engine)
    labels = {"pool": "sqlite"}
    with engine.connect(), engine.connect():
        assert runtime.value("database_connections_active", **labels) == 2.0
    assert runtime.value("database_connections_active", **labels) == 0.0
    assert runtime.value("database_connections_idle", **labels) == 2.0
    assert runtime.value("database_connections_max", **labels) == 5.0
    assert runtime.value("database_connection_wait_seconds_count", **labels) == 2.0
    assert runtime.value("database_connection_use_seconds_count", **labels) == 2.0
    engine.dispose()
    with engine.connect():
        assert runtime.value("database_connections_active", **labels) == 1.0
    engine.dispose()


def test_a_pool_that_is_empty_is_counted(runtime):
    """
    A wait that ends with SQLAlchemy's TimeoutError is in the histogram and in the timeouts, and raises what it did.
    """
    engine = create_engine(
        "sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.01,
        connect_args={"check_same_thread": False},
    )  # fmt: skip
    obskit.instrument_sqlalchemy(engine, pool="greenhouse")
    with engine.connect(), pytest.raises(exc.TimeoutError):
        engine.connect()
    engine.dispose()

    assert runtime.value("database_connection_timeouts_total", pool="greenhouse") == 1.0
    assert runtime.value("database_connection_wait_seconds_count", pool="greenhouse") == 2.0


def test_pools_have_names_of_their_own(runtime):
    """
    Two engines of one database are two pools; one that is gone leaves the page.
    """
    engines = [create_engine("sqlite://", poolclass=QueuePool) for _ in range(2)]
    for engine in engines:
        obskit.instrument_sqlalchemy(engine, pool="twins")
    assert runtime.value("database_connections_max", pool="twins") == 15.0
    assert runtime.value("database_connections_max", pool="twins-2") == 15.0
    engines.pop()
    del engine
    gc.collect()

    assert runtime.value("database_connections_max", pool="twins") == 15.0
    assert runtime.value("database_connections_max", pool="twins-2") is None


def test_engines_of_many_files_are_one_pool(runtime, tmp_path):
    """
    Engines of SQLite share a label, and their sizes are added up, however many there are and whenever they go.
    """
    engines = [create_engine(f"sqlite:///{tmp_path / f'{n}.db'}", pool_size=2, max_overflow=1) for n in range(20)]
    for engine in engines:
        obskit.instrument_sqlalchemy(engine)
    held = [engine.connect() for engine in engines]
    pools = {sample.labels["pool"] for sample in samples(runtime, "database_connections_active")}
    figures = [runtime.value(f"database_connections_{name}", pool="sqlite") for name in ("active", "idle", "max")]
    for connection in held:
        connection.close()
    idle = runtime.value("database_connections_idle", pool="sqlite")
    for engine in engines:
        engine.dispose()

    assert pools == {"sqlite"}
    assert (figures, idle) == ([20.0, 0.0, 60.0], 20.0)


def test_engines_of_one_database_share_its_name(runtime):
    """
    One that was made before the last one was collected has no number behind its name; a name that is given is its own.
    """
    pytest.importorskip("psycopg")
    url = "postgresql+psycopg://db.example/plants"
    engines = [create_engine(url, pool_size=n, max_overflow=0) for n in (1, 2, 3)]
    for engine in engines:
        obskit.instrument_sqlalchemy(engine)
    obskit.instrument_sqlalchemy(engines[2], pool="reports")
    obskit.instrument_sqlalchemy(engines[2])

    assert [engine.dialect.obskit.pool for engine in engines] == ["plants", "plants", "reports"]
    assert runtime.value("database_connections_max", pool="plants") == 3.0
    assert runtime.value("database_connections_max", pool="reports") == 3.0


def test_an_engine_without_a_pool_is_watched_under_a_given_name_alone(runtime):
    """
    NullPool has no connections to wait for: nothing of it is on the page.
    """
    engine = create_engine("sqlite://", poolclass=NullPool)
    obskit.instrument_sqlalchemy(engine)
    with engine.connect():
        pass

    assert samples(runtime, "database_connection_use_seconds") == []


@pytest.mark.parametrize("driver_too", [False, True])
def test_what_a_pool_or_a_health_check_asks_is_no_query(runtime, sink, tmp_path, driver_too):
    """
    `pool_pre_ping` and `obskit.health.sqlalchemy()` ask for themselves: no request counts that, and no histogram.
    """
    engine = create_engine(f"sqlite:///{tmp_path / 'plants.db'}", poolclass=QueuePool, pool_pre_ping=True)
    if driver_too:
        obskit.instrument_sqlite3()
    obskit.instrument_sqlalchemy(engine)
    engine.connect().close()
    sink.operations.clear()
    request = HttpOperation("GET", "/plants")
    token = current.set(request)
    with engine.connect() as connection:
        connection.execute(text("select 2"))
    checked = obskit.health.sqlalchemy(engine)().status
    current.reset(token)
    checked = [checked, obskit.health.sqlalchemy(engine)().status]
    engine.dispose()

    assert (request.totals.db_queries, seen(sink)) == (1, [("select", "")])
    assert checked == ["pass", "pass"]


def samples(runtime, name):
    return [sample for family in runtime.registry.collect() if family.name == name for sample in family.samples]


def test_a_pool_is_forgotten_with_its_engine_s_hook(runtime):
    """
    Taken back, an engine's pool is on no page, and its name is free for another; instrumented again, it is back.
    """
    first, second = (create_engine("sqlite://", poolclass=QueuePool) for _ in range(2))
    obskit.instrument_sqlalchemy(first, pool="forgotten")
    obskit.uninstrument_sqlalchemy(first)
    assert runtime.value("database_connections_max", pool="forgotten") is None
    obskit.instrument_sqlalchemy(second, pool="forgotten")
    obskit.uninstrument_sqlalchemy()
    with first.connect():
        assert runtime.value("database_connection_wait_seconds_count", pool="forgotten") is None
    obskit.instrument_sqlalchemy(first, pool="forgotten")
    with first.connect():
        assert runtime.value("database_connections_active", pool="forgotten") == 1.0
    first.dispose()

    assert runtime.value("database_connections_max", pool="forgotten-2") is None


def test_a_pool_that_does_not_count_has_no_size(runtime):
    """
    NullPool keeps nothing, so there is nothing to show but waiting and use.
    """
    engine = create_engine("sqlite://", poolclass=NullPool)
    obskit.instrument_sqlalchemy(engine, pool="none")
    with engine.connect():
        pass

    assert runtime.value("database_connections_active", pool="none") is None
    assert runtime.value("database_connection_use_seconds_count", pool="none") == 1.0


def test_an_address_never_shows_its_password(runtime, sink):
    """
    Neither labels nor what spans tell of an engine hold its user or password.
    """
    pytest.importorskip("psycopg")
    engine = create_engine("postgresql+psycopg://ada:s3cret@db.example:5433/plants")
    obskit.instrument_sqlalchemy(engine)

    assert engine.dialect.obskit.database.attributes == {
        "db.system.name": "postgresql",
        "db.namespace": "plants",
        "server.address": "db.example",
        "server.port": 5433,
    }
    assert engine.dialect.obskit.pool == "plants"


# Everything else: the same with and without timing, on SQLite and PostgreSQL.


def core(engine):
    """
    Use transactions, savepoints, bulk operations, streams, iterators and errors of Core.
    """
    told = []
    plants = Plant.__table__
    with engine.begin() as connection:
        told.append(connection.execute(insert(plants), [{"name": f"plant {n}"} for n in range(50)]).rowcount)
        told.append(connection.execute(insert(plants).returning(plants.c.id), [{"name": "a"}, {"name": "b"}]).all())
        told.append(connection.execute(update(plants).where(plants.c.name == "a").values(name="c")).rowcount)
        many = update(plants).where(plants.c.name == bindparam("old")).values(name=bindparam("new"))
        told.append(connection.execute(many, [{"old": "b", "new": "d"}, {"old": "c", "new": "e"}]).rowcount)
    with engine.connect() as connection:
        outer = connection.begin()
        savepoint = connection.begin_nested()
        connection.execute(insert(plants).values(name="gone"))
        savepoint.rollback()
        told.append(connection.scalar(select(func.count()).select_from(plants)))
        try:
            with connection.begin_nested():
                connection.execute(insert(plants).values(name="d"))
        except exc.IntegrityError as error:
            told.append((type(error), type(error.orig), error.statement, error.params))
        outer.rollback()
    with engine.connect() as connection:
        ordered = select(plants.c.name).order_by(plants.c.id)
        result = connection.execute(ordered, execution_options={"stream_results": True, "yield_per": 7})
        told.append([len(part) for part in result.partitions()])
        result = connection.execute(ordered)
        told.append((result.fetchone(), result.fetchmany(3), next(iter(result)), len(result.all()), result.closed))
        told.append(connection.execute(ordered.limit(2)).mappings().all())
        told.append(connection.execute(ordered).first())
        told.append(connection.exec_driver_sql("select 1 as one").keys())
        told.append(inspect(connection).get_table_names())
        for wrong in ("selec", "select * from nowhere", ""):
            try:
                connection.execute(text(wrong)).all()
            except Exception as error:
                told.append(type(error))
                connection.rollback()
        try:
            connection.execute(text("select 1 / :zero"), {"none": 0})
        except exc.StatementError as error:
            told.append(str(error.orig))
    return told


def orm(engine):
    """
    Use units of work, loaders, bulk operations, identity maps and rollbacks of the ORM.
    """
    told = []
    with Session(engine) as session:
        session.add_all([Plant(name=f"plant {n}", leaves=[Leaf(colour=c) for c in "ab"]) for n in range(5)])
        session.flush()
        told.append([plant.id for plant in session.scalars(select(Plant).order_by(Plant.id))])
        session.commit()
        told.append(session.bulk_insert_mappings(Plant, [{"name": "x"}, {"name": "y"}]))
        session.bulk_update_mappings(Plant, [{"id": 1, "name": "renamed"}])
        told.append(session.get(Plant, 1).name)
        for option in (selectinload(Plant.leaves), joinedload(Plant.leaves)):
            found = session.execute(select(Plant).options(option).order_by(Plant.id)).unique().scalars().all()
            told.append([(plant.name, [leaf.colour for leaf in plant.leaves]) for plant in found])
        session.delete(session.get(Plant, 2))
        session.commit()
        told.append(session.scalar(select(func.count()).select_from(Leaf)))
        try:
            with session.begin_nested():
                session.add(Plant(name="x"))
        except exc.IntegrityError as error:
            told.append(type(error.orig).__name__)
        session.execute(update(Plant).values(name=Plant.name + "!"), execution_options={"synchronize_session": "fetch"})
        session.rollback()
        told.append([plant.name for plant in session.scalars(select(Plant).order_by(Plant.id)).yield_per(2)])
    return told


def listeners(engine):
    """
    Use the events, and count what they are told.
    """
    told = []
    event.listen(engine, "before_cursor_execute", lambda *told_of: told.append(told_of[2]))
    event.listen(engine, "after_cursor_execute", lambda *told_of: told.append(told_of[5]))
    event.listen(engine, "checkout", lambda *told_of: told.append("checkout"))
    event.listen(engine, "checkin", lambda *told_of: told.append("checkin"))
    with engine.connect() as connection:
        connection.execute(text("select 1"))
    return told


def threads(engine):
    """
    Use one engine in several threads.
    """
    told, plants = [], Plant.__table__

    def work(number):
        with engine.begin() as connection:
            connection.execute(insert(plants).values(name=f"thread {number}"))

    running = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    with engine.connect() as connection:
        told.append(connection.scalar(select(func.count()).select_from(plants)))
    return told


ODD = (
    "",
    " ",
    ";",
    "-- nothing",
    "select 'abc",
    'select "abc',
    "select 1 /* abc",
    b"select 1",
    None,
    7,
    [],
    "select '\0'",
)


class Broken(TypeDecorator):
    """
    Fail while rows are made.
    """

    impl = Integer
    cache_ok = True

    def process_result_value(self, value, dialect):
        return 1 / 0


def lost(connection, ordered):
    """
    Read rows in another thread, and after the connection is gone.
    """
    result = connection.execute(ordered)
    told = [result.fetchone()]
    reading = threading.Thread(target=lambda: told.append(result.fetchone()))
    reading.start()
    reading.join()
    connection.connection.driver_connection.close()
    try:
        told.append(result.all())
    except Exception as error:
        told.append(type(error))
    connection.invalidate()
    return told


def hostile(engine):
    """
    Use odd statements, rows that cannot be made, connections that go away, cursors of other threads, and forks.
    """
    told, plants = [], Plant.__table__
    with engine.begin() as connection:
        connection.execute(insert(plants), [{"name": f"plant {n}"} for n in range(9)])
    ordered = select(plants.c.name).order_by(plants.c.id)
    with engine.connect() as connection:
        for odd in ODD:
            try:
                told.append(connection.exec_driver_sql(odd).all())
            except Exception as error:
                told.append((type(error), type(getattr(error, "orig", None))))
                connection.rollback()
        told.append(len(connection.exec_driver_sql("select '" + "x" * 1_000_000 + "'").scalar()))
        told.append(len(connection.execute(ordered.where(plants.c.id.in_(range(500)))).all()))
        try:
            connection.execute(select(literal_column("1", Broken))).all()
        except ZeroDivisionError as error:
            told.append(str(error))
        told += lost(connection, ordered)
    gc.collect()  # SQLite keeps its lock for as long as a cursor lives in a traceback

    def child():
        engine.dispose(close=False)
        with engine.connect() as own:
            return own.scalar(select(func.count()).select_from(plants))

    with engine.connect() as connection:
        told.append(in_child(child))
        told.append(connection.scalar(select(func.count()).select_from(plants)))
    return told


@pytest.mark.parametrize("use", [core, orm, listeners, threads, hostile])
def test_sqlalchemy_is_as_it_was(runtime, sink, url, use):
    """
    The same operations give the same results and exceptions with and without timing.
    """
    outcomes = []
    for instrumented in (False, True):
        engine = create_engine(url)
        if instrumented:
            obskit.instrument_sqlalchemy(engine)
        Base.metadata.drop_all(engine)
        Base.metadata.create_all(engine)
        outcomes.append(use(engine))
        engine.dispose()

    assert outcomes[0] == outcomes[1]
    assert len(queries(sink)) > 1
    assert [op for op in sink.begun if isinstance(op, DbOperation) and not op.ended] == []


# asyncio.


@pytest.fixture(params=["sqlite+aiosqlite", "postgresql+psycopg", "postgresql+asyncpg"])
def async_url(request, tmp_path):
    pytest.importorskip("greenlet")
    driver = request.param.partition("+")[2]
    pytest.importorskip(driver)
    if driver == "aiosqlite":
        return f"{request.param}:///{tmp_path / 'plants.db'}"
    return request.getfixturevalue("postgres").replace("postgresql://", f"{request.param}://")


async def use_asyncio(url, prepare=lambda engine: None):
    """
    Use transactions, streams, sessions and errors of asyncio.
    """
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    engine, told, plants = create_async_engine(url), [], Plant.__table__
    prepare(engine)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(insert(plants), [{"name": f"plant {n}"} for n in range(20)])
    async with engine.connect() as connection:
        result = await connection.stream(select(plants.c.name).order_by(plants.c.id))
        told.append([row.name async for row in result])
        try:
            await connection.execute(text("select * from nowhere"))
        except exc.DBAPIError as error:
            told.append(type(error).__name__)
            await connection.rollback()
    async with AsyncSession(engine) as session:
        session.add(Plant(name="fern", leaves=[Leaf(colour="green")]))
        await session.commit()
        fern = (await session.scalars(select(Plant).options(selectinload(Plant.leaves)).filter_by(name="fern"))).one()
        told.append([leaf.colour for leaf in fern.leaves])
        try:
            async with session.begin_nested():
                session.add(Plant(name="fern"))
        except exc.IntegrityError as error:
            told.append(type(error).__name__)
    await asyncio.gather(*(ask(engine) for _ in range(3)))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
    await engine.dispose()
    return told


async def ask(engine):
    async with engine.connect() as connection:
        return await connection.scalar(text("select 1"))


@pytest.mark.parametrize("driver_too", [False, True])
def test_asyncio_is_as_it_was_and_timed_once(runtime, sink, async_url, driver_too):
    """
    An async engine gives the same results with and without timing; each statement is timed once, in its request.
    """
    plain = asyncio.run(use_asyncio(async_url))
    if driver_too:
        hook = obskit.instrument_sqlite3 if "sqlite" in async_url else obskit.instrument_psycopg
        hook()
    request = HttpOperation("GET", "/plants")
    token = current.set(request)
    try:
        timed = asyncio.run(use_asyncio(async_url, obskit.instrument_sqlalchemy))
    finally:
        current.reset(token)
        obskit.uninstrument_psycopg()

    made = seen(sink)
    assert timed == plain
    assert made.count(("insert", "leaves")) == 1
    assert made.count(("select", "nowhere")) == 1
    assert made.count(("insert", "plants")) == 3
    assert request.totals.db_queries == len(made)
    assert {op.root for op in queries(sink)} == {request}


def test_the_line_that_awaits_is_the_call_site(runtime, tmp_path):
    """
    Under asyncio a repeated statement is blamed on the coroutine that awaits it.
    """
    pytest.importorskip("greenlet")
    pytest.importorskip("aiosqlite")

    async def main():
        from sqlalchemy.ext.asyncio import create_async_engine

        engine = create_async_engine("sqlite+aiosqlite://")
        obskit.instrument_sqlalchemy(engine)
        async with engine.connect() as connection:
            for _ in range(8):
                await connection.execute(text("select 1"))
        await engine.dispose()

    def run():
        with no_n_plus_one():
            asyncio.run(main())

    with pytest.raises(AssertionError, match=r"8 x select  test_sqlalchemy.py:\d+ main"):
        run()


def test_pool_operations_are_told_to_sinks(engine, sink):
    """
    Each connection is one wait and one use.
    """
    with closing(engine.raw_connection()):
        pass

    assert [type(op) for op in sink.operations if not isinstance(op, DbOperation)] == [ConnectionWait, ConnectionUse]


def test_statements_of_core_tables_have_their_table(engine, sink):
    """
    What SQLAlchemy's compiler writes is understood: quoted names, and names that are words of SQL.
    """
    odd = Table("order", MetaData(), Column("key value", Integer))
    with engine.begin() as connection:
        odd.create(connection)
        connection.execute(insert(odd).values({"key value": 1}))
        connection.execute(select(odd).where(odd.c["key value"] == 1)).all()

    assert seen(sink)[-3:] == [("create", "order"), ("insert", "order"), ("select", "order")]
