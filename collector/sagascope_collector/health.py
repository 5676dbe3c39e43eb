"""The health of the running process: ingest outages, and what the API reports of queues and lag."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sagascope_collector.analysis.wording import datetime_text
from sagascope_collector.client import schemas
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.ingest import Ingest
from sagascope_collector.projection import Projection
from sagascope_collector.storage import Storage
from sagascope_collector.storage.runs import steady_clock

Interval = tuple[int, int]
"""Start and end in nanoseconds since 1970."""

MERGE_GAP_NS: Final = 10_000_000_000
"""Refusals with a shorter gap between them are one outage: clients wait before they retry."""

MAX_INTERVALS: Final = 1_000
"""Maximum number of outages in memory; older ones hardly affect a verdict."""

STOPPED_NS: Final = 5_000_000_000
"""If the collector did not record for longer that it runs, it was paused or its machine was suspended."""

MAX_RETURN_NS: Final = 30_000_000_000
"""Maximum time that is allowed for senders to retry after an outage; it never exceeds the outage's duration."""

ALIVE_INTERVAL_SECONDS: Final = 2.0
"""The interval at which the collector records that it is alive: the resolution of the time of a crash."""

INGEST_STALL_NS: Final = 5 * NANOSECONDS_PER_SECOND
"""An ingest outage starts when a request waits longer than this."""

NOTICE_NS: Final = 3_600_000_000_000
"""Time for which an ended outage is reported."""


class IngestOutages:
    """The known outages of a database, and the current one, if any. Thread-safe."""

    def __init__(
        self,
        storage: Storage,
        clock: Callable[[], int],
        steady: Callable[[], int] = steady_clock,
        recorded: Callable[[], Sequence[Interval]] | None = None,
    ) -> None:
        """Reads the stored outages.

        Args:
            storage: the storage that keeps them.
            clock: returns nanoseconds since 1970.
            steady: returns monotonic nanoseconds.
            recorded: returns the outages that the receivers of a lake recorded, which count instead of this process's.
        """
        self._recorded = recorded
        self._storage = storage
        self._clock = clock
        self._steady = steady
        self._lock = threading.Lock()
        self._known: tuple[Interval, ...] = tuple(storage.outages.since(0))[-MAX_INTERVALS:]
        self._current: tuple[int, int, int] | None = None
        """Its start in nanoseconds since 1970, and its start and the latest refusal by the steady clock."""
        self._alive: tuple[int, int] | None = None
        """When this process last recorded that it runs, by both clocks."""
        self._stops: list[Interval] = []
        self._stored: Interval | None = None

    def refused(self, since: int | None = None) -> None:
        """Records that a sender was refused now, or had to wait from `since` until now."""
        now, steady = self._clock(), self._steady()
        with self._lock:
            if self._current and steady - self._current[2] > MERGE_GAP_NS:
                self._end()
            if self._current is None:
                waited = max(0, now - since) if since else 0
                self._current = now - waited, steady - waited, steady
            else:
                self._current = *self._current[:2], steady

    def record_alive(self) -> None:
        """Records that this process runs. To be called every few seconds."""
        with self._lock:
            stop = self._stop()
            self._alive = self._clock(), self._steady()
            if stop:
                self._known = (*self._known, stop)[-MAX_INTERVALS:]
                self._stops.append(stop)

    def intervals(self) -> Sequence[Interval]:
        """Returns all outages, each extended by the time that senders may take to retry."""
        return [(start, end + min(end - start, MAX_RETURN_NS)) for start, end in self._all()]

    def notices(self) -> Sequence[str]:
        """Returns a notice about the latest outage, for an hour after its end."""
        now = self._clock()
        long = [each for each in self._all() if each[1] - each[0] > STOPPED_NS and 0 <= now - each[1] < NOTICE_NS]
        if not long:
            return []
        start, end = max(long, key=lambda each: each[1])
        return [
            f"ingest_outage: this collector ingested nothing from {datetime_text(start)} until "
            f"{datetime_text(end)}; deadlines did not run meanwhile, and records that senders did not keep are missing."
        ]

    def store(self) -> None:
        """Stores new outages, so that they survive a restart.

        Raises:
            StorageUnavailable: they are not stored; call it again.
        """
        with self._lock:
            current, stored, stops = self._interval(), self._stored, self._stops
            self._stops = []
        for each in stops:
            self._storage.outages.put(*each)
        if current and current != stored:
            self._storage.outages.put(*current)
            with self._lock:
                self._stored = current

    def _all(self) -> Sequence[Interval]:
        if self._recorded:
            return self._recorded()[-MAX_INTERVALS:]
        with self._lock:
            stop = self._stop()  # a query right after a stop must not be evaluated before the stop is recorded
            return [*self._known, *(each for each in (self._interval(), stop) if each)]

    def _interval(self) -> Interval | None:
        if self._current is None:
            return None
        start, steady_start, steady_end = self._current
        return start, start + steady_end - steady_start

    def _stop(self) -> Interval | None:
        if self._alive is None:
            return None
        since, steady_since = self._alive
        lasted = self._steady() - steady_since
        return (since, since + lasted) if lasted > STOPPED_NS else None

    def _end(self) -> None:
        if interval := self._interval():
            self._known = (*self._known, interval)[-MAX_INTERVALS:]
        self._current = None


