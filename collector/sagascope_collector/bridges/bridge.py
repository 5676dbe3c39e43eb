"""The loop of a bridge: polls a source, sends what it reports, and saves the checkpoint."""

import fcntl
import logging
import os
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Generic, Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from tenacity import Retrying, retry_if_exception_type, stop_when_event_set, wait_exponential_jitter
from tenacity.nap import sleep_using_event

from sagascope_collector.archives import Sender
from sagascope_collector.bridges.health import Health
from sagascope_collector.bridges.otlp import Telemetry
from sagascope_collector.errors import BadValue, CheckpointLocked, SendFailed, SourceUnavailable

MAX_BACKOFF_SECONDS: Final = 60.0
"""Maximum seconds before another poll of a source, or another request to a collector, that does not respond."""

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
            wait=wait_exponential_jitter(interval_seconds, MAX_BACKOFF_SECONDS, jitter=interval_seconds),
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
        if result.checkpoint != checkpoint:
            self._checkpoints.save(result.checkpoint)
        self._health.in_flight = result.in_flight
        if result.error:
            self._report_failure(result.error)
        elif not result.is_behind:
            self._report_success(started)
        return result

    def _send(self, telemetry: Telemetry) -> None:
        for message, kind in telemetry.messages():
            answer = self._sender.send(message, kind)
            self._health.sent += message.counts[kind]
            if answer:
                self._health.rejected += answer.records or message.counts[kind]
                _log.warning("The collector rejected some records: %s", answer.reason)

    def _report_success(self, started: float) -> None:
        if self._health.error:
            _log.info("The bridge has recovered.")
        elif not self._health.has_caught_up:
            _log.info("The bridge has caught up; in flight: %d.", self._health.in_flight)
        self._health.record_success(started)

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
