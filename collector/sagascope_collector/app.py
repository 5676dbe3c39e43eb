"""The running collector: creates its parts and connects them."""

import asyncio
import gc
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.abc import MetaPathFinder
from typing import Final

import grpc.aio
import pyarrow as pa

from sagascope_collector import alerting, analysis, logging_setup, scrubbing
from sagascope_collector.access import guarded, protected, protected_from_pages, sharing
from sagascope_collector.api import ReadLimits, create_api, present
from sagascope_collector.cli import serve as cli
from sagascope_collector.configuration import Configuration
from sagascope_collector.connections import KnownHosts
from sagascope_collector.engines import read_mapping
from sagascope_collector.errors import PortTaken
from sagascope_collector.health import IngestOutages, LivenessRecorder, ProcessHealth
from sagascope_collector.http_server import Server, address_of, listen, max_connections, port_taken, server
from sagascope_collector.incidents import FailureRates, Incidents
from sagascope_collector.ingest import Ingest, Limits
from sagascope_collector.metrics import Counters, Exposition, with_metrics
from sagascope_collector.otlp import OtlpGrpc, OtlpHttp, decode
from sagascope_collector.otlp.budget import Budget
from sagascope_collector.otlp.grpc import bind
from sagascope_collector.periodic import Maintenance
from sagascope_collector.projection import BaselineLearner, Projection, SystemState
from sagascope_collector.remapping import Remapping
from sagascope_collector.settings import Address, Settings, memory_limit_bytes
from sagascope_collector.storage import Storage

Clock = Callable[[], int]

CERTIFICATES_INTERVAL_SECONDS: Final = 2.0
"""The interval at which changed certificates are looked for."""

MAX_HEALTHY_LAG_SECONDS: Final = 30.0
"""A collector with a greater lag is unhealthy, and sends no dead man's signal."""

DRAIN_SECONDS: Final = 10.0
"""The time that a stop allows for requests in progress."""

THREAD_SWITCH_SECONDS: Final = 0.0002
"""Ingest makes about a hundred short calls, and would wait for Python's default of 5 ms after each of them."""

GC_THRESHOLDS: Final = (100_000, 20, 20)
"""Decoding creates many objects and no cycles."""

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Ports:
    grpc_server: grpc.aio.Server
    otlp_grpc: Address
    otlp_http: socket.socket
    api: socket.socket

    def addresses(self) -> dict[str, str]:
        return {
            "otlp_grpc": str(self.otlp_grpc),
            "otlp_http": str(address_of(self.otlp_http)),
            "api": str(address_of(self.api)),
        }


