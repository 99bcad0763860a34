"""
The tracer provider: found or built, flushed, and shut down where obskit has built it.

OpenTelemetry is imported only where tracing is on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from obskit import background
from obskit.errors import ConfigurationError, MissingExtraError
from obskit.sinks.sink_settings import SpanSinkSettings

# How long a server that stops waits for an OpenTelemetry collector that does not respond.
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
    A tracer provider; it is shut down only where obskit has built it.
    """

    def __init__(self, provider: Any, built: bool) -> None:
        self._provider = provider
        self._built = built
        self._patience_seconds = PATIENCE_SECONDS

    def tracer(self, *args: Any, **kwargs: Any) -> Any:
        return self._provider.get_tracer(*args, **kwargs)

    def flush(self) -> bool:
        """
        Flush to the exporter, in bounded time; return False on a timeout.

        After one timeout there is no more waiting. What the provider raises is raised here.
        """
        force_flush = getattr(self._provider, "force_flush", None)
        if force_flush is None or _within(self._patience_seconds, force_flush):
            return True
        self._patience_seconds = 0.0
        return False

    def close(self) -> None:
        """
        Shut the provider down, where obskit has built it.
        """
        if not self._built:
            return
        try:
            _within(self._patience_seconds, self._provider.shutdown)
        finally:
            forget_global(self._provider)


def provider_of(settings: SpanSinkSettings) -> Provider | None:
    """
    Return a provider built by the name in `tracing`, or the one that was given; None where there is none.

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
    Return OpenTelemetry's global tracer provider; None where none is set. Imports only what a variable names.
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


def _build_provider(settings: SpanSinkSettings) -> Any:
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


def _resource(settings: SpanSinkSettings) -> Any:
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
    Return a processor that writes each span as one JSON line when it ends. It blocks: for development only.
    """
    one_line = export.ConsoleSpanExporter(out=sys.stdout, formatter=lambda span: span.to_json(indent=None) + "\n")
    return export.SimpleSpanProcessor(one_line)


_OUTPUTS: dict[str, Callable[[Any], Any]] = {"otlp": _otlp, "console": _console}


def imported(name: str) -> Any:
    """
    Import a module of OpenTelemetry, with an error that names the versions: mixed releases fail in unclear ways.
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
    Run a call in a thread; return whether it ended in time. The SDK ignores its timeouts (opentelemetry-python#4568).
    """
    raised: list[Exception] = []

    def attempt() -> None:
        try:
            call()
        except Exception as error:
            raised.append(error)

    waiting = background.start(attempt, name="obskit-spans", ends=True)
    if waiting is None:  # from Python 3.12 on, no thread starts during interpreter shutdown
        call()
        return True
    waiting.join(seconds)
    if raised:
        raise raised[0]
    return not waiting.is_alive()


def forget_global(provider: Any) -> None:
    """
    Unset OpenTelemetry's global provider, for which there is no public API: else the next `configure()` of this process
    would find one that is shut down. Where the private names have changed, it stays.
    """
    trace = imported("opentelemetry.trace")
    once = getattr(trace, "_TRACER_PROVIDER_SET_ONCE", None)
    if once is not None and getattr(trace, "_TRACER_PROVIDER", None) is provider:
        trace._TRACER_PROVIDER = None
        trace._TRACER_PROVIDER_SET_ONCE = type(once)()
