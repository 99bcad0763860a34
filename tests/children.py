"""
Start a child process in one of several ways, and let it say something and end: run as a program, by `test_children.py`.

Nothing but obskit puts the span out that it makes: it waits an hour, and the provider does nothing at exit.
"""

import multiprocessing
import os
import signal
import sys


def configure():
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    import obskit

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(), schedule_delay_millis=3_600_000))
    obskit.configure(tracing=provider, metrics=False, access_log=False)


def say():
    import obskit

    with obskit.observe("last words"):
        pass


def configure_and_say():
    configure()
    say()


def say_and_be_ended():
    say()
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()


def run_process(processes, work):
    process = processes.Process(target=work)
    process.start()
    process.join(60)
    print(f"exit code {process.exitcode}")


def forked(work):
    run_process(multiprocessing.get_context("fork"), work)


def billiard_process(work):
    import billiard

    run_process(billiard, work)


def celery_pool(work):
    from billiard.pool import Pool
    from celery.concurrency.prefork import process_destructor, process_initializer  # noqa: F401

    pool = Pool(1, on_process_exit=process_destructor)
    pool.apply_async(work).get(60)
    pool.close()
    pool.join()


def of_parent(start):
    configure()
    start(say)


WAYS = {
    "fork": lambda: of_parent(forked),
    "fork, ended by SIGTERM": lambda: (configure(), forked(say_and_be_ended)),
    "fork, imports it first": lambda: forked(configure_and_say),
    "spawn": lambda: run_process(multiprocessing.get_context("spawn"), configure_and_say),
    "forkserver": lambda: run_process(multiprocessing.get_context("forkserver"), configure_and_say),
    "billiard": lambda: of_parent(billiard_process),
    "billiard, imports it first": lambda: billiard_process(configure_and_say),
    "celery's pool": lambda: of_parent(celery_pool),
    "celery's pool, imports it first": lambda: celery_pool(configure_and_say),
}

if __name__ == "__main__":
    WAYS[sys.argv[1]]()
