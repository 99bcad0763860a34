"""
Find or build the tracer provider that spans are made with; drain it, and shut it down where it is ours.

OpenTelemetry is imported where spans are on, and nowhere else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from obskit import background
from obskit.errors import ConfigurationError, MissingExtraError
from obskit.settings import Settings

# How long a server that stops waits for a collector that does not answer.
PATIENCE_SECONDS = 5.0

_PACKAGES = (
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-semantic-conventions",
    "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-exporter-otlp-proto-common",
    "opentelemetry-proto",
    "protobuf",
)
_EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


class Provider:
    """
    Hold a tracer provider, and end it where obskit has built it; one that was given belongs to whoever gave it.
    """

    def __init__(self, provider: Any, built: bool) -> None:
        self._provider = provider
        self._built = built
        self._patience_seconds = PATIENCE_SECONDS

    def tracer(self, *args: Any, **kwargs: Any) -> Any:
        """
        Give the tracer of an instrumentation scope.
        """
        return self._provider.get_tracer(*args, **kwargs)

    def flush(self) -> bool:
        """
        Hand what is queued to the exporter, in bounded time; False where that was too short.

        A collector that was waited for once gets no more time. What the provider raises is raised here.
        """
        force_flush = getattr(self._provider, "force_flush", None)
        if force_flush is None or _within(self._patience_seconds, force_flush):
            return True
        self._patience_seconds = 0.0
        return False

    def close(self) -> None:
        """
        Shut down what obskit has built.
        """
        if not self._built:
            return
        try:
            _within(self._patience_seconds, self._provider.shutdown)
        finally:
            forget_global(self._provider)


def provider_of(settings: Settings) -> Provider | None:
    """
    Build the provider that was asked for by name, or find the one that was given; None where there is none.

    Raises:
        MissingExtraError: `tracing="otlp"` without its exporter.
        ConfigurationError: OpenTelemetry cannot be imported, or refuses its own settings.
    """
    if isinstance(settings.tracing, str):
        return Provider(_build_provider(settings), built=True)
    given = _given_provider() if settings.tracing is None else settings.tracing
    return None if given is None else Provider(given, built=False)


def _given_provider() -> Any:
    """
    Find the tracer provider that OpenTelemetry has been given. Looking imports nothing, unless a variable names one.
    """
    if "OTEL_PYTHON_TRACER_PROVIDER" in os.environ:
        trace: Any = imported("opentelemetry.trace")
    else:
        trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    try:
        provider = trace.get_tracer_provider()
    except Exception as error:
        raise ConfigurationError(f"OTEL_PYTHON_TRACER_PROVIDER names a provider that does not load: {error}") from error
    return None if isinstance(provider, trace.ProxyTracerProvider) else provider


def _build_provider(settings: Settings) -> Any:
    sdk = imported("opentelemetry.sdk.trace")
    sampling = imported("opentelemetry.sdk.trace.sampling")
    export = imported("opentelemetry.sdk.trace.export")
    try:
        provider = sdk.TracerProvider(
            sampler=sampling.ParentBased(sampling.TraceIdRatioBased(settings.trace_ratio)),
            resource=_resource(settings),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(_OUTPUTS[settings.tracing](export))
    except (ConfigurationError, MissingExtraError):
        raise
    except Exception as error:
        raise ConfigurationError(
            f"tracing={settings.tracing!r}: OpenTelemetry refuses its settings (an OTEL_* variable?): {error}"
        ) from error
    if _given_provider() is None:
        imported("opentelemetry.trace").set_tracer_provider(provider)
    return provider


def _resource(settings: Settings) -> Any:
    described = {
        "service.name": settings.service,
        "service.version": settings.version,
        "deployment.environment.name": settings.environment,
    }
    known = {name: value for name, value in described.items() if value is not None}
    return imported("opentelemetry.sdk.resources").Resource.create(known)


def _otlp(export: Any) -> Any:
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol == "grpc":
        raise ConfigurationError(
            "tracing='otlp' sends http/protobuf, and OTEL_EXPORTER_OTLP_PROTOCOL asks for grpc: point it to the "
            "collector's HTTP port (4318) with http/protobuf, or give tracing= a tracer provider of your own"
        )
    return export.BatchSpanProcessor(imported(_EXPORTER).OTLPSpanExporter())


def _console(export: Any) -> Any:
    """
    Write each span as one JSON line when it ends. It blocks, so it is for the eyes of developers.
    """
    one_line = export.ConsoleSpanExporter(out=sys.stdout, formatter=lambda span: span.to_json(indent=None) + "\n")
    return export.SimpleSpanProcessor(one_line)


_OUTPUTS: dict[str, Callable[[Any], Any]] = {"otlp": _otlp, "console": _console}


def imported(name: str) -> Any:
    """
    Import a module of OpenTelemetry's. Packages of different releases fail with odd errors, which say nothing.
    """
    try:
        return import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and name == _EXPORTER and f"{name}.".startswith(f"{error.name}."):
            raise MissingExtraError(
                "tracing='otlp' needs OpenTelemetry's HTTP exporter: pip install 'obskit[otlp]'"
            ) from error
        raise ConfigurationError(
            f"OpenTelemetry's packages do not fit together: importing {name} raised {type(error).__name__}: {error}. "
            f"Found {', '.join(map(_version_of, _PACKAGES))}; install the same release of all of them"
        ) from error


def _version_of(package: str) -> str:
    from importlib import metadata  # 16 ms, for an error's text

    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"no {package}"


def _within(seconds: float, call: Callable[[], object]) -> bool:
    """
    Wait this long for a call, then leave it to itself: the SDK ignores its own timeouts (opentelemetry-python#4568).
    """
    raised: list[Exception] = []

    def attempt() -> None:
        try:
            call()
        except Exception as error:
            raised.append(error)

    waiting = background.start(attempt, name="obskit-spans", ends=True)
    if waiting is None:  # from Python 3.12 on, no thread starts once the interpreter is on its way out
        call()
        return True
    waiting.join(seconds)
    if raised:
        raise raised[0]
    return not waiting.is_alive()


def forget_global(provider: Any) -> None:
    """
    Take our provider back from OpenTelemetry, which knows no public way: else the next `configure()` of this process
    finds one that is shut down. Where the names have changed, it stays.
    """
    trace = imported("opentelemetry.trace")
    once = getattr(trace, "_TRACER_PROVIDER_SET_ONCE", None)
    if once is not None and getattr(trace, "_TRACER_PROVIDER", None) is provider:
        trace._TRACER_PROVIDER = None
        trace._TRACER_PROVIDER_SET_ONCE = type(once)()