@dataclass(eq=False)
class LivenessRecorder:
    """Records periodically that this process runs, and whether a request has to wait too long."""

    _outages: IngestOutages
    _storage: Storage
    _oldest: Callable[[], int | None]
    """Returns the time of receipt of the request that waits longest; None: none waits."""
    _on_write: Callable[[str | None], None]
    """Called with the result of each write: the error, or None if it succeeded."""
    _clock: Callable[[], int]

    async def run(self, interval_seconds: float = ALIVE_INTERVAL_SECONDS) -> None:
        """Runs until it is cancelled. The two loops are apart: a slow write must not look like a paused process."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._record(interval_seconds))
            tasks.create_task(self._store(interval_seconds))

    async def _record(self, interval_seconds: float) -> None:
        while True:
            self._outages.record_alive()
            oldest = self._oldest()
            if oldest is not None and self._clock() - oldest > INGEST_STALL_NS:
                self._outages.refused(since=oldest)
            await asyncio.sleep(interval_seconds)

    async def _store(self, interval_seconds: float) -> None:
        while True:
            try:
                await asyncio.to_thread(self._write)
                self._on_write(None)
            except StorageUnavailable as error:
                self._on_write(str(error))
            await asyncio.sleep(interval_seconds)

    def _write(self) -> None:
        self._storage.outages.record_alive(self._clock())
        self._outages.store()


@dataclass(eq=False)
class ProcessHealth:
    """`api.overview.Health` of a collector."""

    _storage: Storage
    _ingest: Ingest
    _projection: Projection
    _outages: IngestOutages
    _clock: Callable[[], int]
    _other_notices: Callable[[], Sequence[str]]
    """Returns notices of other parts."""
    _other_unready: Callable[[], str | None]
    """Returns why other parts are not ready; None: they are."""
    leads: Callable[[], bool | None]
    """Returns whether this collector leads its lake; None: it has no lake."""
    _stopping: bool = False
    _unwritable: str | None = None
    _otlp_addresses: Mapping[str, str] = field(default_factory=dict)

    def listens(self, otlp_http: str, otlp_grpc: str) -> None:
        """Sets the addresses of the OTLP receivers, as HOST:PORT."""
        self._otlp_addresses = {schemas.OTLP_HTTP_HEADER: otlp_http, schemas.OTLP_GRPC_HEADER: otlp_grpc}

    def otlp_addresses(self) -> Mapping[str, str]:
        """Returns the addresses of the OTLP receivers by the header that reports each; empty before they listen."""
        return self._otlp_addresses

    def stop(self) -> None:
        """Reports the collector as stopping from now on."""
        self._stopping = True

    def record_write(self, error: str | None) -> None:
        """Records the result of a test write: the error, or None if it succeeded."""
        self._unwritable = error

    def unready(self) -> str | None:
        """Returns why nothing can be ingested, or why answers may be wrong; None: the collector is ready."""
        if self._stopping:
            return "The collector is stopping."
        if self._storage.is_read_only:
            return f"{self._storage.data_loss} Restore the log, or start with --accept-data-loss."
        if not self._ingest.is_alive():
            return "The collector cannot store anything; see its log."
        return self._unwritable or self._other_unready()

    def degraded(self) -> Sequence[str]:
        """Returns one sentence for each function that fails while ingest and queries work."""
        return self._projection.faults()

    def lag_seconds(self) -> float:
        """Returns the seconds by which the ingest queue and the summaries lag behind received records."""
        oldest = self._ingest.oldest()
        waiting = max(0.0, (self._clock() - oldest) / NANOSECONDS_PER_SECOND) if oldest else 0.0
        return max(waiting, self._projection.lag_seconds())

    def notices(self) -> Sequence[str]:
        """Returns notices for every reader of the API, the most severe first."""
        lost = [f"data_loss: {self._storage.data_loss}"] if self._storage.data_loss else []
        return [*lost, *self._outages.notices(), *self._projection.notices(), *self._other_notices()]
