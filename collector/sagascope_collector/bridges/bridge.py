"""The loop of a bridge: polls a source, sends its reports, and saves the checkpoint; and the health of the bridge."""

import fcntl
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Generic, Protocol, Self, TypeVar

from prometheus_client import CollectorRegistry, Metric, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from pydantic import BaseModel, ValidationError
from tenacity import Retrying, retry_if_exception_type, stop_when_event_set, wait_exponential, wait_random
from tenacity.nap import sleep_using_event

from sagascope import semconv
from sagascope_collector.archives import Sender
from sagascope_collector.bridges.otlp import Attributes, LogRecord, Resource, Telemetry
from sagascope_collector.errors import BadValue, CheckpointLocked, SendFailed, SourceUnavailable
from sagascope_collector.http_server.server import listen
from sagascope_collector.periodic import PeriodicTask
from sagascope_collector.settings import Address

MAX_BACKOFF_SECONDS: Final = 60.0
"""Maximum seconds before another poll of a source, or another request to a collector, that does not respond."""

HEARTBEAT_INTERVAL_SECONDS: Final = 5.0

_log: Final = logging.getLogger(__name__)

Checkpoint = TypeVar("Checkpoint", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class PollResult(Generic[Checkpoint]):
    """What a source reports since a checkpoint."""

    telemetry: Telemetry
    checkpoint: Checkpoint
    """The next checkpoint, to be saved when the telemetry is acknowledged."""
    in_flight: int
    """The number of transactions, rows or workflows that have not ended."""
    error: str = ""
    """The parts of the source that did not respond; the telemetry covers the others."""
    is_behind: bool = False
    """Whether the source has changes that were not read yet."""
    poll_again: bool = False
    """Whether the next poll should follow without a pause."""


class Source(Protocol[Checkpoint]):
    """A system that a bridge follows."""

    def poll(self, checkpoint: Checkpoint, now: int) -> PollResult[Checkpoint]:
        """Reads the changes since a checkpoint; `now` is in nanoseconds since 1970.

        A repeated poll with the same checkpoint reports the same records with the same ids.

        Raises:
            SourceUnavailable: the system does not respond.
        """
        ...


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

    def record_success(self, started: float, *, is_behind: bool) -> None:
        """Records a poll that started at a time of the monotonic clock, and whether it left changes unread."""
        has_changed = bool(self.error) or not (is_behind or self.has_caught_up)
        self.error = ""
        if not is_behind:
            self.caught_up_at, self.has_caught_up = started, True
        if has_changed:
            self.on_change()

    def record_failure(self, error: str) -> None:
        """Records a poll that failed, at least in part."""
        self.failed_polls += 1
        has_changed, self.error = error != self.error, error
        if has_changed:
            self.on_change()


class Bridge(Generic[Checkpoint]):
    """Follows a source until it is stopped.

    Args:
        source: the system to follow.
        sender: sends requests to the collector.
        checkpoints: the checkpoint file; locked while the bridge runs.
        health: receives the results of each poll.
        interval_seconds: the pause between two polls.
    """

    def __init__(
        self,
        source: Source[Checkpoint],
        sender: Sender,
        checkpoints: "CheckpointFile[Checkpoint]",
        health: Health,
        *,
        interval_seconds: float,
    ) -> None:
        self._source = source
        self._sender = sender
        self._checkpoints = checkpoints
        self._health = health
        self._interval_seconds = interval_seconds
        self._stopping = threading.Event()
        self._retrying = Retrying(
            retry=retry_if_exception_type((SourceUnavailable, SendFailed)),
            wait=wait_exponential(interval_seconds, MAX_BACKOFF_SECONDS) + wait_random(0, interval_seconds),
            stop=stop_when_event_set(self._stopping),
            sleep=sleep_using_event(self._stopping),
            retry_error_callback=lambda _: None,
        )

    def stop(self) -> None:
        """Stops the bridge after the current poll; safe in signal handlers."""
        self._stopping.set()
        self._sender.stop()

    def run(self, heartbeats: AbstractContextManager[object]) -> None:
        """Polls until `stop` is called. Heartbeats are sent while the checkpoint file is locked.

        Raises:
            CheckpointLocked: another process has locked the checkpoint file.
            BadValue: the file cannot be written, or holds something else.
        """
        with self._checkpoints, heartbeats:
            checkpoint = self._checkpoints.load()
            while (result := self._retrying(self._poll, checkpoint)) is not None:
                checkpoint = result.checkpoint
                if not result.poll_again:
                    self._stopping.wait(self._interval_seconds)

    def _poll(self, checkpoint: Checkpoint) -> PollResult[Checkpoint] | None:
        """Polls once, sends the result and saves its checkpoint; returns None if the bridge is being stopped."""
        if self._stopping.is_set():
            return None
        started = time.monotonic()
        self._health.polls += 1
        try:
            result = self._source.poll(checkpoint, time.time_ns())
            self._send(result.telemetry)
        except (SourceUnavailable, SendFailed) as error:
            self._report_failure(str(error))
            raise
        # saved after sending: a bridge that stops in between sends the same records again, which are stored once
        if result.checkpoint != checkpoint:
            self._checkpoints.save(result.checkpoint)
        self._health.in_flight = result.in_flight
        if result.error:
            self._report_failure(result.error)
        else:
            self._report_success(started, is_behind=result.is_behind)
        return result

    def _send(self, telemetry: Telemetry) -> None:
        for message, kind in telemetry.messages():
            answer = self._sender.send(message, kind)
            self._health.sent += message.counts[kind]
            if answer:
                self._health.rejected += answer.records or message.counts[kind]
                _log.warning("The collector rejected some records: %s", answer.reason)

    def _report_success(self, started: float, *, is_behind: bool) -> None:
        if self._health.error:
            _log.info("The bridge has recovered.")
        elif not (is_behind or self._health.has_caught_up):
            _log.info("The bridge has caught up; in flight: %d.", self._health.in_flight)
        self._health.record_success(started, is_behind=is_behind)

    def _report_failure(self, error: str) -> None:
        """Logs the first of several failures in a row."""
        if not self._health.error and not self._stopping.is_set():
            _log.warning("%s The bridge keeps trying.", error)
        self._health.record_failure(error)


class CheckpointFile(Generic[Checkpoint]):
    """Stores a checkpoint in a file, atomically. A context manager that holds an exclusive lock on the file.

    Args:
        path: the file; created when a checkpoint is first saved.
        model: the type of the checkpoint; without a file, `model()` is the first one.
    """

    def __init__(self, path: Path, model: type[Checkpoint]) -> None:
        self.path = path
        self._model = model
        self._lock: IO[str] | None = None

    def __enter__(self) -> "CheckpointFile[Checkpoint]":
        """Locks the file.

        Raises:
            CheckpointLocked: another process has locked it.
            BadValue: it cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # the lock is on a file of its own, because `save` replaces the checkpoint file
            self._lock = self.path.with_name(f"{self.path.name}.lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CheckpointLocked(f"Another bridge uses {self.path}. Name another file with --cursor.") from error
        except OSError as error:
            raise BadValue(f"{self.path} cannot be written: {error.strerror}.") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock:
            self._lock.close()

    def load(self) -> Checkpoint:
        """Returns the checkpoint that was saved last.

        Raises:
            BadValue: the file cannot be read, or holds something else.
        """
        try:
            return self._model.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return self._model()
        except OSError as error:
            raise BadValue(f"{self.path} cannot be read: {error.strerror}.") from error
        except ValidationError as error:
            text = f"{self.path} is not a checkpoint of this kind of bridge. Move it away to start from the beginning."
            raise BadValue(text) from error

    def save(self, checkpoint: Checkpoint) -> None:
        """Replaces the checkpoint. It is on disk when this returns.

        Raises:
            BadValue: the file cannot be written; the previous checkpoint remains.
        """
        new = self.path.with_name(f"{self.path.name}.new")
        try:
            with open(new, "wb", opener=_open_private) as file:
                file.write(checkpoint.model_dump_json(exclude_defaults=True).encode())
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        except OSError as error:
            raise BadValue(f"{self.path} cannot be written: {error.strerror}.") from error


def _open_private(path: str, flags: int) -> int:
    """Creates the file for its owner only: a checkpoint contains data of the followed system."""
    return os.open(path, flags, mode=0o600)


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
