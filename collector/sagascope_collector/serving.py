"""What every process that receives OTLP shares: configuration files, ports, memory, signals, garbage collection."""

import asyncio
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from typing import Any, Final, Self

import grpc.aio
import pyarrow as pa

from sagascope_collector import config_file
from sagascope_collector.alerting import Alerts
from sagascope_collector.analysis.runbooks import Runbook, read_runbooks
from sagascope_collector.engines import BUILT_IN, AttributeMapping, read_mapping
from sagascope_collector.errors import PortTaken
from sagascope_collector.http_server.access import (
    Application,
    Tls,
    Tokens,
    load_tls,
    load_token,
    with_cors,
    with_origin_checks,
)
from sagascope_collector.http_server.connections import KnownHosts
from sagascope_collector.http_server.server import port_taken
from sagascope_collector.ingest import Ingest
from sagascope_collector.otlp import OtlpGrpc, OtlpHttp
from sagascope_collector.otlp.budget import Budget
from sagascope_collector.otlp.grpc import bind
from sagascope_collector.scrubbing import Pseudonyms, Rules, load_key
from sagascope_collector.settings import Address, Settings, memory_limit_bytes


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, and the contents of the files that they name."""

    settings: Settings
    tokens: Tokens
    tls: Tls | None
    """None: connections are not encrypted."""
    runbooks: Sequence[Runbook]
    attribute_mapping: AttributeMapping
    scrub_rules: Rules
    alerts: Alerts | None

    @classmethod
    def load(cls, settings: Settings, environment: Mapping[str, str]) -> Self:
        """Reads and checks all files.

        Raises:
            CannotStart: a file cannot be read, or its content is not valid.
        """
        return cls(
            settings=settings,
            tokens=Tokens(
                ingest=load_token("ingest", settings.ingest_token_file, environment),
                read=load_token("read", settings.read_token_file, environment),
                change=load_token("change", settings.change_token_file, environment),
            ),
            tls=load_tls(settings.tls_cert, settings.tls_key, settings.tls_client_ca),
            runbooks=read_runbooks(settings.runbooks) if settings.runbooks else (),
            attribute_mapping=read_mapping(settings.mapping) if settings.mapping else BUILT_IN,
            scrub_rules=config_file.read(settings.scrub, Rules) if settings.scrub else Rules(),
            alerts=config_file.read(settings.alerts, Alerts) if settings.alerts else None,
        )

    def warnings(self, environment: Mapping[str, str]) -> list[str]:
        """Returns a sentence for each insecure port, and for each secret that alerts need and that is not set."""
        settings, tokens = self.settings, self.tokens
        ports = (
            ("--otlp-grpc", settings.otlp_grpc, "send telemetry", "--ingest-token-file", tokens.ingest),
            ("--otlp-http", settings.otlp_http, "send telemetry", "--ingest-token-file", tokens.ingest),
            ("--api", settings.api, "read all transactions", "--read-token-file", tokens.read),
        )
        warnings = []
        for option, address, permission, remedy, token in ports:
            if address.is_loopback:
                continue
            if not token and not (self.tls and self.tls.client_ca):
                warnings.append(
                    f"ANYONE who reaches {address} can {permission}: set a token with {remedy}, or keep {option} local."
                )
            if not self.tls:
                warnings.append(f"Connections to {address} are NOT ENCRYPTED: set --tls-cert and --tls-key.")
        return [*warnings, *(self.alerts.missing_tokens(environment) if self.alerts else [])]


DRAIN_SECONDS: Final = 10.0
"""The time that a stop allows for requests in progress."""

THREAD_SWITCH_SECONDS: Final = 0.0002
"""Interval at which threads switch. A commit makes about a hundred short calls, and would wait for Python's default of
5 ms after each of them."""

GC_THRESHOLDS: Final = (100_000, 20, 20)
"""Numbers of objects at which garbage is collected: decoding creates many objects, and no cycles."""

_log: Final = logging.getLogger(__name__)


def prepare() -> None:
    """Sets up the process, before anything is opened."""
    sys.meta_path.insert(0, _WithoutPandas())


def run(serving: Coroutine[Any, Any, None]) -> None:
    """Runs until the coroutine ends."""
    _use_jemalloc()
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serving)
    finally:
        gc.unfreeze()  # otherwise DuckDB's binding reports uncollectable objects at exit


def within_memory(settings: Settings) -> Settings:
    """Returns the settings with memory limits that fit into this process's own."""
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


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Returns uvloop's event loop if it is installed; it serves a third more requests."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


def stop_signal() -> asyncio.Future[None]:
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


CERTIFICATES_INTERVAL_SECONDS: Final = 2.0
"""Interval of checks for changed certificates."""


@dataclass(eq=False)
class OtlpListeners:
    """OTLP over gRPC and HTTP into one ingest queue."""

    _configuration: Configuration
    _ingest: Ingest
    _refused: Callable[..., None]
    """Called for each refused request."""
    _clock: Callable[[], int]
    """Returns the time of receipt in nanoseconds since 1970."""

    def bind_grpc(self, budget: Budget, connections: int) -> tuple[grpc.aio.Server, Address]:
        """Returns a server that is not started, and its address.

        Raises:
            PortTaken: the address is in use.
        """
        settings = self._configuration.settings
        receiver = OtlpGrpc(
            self._ingest,
            self._clock,
            budget=budget,
            max_growth_bytes=settings.queue_bytes // 2,
            tokens=self._configuration.tokens,
            refused=self._refused,
        )
        server = receiver.server(max_bytes=settings.max_request_bytes, max_connections=connections)
        try:
            port = bind(server, *settings.otlp_grpc, self._configuration.tls)
        except PortTaken as error:
            raise port_taken(settings.otlp_grpc, "--otlp-grpc") from error
        return server, settings.otlp_grpc._replace(port=port)

    def http(self, budget: Budget, hosts: KnownHosts) -> Application:
        """Returns the application for OTLP over HTTP."""
        settings = self._configuration.settings
        receiver = OtlpHttp(
            self._ingest,
            self._clock,
            max_bytes=settings.max_request_bytes,
            budget=budget,
            tokens=self._configuration.tokens,
            refused=self._refused,
        )
        return with_origin_checks(with_cors(receiver, settings.cors_origin), hosts)


def pseudonyms(settings: Settings) -> Pseudonyms:
    """Returns the pseudonyms by the key of the settings, which is generated on first use if there is none.

    Raises:
        CannotStart: the file of the key cannot be read, or the key is too short.
    """
    return Pseudonyms(load_key(settings.scrub_key_file, os.environ, settings.db))


def known_hosts(settings: Settings) -> KnownHosts:
    """Returns the names by which the ports may be called, and the origins of pages that may call them."""
    return KnownHosts.of((settings.api.host, settings.otlp_http.host, *settings.allowed_host), settings.cors_origin)


def write_ready_file(settings: Settings, addresses: Mapping[str, str]) -> None:
    """Writes the file of ``--ready-file``, if there is one."""
    if file := settings.ready_file:
        temporary = file.with_name(f"{file.name}.part")
        temporary.write_text(json.dumps(addresses), encoding="utf-8")
        temporary.rename(file)


async def renew_certificates(configuration: Configuration) -> None:
    """Reads changed certificates again, until it is cancelled."""
    while configuration.tls:
        await asyncio.to_thread(configuration.tls.renew)
        await asyncio.sleep(CERTIFICATES_INTERVAL_SECONDS)
