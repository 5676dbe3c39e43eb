"""The health of a bridge, and its two reports: heartbeats to the collector and metrics for Prometheus."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from prometheus_client import CollectorRegistry, Metric, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from sagascope import semconv
from sagascope_collector.archives import Sender
from sagascope_collector.bridges.otlp import Attributes, LogRecord, Resource, Telemetry
from sagascope_collector.errors import SendFailed
from sagascope_collector.http_server import listen
from sagascope_collector.periodic import PeriodicTask
from sagascope_collector.settings import Address

HEARTBEAT_INTERVAL_SECONDS: Final = 5.0


@dataclass(slots=True)
class Health:
    """Counters and state of a bridge. The bridge's thread writes; heartbeats and metrics read."""

    polls: int = 0
    failed_polls: int = 0
    sent: int = 0
    """Records that the collector acknowledged."""
    rejected: int = 0
    """Records among them that the collector rejected."""
    in_flight: int = 0
    """The number of transactions, rows or workflows that have not ended."""
    error: str = ""
    """The parts of the source that did not respond in the last poll; ``""`` if the poll succeeded."""
    has_caught_up: bool = False
    """Whether the complete state of the source has been reported at least once."""
    caught_up_at: float = field(default_factory=time.monotonic)
    """The start of the last poll that left nothing unread, on the monotonic clock."""
    on_change: Callable[[], None] = lambda: None
    """Called when the error or `has_caught_up` changes."""

    def lag_seconds(self) -> float:
        """Returns an upper bound of how far the collector is behind the source."""
        return max(0.0, time.monotonic() - self.caught_up_at)

    def record_success(self, started: float) -> None:
        """Records a poll that started at a time of the monotonic clock and left nothing unread."""
        has_changed = bool(self.error) or not self.has_caught_up
        self.error, self.caught_up_at, self.has_caught_up = "", started, True
        if has_changed:
            self.on_change()

    def record_failure(self, error: str) -> None:
        """Records a poll that failed, at least in part."""
        self.failed_polls += 1
        has_changed, self.error = error != self.error, error
        if has_changed:
            self.on_change()


class Heartbeats:
    """Sends heartbeats from a separate thread, so that a source that hangs does not stop them. A context manager.

    Args:
        health: the content of the heartbeats. A change is sent at once.
        kind: the kind of the bridge, for example ``postgres``.
        checkpoint_path: identifies the bridge together with the host, also after a restart.
        sender: sends requests to the collector, without retries.
    """

    def __init__(self, health: Health, kind: str, checkpoint_path: Path, sender: Sender) -> None:
        self._health = health
        self._kind = kind
        self._sender = sender
        self._resource: Resource = (
            ("service.name", f"sagascope-bridge-{kind}"),
            ("service.instance.id", f"{socket.gethostname()}:{checkpoint_path.resolve()}"),
        )
        self._sequence = 0
        self._is_sending = threading.Lock()
        self._task = PeriodicTask("bridge heartbeats", self._send, interval_seconds=HEARTBEAT_INTERVAL_SECONDS)
        health.on_change = self._task.trigger

    def __enter__(self) -> Self:
        self._task.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._task.stop()
        self._send(final=True)

    def _send(self, *, final: bool = False) -> None:
        """Sends a heartbeat, unless another one is being sent: a collector that hangs must not delay the shutdown."""
        if not self._is_sending.acquire(blocking=False):
            return
        try:
            self._sequence += 1
            for message, kind in Telemetry(logs=[self._heartbeat(final=final)]).messages():
                self._sender.send(message, kind)
        except SendFailed:
            pass  # the bridge logs that the collector does not respond
        finally:
            self._is_sending.release()

    def _heartbeat(self, *, final: bool) -> LogRecord:
        attributes: Attributes = {
            semconv.HEARTBEAT_INTERVAL: HEARTBEAT_INTERVAL_SECONDS,
            semconv.HEARTBEAT_SEQUENCE: self._sequence,
            semconv.HEARTBEAT_OPEN_SPANS: (),
            semconv.HEARTBEAT_FINAL: final,
            semconv.BRIDGE_KIND: self._kind,
            semconv.BRIDGE_LAG: self._health.lag_seconds(),
            semconv.BRIDGE_WATCHING: self._health.in_flight,
            **({semconv.BRIDGE_ERROR: self._health.error} if self._health.error else {}),
        }
        return LogRecord(
            resource=self._resource,
            trace_id=b"",
            span_id=b"",
            at=time.time_ns(),
            event_name=semconv.EVENT_HEARTBEAT,
            body="",
            attributes=attributes,
        )


@contextmanager
def serve_metrics(health: Health, kind: str, address: Address | None) -> Iterator[str | None]:
    """Serves Prometheus metrics; yields their URL, or None without an address.

    Raises:
        PortTaken: the address is in use.
        CannotStart: this machine does not have the address.
    """
    if address is None:
        yield None
        return
    listen(address, "--metrics").close()  # the error says what to change
    registry = CollectorRegistry()
    registry.register(_Exposition(health, kind))
    server, thread = start_http_server(address.port, address.host, registry)
    try:
        yield f"http://{address._replace(port=server.server_port)}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Exposition(Collector):
    """The metrics of a bridge, read when they are scraped."""

    def __init__(self, health: Health, kind: str) -> None:
        self._health = health
        self._kind = kind

    def collect(self) -> Iterator[Metric]:
        health = self._health
        for family, name, text, value in (
            (GaugeMetricFamily, "lag_seconds", "Upper bound of the collector's lag.", health.lag_seconds()),
            (GaugeMetricFamily, "in_flight", "Transactions, rows or workflows that have not ended.", health.in_flight),
            (CounterMetricFamily, "polls", "Polls of the source.", health.polls),
            (CounterMetricFamily, "failed_polls", "Polls that failed, at least in part.", health.failed_polls),
            (CounterMetricFamily, "records_sent", "Spans and log records that were acknowledged.", health.sent),
            (CounterMetricFamily, "records_rejected", "Records that the collector rejected.", health.rejected),
        ):
            metric = family(f"sagascope_bridge_{name}", text, labels=["bridge"])
            metric.add_metric([self._kind], value)
            yield metric
