"""
The sinks of a runtime, as its settings ask for them.
"""

from __future__ import annotations

from obskit.components import Assembly
from obskit.db.query_watch import QueryWatch
from obskit.db.settings import DatabaseSettings
from obskit.integrations.settings import RequestSettings
from obskit.recorder import recorder
from obskit.sinks.ai_calls_sink import AiCallsSink
from obskit.sinks.log_sink import LogSink
from obskit.sinks.request_hook import RequestHook
from obskit.sinks.sink_settings import MetricsSinkSettings, SpanSinkSettings
from obskit.sinks.span_sink import span_sink
from obskit.sinks.totals_sink import TotalsSink


def request_hook(assembly: Assembly) -> None:
    """
    Add the application's `request_hook`, which sees each operation before the other sinks do.
    """
    hook = assembly.settings.of(RequestSettings).request_hook
    if hook is not None:
        assembly.sinks.append(RequestHook(hook))


def queries(assembly: Assembly) -> None:
    """
    Add what watches queries.
    """
    assembly.sinks.append(QueryWatch(assembly.settings.of(DatabaseSettings)))


def totals(assembly: Assembly) -> None:
    """
    Add the totals of requests.
    """
    assembly.sinks.append(TotalsSink())


def ai_calls(assembly: Assembly) -> None:
    """
    Add the store of AI calls.
    """
    assembly.sinks.append(AiCallsSink())


def spans(assembly: Assembly) -> None:
    """
    Add spans, where there is somebody to take them. They are exported in the background, so SIGTERM drains them.
    """
    sink = span_sink(assembly.settings.of(SpanSinkSettings), recorder)
    if sink is not None:
        assembly.sinks.append(sink)
        assembly.part("logs").writer.enable_span_ids()
        assembly.part("drain").watch()


def metrics(assembly: Assembly) -> None:
    """
    Add metrics, where they are on.
    """
    collection = assembly.part("metrics")
    if collection is not None:
        from obskit.sinks.metrics_sink import MetricsSink

        settings = assembly.settings.of(MetricsSinkSettings)
        assembly.sinks.append(MetricsSink(settings, collection.collector, collection.workers, recorder))


def lines(assembly: Assembly) -> None:
    """
    Add lines of requests, jobs and events.
    """
    assembly.sinks.append(LogSink(assembly.part("logs").writer))
