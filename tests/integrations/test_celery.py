"""
A Celery task works with the id of the request that sent it, in a worker of its own.
"""

import logging

import pytest

celery = pytest.importorskip("celery")

from celery.contrib.testing.worker import start_worker  # noqa: E402

import obskit  # noqa: E402
from obskit.context import current  # noqa: E402
from obskit.testing import FakeIds, isolated_runtime  # noqa: E402
from within import in_request  # noqa: E402

log = obskit.get_logger("shop.tasks")
app = celery.Celery("shop", broker="memory://", backend="cache+memory://")
app.conf.broker_connection_retry_on_startup = True


@app.task
def water(plant):
    log.info("watering", plant=plant)
    logging.getLogger("shop.tasks.foreign").warning("watering")
    return obskit.correlation_id()


@app.task
def order(plant):
    log.info("ordering")
    return water.delay(plant).id


@app.task(bind=True, max_retries=1, default_retry_delay=0)
def failing(self):
    log.info("trying", attempt=self.request.retries)
    if not self.request.retries:
        raise self.retry()
    return obskit.correlation_id()


@app.task
def binding():
    obskit.bind(step="bound")
    log.info("bound")


@pytest.fixture
def instrumented():
    obskit.instrument_celery()
    with isolated_runtime(ids=FakeIds()) as isolated:
        yield isolated
    obskit.uninstrument_celery()


@pytest.fixture(scope="module")
def loggers_as_before():
    """
    Take back what a worker does to loggers for good: a level, and a handler that writes to a stream.
    """
    loggers = [logging.getLogger(name) for name in (None, "celery.task")]
    before = [(logger, logger.level, logger.propagate, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, propagate, handlers in before:
        logger.setLevel(level)
        logger.propagate = propagate
        for handler in logger.handlers[:]:
            if handler not in handlers and type(handler) is logging.StreamHandler:
                logger.removeHandler(handler)


@pytest.fixture(scope="module", params=["solo", "threads"])
def running(request, loggers_as_before):
    with start_worker(app, perform_ping_check=False, pool=request.param):
        yield


@pytest.fixture
def worker(running, instrumented):
    return instrumented


def test_a_task_has_the_requests_id(worker):
    """
    The id travels with the message and is on the task's lines, with the task's name and id; the next task has another.
    """
    sent = [in_request(f"req-{number}", water.delay, "fern") for number in range(2)]
    ids = [result.get(timeout=30) for result in sent]

    assert ["req-0", "req-1"] == ids
    assert [(f"req-{number}", "test_celery.water", sent[number].id, "fern") for number in range(2)] == [
        (line["correlation_id"], line["task"], line["task_id"], line["plant"]) for line in worker.lines
    ]


def test_a_task_from_nowhere_gets_a_fresh_id(worker):
    """
    A task that nobody's request sent has an id of its own.
    """
    assert ["id-1", "id-2"] == [water.delay("fern").get(timeout=30) for _ in "12"]


def test_what_a_task_sends_has_the_same_id(worker):
    """
    A task of a task, and a retry, carry the id on.
    """
    inner = celery.result.AsyncResult(in_request("req-1", order.delay, "fern").get(timeout=30), app=app)

    assert "req-1" == inner.get(timeout=30)
    assert "req-2" == in_request("req-2", failing.delay).get(timeout=30)
    assert [0, 1] == [line["attempt"] for line in worker.lines if line["message"] == "trying"]


def test_what_a_task_binds_ends_with_it(worker):
    """
    A bound field is on the task's own lines alone.
    """
    binding.delay().get(timeout=30)
    water.delay("fern").get(timeout=30)

    assert ["bound", None] == [line.get("step") for line in worker.lines]


@pytest.mark.parametrize("bad", ["-" * 60_000, "a b", 'x","level":"DEBUG', "a\nb", 7, None])
def test_a_bad_id_in_a_message_is_replaced(instrumented, bad):
    """
    Whoever writes to the queue cannot choose what is on a line: an id that is not well formed is replaced.
    """
    headers = {"X-Correlation-ID": bad, "traceparent": bad}

    assert "id-1" == water.apply(args=("fern",), headers=headers).get()


def test_a_trace_travels_too(instrumented):
    """
    The trace that a message came with is on the task's lines.
    """
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    water.apply(args=("fern",), headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})

    assert trace == instrumented.lines[0]["trace_id"]


def test_an_eager_task_is_a_part_of_the_request(instrumented):
    """
    A task that runs at once, inside of the request, has its id and its bound fields.
    """

    def work():
        obskit.bind(user="u-7")
        water.apply(args=("fern",))
        return obskit.correlation_id()

    assert "req-1" == in_request("req-1", work)
    assert ("req-1", "u-7") == (instrumented.lines[0]["correlation_id"], instrumented.lines[0]["user"])


def test_nothing_is_left_current(instrumented):
    """
    After a task that ran here, failed or not, nothing is current.
    """

    @app.task
    def broken():
        raise ValueError("no")

    broken.apply()
    water.apply(args=("fern",))

    assert current.get() is None


def test_celerys_own_lines_are_obskits(instrumented):
    """
    A worker that sets up its loggers after `instrument_logging()` writes obskit's lines all the same.
    """
    root = logging.root
    before = list(root.handlers), root.level
    obskit.instrument_logging()
    try:
        app.log.setup(loglevel="INFO", redirect_stdouts=False)
        logging.getLogger("celery.worker").info("ready")
        told = [line["message"] for line in instrumented.lines if line["logger"] == "celery.worker"]
    finally:
        obskit.uninstrument_logging()
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        app.log.already_setup = False

    assert ["ready"] == told


def test_it_can_be_undone():
    """
    Afterwards tasks neither send nor take ids.
    """
    obskit.instrument_celery()
    obskit.uninstrument_celery()
    with isolated_runtime() as isolated:
        water.apply(args=("fern",))

        assert "correlation_id" not in isolated.lines[0]
