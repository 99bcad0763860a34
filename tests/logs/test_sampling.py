"""
Of many like lines some are left out, and counted.
"""

import logging
import threading

import pytest

import obskit
from obskit.logs import JsonHandler
from obskit.logs.sampling import MAX_KEYS, SAMPLED_OUT, EveryNth, Sampler
from obskit.operation import HttpOperation
from obskit.recorder import recorder
from obskit.testing import FakeClock, isolated_runtime

log = obskit.get_logger("shop.cart")


def left_out(lines):
    return [line.get("left_out") for line in lines]


def sampled():
    return recorder.dropped["logs", "sampled"]


def test_the_first_lines_of_a_second_and_then_every_so_many_th():
    """
    Of 250 like lines in a second the first 2 and then every 100th are written, and each says how many were not.
    """
    clock = FakeClock(1000.0)
    with isolated_runtime(wall_clock=clock, log_sample_first=2) as isolated:
        for number in range(250):
            log.info("tick %d", number)
        clock.advance(1.0)
        log.info("tick %d", 250)

        assert [("tick 0", None), ("tick 1", None), ("tick 101", 99), ("tick 201", 99), ("tick 250", 48)] == [
            (line["message"], line.get("left_out")) for line in isolated.lines
        ]
        assert 246 == sampled()


def test_each_logger_level_and_message_counts_for_itself():
    """
    What another logger, another level or another message says is written.
    """
    with isolated_runtime(wall_clock=FakeClock(1000.0), log_sample_first=1, log_sample_every=10) as isolated:
        for _ in range(3):
            log.info("a")
            log.warning("a")
            log.info("b")
            obskit.get_logger("shop.till").info("a")

        assert 4 == len(isolated.lines)
        assert 8 == sampled()


def test_records_are_sampled_by_their_template():
    """
    Records with the same message before its arguments are put in are alike.
    """
    logger = logging.getLogger("shop.sampled")
    logger.handlers, logger.propagate = [JsonHandler()], False
    logger.setLevel(logging.INFO)
    with isolated_runtime(log_sample_first=1, log_sample_every=1_000_000) as isolated:
        records = [logger.makeRecord("shop.sampled", 20, "", 0, "tick %d", (number,), None) for number in range(5)]
        for number, record in enumerate(records):
            record.created = 1000.0 + number // 4
            logger.handle(record)
        lines = [(line["message"], line.get("left_out")) for line in isolated.lines]
    logger.handlers = []

    assert [("tick 0", None), ("tick 4", 3)] == lines


def test_without_the_setting_every_line_is_written():
    """
    Sampling is asked for.
    """
    with isolated_runtime() as isolated:
        for _ in range(300):
            log.info("tick")

        assert [None] * 300 == left_out(isolated.lines)


def test_it_is_exact_under_threads():
    """
    Lines of several threads are written or counted, each once.
    """
    dropped = []
    sampler = Sampler(10, 7, lambda: dropped.append(1))
    answers, gate = [], threading.Barrier(8)

    def work():
        gate.wait()
        answers.extend([sampler.admit("key", 1000.0) for _ in range(500)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    kept = [answer for answer in answers if answer != SAMPLED_OUT]
    assert 4000 - len(kept) == len(dropped)
    assert 10 + 3990 // 7 == len(kept)
    assert len(dropped) - 3990 % 7 == sum(kept)


def test_made_up_messages_do_not_make_it_grow():
    """
    A flood of different messages is written, and its memory has a bound.
    """
    sampler = Sampler(1, 10, lambda: None)
    answers = {sampler.admit(number, 1000.0) for number in range(3 * MAX_KEYS)}

    assert {0} == answers
    assert MAX_KEYS == len(sampler._counts)


def serve(endpoint, status=200, seconds=0.0, exception=None):
    operation = HttpOperation("GET", endpoint)
    plan = recorder.plan(HttpOperation)
    plan.begin(operation)
    operation.endpoint, operation.status = endpoint, status
    if exception:
        operation.exception = exception
    recorder.clock.advance(seconds)
    plan.end(operation)


@pytest.mark.parametrize("form", [{}, {"log_schema": "ecs"}])
def test_access_lines_of_chosen_routes(form):
    """
    Every third line of a chosen route is written, every one of the others, and every error and slow request.
    """
    with isolated_runtime(clock=FakeClock(), access_log_sample={"/poll/<id>": 3}, **form) as isolated:
        for status, seconds, exception in [
            *[(200, 0, None)] * 4,
            (500, 0, None),
            (200, 9.0, None),
            (404, 0, "NotFound"),
            *[(200, 0, None)] * 3,
        ]:
            serve("/poll/<id>", status, seconds, exception)
        serve("/other")
        serve("/other")
        lines = isolated.lines

        assert [None, 2, None, None, None, 2, None, None] == left_out(lines)
        assert 4 == sampled()


def test_every_nth_is_exact():
    """
    What is written says how many were left out, and together they are all.
    """
    dropped = []
    every = EveryNth(4, lambda: dropped.append(1))
    answers = [every.admit(always=number == 6) for number in range(10)]

    assert [0, SAMPLED_OUT, SAMPLED_OUT, SAMPLED_OUT, 3, SAMPLED_OUT, 1, SAMPLED_OUT, 1, SAMPLED_OUT] == answers
    assert 6 == len(dropped)
