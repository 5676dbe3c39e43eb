"""The ports on which a process receives OTLP."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Final

import grpc.aio

from sagascope_collector.access import Application, protected_from_pages, sharing
from sagascope_collector.configuration import Configuration
from sagascope_collector.connections import KnownHosts
from sagascope_collector.errors import PortTaken
from sagascope_collector.http_server import port_taken
from sagascope_collector.ingest import Ingest
from sagascope_collector.otlp import OtlpGrpc, OtlpHttp
from sagascope_collector.otlp.budget import Budget
from sagascope_collector.otlp.grpc import bind
from sagascope_collector.settings import Address, Settings

CERTIFICATES_INTERVAL_SECONDS: Final = 2.0
"""The interval at which changed certificates are looked for."""


class OtlpListeners:
    """OTLP over gRPC and HTTP into one ingest queue."""

    def __init__(
        self,
        configuration: Configuration,
        ingest: Ingest,
        refused: Callable[..., None],
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Creates it; `refused` is called for each refused request, and `clock` for the time of receipt."""
        self._clock = clock
        self._configuration = configuration
        self._ingest = ingest
        self._refused = refused

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
        return protected_from_pages(sharing(receiver, settings.cors_origin), hosts)


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
