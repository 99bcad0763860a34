"""
The runtime: what one `configure()` builds, sinks wired to the recorder, and how it ends.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from obskit.ai import pricing
from obskit.ai.budget_book import budget_book
from obskit.ai.rate_limit_headers import latest_rate_limits
from obskit.deferred_endings import drain
from obskit.errors import AlreadyConfiguredError
from obskit.fields import shown
from obskit.forks import at_exit
from obskit.health.registry import registry as health
from obskit.interpreters import IS_MAIN, NO_THREADS
from obskit.logs import writer as logs
from obskit.logs.line_settings import LineSettings
from obskit.operation import Event, HttpOperation, Operation
from obskit.recorder import Sink, Step, recorder
from obskit.service_settings import ServiceSettings
from obskit.settings import Settings
from obskit.sigterm import sigterm
from obskit.system import sampler
from obskit.time.clock import clock, system_clock
from obskit.web.route_settings import RouteSettings
from obskit.web.routes import Routes
from obskit.workers import candidates, instance_leader

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class _RequestHook(Sink):
    """
    The application's `request_hook`, which sees each operation before the other sinks do.
    """

    name = "hook"

    def __init__(self, hook: Step) -> None:
        self._hook = hook

    def bind(self, kind: type[Operation]) -> tuple[Step | None, Step | None]:
        return None, self._hook if kind is HttpOperation else None


class Runtime:
    """
    What one `configure()` built.

    Attributes:
        settings: The frozen settings.
        registry: The `prometheus_client` registry it joined; None with `metrics=False`.
        routes: The paths that obskit answers itself.
        writer: Writes its lines, and those of loggers.
        hooks: Integrations that `auto` has turned on.
        without_hook: Installed database libraries whose calls are not timed.
    """

    def __init__(self, settings: Settings, extra_sinks: Sequence[Sink] = ()) -> None:
        self.settings = settings
        self.registry: CollectorRegistry | None = None
        self.hooks: list[str] = []
        self.without_hook: list[str] = []
        self._announced = False
        self.wants_client = settings.access_log  # whether any sink reads a request's client and agent
        self._collector: Any = None
        self._sinks: list[Sink] = []
        # A disabled runtime has one too: the lines of loggers are the application's.
        self.writer = logs.Writer(settings.of(LineSettings), recorder)
        if settings.enabled:
            self._start(extra_sinks)
        else:
            self.wants_client = False
            self.routes = Routes(RouteSettings(metrics_path=None, health_path=None), None)

    def _start(self, extra_sinks: Sequence[Sink]) -> None:
        settings = self.settings
        try:
            self._build()
            self._sinks += extra_sinks
            without_client = {"metrics", "queries", "totals", "ai_report", "serving"}
            if not settings.access_log:
                without_client.add("logs")
            self.wants_client = any(sink.name not in without_client for sink in self._sinks)
            recorder.bind(self._sinks)
            self.routes = Routes(settings.of(RouteSettings), self._page if settings.metrics else None)
            health.bind(settings.health_groups, self.routes.mount)
            for component in health.checks:
                self.routes.mount(component)
        except BaseException:
            self.give_up()
            raise
        if settings.metrics:
            from obskit.metrics.gauge_callbacks import gauge_callbacks

            gauge_callbacks.start()

    def _build(self) -> None:
        settings = self.settings
        pricing.use(settings.prices)
        budget_book.bind(settings.of(ServiceSettings))
        sampler.version = settings.version
        candidates.bind(settings.serving)
        if settings.serving is None:
            self._sinks.append(candidates.FirstRequest(recorder))
        if settings.request_hook is not None:
            self._sinks.append(_RequestHook(settings.request_hook))
        from obskit.db.query_watch import QueryWatch
        from obskit.db.settings import DatabaseSettings
        from obskit.sinks.ai_calls_sink import AiCallsSink
        from obskit.sinks.sink_settings import SpanSinkSettings
        from obskit.sinks.span_sink import span_sink
        from obskit.sinks.totals_sink import TotalsSink

        self._sinks += [QueryWatch(settings.of(DatabaseSettings)), TotalsSink(), AiCallsSink()]
        spans = span_sink(settings.of(SpanSinkSettings), recorder)
        if spans is not None:
            self._sinks.append(spans)
            self.writer.enable_span_ids()
        if spans is not None or settings.log_queue is not None:
            sigterm.watch(self.writer.flush, shutdown)
        if settings.metrics:
            self._add_metrics()
        from obskit.sinks.log_sink import LogSink

        self._sinks.append(LogSink(self.writer))

    def _add_metrics(self) -> None:
        from prometheus_client import REGISTRY

        from obskit.metrics.collector import MetricCollector
        from obskit.metrics.declare import declared, listeners
        from obskit.metrics.gauge_callbacks import gauge_callbacks
        from obskit.metrics.label_names import LabelRenames
        from obskit.metrics.workers import Workers
        from obskit.sinks.metrics_sink import MetricsSink
        from obskit.sinks.sink_settings import MetricsSinkSettings

        settings = self.settings
        self.registry = settings.registry if settings.registry is not None else REGISTRY
        names, cap = settings.metric_names, settings.max_label_sets
        labels = LabelRenames(settings.metric_labels, names, [family.spec for family in declared.values()])
        workers = Workers(settings.service, settings.metrics_dir, cap)
        collector = self._collector = MetricCollector(settings.namespace, names, cap, workers, labels)
        gauge_callbacks.is_leader = workers.asks_for_all
        instance_leader.bind(workers.folder)
        self._sinks.append(MetricsSink(settings.of(MetricsSinkSettings), collector, workers, recorder))
        for family in declared.values():
            collector.add(family)
        listeners.append(collector.add)

    def _page(self, accept: str, packed: bool, names: frozenset[str] | None) -> tuple[list[tuple[str, str]], bytes]:
        """
        Render the metrics page: the headers that describe the body, and the body.
        """
        page: tuple[list[tuple[str, str]], bytes] = self._collector.render_page(self.registry, accept, names, packed)
        return page

    @property
    def counts_alone(self) -> bool:
        """
        Whether the metrics page shows this process alone, as far as is known by its first scrape.
        """
        return self._collector is not None and self._collector.is_of_one_process

    def register(self) -> None:
        """
        Register with the `prometheus_client` registry, once every metric is known.
        """
        if self._collector is not None and self.registry is not None:
            self._collector.register(self.registry)

    def announce(self) -> None:
        """
        Emit, once, the event that names the routes and hooks that are on.
        """
        if self._announced or not self.settings.enabled:
            return
        self._announced = True
        settings = self.settings
        fields: dict[str, Any] = {"routes": sorted(self.routes.paths), "hooks": self.hooks}
        if self.without_hook:
            fields["not_timed"] = self.without_hook
        if settings.metrics_path in self.routes.paths:
            guarded = settings.metrics_token or settings.metrics_networks
            fields["metrics_access"] = "restricted" if guarded else "everyone (set metrics_token or metrics_networks)"
        recorder.emit(Event("runtime.started", "INFO", "obskit is on", fields))
        if settings.metrics and (settings.metric_names or settings.metric_labels):
            self._warn_of_unknown_names()

    def _warn_of_unknown_names(self) -> None:
        """
        Warn of each key of `metric_names` and `metric_labels` that names no metric. One may be declared later, so
        this is no error.
        """
        from obskit.metrics.declare import unknown
        from obskit.metrics.label_names import ALL_METRICS

        settings = self.settings
        labels = (name for name in settings.metric_labels if name != ALL_METRICS)
        for setting, names in (("metric_names", settings.metric_names), ("metric_labels", labels)):
            for name, nearest in unknown(names):
                hint = f"did you mean {nearest!r}?" if nearest else "docs/reference/metrics.md lists obskit's"
                message = f"{setting} has {name!r}, and no metric is called that so far; {hint}"
                recorder.emit(Event("metrics.unknown_name", "WARNING", message, {"metric": name}))

    def flush(self) -> None:
        """
        Write what is queued; the runtime stays active.
        """
        _run_all(self._flushes())

    def _flushes(self) -> list[_Part]:
        sinks: list[_Part] = [(sink.name, sink.flush) for sink in self._sinks]
        return [("endings", drain), ("ai", budget_book.flush), *sinks, ("logs", self.writer.flush)]

    def close(self) -> None:
        """
        Flush, and release everything but the writer, which loggers use until there is another.
        """
        parts: list[_Part] = [
            ("endings", drain),
            ("ai", budget_book.flush),  # while sinks still receive its events
            ("runtime", lambda: recorder.bind(())),
            ("ai", budget_book.unbind),
            ("ai", lambda: pricing.use({})),
            ("system", lambda: setattr(sampler, "version", None)),
            ("ai", latest_rate_limits.clear),
            ("health", health.unbind),
            ("metrics", self._leave_metrics),
            *self._flushes(),
            *((sink.name, sink.close) for sink in self._sinks),
            ("workers", candidates.unbind),
            ("workers", instance_leader.unbind),
        ]
        _run_all(parts)

    def _leave_metrics(self) -> None:
        if self._collector is not None:
            from obskit.metrics.declare import listeners
            from obskit.metrics.gauge_callbacks import gauge_callbacks

            gauge_callbacks.stop()
            listeners[:] = [listener for listener in listeners if listener != self._collector.add]

    def give_up(self) -> None:
        """
        Release what has been built so far, when `configure()` fails.
        """
        _run_all([("runtime", self.close), ("logs", self.writer.close), ("drain", sigterm.leave)])


_Part: TypeAlias = tuple[str, Callable[[], object]]


def _run_all(parts: Sequence[_Part]) -> None:
    """
    Run every part, whatever one of them raises; raise the first error at the end.
    """
    raised: Exception | None = None
    for name, part in parts:
        try:
            part()
        except Exception as error:
            try:
                recorder.failed(name, error)
            except Exception as first:  # in strict mode, for tests
                raised = raised or first
    if raised is not None:
        raise raised


_lock = threading.RLock()
_runtime: Runtime | None = None


class RuntimeObserver(Protocol):
    """
    What takes its settings from the active runtime: the middleware that applications are wrapped in.
    """

    def runtime_changed(self, runtime: Runtime | None) -> None:
        """
        Observe by this runtime from now on; None: pass everything through.
        """


_observers: weakref.WeakSet[RuntimeObserver] = weakref.WeakSet()


def observe_runtime(observer: RuntimeObserver) -> None:
    """
    Report the active runtime, now and at each change, for as long as something else keeps the observer alive.
    """
    _observers.add(observer)
    observer.runtime_changed(_runtime)


def has_observers() -> bool:
    """
    Whether any application is instrumented.
    """
    return len(_observers) > 0


def current_runtime() -> Runtime | None:
    """
    Return the active runtime, or None.
    """
    return _runtime


def configure(**given: Any) -> Runtime:
    """
    Build the runtime of this process, or join the active one: `obskit.configure()` without `auto`.
    """
    with _lock:
        return activate(given) if _runtime is None else _join(_runtime, given)


def activate(given: Mapping[str, Any], extra_sinks: Sequence[Sink] = ()) -> Runtime:
    """
    Build a runtime and make it the active one.
    """
    global _runtime
    _runtime = _start(given, extra_sinks)
    logs.activate(_runtime.writer)
    for observer in list(_observers):
        observer.runtime_changed(_runtime)
    if _runtime.settings.enabled and not IS_MAIN:
        recorder.emit(Event("runtime.no_threads", "WARNING", NO_THREADS))
    return _runtime


def _start(given: Mapping[str, Any], extra_sinks: Sequence[Sink]) -> Runtime:
    settings = Settings.read(given)
    runtime = Runtime(settings, extra_sinks)
    try:
        runtime.register()
    except BaseException:
        runtime.give_up()
        raise
    return runtime


def _join(runtime: Runtime, given: Mapping[str, Any]) -> Runtime:
    sigterm.ensure_running()
    if given:
        asked = Settings.read(given, environ={})
        for field in fields(Settings):
            if field.name in given and getattr(asked, field.name) != getattr(runtime.settings, field.name):
                raise AlreadyConfiguredError(
                    f"obskit is configured already, with "
                    f"{field.name}={shown(field, getattr(runtime.settings, field.name))}; this call asks for "
                    f"{shown(field, given[field.name])}. Give the same settings, or call obskit.shutdown() first"
                )
    return runtime


def shutdown() -> None:
    """
    Drain and close the runtime; nothing is observed until the next `configure()`. Also runs at exit.
    """
    global _runtime
    with _lock:
        runtime, _runtime = _runtime, None
        if runtime is not None:
            parts: list[_Part] = [
                ("runtime", runtime.close),
                ("logs", lambda: logs.activate_fallback(runtime.writer.settings)),
                ("logs", runtime.writer.close),
                ("drain", sigterm.leave),
                ("runtime", _forget_counts),
            ]
            _run_all([*parts, *(("runtime", partial(observer.runtime_changed, None)) for observer in list(_observers))])


def _forget_counts() -> None:
    clock.use(system_clock)
    recorder.reset()
    recorder.bind(())  # so that no plan keeps a test's clock


def _at_exit() -> None:
    shutdown()
    sigterm.finish()
    # References from our modules to the application's objects would keep its modules from being collected. They would
    # be torn down one by one, and finalizers of the application would run with half of its modules gone.
    for name in list(health.checks):
        health.remove(name)
    if gauge_callbacks := sys.modules.get("obskit.metrics.gauge_callbacks"):
        gauge_callbacks.gauge_callbacks.clear()


at_exit(_at_exit)
