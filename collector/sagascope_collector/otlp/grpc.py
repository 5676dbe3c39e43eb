"""OTLP over gRPC. Requests arrive as bytes; the writer decodes them."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from sagascope_collector.errors import PortTaken, SagascopeError, Undecodable
from sagascope_collector.http_server.access import OPEN, Tls, Tokens
from sagascope_collector.http_server.server import MAX_CONNECTIONS
from sagascope_collector.ingest import Encoding, Payload, PayloadSink, Signal
from sagascope_collector.otlp import answers
from sagascope_collector.otlp.answers import (
    MAX_CHECKED_METRICS_BYTES,
    encoded,
    prepare_request,
    sender_of,
    store_request,
)
from sagascope_collector.otlp.budget import Arrivals, Budget
from sagascope_collector.otlp.decode import parse

Context = Any
"""The context that grpc passes to a handler; it has no types."""

Handler = Callable[[bytes, Context], Awaitable[bytes]]
"""Answers one request that has arrived."""

StreamHandler = Callable[[Any, Context], Awaitable[bytes]]

MAX_CALLS_PER_CONNECTION: Final = 10
"""Concurrent calls of one connection, as many as an OpenTelemetry Collector makes; others wait or are refused."""

MAX_GROWTH_BYTES: Final = 128 * 1024 * 1024
"""The growth of the process's memory at which requests that are arriving are ended."""

HANDSHAKE_MILLISECONDS: Final = 10_000
"""The time that a new connection has for its TLS and HTTP/2 handshakes."""

MAX_METADATA_BYTES: Final = 16 * 1024

IDLE_MILLISECONDS: Final = 300_000
"""The time after which a connection without a call is closed; clients connect again by themselves."""

AGE_MILLISECONDS: Final = 1_800_000
"""The time after which a connection takes no further calls; clients open another one."""

AGE_GRACE_MILLISECONDS: Final = 60_000
"""The time that the calls of such a connection have to end: a call whose request never arrives would stay forever."""

_SERVICE_NAME: Final = "opentelemetry.proto.collector.{0}.v1.{1}Service"


class OtlpGrpc:
    """The three services with their `Export` method."""

    def __init__(
        self,
        ingest: PayloadSink,
        clock: Callable[[], int],
        *,
        budget: Budget,
        max_growth_bytes: int = MAX_GROWTH_BYTES,
        tokens: Tokens = OPEN,
        refused: Callable[[SagascopeError], None] = lambda _: None,
    ) -> None:
        """`budget` bounds the requests that arrived and do not wait for the database yet.

        `max_growth_bytes` bounds those that are arriving.
        """
        self._budget = budget
        self._arrivals = Arrivals(max_growth_bytes)
        self._tokens = tokens
        self._refused = refused
        self._ingest = ingest
        self._clock = clock

    def server(self, *, max_bytes: int, max_connections: int = MAX_CONNECTIONS) -> grpc.aio.Server:
        """Returns a server for requests of up to `max_bytes`, compressed or not; it has no port yet."""
        server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", max_bytes),
                ("grpc.max_concurrent_streams", MAX_CALLS_PER_CONNECTION),
                ("grpc.server_handshake_timeout_ms", HANDSHAKE_MILLISECONDS),
                ("grpc.max_metadata_size", MAX_METADATA_BYTES),
                ("grpc.max_allowed_incoming_connections", max_connections),
                ("grpc.max_connection_idle_ms", IDLE_MILLISECONDS),
                ("grpc.max_connection_age_ms", AGE_MILLISECONDS),
                ("grpc.max_connection_age_grace_ms", AGE_GRACE_MILLISECONDS),
                ("grpc.so_reuseport", 0),  # else a second collector could share the port, and half of the data
            ]
        )
        server.add_generic_rpc_handlers(
            (
                _service("trace", "Trace", self._stream_handler(self._export_handler(Signal.TRACES))),
                _service("logs", "Logs", self._stream_handler(self._export_handler(Signal.LOGS))),
                _service("metrics", "Metrics", self._stream_handler(self._refuse_metrics)),
            )
        )
        return server

    def _stream_handler(self, handler: Handler) -> StreamHandler:
        """Returns a handler that reads the one request of a call, so that its arrival can be timed and ended."""

        async def receive(_: Any, context: Context) -> bytes:
            try:
                metadata = dict(context.invocation_metadata() or ())
                self._tokens.check_ingest(str(metadata.get("authorization", "")))
                request = await self._arrivals.receive(context.read)
                if request is grpc.aio.EOF:
                    raise Undecodable("The call has no request.")
                return await handler(request, context)
            except SagascopeError as error:
                self._refused(error)
                await context.abort(*answers.grpc_error(error))
                return b""

        return receive

    def _export_handler(self, signal: Signal) -> Handler:
        async def export(request: bytes, context: Context) -> bytes:
            host, _, port = context.peer().partition(":")[2].rpartition(":")
            payload = Payload(signal, Encoding.PROTOBUF, request, self._clock(), sender_of(host, port))
            async with self._budget.lease() as lease:
                lease.take(len(request))
                ready = await prepare_request(payload, lease)
            receipt = await store_request(self._ingest, ready)
            return encoded(answers.success(signal, receipt), Encoding.PROTOBUF)

        return export

    async def _refuse_metrics(self, request: bytes, _: Context) -> bytes:
        if len(request) <= MAX_CHECKED_METRICS_BYTES:
            parse(request, Encoding.PROTOBUF, ExportMetricsServiceRequest)
        return encoded(answers.metrics_success(), Encoding.PROTOBUF)


def bind(server: grpc.aio.Server, host: str, port: int, tls: Tls | None = None) -> int:
    """Binds a server to an address, and returns the port.

    Raises:
        PortTaken: the address is in use.
    """
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound_port: int = server.add_secure_port(address, tls.for_grpc()) if tls else server.add_insecure_port(address)
    except RuntimeError as error:
        raise PortTaken(address) from error
    return bound_port


def _service(package: str, name: str, handler: StreamHandler) -> Any:
    export = grpc.stream_unary_rpc_method_handler(handler)
    return grpc.method_handlers_generic_handler(_SERVICE_NAME.format(package, name), {"Export": export})
