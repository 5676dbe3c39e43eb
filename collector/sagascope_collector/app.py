"""The running collector: creates its parts and connects them."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import grpc.aio

from sagascope_collector import alerting, analysis, logging_setup, receive, scrubbing, serving
from sagascope_collector.api import ReadLimits, create_api, present
from sagascope_collector.cli.launch import Announce, serve_command
from sagascope_collector.engines import read_mapping
from sagascope_collector.errors import CannotStart, StorageUnavailable
from sagascope_collector.health import IngestOutages, LivenessRecorder, ProcessHealth
from sagascope_collector.http_server.access import with_cors, with_page_checks, with_tokens
from sagascope_collector.http_server.server import Server, address_of, listen, max_connections, server
from sagascope_collector.incidents import FailureRates, Incidents
from sagascope_collector.ingest import LAKE_LIMITS, Ingest, Limits
from sagascope_collector.metrics import Counters, Exposition, with_metrics
from sagascope_collector.otlp import decode
from sagascope_collector.otlp.budget import Budget
from sagascope_collector.periodic import Maintenance
from sagascope_collector.projection import BaselineLearner, Projection, SystemState
from sagascope_collector.remapping import Remapping
from sagascope_collector.serving import (
    DRAIN_SECONDS,
    Configuration,
    OtlpListeners,
    renew_certificates,
    write_ready_file,
)
from sagascope_collector.settings import Address, Settings
from sagascope_collector.storage import Storage

if TYPE_CHECKING:
    from sagascope_collector.lake import (
        Follower,
        Heartbeat,
        LakeAlerts,
        LakeErasure,
        LakeIncidents,
        LakeMaintenance,
        LakeWriter,
        Leader,
    )

Clock = Callable[[], int]

MAX_HEALTHY_LAG_SECONDS: Final = 30.0
"""A collector with a greater lag is unhealthy, and sends no watchdog signal."""

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


class LakeParts(NamedTuple):
    """The parts of a collector that connect it with a lake: telemetry is written to the lake, and read from it."""

    clock: Clock
    writer: "LakeWriter"
    follower: "Follower"
    leader: "Leader"
    maintenance: "LakeMaintenance"
    erasure: "LakeErasure"
    incidents: "LakeIncidents"
    alerts: "LakeAlerts"
    heartbeat: "Callable[[Callable[[], int | None]], Heartbeat]"
    """Creates the heartbeat from a function that returns the time of receipt of the oldest waiting request."""


class Collector:
    """One collector on one event loop. `run` can be called once."""

    def __init__(
        self, configuration: Configuration, storage: Storage, clock: Clock, lake: LakeParts | None = None
    ) -> None:
        settings = configuration.settings
        self._settings = settings
        self._configuration = configuration
        self._storage = storage
        self._clock = clock
        self._lake = lake
        self._outages = IngestOutages(storage, clock, recorded=lake.follower.outages if lake else None)
        self._counters = Counters()
        self._scrubber = scrubbing.Scrubber(
            configuration.scrub_rules, serving.pseudonyms(settings), configuration.attribute_mapping.keys
        )
        file = settings.mapping
        self._remapping = Remapping(
            storage, configuration.attribute_mapping, partial(read_mapping, file) if file else None
        )
        storage.remap = self._remapping.step
        self._ingest = Ingest(
            lake.writer if lake else storage.records,
            lambda payloads: decode(payloads, self._scrubber, self._remapping.mapping),
            limits=replace(LAKE_LIMITS if lake else Limits(), queue_bytes=settings.queue_bytes),
            refused=self._outages.refused,
            committed=self._counters.committed,
        )
        receipt_clock = lake.clock if lake else time.time_ns
        self._listeners = OtlpListeners(configuration, self._ingest, self._counters.refused, receipt_clock)
        self._learner = BaselineLearner(storage)
        self._system_state = SystemState()
        if lake:
            lake.follower.on_erased = self._system_state.record_erasures
        self._projection = Projection(
            storage,
            summarise=present.summary,
            context=self._context,
            learner=self._learner,
            system_state=self._system_state,
            clock=clock,
        )
        self._incidents = Incidents(
            storage.incidents,
            shared=lake.incidents if lake else None,
            last_success_at=self._last_success_at,
            failure_rates=FailureRates(storage),
            is_current=lambda: lake is None or self._projection.was_current,
            clock=clock,
        )
        self._maintenance = Maintenance(storage)
        self._heartbeat = lake.heartbeat(self._ingest.oldest) if lake else None
        self._health = ProcessHealth(
            storage,
            self._ingest,
            self._projection,
            self._outages,
            clock,
            self._notices,
            self._lake_unready,
            self._leads,
        )
        self._alerts = self._alerter(configuration.alerts) if configuration.alerts else None

    async def run(self, announce: Announce) -> None:
        """Serves until SIGTERM or SIGINT, then finishes the requests in progress.

        Raises:
            PortTaken: an address is in use; nothing was started.
        """
        budget, connections = Budget(self._settings.queue_bytes), max_connections()
        ports = self._take_ports(budget, connections)
        http, api = self._servers(budget, connections)
        if self._lake and self._heartbeat:
            self._lake.follower.start()
            self._lake.leader.start(self._may_lead)
            self._lake.maintenance.start()
            self._heartbeat.start()
        self._ingest.start()
        self._projection.start()
        self._incidents.start()
        self._maintenance.start()
        if self._alerts:
            self._alerts.start()
        await ports.grpc_server.start()
        tasks = [asyncio.create_task(http.serve([ports.otlp_http])), asyncio.create_task(api.serve([ports.api]))]
        liveness = LivenessRecorder(
            self._outages, self._storage, self._ingest.oldest, self._health.record_write, self._clock
        )
        periodic = [asyncio.create_task(liveness.run()), asyncio.create_task(renew_certificates(self._configuration))]
        stopped = serving.stop_signal()
        addresses = ports.addresses()
        self._health.listens(addresses["otlp_http"], addresses["otlp_grpc"])
        self._announce(addresses, announce)
        await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        self._health.stop()
        http.should_exit = api.should_exit = True
        await asyncio.gather(ports.grpc_server.stop(DRAIN_SECONDS), *tasks)
        for task in periodic:
            task.cancel()
        is_drained = await asyncio.to_thread(self._ingest.close, DRAIN_SECONDS)
        if not is_drained:
            _log.error("Queued requests could not be stored within %s s.", DRAIN_SECONDS)
        if self._lake and self._heartbeat:
            # the heartbeat after the queue: other collectors must wait for what is still in it
            await asyncio.to_thread(self._lake.maintenance.stop)
            await asyncio.to_thread(self._lake.leader.stop)
            await asyncio.to_thread(self._heartbeat.stop)
            await asyncio.to_thread(self._lake.follower.stop)
            if is_drained:
                self._lake.writer.close()
        await asyncio.to_thread(self._projection.stop)
        await asyncio.to_thread(self._incidents.stop)
        await asyncio.to_thread(self._maintenance.stop)
        if self._alerts:
            await asyncio.to_thread(self._alerts.stop)

    def _notices(self) -> Sequence[str]:
        return [*(self._lake.follower.notices() if self._lake else []), *self._remapping.notices()]

    def _lake_unready(self) -> str | None:
        if self._lake is None or self._heartbeat is None:
            return None
        return self._heartbeat.failure or self._lake.follower.unready()

    def _may_lead(self) -> bool:
        """Returns whether incidents are known: not while a lost file is rebuilt, or the lake does not answer."""
        return self._lake is not None and self._lake.follower.is_following() and self._projection.was_current

    def _leads(self) -> bool | None:
        return self._lake.leader.leads if self._lake else None

    def _is_healthy(self) -> bool:
        """Returns whether telemetry is received and evaluated; a collector that receives none is not healthy."""
        known = {each.process.environment for each in self._storage.instances.all()}
        is_any_reporting = not known or bool(known - self._system_state.telemetry_lost.keys())
        return (
            is_any_reporting and self._health.unready() is None and self._health.lag_seconds() < MAX_HEALTHY_LAG_SECONDS
        )

    def _last_success_at(self, environment: str, name: str, step: str) -> int | None:
        """Returns when a saga of this type last completed this step; None: it is not known."""
        success = self._system_state.latest_successes.get((environment, name, step))
        return success.at if success else None

    def _alerter(self, alerts: alerting.Alerts) -> alerting.Alerter:
        return alerting.Alerter(
            alerts,
            self._incidents,
            self._lake.alerts if self._lake else self._storage.alerts,
            environment=os.environ,
            is_healthy=self._is_healthy,
            unreliable=lambda: self._system_state.doubtful_environments,
            leads=lambda: self._leads() is not False,
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
        grpc_server, otlp_grpc = self._listeners.bind_grpc(budget, connections)
        return _Ports(
            grpc_server=grpc_server,
            otlp_grpc=otlp_grpc,
            otlp_http=listen(self._settings.otlp_http, "--otlp-http"),
            api=listen(self._settings.api, "--api"),
        )

    def _servers(self, budget: Budget, connections: int) -> tuple[Server, ...]:
        settings = self._settings
        exposition = Exposition(
            self._storage,
            self._ingest,
            self._counters,
            self._health.lag_seconds,
            self._scrubber.counts,
            self._projection.unreadable,
            self._incidents.counts,
            self._leads,
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
            lake_erasure=self._lake.erasure if self._lake else None,
        )
        api = with_tokens(with_metrics(answering, exposition), self._configuration.tokens)
        tls = self._configuration.tls.for_http() if self._configuration.tls else None
        hosts = serving.known_hosts(settings)
        api = with_page_checks(with_cors(api, settings.cors_origin), hosts)
        applications = (self._listeners.http(budget, hosts), api)
        return tuple(
            server(each, drain_seconds=DRAIN_SECONDS, tls=tls, connections=connections) for each in applications
        )

    def _announce(self, addresses: dict[str, str], announce: Announce) -> None:
        if self._settings.log_format is logging_setup.Format.JSON:
            _log.info("The collector is listening.", extra={"db": self._settings.db, **addresses})
        else:
            announce(addresses)
        write_ready_file(self._settings, addresses)


def run(settings: Settings, announce: Announce, *, clock: Clock = time.time_ns) -> None:
    """Opens the database and serves until the process receives a stop signal.

    Raises:
        CannotStart: a file, the database, an address or an option cannot be used; the text names it and the remedy.
    """
    logging_setup.configure(settings.log_format, settings.log_level)
    serving.prepare()
    settings = serving.within_memory(settings)
    configuration = Configuration.load(settings, os.environ)
    for warning in configuration.warnings(os.environ):
        _log.warning(warning)
    if not settings.lake and (settings.lake_data or settings.lake_keep or settings.s3_endpoint):
        raise CannotStart("--lake-data, --lake-keep and --s3-endpoint belong to a lake. Name it with --lake, too.")
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
    try:
        if settings.lake:
            lake = _lake(settings, storage)
            serving.run(Collector(configuration, storage, lake.follower.as_of, lake).run(announce))
        else:
            _require_own_records(storage)
            serving.run(Collector(configuration, storage, clock).run(announce))
    finally:
        storage.close()


def _lake(settings: Settings, storage: Storage) -> LakeParts:
    """Opens the lake, and copies its records into the local database.

    Raises:
        CannotStart: a package is missing, the lake does not answer, or the settings do not fit a lake.
    """
    if settings.lake_keep is not None and not (settings.keep and settings.keep <= settings.lake_keep):
        raise CannotStart(
            "--lake-keep must not be shorter than --keep: a collector that lost its file could not show what others do."
        )
    opened = receive.open_lake(settings)
    from sagascope_collector import lake

    name, secret = receive.process_name(), _erasure_secret(settings)
    writer, leader = lake.LakeWriter(opened, name), lake.Leader(opened)
    follower = lake.Follower(opened, storage, secret)
    incidents = lake.LakeIncidents(opened, lambda: leader.leads, storage)
    follower.catch_up()
    try:
        incidents.read()
    except StorageUnavailable as error:
        raise CannotStart(str(error)) from error
    known_until = follower.as_of()
    # sagas that stopped before this time joined their incidents while this collector was not running
    storage.incidents.joined_at = lambda since, _: since if since <= known_until else follower.as_of()
    erasure = lake.LakeErasure(opened, storage, secret, follower, settings.retention)
    return LakeParts(
        opened.clock,
        writer,
        follower,
        leader,
        lake.LakeMaintenance(opened, storage, follower, erasure, lambda: leader.leads, settings.lake_keep),
        erasure,
        incidents,
        lake.LakeAlerts(opened),
        lambda oldest: lake.Heartbeat(opened, name, writer, oldest),
    )


def _erasure_secret(settings: Settings) -> Callable[[str], str]:
    pseudonyms = serving.pseudonyms(settings)
    return lambda salt: pseudonyms.of("erasure", salt)


def _require_own_records(storage: Storage) -> None:
    """Refuses the local database of a lake, whose records would then differ from the lake's.

    Raises:
        CannotStart: the database follows a lake.
    """
    if storage.follows_lake:
        raise CannotStart("The database of --db follows a lake. Start with --lake, or name another file.")


def _check_ports(settings: Settings) -> None:
    """Checks that the ports are free, before a database file is created.

    Raises:
        CannotStart: a port cannot be used.
    """
    for address, option in (
        (settings.otlp_grpc, "--otlp-grpc"),
        (settings.otlp_http, "--otlp-http"),
        (settings.api, "--api"),
    ):
        listen(address, option).close()


serve = serve_command(run, "Run the collector until Ctrl-C.")
"""The ``serve`` command."""
