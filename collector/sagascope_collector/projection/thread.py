"""The background thread that keeps summaries up to date.

Some sagas must be re-evaluated although nothing was received about them: a learned plan or a changed setting may change
their verdict.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from sagascope_collector import analysis
from sagascope_collector.analysis.model import UNKNOWN_NAME
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.projection.baseline_learner import BaselineChange, BaselineLearner, Name
from sagascope_collector.projection.summaries import Summaries, Summarise
from sagascope_collector.projection.system_state import SystemState
from sagascope_collector.records import SagaId
from sagascope_collector.saga_filters import SagaFilters, SagaStatus
from sagascope_collector.storage import Storage

AT_START: Final = (SagaFilters(status="running"), SagaFilters(status="compensating"), SagaFilters(attention="any"))
"""Sagas whose verdict a restart may change: settings may differ, or records were not received meanwhile."""

FIRST_ID: Final = SagaId("", "")

NOT_COMPLETED: Final[tuple[SagaStatus, ...]] = ("failed", "compensated")


class ReevaluationQueue:
    """A queue of sagas to re-evaluate in batches."""

    def __init__(self) -> None:
        self._pending: deque[tuple[SagaFilters, str | None]] = deque((each, None) for each in AT_START)
        self._changed: set[Name] = set()
        self._types: set[Name] = set()
        """The types whose open sagas are being read, from `_after` on."""
        self._after = FIRST_ID

    def add_changes(self, changes: Iterable[BaselineChange]) -> None:
        """Queues the sagas that changed baselines affect: open ones and, if compensations changed, failed ones.

        Open sagas without a name are queued as well, because their type may be inferred now.
        """
        for (environment, name), has_compensations in changes:
            self._changed |= {(environment, name), (environment, UNKNOWN_NAME)}
            for status in NOT_COMPLETED if has_compensations else ():
                filters = SagaFilters(environment=environment, name=name, status=status)
                if (filters, None) not in self._pending:
                    self._pending.append((filters, None))

    def next_ids(self, storage: Storage, limit: int) -> list[SagaId]:
        """Returns the next ids to re-evaluate; empty if none are left."""
        while self._pending:
            filters, cursor = self._pending[0]
            page = storage.listing.page(filters, limit=limit, cursor=cursor)
            self._pending.popleft()  # after the read, which may fail
            if page.next_cursor:
                self._pending.appendleft((filters, page.next_cursor))
            if page.rows:
                return list(dict.fromkeys(SagaId(row.key.environment, row.key.id) for row in page.rows))
        return self._next_open(storage, limit)

    def _next_open(self, storage: Storage, limit: int) -> list[SagaId]:
        """Returns the next open sagas of changed types. All types are read together, which costs as much as one."""
        if not self._types:
            self._types, self._changed, self._after = self._changed, set(), FIRST_ID
        found = storage.sagas.open_of(self._types, self._after, limit) if self._types else []
        if len(found) < limit:
            self._types = set()
        else:
            self._after = found[-1]
        return found


logger = logging.getLogger(__name__)

BATCH_SAGAS: int = 256
"""Number of sagas whose records are in memory at a time."""

MAX_REBUILT_CHANGES: int = 64
"""Number of changed sagas up to which each is rebuilt: a bulk read costs as much as rebuilding forty."""

BULK_SAGAS: int = 8192
"""Number of sagas per bulk read for clean completions."""

FLOOD_BATCH_SAGAS: int = 64
"""Number of sagas that are rebuilt between two readings of the clock, under high load."""

FLOOD_REBUILD_SECONDS: float = 0.3
"""Time for which sagas are rebuilt before the next bulk read, under high load."""

MAX_QUIET_WAIT_SECONDS: float = 1.0
"""Time after which a saga that keeps changing is summarized, under high load."""

BUSY_CHANGED_SAGAS: int = 16
"""Number of changed sagas per poll beyond which only a sample of the candidates is learned from."""

BUSY_CANDIDATES: int = 16
"""Size of that sample: sagas summarized in bulk, the latest first."""

BUSY_CANDIDATES_INTERVAL_SECONDS: float = 1.5
"""Time between two such samples, so that an ended saga counts within 2 s."""

POLL_INTERVAL_SECONDS: float = 0.4
"""Time between the starts of two polls for changes, unless more sagas changed than one poll reads."""

MIN_POLL_PAUSE_SECONDS: float = 0.05
"""Minimum pause between the end of a poll and the next, unless more sagas changed than one poll reads."""

LOG_INTERVAL_SECONDS: float = 60.0

SERVICE_CHECK_INTERVAL_NS: int = NANOSECONDS_PER_SECOND
"""Time between two checks for processes that stopped reporting."""


class Projection:
    """Summarizes the sagas that changed, and those that are due.

    If the store is unavailable, the thread retries. A saga that cannot be read is logged once and skipped.

    Args:
        summarise: returns the summary to store for a saga and its diagnosis.
        context: returns the context of verdicts for a time in nanoseconds since 1970.
        learner: learns from ended sagas; None: what is learned is not shared with the context.
        system_state: tracks the context of single sagas; None: it is not shared with the context.
        quiet: seconds without new records after which a saga is summarized, under high load: it may just have ended.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        summarise: Summarise,
        context: Callable[[int], analysis.Context],
        learner: BaselineLearner | None = None,
        system_state: SystemState | None = None,
        clock: Callable[[], int] = time.time_ns,
        quiet: float = 0.05,
    ) -> None:
        self._storage = storage
        self._context = context
        self._clock = clock
        self._learner = learner or BaselineLearner(storage)
        self._system_state = system_state or SystemState()
        self._summaries = Summaries(storage, summarise, self._learner, self._system_state)
        self._reevaluations = ReevaluationQueue()
        self._reevaluating: Sequence[SagaId] = ()
        """Taken from the queue, and kept until they are re-evaluated: the store may be unavailable."""
        self._quiet = quiet
        self._services_checked_at = 0
        self._next_candidates = -math.inf
        self._current_at = self._created_at = time.monotonic()
        self.was_current = False
        """Whether all records that were stored before this object was created are summarized."""
        self._fault: str | None = None
        self._logged_at = -math.inf
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="projection", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stops within a second; remaining work is done after the next start."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(1.0)

    def lag_seconds(self) -> float:
        """Returns the seconds by which summaries may lag behind records; it grows while the store does not respond."""
        return max(0.0, time.monotonic() - self._current_at - 2 * POLL_INTERVAL_SECONDS)

    def unreadable(self) -> int:
        """Returns the number of sagas that cannot be read and are not evaluated."""
        return self._summaries.unreadable

    def faults(self) -> Sequence[str]:
        """Returns the reasons for which sagas are not evaluated."""
        failing = [] if self._fault is None else [f"evaluation_failing: {self._fault}"]
        return [*failing, *self._summaries.notices()]

    def notices(self) -> Sequence[str]:
        """Returns notices for readers of lists."""
        return [*self.faults(), *self._system_state.notices(), *self._learner.notices()]

    def renew(self, ids: Sequence[SagaId]) -> int:
        """Summarizes these sagas, changed or not, and returns their number. Must not be called while the thread runs.

        Raises:
            StorageUnavailable: some may be summarized.
        """
        context = self._context(self._clock())
        rest = self._summaries.renew_clean(ids)
        for first in range(0, len(rest), BATCH_SAGAS):
            self._summaries.renew(rest[first : first + BATCH_SAGAS], context, self._stopping)
        return len(ids)

    def advance(self) -> bool:
        """Summarizes sagas that changed, are due or must be re-evaluated; False: nothing is left.

        Raises:
            StorageUnavailable: what was not written remains to be done.
        """
        return self._advance() or self._learner.has_candidates

    def _advance(self) -> bool:
        """Does the work of `advance`; returns whether to continue at once."""
        started_at, context = time.monotonic(), self._context(self._clock())
        changed = self._renew_changed(context)
        due = self._storage.sagas.due(context.now, BATCH_SAGAS)
        self._summaries.renew(due, context, self._stopping)
        if len(due) < BATCH_SAGAS and not self._stopping.is_set():
            waiting_seconds = self._storage.changes.backlog().seconds
            self._current_at = started_at - max(0.0, waiting_seconds - self._quiet - MAX_QUIET_WAIT_SECONDS)
            self.was_current = self.was_current or started_at - waiting_seconds > self._created_at
        self._reevaluations.add_changes(self._learner.update_baselines())
        left = self._reevaluate(self._context(context.now)) or changed >= BULK_SAGAS or len(due) == BATCH_SAGAS
        # last, so that candidates that cannot be learned from do not block other work
        return self._learn_from_candidates(context, is_busy=changed > BUSY_CHANGED_SAGAS) or left

    def _renew_changed(self, context: analysis.Context) -> int:
        """Summarizes the changed sagas; returns their number."""
        if self._storage.changes.backlog().sagas <= BATCH_SAGAS:
            changed = self._storage.changes.claim(BATCH_SAGAS)
            rest = self._summaries.renew_clean(changed) if len(changed) > MAX_REBUILT_CHANGES else changed
            self._summaries.renew(rest, context, self._stopping)
            return len(changed)
        changed = self._storage.changes.claim(BULK_SAGAS, quiet=self._quiet, within=MAX_QUIET_WAIT_SECONDS)
        rest = self._summaries.renew_clean(changed)
        started = time.monotonic()
        for first in range(0, len(rest), FLOOD_BATCH_SAGAS):
            if time.monotonic() - started > FLOOD_REBUILD_SECONDS or self._stopping.is_set():
                self._storage.changes.defer(rest[first:])
                break
            self._summaries.renew(rest[first : first + FLOOD_BATCH_SAGAS], context, self._stopping)
        return len(changed)

    def _learn_from_candidates(self, context: analysis.Context, *, is_busy: bool) -> bool:
        """Learns from some sagas that were summarized in bulk; returns whether there were any, and thus to continue."""
        now = time.monotonic()
        if is_busy and now < self._next_candidates:
            return False
        candidates = self._learner.candidates(BUSY_CANDIDATES if is_busy else FLOOD_BATCH_SAGAS)
        self._summaries.learn(candidates, context, self._stopping)
        self._next_candidates = now + BUSY_CANDIDATES_INTERVAL_SECONDS
        return bool(candidates)

    def _reevaluate(self, context: analysis.Context) -> bool:
        """Re-evaluates some of the sagas whose context changed; returns whether there were any."""
        if not 0 <= context.now - self._services_checked_at < SERVICE_CHECK_INTERVAL_NS:
            self._check_services(context)
            self._services_checked_at = context.now
        part = self._reevaluating = self._reevaluating or self._reevaluations.next_ids(self._storage, BATCH_SAGAS)
        self._summaries.renew(part, context, self._stopping)
        self._reevaluating = ()
        return bool(part)

    def _check_services(self, context: analysis.Context) -> None:
        instances = self._storage.instances.all()
        self._system_state.check_services(instances, context)
        changed = self._summaries.dependencies.changed(instances, context.now)
        for first in range(0, len(changed), BATCH_SAGAS):
            self._summaries.renew(changed[first : first + BATCH_SAGAS], context, self._stopping)

    def _run(self) -> None:
        while not self._stopping.is_set():
            started_at = time.monotonic()
            if not self._try_to_advance():
                self._stopping.wait(max(MIN_POLL_PAUSE_SECONDS, started_at + POLL_INTERVAL_SECONDS - time.monotonic()))

    def _try_to_advance(self) -> bool:
        """Does the work of `_advance`. A failure is logged when it starts, every minute meanwhile, and when it ends."""
        try:
            left = self._advance()
        except Exception as error:
            if self._stopping.is_set():  # the database was closed under it
                return False
            self._fault = str(error)
            if time.monotonic() - self._logged_at > LOG_INTERVAL_SECONDS:
                logger.exception("Sagas cannot be evaluated now, which is attempted again")
                self._logged_at = time.monotonic()
            return False
        if self._fault is not None:
            logger.info("Sagas are evaluated again.")
            self._fault, self._logged_at = None, -math.inf
        return left