class Collector:
    """One collector on one event loop. `run` can be called once."""

    def __init__(self, configuration: Configuration, storage: Storage, clock: Clock) -> None:
        settings = configuration.settings
        self._settings = settings
        self._configuration = configuration
        self._storage = storage
        self._clock = clock
        self._outages = IngestOutages(storage, clock)
        self._counters = Counters()
        key = scrubbing.load_key(settings.scrub_key_file, os.environ, settings.db)
        self._scrubber = scrubbing.Scrubber(
            configuration.scrub_rules, scrubbing.Pseudonyms(key), configuration.attribute_mapping.keys
        )
        file = settings.mapping
        self._remapping = Remapping(
            storage, configuration.attribute_mapping, partial(read_mapping, file) if file else None
        )
        storage.remap = self._remapping.step
        self._ingest = Ingest(
            storage,
            lambda payloads: decode(payloads, self._scrubber, self._remapping.mapping),
            limits=Limits(settings.queue_bytes),
            refused=self._outages.refused,
            committed=self._counters.committed,
        )
        self._learner = BaselineLearner(storage)
        self._system_state = SystemState()
        self._projection = Projection(
            storage,
            summarise=present.summary,
            context=self._context,
            learner=self._learner,
            system_state=self._system_state,
            clock=clock,
        )
        self._incidents = Incidents(
            storage.incidents, last_success_at=self._last_success_at, failure_rates=FailureRates(storage), clock=clock
        )
        self._maintenance = Maintenance(storage)
        self._health = ProcessHealth(
            storage, self._ingest, self._projection, self._outages, clock, self._remapping.notices
        )
        self._alerts = self._alerter(configuration.alerts) if configuration.alerts else None

    async def run(self, announce: cli.Announce) -> None:
        """Serves until SIGTERM or SIGINT, then finishes the requests in progress.

        Raises:
            PortTaken: an address is in use; nothing was started.
        """
        budget, connections = Budget(self._settings.queue_bytes), max_connections()
        ports = self._take_ports(budget, connections)
        http, api = self._servers(budget, connections)
        self._ingest.start()
        self._projection.start()
        self._incidents.start()
        self._maintenance.start()
        if self._alerts:
            self._alerts.start()
        await ports.grpc_server.start()
        serving = [asyncio.create_task(http.serve([ports.otlp_http])), asyncio.create_task(api.serve([ports.api]))]
        liveness = LivenessRecorder(
            self._outages, self._storage, self._ingest.oldest, self._health.record_write, self._clock
        )
        periodic = [asyncio.create_task(liveness.run()), asyncio.create_task(self._renew_certificates())]
        stopped = _stop_signal()
        addresses = ports.addresses()
        self._health.listens(addresses["otlp_http"], addresses["otlp_grpc"])
        self._announce(addresses, announce)
        await asyncio.wait([stopped, *serving], return_when=asyncio.FIRST_COMPLETED)
        self._health.stop()
        http.should_exit = api.should_exit = True
        await asyncio.gather(ports.grpc_server.stop(DRAIN_SECONDS), *serving)
        for task in periodic:
            task.cancel()
        if not await asyncio.to_thread(self._ingest.close, DRAIN_SECONDS):
            _log.error("Queued requests could not be stored within %s s.", DRAIN_SECONDS)
        await asyncio.to_thread(self._projection.stop)
        await asyncio.to_thread(self._incidents.stop)
        await asyncio.to_thread(self._maintenance.stop)
        if self._alerts:
            await asyncio.to_thread(self._alerts.stop)

    def _is_healthy(self) -> bool:
        """Returns whether telemetry is received and evaluated; a collector that receives none is not healthy."""
        known = {each.process.environment for each in self._storage.instances.all()}
        is_any_reporting = not known or bool(known - self._system_state.telemetry_lost.keys())
        return (
            is_any_reporting and self._health.unready() is None and self._health.lag_seconds() < MAX_HEALTHY_LAG_SECONDS
        )

    def _last_success_at(self, environment: str, name: str, step: str) -> int | None:
        """Returns when a saga of this type last completed this step, if it is known."""
        passed = self._system_state.latest_successes.get((environment, name, step))
        return passed.at if passed else None

    def _alerter(self, alerts: alerting.Alerts) -> alerting.Alerter:
        return alerting.Alerter(
            alerts,
            self._incidents,
            self._storage.alerts,
            environment=os.environ,
            is_healthy=self._is_healthy,
            unreliable=lambda: self._system_state.doubtful_environments,
            clock=self._clock,
        )

    def _context(self, now: int) -> analysis.Context:
        return analysis.Context(
            now=now,
            ingest_outages=tuple(self._outages.intervals()),
            step_timeouts=self._settings.step_timeout,
            services=self._storage.sagas.step_services(),
            baselines=self._learner.baselines,
            runbooks=self._configuration.runbooks,
            services_last_seen=self._system_state.services_last_seen,
            telemetry_lost=self._system_state.telemetry_lost,
            latest_successes=self._system_state.latest_successes,
            stuck=self._system_state.stuck,
        )

    def _take_ports(self, budget: Budget, connections: int) -> _Ports:
        settings = self._settings
        receiver = OtlpGrpc(
            self._ingest,
            self._clock,
            budget=budget,
            max_growth_bytes=settings.queue_bytes // 2,
            tokens=self._configuration.tokens,
            refused=self._counters.refused,
        )
        server = receiver.server(max_bytes=settings.max_request_bytes, max_connections=connections)
        try:
            port = bind(server, *settings.otlp_grpc, self._configuration.tls)
        except PortTaken as error:
            raise port_taken(settings.otlp_grpc, "--otlp-grpc") from error
        return _Ports(
            grpc_server=server,
            otlp_grpc=settings.otlp_grpc._replace(port=port),
            otlp_http=listen(settings.otlp_http, "--otlp-http"),
            api=listen(settings.api, "--api"),
        )

    def _servers(self, budget: Budget, connections: int) -> tuple[Server, ...]:
        settings = self._settings
        http = OtlpHttp(
            self._ingest,
            self._clock,
            max_bytes=settings.max_request_bytes,
            budget=budget,
            tokens=self._configuration.tokens,
            refused=self._counters.refused,
        )
        exposition = Exposition(
            self._storage,
            self._ingest,
            self._counters,
            self._health.lag_seconds,
            self._scrubber.counts,
            self._projection.unreadable,
            self._incidents.counts,
        )
        limits = ReadLimits(settings.readers, settings.read_seconds)
        answering = create_api(
            self._storage,
            self._context,
            self._health,
            self._incidents,
            self._clock,
            self._scrubber.stored_id,
            limits,
            with_sql=settings.serves_sql,
            mapper=self._remapping,
            on_erased=self._system_state.record_erasures,
        )
        api = guarded(with_metrics(answering, exposition), self._configuration.tokens)
        tls = self._configuration.tls.for_http() if self._configuration.tls else None
        hosts = KnownHosts.of(
            (settings.api.host, settings.otlp_http.host, *settings.allowed_host), settings.cors_origin
        )
        applications = (
            protected_from_pages(sharing(http, settings.cors_origin), hosts),
            protected(sharing(api, settings.cors_origin), hosts),
        )
        return tuple(
            server(each, drain_seconds=DRAIN_SECONDS, tls=tls, connections=connections) for each in applications
        )

    def _announce(self, addresses: dict[str, str], announce: cli.Announce) -> None:
        if self._settings.log_format is logging_setup.Format.JSON:
            _log.info("The collector is listening.", extra={"db": self._settings.db, **addresses})
        else:
            announce(addresses)
        if file := self._settings.ready_file:
            temporary = file.with_name(f"{file.name}.part")
            temporary.write_text(json.dumps(addresses), encoding="utf-8")
            temporary.rename(file)

    async def _renew_certificates(self) -> None:
        while self._configuration.tls:
            await asyncio.to_thread(self._configuration.tls.renew)
            await asyncio.sleep(CERTIFICATES_INTERVAL_SECONDS)


