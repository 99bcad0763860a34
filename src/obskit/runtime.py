"""
The runtime: what one `configure()` builds, sinks wired to the recorder, and how it ends.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

from obskit.catalogue import events
from obskit.components import Assembly, Component, imported, run_all
from obskit.errors import AlreadyConfiguredError
from obskit.fields import shown
from obskit.forks import at_exit, at_fork
from obskit.interpreters import IS_MAIN, NO_THREADS
from obskit.logs import current_writer as logs
from obskit.logs.writer import Writer
from obskit.recorder import Sink, recorder
from obskit.settings import Settings, with_sections
from obskit.sigterm import sigterm
from obskit.time.clock import Deadline, clock, system_clock
from obskit.web.route_settings import RouteSettings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from obskit.web.routes import Routes


class Drain(Component):
    """
    What SIGTERM does while somebody has something to drain.
    """

    name = "drain"

    def __init__(self, assembly: Assembly) -> None:
        self._assembly = assembly

    def watch(self) -> None:
        """
        Handle the signal from now on.
        """
        sigterm.watch(self._assembly.part("logs").writer.flush, shutdown)

    def stop(self, deadline: Deadline) -> None:
        """
        Restore what the signal does without obskit.
        """
        sigterm.leave()


# The lines of loggers are the application's, so a disabled runtime has these too.
ALWAYS: tuple[str, ...] = ("obskit.runtime:Drain", "obskit.logs.components:Lines")
# What else a runtime is made of, in the order in which it is started. It is flushed and stopped from the last to the
# first: what makes operations and events comes before the sinks, and these before the writer.
COMPONENTS: tuple[str, ...] = (
    "obskit.workers.components:Candidacy",
    "obskit.components:Outputs",
    "obskit.ai.components:Prices",
    "obskit.system:Machine",
    "obskit.history.components:fine_buckets",
    "obskit.metrics.components:collection",
    "obskit.signals.components:page_names",
    "obskit.rules.components:chosen_rules",
    "obskit.sinks.components:request_hook",
    "obskit.sinks.components:queries",
    "obskit.sinks.components:totals",
    "obskit.sinks.components:ai_calls",
    "obskit.sinks.components:spans",
    "obskit.sinks.components:metrics",
    "obskit.sinks.components:records",
    "obskit.sinks.components:lines",
    "obskit.subscribers:Subscribers",
    "obskit.metrics.components:declared",
    "obskit.components:Recording",
    "obskit.ai.components:Budgets",
    "obskit.web.components:OwnRoutes",
    "obskit.metrics.components:exposition",
    "obskit.history.components:history",
)


class Runtime:
    """
    What one `configure()` built.

    Attributes:
        settings: The frozen settings.
        writer: Writes its lines, and those of loggers.
        hooks: Integrations that `auto` has turned on.
        without_hook: Installed database libraries whose calls are not timed.
    """

    def __init__(self, settings: Settings, extra_sinks: Sequence[Sink] = ()) -> None:
        self.settings = settings
        self._collection: Any = None
        self.hooks: list[str] = []
        self.without_hook: list[str] = []
        self.wants_client = False  # whether any sink reads a request's client or agent
        self._announced = False
        self._collector: Any = None
        self._assembly = Assembly(settings)
        self._sinks = self._assembly.sinks

        def further_sinks(assembly: Assembly) -> None:
            assembly.sinks += extra_sinks

        place = COMPONENTS.index("obskit.components:Recording")
        try:
            self._assembly.start(ALWAYS)
            self.writer: Writer = self._assembly.part("logs").writer
            if settings.enabled:
                self._assembly.start([*COMPONENTS[:place], further_sinks, *COMPONENTS[place:]])
                self._take_parts()
        except BaseException:
            self.close()
            raise

    def _take_parts(self) -> None:
        part = self._assembly.part
        self.routes, self.wants_client = part("health").routes, bool(part("outputs").wants)
        if (collection := part("metrics")) is not None:
            self._collection, self._collector, self._page = collection, collection.collector, collection.page

    @cached_property
    def routes(self) -> Routes:
        """
        The paths that obskit answers itself: none where it is disabled.
        """
        from obskit.web.routes import Routes

        return Routes(RouteSettings(metrics_path=None, health_path=None), None)

    @property
    def registry(self) -> CollectorRegistry | None:
        """
        The `prometheus_client` registry that it joined; None with `metrics=False`. Imports the library where nothing
        has yet.
        """
        found: CollectorRegistry | None = None if self._collection is None else self._collection.registry
        return found

    @property
    def counts_alone(self) -> bool:
        """
        Whether the metrics page shows this process alone, as far as is known by its first scrape.
        """
        return self._collector is not None and self._collector.is_of_one_process

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
        recorder.emit(events.STARTED.event("obskit is on", fields))
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
                recorder.emit(events.UNKNOWN_METRIC.event(message, {"metric": name}))

    def flush(self) -> None:
        """
        Write what is queued; the runtime stays active.
        """
        self._assembly.flush()

    def close(self) -> None:
        """
        Stop every part that was started, from the last to the first.
        """
        self._assembly.stop()

    def after_fork(self) -> None:
        """
        Start over in a forked child, every part.
        """
        self._assembly.after_fork()


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
    _runtime = Runtime(_settings_class().read(given), extra_sinks)
    _watch_forks()
    logs.activate(_runtime.writer)
    for observer in list(_observers):
        observer.runtime_changed(_runtime)
    if _runtime.settings.enabled and not IS_MAIN:
        recorder.emit(events.NO_THREADS.event(NO_THREADS))
    return _runtime


def _settings_class() -> type[Settings]:
    others = [maker for maker in COMPONENTS if not str(maker).startswith("obskit.")]
    sections = [getattr(imported(maker), "section", None) for maker in others]
    return with_sections(tuple(section for section in sections if section is not None))


def _join(runtime: Runtime, given: Mapping[str, Any]) -> Runtime:
    sigterm.ensure_running()
    if given:
        asked = type(runtime.settings).read(given, environ={})
        for field in fields(asked):
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
            steps: list[tuple[str, Callable[[], object]]] = [("runtime", runtime.close), ("runtime", _forget_counts)]
            steps += [("runtime", partial(observer.runtime_changed, None)) for observer in list(_observers)]
            run_all(steps)


def _forget_counts() -> None:
    clock.use(system_clock)
    recorder.reset()
    recorder.bind(())  # so that no plan keeps a test's clock


def _at_exit() -> None:
    shutdown()
    sigterm.finish()
    # References from our modules to the application's objects would keep its modules from being collected. They would
    # be torn down one by one, and finalizers of the application would run with half of its modules gone.
    if health := sys.modules.get("obskit.health.registry"):
        for name in list(health.registry.checks):
            health.registry.remove(name)
    if gauge_callbacks := sys.modules.get("obskit.metrics.gauge_callbacks"):
        gauge_callbacks.gauge_callbacks.clear()


@cache
def _watch_forks() -> None:
    at_fork(after_in_child=_after_fork)  # after what the parts have registered, since theirs comes first


def _start_over_in_child() -> None:
    global _lock
    _lock = threading.RLock()  # a thread of the parent may have been at it, and the end of the child takes it


def _after_fork() -> None:
    if _runtime is not None:
        _runtime.after_fork()
        if candidates := sys.modules.get("obskit.workers.candidates"):
            candidates.after_fork()  # what starts there finds every part started over


at_fork(after_in_child=_start_over_in_child)
at_exit(_at_exit)
