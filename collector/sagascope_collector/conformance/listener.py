"""Captures telemetry: from the collector's own OTLP receivers, which store nothing here, or from files."""

import asyncio
import json
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sagascope_collector.conformance.capture import Capture
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import CannotStart, PortTaken, SagascopeError, Undecodable
from sagascope_collector.http_server import address_of, listen, port_taken, server
from sagascope_collector.ingest import Encoding, Payload, Receipt, Signal
from sagascope_collector.otlp import OtlpGrpc, OtlpHttp
from sagascope_collector.otlp.budget import Budget
from sagascope_collector.otlp.grpc import bind
from sagascope_collector.settings import MEBIBYTE, Address

MAX_REQUEST_BYTES: Final = 64 * MEBIBYTE
"""The size of one request, and of all requests that arrive at one time."""

MAX_RECORDS: Final = 1_000_000
"""Records kept in memory; listening ends when they are reached."""

POLL_INTERVAL_SECONDS: Final = 0.05

DRAIN_SECONDS: Final = 2.0

Announce = Callable[[str, str], None]
"""Called once, when both ports listen, with the gRPC address and the HTTP address."""


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """Where to listen, and for how long."""

    otlp_grpc: Address
    otlp_http: Address
    seconds: float | None
    """The total time; None: until SIGINT or SIGTERM."""
    idle_seconds: float | None
    """Listening ends this long after the latest request; None: it does not."""
    grace_seconds: float


def capture_from_ports(options: ListenOptions, announce: Announce) -> Capture:
    """Captures what an emitter sends to the OTLP ports.

    Raises:
        PortTaken: an address is in use.
    """
    capture = Capture(grace_seconds=options.grace_seconds)
    asyncio.run(_listen(_Listener(capture), options, announce))
    return capture


def capture_from_files(files: Sequence[Path], grace_seconds: float) -> Capture:
    """Captures OTLP JSON lines, as the OpenTelemetry Collector's file exporter writes them.

    Raises:
        CannotStart: a file cannot be read.
    """
    capture = Capture(grace_seconds=grace_seconds)
    for file in files:
        try:
            lines = file.read_bytes().splitlines()
        except OSError as error:
            raise CannotStart(f"{file} cannot be read: {error.strerror}.") from error
        for number, line in enumerate(lines, 1):
            if line.strip():
                _add_line(line, f"{file}:{number}", capture)
    return capture


def _add_line(line: bytes, where: str, capture: Capture) -> None:
    try:
        document: Any = json.loads(line)
    except ValueError as error:
        capture.rejected.append(f"{where}: {error}")
        return
    signal_ = Signal.LOGS if isinstance(document, dict) and "resourceLogs" in document else Signal.TRACES
    try:
        capture.add(Payload(signal_, Encoding.JSON, line, received_at=0))
    except Undecodable as error:
        capture.rejected[-1] = f"{where}: {error}"


class _Listener:
    """Takes the place of the collector's ingest queue behind the receivers."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self.latest_at = 0
        """When the latest request was received."""

    def submit(self, payload: Payload) -> asyncio.Future[Receipt]:
        """Keeps a request and answers it at once; a request that is not OTLP is rejected."""
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.latest_at = payload.received_at
        try:
            self._capture.add(payload)
            answer.set_result(Receipt())
        except SagascopeError as error:
            answer.set_exception(error)
        return answer

    @property
    def is_full(self) -> bool:
        return len(self._capture.spans) + len(self._capture.logs) >= MAX_RECORDS

    def is_idle(self, seconds: float | None) -> bool:
        """Returns whether requests were received, and none for this long."""
        if seconds is None or not self.latest_at:
            return False
        return (time.time_ns() - self.latest_at) / NANOSECONDS_PER_SECOND >= seconds


async def _listen(listener: _Listener, options: ListenOptions, announce: Announce) -> None:
    budget = Budget(MAX_REQUEST_BYTES)
    grpc_server = OtlpGrpc(listener, time.time_ns, budget=budget).server(max_bytes=MAX_REQUEST_BYTES)
    try:
        grpc_port = bind(grpc_server, *options.otlp_grpc)
    except PortTaken as error:
        raise port_taken(options.otlp_grpc, "--otlp-grpc") from error
    socket = listen(options.otlp_http, "--otlp-http")
    application = OtlpHttp(listener, time.time_ns, max_bytes=MAX_REQUEST_BYTES, budget=budget)
    http_server = server(application, drain_seconds=DRAIN_SECONDS)
    await grpc_server.start()
    serving = asyncio.create_task(http_server.serve([socket]))
    http_port = address_of(socket).port
    announce(str(options.otlp_grpc._replace(port=grpc_port)), str(options.otlp_http._replace(port=http_port)))
    await _wait_for_end(listener, options)
    http_server.should_exit = True
    await asyncio.gather(grpc_server.stop(DRAIN_SECONDS), serving)


async def _wait_for_end(listener: _Listener, options: ListenOptions) -> None:
    """Waits for SIGINT or SIGTERM, the end of the listening time, or an idle emitter."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    started = time.monotonic()
    while not (stopped.is_set() or listener.is_full or listener.is_idle(options.idle_seconds)):
        if options.seconds is not None and time.monotonic() - started >= options.seconds:
            return
        await asyncio.sleep(POLL_INTERVAL_SECONDS)
