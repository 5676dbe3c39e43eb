"""Opens OTLP ports and listens: the collector's own receivers, with nothing behind them but memory."""

import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any, Final

from sagascope_collector.cli import conformance as cli
from sagascope_collector.conformance.heard import SECOND, Heard
from sagascope_collector.conformance.reading import take
from sagascope_collector.errors import CannotStart, PortTaken, SagascopeError, Undecodable
from sagascope_collector.http_server import address_of, listen, port_taken, server
from sagascope_collector.ingest import Encoding, Payload, Receipt, Signal
from sagascope_collector.otlp import OtlpGrpc, OtlpHttp
from sagascope_collector.otlp.body import Budget
from sagascope_collector.otlp.grpc import bind
from sagascope_collector.settings import MEBIBYTE, Address

MOST_BYTES: Final = 64 * MEBIBYTE
"""Of one request, and of all that arrive at one time."""

MOST_RECORDS: Final = 1_000_000
"""Records that are kept in memory; listening ends there."""

LOOK_EVERY: Final = 0.05

DRAIN_SECONDS: Final = 2.0


class Ear:
    """Keeps what the receivers take, and answers it at once."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard
        self.latest = 0
        """When something came last."""

    def submit(self, payload: Payload) -> asyncio.Future[Receipt]:
        """Keep a request; one that is no OTLP is refused, and noted."""
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.latest = payload.received_at
        try:
            take(payload, self.heard)
            answer.set_result(Receipt())
        except SagascopeError as error:
            answer.set_exception(error)
        return answer

    @property
    def is_full(self) -> bool:
        """Whether as much was heard as may be kept."""
        return len(self.heard.spans) + len(self.heard.logs) >= MOST_RECORDS


def hear(wanted: cli.Listening, announce: cli.Announce) -> Heard:
    """What an emitter sends to these ports, or a file holds.

    Raises:
        PortTaken: an address is in use.
        CannotStart: the file cannot be read.
    """
    heard = Heard(grace=wanted.grace)
    if wanted.files:
        for file in wanted.files:
            _read(file, heard)
    else:
        asyncio.run(_listen(Ear(heard), wanted, announce))
    return heard


async def _listen(ear: Ear, wanted: cli.Listening, announce: cli.Announce) -> None:
    grpc_server = OtlpGrpc(ear, time.time_ns).server(max_bytes=MOST_BYTES)
    try:
        port = bind(grpc_server, *wanted.otlp_grpc)
    except PortTaken as error:
        raise port_taken(wanted.otlp_grpc, "--otlp-grpc") from error
    socket = listen(wanted.otlp_http, "--otlp-http")
    http = OtlpHttp(ear, time.time_ns, max_bytes=MOST_BYTES, budget=Budget(MOST_BYTES))
    serving = server(http, drain_seconds=DRAIN_SECONDS)
    await grpc_server.start()
    task = asyncio.create_task(serving.serve([socket]))
    announce(str(wanted.otlp_grpc._replace(port=port)), str(_said(address_of(socket), wanted.otlp_http)))
    await _until_over(ear, wanted)
    serving.should_exit = True
    await asyncio.gather(grpc_server.stop(DRAIN_SECONDS), task)


def _said(taken: Address, wanted: Address) -> Address:
    return wanted._replace(port=taken.port)


async def _until_over(ear: Ear, wanted: cli.Listening) -> None:
    """Wait for Ctrl-C, the end of the time, or silence after something came."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    began = time.monotonic()
    while not (stopped.is_set() or ear.is_full):
        if wanted.seconds is not None and time.monotonic() - began >= wanted.seconds:
            return
        quiet_for = (time.time_ns() - ear.latest) / SECOND
        if wanted.quiet is not None and ear.latest and quiet_for >= wanted.quiet:
            return
        await asyncio.sleep(LOOK_EVERY)


def _read(file: Path, heard: Heard) -> None:
    """Add OTLP JSON lines, as the OpenTelemetry Collector's file exporter writes them."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise CannotStart(f"{file} cannot be read: {error.strerror}.") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            _take_line(line, f"{file}:{number}", heard)


def _take_line(line: bytes, where: str, heard: Heard) -> None:
    try:
        said: Any = json.loads(line)
    except ValueError as error:
        heard.refused.append(f"{where}: {error}")
        return
    signal_ = Signal.LOGS if isinstance(said, dict) and "resourceLogs" in said else Signal.TRACES
    try:
        take(Payload(signal_, Encoding.JSON, line, received_at=0), heard)
    except Undecodable as error:
        heard.refused[-1] = f"{where}: {error}"


conformance = cli.command(hear)
"""The ``conformance`` command."""
