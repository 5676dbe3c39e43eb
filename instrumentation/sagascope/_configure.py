"""Configures Sagascope in one call, which imports OpenTelemetry's SDK; no other module of the public API does."""

import atexit
import os
import sys
from collections.abc import Mapping
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Unpack

from sagascope import _runtime
from sagascope._plan import clear_attempts
from sagascope._runtime import Stats
from sagascope._settings import resolve_settings
from sagascope.errors import MissingExtra

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.trace import TracerProvider

    from sagascope._pipeline import Pipeline
    from sagascope._settings import Options

SHUTDOWN_TIMEOUT_SECONDS = 2.0
"""Time that the end of a process waits for queued records to be sent."""

FLUSH_POLL_SECONDS = 0.01

_pipeline: "Pipeline | None" = None
_has_fork_handler = False
_final_stats = Stats()
"""The stats of the last pipeline when it was closed."""


def configure(
    service_name: str | None = None,
    *,
    service_version: str | None = None,
    environment: str | None = None,
    resource_attributes: Mapping[str, Any] | None = None,
    **options: "Unpack[Options]",
) -> None:
    """Configures a service that does not use OpenTelemetry yet. A second call replaces the first configuration.

    It sets a global tracer provider if there is none, so that instrumentation of other libraries takes part. With
    ``OTEL_SDK_DISABLED=true`` it does nothing.

    Args:
        service_name: Default: ``OTEL_SERVICE_NAME``.
        service_version: Shown where two versions of a service take part in one saga.
        environment: For example ``production``; sagas of different environments are kept apart.
        resource_attributes: Further attributes of this service.
        **options: As in `Options`; ``endpoint`` is the most important one.

    Raises:
        MissingExtra: The packages of the extra ``otlp`` are not installed.
        SettingInvalid: An option is unknown, or its value is invalid.
    """
    try:
        from sagascope._pipeline import new_pipeline, service_resource
    except ImportError as error:
        raise MissingExtra("sagascope.configure()") from error
    settings = resolve_settings(options)
    resource = service_resource(service_name, service_version, environment, resource_attributes or {})
    if not _is_disabled():
        _activate(new_pipeline(settings, resource))


def install(
    tracer_provider: "TracerProvider | None" = None,
    *,
    logger_provider: "LoggerProvider | None" = None,
    **options: "Unpack[Options]",
) -> None:
    """Adds Sagascope to a service that uses OpenTelemetry; call it after OpenTelemetry was configured.

    Its exporters, its sampler and the sampled flag of its ``traceparent`` stay as they are. Its spans and log records
    inside a saga get the saga's attributes; the spans that its sampler keeps are sent to Sagascope too. With
    ``OTEL_SDK_DISABLED=true`` it does nothing.

    Args:
        tracer_provider: The service's tracer provider. Default: the global one.
        logger_provider: The service's logger provider. Default: the global one.
        **options: As in `Options`; ``endpoint`` is the most important one.

    Raises:
        MissingExtra: The packages of the extra ``otlp`` are not installed.
        SettingInvalid: An option is unknown, or its value is invalid.
    """
    try:
        from sagascope._pipeline import attached_pipeline
    except ImportError as error:
        raise MissingExtra("sagascope.install()") from error
    settings = resolve_settings(options)
    if not _is_disabled():
        _activate(attached_pipeline(tracer_provider, logger_provider, settings))


def shutdown(timeout: float = SHUTDOWN_TIMEOUT_SECONDS) -> None:
    """Sends the final heartbeat and all queued records, within `timeout` seconds, and stops.

    It runs automatically when the process exits normally. Signals are left to the service.
    """
    global _pipeline, _final_stats
    pipeline, _pipeline = _pipeline, None
    _runtime.active = None
    if pipeline is not None:
        pipeline.close(timeout)
        _final_stats = pipeline.stats()


def flush(timeout: float = SHUTDOWN_TIMEOUT_SECONDS) -> bool:
    """Waits until all ended spans and log records that are queued are sent, at most `timeout` seconds.

    Returns:
        Whether none is left in memory: each was accepted by the collector, spooled, or dropped and counted.
    """
    deadline = monotonic() + timeout
    while stats().waiting:
        if monotonic() >= deadline:
            return False
        sleep(FLUSH_POLL_SECONDS)
    return True


def stats() -> Stats:
    """Returns what became of the saga telemetry of this process so far; after `shutdown`, up to then."""
    return _final_stats if _pipeline is None else _pipeline.stats()


def _activate(pipeline: "Pipeline") -> None:
    global _pipeline, _has_fork_handler
    shutdown()
    clear_attempts()
    _pipeline = pipeline
    _runtime.active = pipeline
    if not _has_fork_handler and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_reset_after_fork)
        _has_fork_handler = True
    # registered again, so that it runs before the exit handlers of providers created in the meantime
    atexit.unregister(shutdown)
    atexit.register(shutdown)
    _register_finalizer()
    pipeline.open()


def _reset_after_fork() -> None:
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.register_after_fork(_reset_after_fork, lambda _: _register_finalizer())
    if _pipeline is not None:
        _pipeline.reset_after_fork()


def _register_finalizer() -> None:
    """Runs `shutdown` at the end of a child of multiprocessing, which runs finalizers but no exit handlers."""
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, shutdown, exitpriority=0)


def _is_disabled() -> bool:
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
