"""Configures Sagascope in one call, which imports OpenTelemetry's SDK; no other module of the public API does."""

import atexit
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Unpack

from sagascope import _runtime
from sagascope._errors import Guard, MissingExtra, warn
from sagascope._plan import clear_attempts
from sagascope._runtime import Stats
from sagascope._settings import resolve_settings

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.trace import TracerProvider

    from sagascope._pipeline import Pipeline
    from sagascope._settings import Options

SHUTDOWN_TIMEOUT_SECONDS = 2.0
"""Time that the end of a process waits for queued records to be sent."""

_FLUSHING = Guard("flushing")
_HOOKING = Guard("starting in a worker of uWSGI")

_pipeline: "Pipeline | None" = None
_configuration: object = None
"""What the pipeline was configured with."""
_has_fork_handler = False
_has_uwsgi_hook = False
_threads_pid = 0
"""The process in which the background threads were started last."""
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
    named = (service_name, service_version, environment, dict(resource_attributes or {}))
    resource = service_resource(*named)
    if not _is_disabled():
        _activate(new_pipeline(settings, resource), (settings, named))


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
        _activate(attached_pipeline(tracer_provider, logger_provider, settings), (settings, tracer_provider))


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
    """Sends what is queued now, without the usual delay, and waits for it at most `timeout` seconds.

    Call it before a process is frozen, or may end without its exit handlers: `os._exit`, a pool that is terminated. It
    returns at once when nothing is queued, never raises, and may be called from any thread and in a forked child.

    Returns:
        Whether all of it was sent: the collector accepted it, or it is in the spool. False if the time was too short,
        or records were dropped meanwhile.
    """
    with _FLUSHING:
        pipeline = _pipeline  # another thread may shut it down
        return pipeline is None or pipeline.flush(timeout)
    return False


def stats() -> Stats:
    """Returns what became of the saga telemetry of this process so far; after `shutdown`, up to then."""
    return _final_stats if _pipeline is None else _pipeline.stats()


def _activate(pipeline: "Pipeline", configuration: object) -> None:
    global _pipeline, _configuration, _has_fork_handler, _threads_pid
    if _pipeline is not None and configuration != _configuration:
        warn("Sagascope is configured again with other settings, which replace the first ones.")
    _configuration = configuration
    shutdown()  # before the new one opens: both wrap the propagator and the loggers
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
    is_forked_later = False
    with _HOOKING:
        is_forked_later = _is_forked_by_uwsgi()
        if is_forked_later:
            _hook_into_uwsgi()
    if not is_forked_later:
        _threads_pid = os.getpid()
    pipeline.open(starts_threads=not is_forked_later)


def _is_forked_by_uwsgi() -> bool:
    """Returns whether uWSGI forks workers from this process later.

    The background threads are then started in the workers: one that is forked while another thread of this process has
    the interpreter waits for it for ever.
    """
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is None or uwsgi.worker_id():
        return False
    master = uwsgi.masterpid()
    return bool(master == os.getpid() if master else uwsgi.numproc > 1)


def _hook_into_uwsgi() -> None:
    """Makes uWSGI, which calls no fork handlers of Python unless it is told to, start the threads in its workers."""
    global _has_uwsgi_hook
    if _has_uwsgi_hook:
        return
    uwsgi: Any = sys.modules["uwsgi"]
    earlier, spooler = getattr(uwsgi, "post_fork_hook", None), getattr(uwsgi, "spooler", None)
    with suppress(Exception):  # its import replaces both, so that it must come before ours
        import_module("uwsgidecorators")
    if spooler is not None:
        uwsgi.spooler = spooler
    decorated = getattr(uwsgi, "post_fork_hook", None)
    hooks = [hook for hook in (earlier, decorated if decorated is not earlier else None) if hook is not None]

    def call_hooks() -> None:
        with _HOOKING:
            _reset_after_fork()
        for hook in hooks:
            hook()

    uwsgi.post_fork_hook = call_hooks
    _has_uwsgi_hook = True


def _reset_after_fork() -> None:
    global _threads_pid
    if _threads_pid == os.getpid():  # uWSGI called another handler before
        return
    _threads_pid = os.getpid()
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
