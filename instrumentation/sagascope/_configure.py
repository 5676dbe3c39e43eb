"""Sets Sagascope up in one call. OpenTelemetry's SDK is imported here, when it is called, and nowhere before."""

import atexit
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

from sagascope import _attempts, _runtime
from sagascope._options import Options
from sagascope._stats import Stats
from sagascope.errors import MissingExtra

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.trace import TracerProvider

    from sagascope._pipeline import Pipeline

EXIT_TIMEOUT = 2.0
"""Seconds that the end of a process waits for what is still to be sent."""

_pipeline: "Pipeline | None" = None
_at_fork = False
_ended = Stats()
"""What the last pipeline left behind."""


def configure(
    service_name: str | None = None,
    *,
    service_version: str | None = None,
    environment: str | None = None,
    resource_attributes: Mapping[str, Any] | None = None,
    **options: Unpack[Options],
) -> None:
    """Set up a service that has no OpenTelemetry yet. Calling it again replaces what was set up before.

    Where there is no global tracer provider it makes one, so that instrumentation of other libraries joins in. With
    ``OTEL_SDK_DISABLED=true`` nothing is set up.

    Args:
        service_name: Else from ``OTEL_SERVICE_NAME``.
        service_version: Shown where two versions of a service work on one saga.
        environment: For example ``production``; sagas of different environments are kept apart.
        resource_attributes: More attributes of this service.
        **options: As in `Options`; the one that is needed most is ``endpoint``.

    Raises:
        MissingExtra: The packages of the extra ``otlp`` are not installed.
        SettingInvalid: An option is unknown, or its value cannot be used.
    """
    try:
        from sagascope import _install, _settings
    except ImportError as error:
        raise MissingExtra("sagascope.configure()") from error
    settings = _settings.settle(options)
    described = _install.describe(service_name, service_version, environment, resource_attributes or {})
    if not _is_disabled():
        _activate(_install.beside_nothing(settings, described))


def install(
    tracer_provider: "TracerProvider | None" = None,
    *,
    logger_provider: "LoggerProvider | None" = None,
    **options: Unpack[Options],
) -> None:
    """Set up a service that has OpenTelemetry already, beside what is there; call it after that was set up.

    Its exporters, its sampler and the sampled flag of its ``traceparent`` stay as they are. Its spans and log records
    inside a saga are stamped with the saga's attributes; the spans that its sampler keeps are sent to Sagascope too.
    With ``OTEL_SDK_DISABLED=true`` nothing is set up.

    Args:
        tracer_provider: The service's; the global one if it is left out.
        logger_provider: The service's; the global one if it is left out.
        **options: As in `Options`; the one that is needed most is ``endpoint``.

    Raises:
        MissingExtra: The packages of the extra ``otlp`` are not installed.
        SettingInvalid: An option is unknown, or its value cannot be used.
    """
    try:
        from sagascope import _install, _settings
    except ImportError as error:
        raise MissingExtra("sagascope.install()") from error
    settings = _settings.settle(options)
    if not _is_disabled():
        _activate(_install.beside(tracer_provider, logger_provider, settings))


def shutdown(timeout: float = EXIT_TIMEOUT) -> None:
    """Send the final heartbeat and what waits, for at most `timeout` seconds, and do nothing from then on.

    It is called by itself when the process exits normally. Signals are left to the service.
    """
    global _pipeline, _ended
    pipeline, _pipeline = _pipeline, None
    _runtime.active = None
    if pipeline is not None:
        pipeline.close(timeout)
        _ended = pipeline.stats()


def stats() -> Stats:
    """What became of the saga telemetry of this process so far; after `shutdown`, what had become of it by then."""
    return _ended if _pipeline is None else _pipeline.stats()


def _activate(pipeline: "Pipeline") -> None:
    global _pipeline, _at_fork
    shutdown()
    _attempts.forget()
    _pipeline = pipeline
    _runtime.active = pipeline
    if not _at_fork and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forked)
        _at_fork = True
    # registered anew, so that it runs before the exit handlers of providers that were made meanwhile
    atexit.unregister(shutdown)
    atexit.register(shutdown)
    _finalize()
    pipeline.open()


def _forked() -> None:
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.register_after_fork(_forked, lambda _: _finalize())
    if _pipeline is not None:
        _pipeline.forked()


def _finalize() -> None:
    """In a child of multiprocessing no exit handlers run, but finalizers of its own."""
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, shutdown, exitpriority=0)


def _is_disabled() -> bool:
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