def run(settings: Settings, announce: cli.Announce, *, clock: Clock = time.time_ns) -> None:
    """Opens the database and serves until the process receives a stop signal.

    Raises:
        CannotStart: a file, the database or an address cannot be used; the text names it and the remedy.
    """
    logging_setup.configure(settings.log_format, settings.log_level)
    sys.meta_path.insert(0, _WithoutPandas())
    settings = _within_memory(settings)
    configuration = Configuration.load(settings, os.environ)
    for warning in configuration.warnings(os.environ):
        _log.warning(warning)
    _check_ports(settings)
    storage = Storage(
        settings.db,
        clock=clock,
        memory_bytes=settings.memory_bytes,
        keep=settings.retention,
        accept_data_loss=settings.accept_data_loss,
    )
    if storage.data_loss:
        _log.error("%s", storage.data_loss)
    _use_jemalloc()
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(Collector(configuration, storage, clock).run(announce))
    finally:
        storage.close()
        gc.unfreeze()  # otherwise DuckDB's binding reports uncollectable objects at exit


def _within_memory(settings: Settings) -> Settings:
    limit = memory_limit_bytes()
    if limit is None or (limited := settings.within_memory(limit)) == settings:
        return settings
    _log.warning(
        "This process may use %d MB of memory: the database is limited to %d MB, and the queue to %d MB.",
        *(each // 1_000_000 for each in (limit, limited.memory_bytes, limited.queue_bytes)),
    )
    return limited


class _WithoutPandas(MetaPathFinder):
    """Prevents PyArrow from importing pandas, which this process does not use.

    The import takes a tenth of the start-up time, and 32 MB.
    """

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("The collector does without pandas.", name=fullname)


def _use_jemalloc() -> None:
    """Makes Arrow return freed memory: its default pool keeps hundreds of MB at full load."""
    if "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())


def _check_ports(settings: Settings) -> None:
    """Checks that the ports are free, before a database is created.

    Raises:
        CannotStart: a port cannot be used.
    """
    for address, option in (
        (settings.otlp_grpc, "--otlp-grpc"),
        (settings.otlp_http, "--otlp-http"),
        (settings.api, "--api"),
    ):
        listen(address, option).close()


serve = cli.command(run)
"""The ``serve`` command."""


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Returns uvloop's event loop if it is installed; it serves a third more requests."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


def _stop_signal() -> asyncio.Future[None]:
    """Returns a future that the first SIGTERM or SIGINT completes; a second one ends the process."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[None] = loop.create_future()

    def stop() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        if not stopped.done():  # two signals may have arrived together
            stopped.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    return stopped
