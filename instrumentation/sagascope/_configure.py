"""Sets Sagascope up in one call. OpenTelemetry's SDK is imported here, when it is called, and nowhere before."""

import atexit
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sagascope import _runtime
from sagascope._stats import Stats
from sagascope.errors import MissingExtra

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from sagascope._pipeline import Pipeline

EXIT_TIMEOUT = 2.0
"""Seconds that the end of a process waits for what is still to be sent."""

_pipeline: "Pipeline | None" = None
_hooked = False


def configure(
    service_name: str | None = None,
    *,
    endpoint: str | None = None,
    service_version: str | None = None,
    environment: str | None = None,
    resource_attributes: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    announce_after: float = 0.25,
    heartbeat_interval: float = 5.0,
    log_level: int | None = logging.INFO,
    queue_size: int = 8192,
    timeout: float = 5.0,
) -> None:
    """Set up a service that has no OpenTelemetry yet. Calling it again replaces what was set up before.

    It makes a tracer provider, the global one if there is none, so that instrumentation of other libraries joins in.

    Args:
        service_name: Else from ``OTEL_SERVICE_NAME``.
        endpoint: OTLP/HTTP base address of the collector; else ``SAGASCOPE_ENDPOINT``, else
            ``OTEL_EXPORTER_OTLP_ENDPOINT``, else ``http://127.0.0.1:4318``.
        service_version: Shown where two versions of a service work on one saga.
        environment: For example ``production``; sagas of different environments are kept apart.
        resource_attributes: More attributes of this service.
        headers: Sent with every request, for example for authentication.
        announce_after: Seconds after which a span that is still open is announced.
        heartbeat_interval: Seconds between heartbeats while an announced span is open.
        log_level: Least level of `logging` records that are sent from inside sagas; None: none are.
        queue_size: Ended spans, and as many log records, held; beyond it the newest are dropped and counted.
        timeout: Seconds that one request to the collector may take. Your code never waits for it.

    Raises:
        MissingExtra: The packages of the extra ``otlp`` are not installed.
        SettingInvalid: The endpoint is no http or https address.
    """
    try:
        from sagascope import _install, _settings
    except ImportError as error:
        raise MissingExtra("sagascope.configure()") from error
    described = _install.describe(service_name, service_version, environment, resource_attributes or {})
    settings = _settings.Settings(
        endpoint=_settings.endpoint(endpoint),
        headers=_settings.headers(headers),
        announce_after=announce_after,
        heartbeat_interval=heartbeat_interval,
        log_level=log_level,
        queue_size=queue_size,
        timeout=timeout,
    )
    _activate(_install.beside_nothing(settings, described))


def install(
    tracer_provider: "TracerProvider | None" = None,
    *,
    endpoint: str | None = None,
    headers: Mapping[str, str] | None = None,
    announce_after: float = 0.25,
    heartbeat_interval: float = 5.0,
    log_level: int | None = logging.INFO,
    queue_size: int = 8192,
    timeout: float = 5.0,
) -> None:
    """Set up a service that has OpenTelemetry already, beside what is there.

    Its exporters, its sampler and the sampled flag of its ``traceparent`` stay as they are. Its spans inside a saga are
    stamped with the saga's attributes; those that its sampler keeps are sent to the collector too.

    Args:
        tracer_provider: The service's; the global one if it is left out.
        endpoint: As in `configure`, with the other settings.
        headers: See `configure`.
        announce_after: See `configure`.
        heartbeat_interval: See `configure`.
        log_level: See `configure`.
        queue_size: See `configure`.
        timeout: See `configure`.

    Raises:
        MissingExtra: The packages of the extra ``otlp`` are not installed.
        SettingInvalid: The endpoint is no http or https address.
    """
    try:
        from sagascope import _install, _settings
    except ImportError as error:
        raise MissingExtra("sagascope.install()") from error
    settings = _settings.Settings(
        endpoint=_settings.endpoint(endpoint),
        headers=_settings.headers(headers),
        announce_after=announce_after,
        heartbeat_interval=heartbeat_interval,
        log_level=log_level,
        queue_size=queue_size,
        timeout=timeout,
    )
    _activate(_install.beside(tracer_provider, settings))


def shutdown(timeout: float = EXIT_TIMEOUT) -> None:
    """Send the final heartbeat and what waits, for at most `timeout` seconds, and do nothing from then on.

    It is called by itself when the process exits normally. Signals are left to the service.
    """
    global _pipeline
    pipeline, _pipeline = _pipeline, None
    _runtime.active = None
    if pipeline is not None:
        pipeline.close(timeout)


def stats() -> Stats:
    """What became of the saga telemetry of this process so far; all zero while nothing is set up."""
    return Stats() if _pipeline is None else _pipeline.stats()


def _activate(pipeline: "Pipeline") -> None:
    global _pipeline, _hooked
    shutdown()
    _pipeline = pipeline
    _runtime.active = pipeline
    if not _hooked:
        _hooked = True
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forked)
    # registered anew, so that it runs before the exit handlers of providers that were made meanwhile
    atexit.unregister(shutdown)
    atexit.register(shutdown)
    pipeline.open()


def _forked() -> None:
    if _pipeline is not None:
        _pipeline.forked()
