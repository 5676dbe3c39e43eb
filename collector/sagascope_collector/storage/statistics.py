"""Frequency and duration of steps, outcomes of sagas, and samples of ended sagas, from which baselines are learned.

An attempt is counted once, with the commits that contain its spans; if these fall into two parts that are counted
separately, it is counted twice. Histogram buckets grow by an eighth of a power of two, so that percentiles are accurate
to 4.5 %.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import orjson
import pyarrow as pa

from sagascope import semconv
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.incident_records import FailedSaga, OutcomePeriod
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.records import Records
from sagascope_collector.storage.schema import table
from sagascope_collector.storage.summaries import LATEST_TIME_NS

SQL: Final = statements("statistics")

SLOT_SECONDS: Final = 300
"""Period by which recent steps are counted, in seconds."""

OLD_SLOT_SECONDS: Final = 3600

PERCENTILES: Final = (0.5, 0.95, 0.99)

TRANSITION: Final = "transition"
"""The type of a transition: the time from the end of one step to the start of another."""

HOURLY_AFTER_SECONDS: Final = 2 * 86_400
COUNTS_RETENTION_SECONDS: Final = 400 * 86_400
"""Age at which counts are deleted; from `HOURLY_AFTER_SECONDS` on they are summed by hour."""

MAX_STEPS: Final = 1_000
"""Maximum number of steps counted in one part, the most frequent. More steps mean that their names contain ids."""

COUNT_ROWS: int = 250_000
COUNT_INTERVAL_SECONDS: float = 60.0
"""Time after which new spans are counted, even if they are few."""

RECENT_COUNTS_SECONDS: Final = 2.0
"""Time for which counts of uncounted spans are reused."""

AGE_INTERVAL_SECONDS: Final = 3600.0


def whole_period(seconds: int) -> int:
    """Returns the shortest period, in seconds, by which steps can be counted and that is at least this long."""
    unit = SLOT_SECONDS if seconds < OLD_SLOT_SECONDS else OLD_SLOT_SECONDS
    return max(-(-seconds // unit), 1) * unit


def steps_of(transition: str) -> tuple[str, str]:
    """Returns the two steps of a transition."""
    before, _, after = transition.partition("\x1f")
    return before, after


class StepPeriod(NamedTuple):
    """Outcomes of the attempts of one step that started within a part of a window."""

    at: int
    """The start of the part in nanoseconds since 1970."""
    succeeded: int
    failed: int
    retried: int
    percentiles: tuple[float, float, float] | None
    """As in `StepStatistics`."""
    durations: Sequence[tuple[float, int]]
    """The histogram of successful attempts: the least duration of a bucket in seconds, and the number in it."""


class StepStatistics(NamedTuple):
    """Outcomes of the attempts of one step."""

    step: str
    type: str
    succeeded: int
    failed: int
    retried: int
    """The number of attempts after the first."""
    compensated: int
    """The number of successful compensations."""
    in_flight: int
    """The number of open sagas whose current step it is."""
    percentiles: tuple[float, float, float] | None
    """p50, p95 and p99 of the duration of successful attempts in seconds; None: there are none."""
    periods: Sequence[StepPeriod]
    """The parts of the window in which an attempt started, the earliest first."""


class PathCount(NamedTuple):
    """The number of ended sagas of a type that took one path, and the latest started of them."""

    steps: tuple[str, ...]
    sagas: int
    completed: int
    newest: SagaId


class CallCount(NamedTuple):
    """The number of calls of one service by another, and of those that failed; `p95` is in seconds."""

    caller: str
    called: str
    calls: int
    failed: int
    p95: float | None
    sampled: int
    """One of so many traces is counted; the numbers are multiplied by it."""


Histograms = defaultdict[int, dict[int, int]]
"""The number of attempts by bucket of duration, by the start of the period."""


class StepCounts(NamedTuple):
    """Counts of one step in one period; `at` is in seconds since 1970."""

    at: int
    succeeded: int
    failed: int
    retried: int
    compensated: int
    position: float


class Statistics:
    """The tables of counts. One thread counts; any thread may read."""

    def __init__(self, database: Database, records: Records) -> None:
        self._database = database
        self._records = records
        self.counted_seq = int(database.rows(SQL["select_counted_seq"])[0][0])
        """The last commit whose spans are counted."""
        self._next_count = time.monotonic() + COUNT_INTERVAL_SECONDS
        self._next_aging = 0.0
        self._recent: tuple[float, int, pa.Table] | None = None

    def count(self, now: int) -> bool:
        """Counts new spans, once there are enough; False: there are not.

        Raises:
            StorageUnavailable: nothing was counted.
        """
        waiting = self._records.seq - self.counted_seq
        if waiting < COUNT_ROWS and (time.monotonic() < self._next_count or not waiting):
            return False
        through = min(self._records.seq, self.counted_seq + 2 * COUNT_ROWS)
        counted = self._count(self.counted_seq, through)
        with self._database.transaction():
            if counted.num_rows:
                self._database.rows(SQL["put_step_counts"], counted=counted)
                self._database.rows(SQL["put_step_durations"], counted=counted)
            self._database.rows(SQL["update_counted_seq"], {"seq": through})
            if time.monotonic() >= self._next_aging:
                self._age(now // NANOSECONDS_PER_SECOND)
        self.counted_seq = through
        self._recent = None
        self._next_count = time.monotonic() + COUNT_INTERVAL_SECONDS
        return waiting > COUNT_ROWS

    def _count(self, after: int, through: int) -> pa.Table:
        values = {"after": after, "through": through, "limit": MAX_STEPS}
        return self._database.arrow(SQL["count_attempts"], values)

    def _age(self, now: int) -> None:
        values = {"before": (now - HOURLY_AFTER_SECONDS) // OLD_SLOT_SECONDS * OLD_SLOT_SECONDS}
        gone = values | {"oldest": now - COUNTS_RETENTION_SECONDS}
        for name in ("age_step_counts", "age_step_durations"):
            self._database.rows(SQL[name], values)
        for name in ("delete_aged_step_counts", "delete_aged_step_durations"):
            self._database.rows(SQL[name], gone)
        self._next_aging = time.monotonic() + AGE_INTERVAL_SECONDS

    def steps(self, name: str, environment: str | None, since: int, period: int) -> list[StepStatistics]:
        """Returns the statistics of the steps of a saga type that started since `since`, in their usual order.

        Entries of the type `TRANSITION` are the time between two steps, which `steps_of` names. `since`, nanoseconds,
        is truncated to five minutes, or to hours if older than two days; parts of the window take `period` seconds.
        """
        asked = {"name": name, "environment": environment}
        values = asked | {"since": since // NANOSECONDS_PER_SECOND // SLOT_SECONDS * SLOT_SECONDS, "width": period}
        recent = self._of_recent()
        counted: dict[tuple[str, str], list[StepCounts]] = {}
        for step, type_, at, *counts in self._database.rows(SQL["select_step_counts"], values, recent=recent):
            counted.setdefault((step, type_), []).append(StepCounts(at, *counts))
        durations: defaultdict[tuple[str, str], Histograms] = defaultdict(lambda: defaultdict(dict))
        for step, type_, at, bucket, count in self._database.rows(SQL["select_step_durations"], values, recent=recent):
            durations[step, type_][at][bucket] = int(count)
        current = dict(self._database.rows(SQL["count_current_steps"], asked))
        for step in current.keys() - {step for step, _ in counted}:
            counted[step, semconv.TYPE_ACTION] = []  # started, and did not end within the window
        ordered = sorted(counted, key=lambda key: (_mean_position(counted[key]), key))
        return [_statistics(*key, counted[key], durations[key], current.get(key[0], 0)) for key in ordered]

    def paths(self, name: str, environment: str | None, since: int, limit: int) -> list[PathCount]:
        """Returns the paths of ended sagas of a type that started since `since`, the most frequent first."""
        values = {"name": name, "environment": environment, "since": since, "limit": limit}
        return [
            PathCount(tuple(orjson.loads(steps)), sagas, completed, SagaId(where, id_))
            for steps, sagas, completed, where, id_ in self._database.rows(SQL["count_paths"], values)
        ]

    def calls(self, since: int, environment: str | None, spans: int) -> list[CallCount]:
        """Returns the calls between services since `since`, from traces that have about `spans` spans at most."""
        ((number,),) = self._database.rows(SQL["count_spans_since"], {"since": since})
        values = {"since": since, "environment": environment, "n": number // spans + 1}
        return [CallCount(*row) for row in self._database.rows(SQL["count_calls"], values)]

    def _of_recent(self) -> pa.Table:
        """Returns the counts of uncounted spans, computed at most every `RECENT_COUNTS_SECONDS`."""
        recent = self._recent
        if recent is None or time.monotonic() - recent[0] > RECENT_COUNTS_SECONDS:
            recent = time.monotonic(), self.counted_seq, self._count(self.counted_seq, self._records.seq)
            self._recent = recent
        return recent[2]


def _mean_position(periods: Sequence[StepCounts]) -> float:
    """Returns the mean position of a step in its saga."""
    first = sum(each.succeeded + each.failed - each.retried for each in periods)
    return sum(each.position for each in periods) / first if first > 0 else math.inf


def _statistics(
    step: str, type_: str, periods: Sequence[StepCounts], durations: Histograms, in_flight: int
) -> StepStatistics:
    every = Counter[int]()
    for each in periods:
        every.update(durations[each.at])
    return StepStatistics(
        step=step,
        type=type_,
        succeeded=int(sum(each.succeeded for each in periods)),
        failed=int(sum(each.failed for each in periods)),
        retried=int(sum(each.retried for each in periods)),
        compensated=int(sum(each.compensated for each in periods)),
        in_flight=in_flight,
        percentiles=_percentiles(every),
        periods=[
            StepPeriod(
                at=each.at * NANOSECONDS_PER_SECOND,
                succeeded=int(each.succeeded),
                failed=int(each.failed),
                retried=int(each.retried),
                percentiles=_percentiles(durations[each.at]),
                durations=_histogram(durations[each.at]),
            )
            for each in periods
        ],
    )


def _percentiles(buckets: Mapping[int, int]) -> tuple[float, float, float] | None:
    """Returns p50, p95 and p99 in seconds; None for an empty histogram."""
    found: list[float] = []
    total, passed = sum(buckets.values()), 0
    for bucket, attempts in sorted(buckets.items()):
        passed += attempts
        while len(found) < len(PERCENTILES) and passed >= math.ceil(PERCENTILES[len(found)] * total):
            found.append(2 ** ((bucket + 0.5) / 8) / 1e9)  # the middle of the bucket
    return (found[0], found[1], found[2]) if total else None


def _histogram(buckets: Mapping[int, int]) -> list[tuple[float, int]]:
    """Returns a histogram in buckets that grow by a quarter of a power of two, with their least duration in seconds."""
    wider = Counter[int]()
    for bucket, attempts in buckets.items():
        wider[bucket // 2] += attempts
    return [(float(f"{2 ** (bucket / 4) / 1e9:.4g}"), attempts) for bucket, attempts in sorted(wider.items())]


OUTCOMES: Final = statements("outcomes")

SagaType = tuple[str, str]
"""An environment and a saga name."""


class Outcomes:
    """The table of outcome counts. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def failing_types(self, since: int, failed: int) -> list[SagaType]:
        """Returns the types of which at least `failed` sagas failed since `since`, in seconds since 1970."""
        found = self._database.rows(OUTCOMES["select_failing_types"], {"since": since, "failed": failed})
        return [(environment, name) for environment, name in found]

    def counts(self, types: Iterable[SagaType], oldest: int, recent: int) -> dict[SagaType, list[OutcomePeriod]]:
        """Returns the outcomes of these types since `oldest`: by minute since `recent`, by hour before it.

        Sagas that need attention are excluded. Both times are in seconds since 1970.
        """
        wanted = table("environment name", types)
        found: dict[SagaType, list[OutcomePeriod]] = {}
        values = {"oldest": oldest, "recent": recent}
        for environment, name, *period in self._database.rows(OUTCOMES["select_outcome_counts"], values, wanted=wanted):
            found.setdefault((environment, name), []).append(OutcomePeriod(*period))
        return found

    def failed(self, environment: str, name: str, since: int, until: int, limit: int) -> Sequence[FailedSaga]:
        """Returns the sagas of a type that ended between these times and did not complete, the latest first."""
        values = {"environment": environment, "name": name, "since": since, "until": until, "limit": limit}
        found = self._database.rows(OUTCOMES["select_failed"], values)
        return [FailedSaga(SagaKey(environment, name, id_, run), ended_at) for id_, run, ended_at in found]

    def step_counts(self, oldest: int, recent: int, failed: int) -> dict[tuple[str, str, str], list[OutcomePeriod]]:
        """Returns the counted attempts since `oldest` by (environment, saga name, step).

        By five minutes since `recent`, by hour before it; both times are in seconds since 1970. Steps with fewer than
        `failed` failed attempts since `recent` are excluded.
        """
        found: dict[tuple[str, str, str], list[OutcomePeriod]] = {}
        values = {"oldest": oldest, "recent": recent, "failed": failed}
        for environment, name, step, *period in self._database.rows(OUTCOMES["select_step_counts"], values):
            found.setdefault((environment, name, step), []).append(OutcomePeriod(*period))
        return found

    def step_sagas(self, environment: str, name: str, step: str, since: int, until: int) -> list[OutcomePeriod]:
        """Returns the sagas that reached a step between these times, by five minutes; `failed` had an error at it.

        The times are in nanoseconds since 1970.
        """
        values = {"environment": environment, "name": name, "step": step, "since": since, "until": until}
        return [OutcomePeriod(*period) for period in self._database.rows(OUTCOMES["select_step_sagas"], values)]

    def failed_at_step(
        self, environment: str, name: str, step: str, since: int, until: int, limit: int
    ) -> Sequence[FailedSaga]:
        """Returns the sagas with an error at a step that started between these times, the latest first."""
        times = {"since": since, "until": until, "limit": limit}
        values = {"environment": environment, "name": name, "step": step} | times
        found = self._database.rows(OUTCOMES["select_failed_at_step"], values)
        return [FailedSaga(SagaKey(environment, name, id_, run), ended_at) for id_, run, ended_at in found]

    def age(self, before: int, oldest: int) -> None:
        """Sums counts before `before` by hour, and deletes counts older than `oldest`; both in seconds since 1970."""
        values = {"before": before // 3600 * 3600}
        with self._database.transaction():
            self._database.rows(OUTCOMES["age_outcome_counts"], values)
            self._database.rows(OUTCOMES["delete_aged_outcome_counts"], values | {"oldest": oldest})


BASELINES: Final = statements("baselines")

MAX_SHARE: Final = 1.2
"""Maximum rows of a type as a multiple of those to keep; beyond it the oldest are deleted together."""


class BaselineRow(NamedTuple):
    """The sample of one ended saga, as text that the storage does not parse."""

    key: SagaKey
    ended_at: int
    document: str


class Baselines:
    """The table of samples. Callers hold `Sagas.writing` to write; any thread may read."""

    def __init__(self, database: Database) -> None:
        """Reads which sagas have a row, so that most writes need one insertion and no deletion."""
        self._database = database
        self._ended_at: defaultdict[tuple[str, str], dict[SagaKey, int]] = defaultdict(dict)
        for *key, ended_at in database.rows(BASELINES["select_keys"]):
            self._ended_at[key[0], key[1]][SagaKey(*key)] = ended_at

    def put(self, rows: Sequence[BaselineRow], keep: int, stale: Sequence[SagaKey] = ()) -> None:
        """Adds rows, or replaces those of the same saga, and deletes rows of ``stale`` sagas.

        Of each type, the ``keep`` rows of sagas that ended last are kept. Others are deleted in batches of a fifth of
        ``keep``.

        Raises:
            StorageUnavailable: no row was added.
        """
        if not rows and not stale:
            return
        new, known = {row.key: row for row in rows}, self._ended_at
        dropped: set[SagaKey] = set()
        for name in {key[:2] for key in new}:
            ended_at = known[name] | {key: row.ended_at for key, row in new.items() if key[:2] == name}
            if len(ended_at) > keep * MAX_SHARE:
                dropped.update(sorted(ended_at, key=lambda key: (ended_at[key], key))[:-keep])
        gone = {key for key in (*new, *stale, *dropped) if key in known.get(key[:2], ())}
        added = [row for key, row in new.items() if key not in dropped]
        with self._database.transaction():
            if gone:
                batch = _table(BaselineRow(key, 0, "") for key in gone)
                self._database.rows(BASELINES["delete_baselines"], batch=batch)
            if added:
                self._database.insert("baselines", _table(added))
        for key in gone:
            known[key[:2]].pop(key)
        for row in added:
            known[row.key[:2]][row.key] = row.ended_at

    def forget(self, keys: Iterable[SagaKey]) -> None:
        """Records that the rows of these sagas were deleted, so that they do not count as kept."""
        for key in keys:
            self._ended_at[key[:2]].pop(key, None)

    def all(self) -> Sequence[str]:
        """Returns the documents of all rows, in no particular order."""
        return [document for (document,) in self._database.rows(BASELINES["select_baselines"])]


def _table(rows: Iterable[BaselineRow]) -> pa.Table:
    written = ((*row.key, min(row.ended_at, LATEST_TIME_NS), row.document) for row in rows)
    return table(" ".join((*SagaKey._fields, "ended_at", "document")), written, ended_at=pa.int64())
