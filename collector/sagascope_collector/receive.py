"""A receiver of telemetry without a database of its own: it commits to a lake, and answers after the commit."""

import asyncio
import os
import secrets
import socket
from typing import TYPE_CHECKING, Final

from sagascope_collector import logging_setup, scrubbing, serving
from sagascope_collector.cli.launch import Announce, serve_command
from sagascope_collector.cli.options import lake_of
from sagascope_collector.errors import CannotStart
from sagascope_collector.http_server.access import Application, Receive, Scope, Send, with_page_checks
from sagascope_collector.http_server.server import address_of, listen, max_connections, server
from sagascope_collector.ingest import LAKE_LIMITS, Ingest
from sagascope_collector.metrics import Counters
from sagascope_collector.otlp import decode
from sagascope_collector.otlp.budget import Budget
from sagascope_collector.scrubbing.rules import KEY_VARIABLE
from sagascope_collector.serving import (
    DRAIN_SECONDS,
    Configuration,
    OtlpListeners,
    renew_certificates,
    write_ready_file,
)
from sagascope_collector.settings import Settings

if TYPE_CHECKING:
    from sagascope_collector.lake import Heartbeat, Lake

OPTIONS: Final = (
    "lake",
    "lake_data",
    "s3_endpoint",
    "otlp_grpc",
    "otlp_http",
    "api",
    "ready_file",
    "max_request_bytes",
    "queue_bytes",
    "memory_bytes",
    "ingest_token_file",
    "cors_origin",
    "allowed_host",
    "tls_cert",
    "tls_key",
    "tls_client_ca",
    "mapping",
    "scrub",
    "scrub_key_file",
    "log_format",
    "log_level",
)
"""The settings of a receiver. Its API has ``/healthz`` and ``/readyz`` only."""


def process_name() -> str:
    """Returns a unique name of this process."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def open_lake(settings: Settings) -> "Lake":
    """Returns the lake, after its tables were created or upgraded.

    Raises:
        CannotStart: a package or setting is missing, or the lake cannot be opened.
    """
    lake = lake_of(settings.lake, settings.lake_data, settings.s3_endpoint, settings.memory_bytes)
    if not (settings.scrub_key_file or os.environ.get(KEY_VARIABLE)):
        raise CannotStart(
            f"All processes of a lake need the same key for pseudonyms: set --scrub-key-file or {KEY_VARIABLE}."
        )
    lake.create(serving.pseudonyms(settings).of("lake", "key"))
    return lake


async def _run(settings: Settings, configuration: Configuration, lake: "Lake", announce: Announce) -> None:
    from sagascope_collector.lake import Heartbeat, LakeWriter

    mapping = configuration.attribute_mapping
    scrubber = scrubbing.Scrubber(configuration.scrub_rules, serving.pseudonyms(settings), mapping.keys)
    counters, name = Counters(), process_name()
    writer = LakeWriter(lake, name)
    ingest = Ingest(
        writer, lambda payloads: decode(payloads, scrubber, mapping), limits=LAKE_LIMITS, committed=counters.committed
    )
    heartbeat = Heartbeat(lake, name, writer, ingest.oldest)
    listeners = OtlpListeners(configuration, ingest, counters.refused, lake.clock)
    budget, connections = Budget(settings.queue_bytes), max_connections()
    grpc_server, otlp_grpc = listeners.bind_grpc(budget, connections)
    otlp_http, api = listen(settings.otlp_http, "--otlp-http"), listen(settings.api, "--api")
    hosts = serving.known_hosts(settings)
    tls = configuration.tls.for_http() if configuration.tls else None
    http_servers = [
        server(each, drain_seconds=DRAIN_SECONDS, tls=tls, connections=connections)
        for each in (listeners.http(budget, hosts), with_page_checks(_probes(ingest, heartbeat), hosts))
    ]
    ingest.start()
    heartbeat.start()
    await grpc_server.start()
    tasks = [
        asyncio.create_task(each.serve([place])) for each, place in zip(http_servers, (otlp_http, api), strict=True)
    ]
    renewing = asyncio.create_task(renew_certificates(configuration))
    stopped = serving.stop_signal()
    addresses = {"otlp_grpc": str(otlp_grpc), "otlp_http": str(address_of(otlp_http)), "api": str(address_of(api))}
    announce(addresses)
    write_ready_file(settings, addresses)
    await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for each in http_servers:
        each.should_exit = True
    await asyncio.gather(grpc_server.stop(DRAIN_SECONDS), *tasks)
    renewing.cancel()
    is_drained = await asyncio.to_thread(ingest.close, DRAIN_SECONDS)
    await asyncio.to_thread(heartbeat.stop)
    if is_drained:
        writer.close()


def _probes(ingest: Ingest, heartbeat: "Heartbeat") -> Application:
    """Returns the application with the routes for health checks."""

    async def answered(scope: Scope, _: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, text = 404, "A receiver has /healthz and /readyz only."
        if scope["path"] in {"/healthz", "/readyz"}:
            failure = None if ingest.is_alive() else "The receiver cannot store anything; see its log."
            if scope["path"] == "/readyz":
                failure = failure or heartbeat.failure
            status, text = (503, failure) if failure else (200, "ok")
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})

    return answered


def run(settings: Settings, announce: Announce) -> None:
    """Receives until the process receives a stop signal.

    Raises:
        CannotStart: the lake, a file or an address cannot be used.
    """
    logging_setup.configure(settings.log_format, settings.log_level)
    serving.prepare()
    settings = serving.within_memory(settings)
    configuration = Configuration.load(settings, os.environ)
    serving.run(_run(settings, configuration, open_lake(settings), announce))


receive = serve_command(run, "Receive telemetry into a lake until Ctrl-C.", OPTIONS)
"""The ``receive`` command."""
