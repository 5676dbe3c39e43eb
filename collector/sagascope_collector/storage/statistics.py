"""How often and how long steps ran, and how many sagas ended: counts by time, kept apart from what they were made of.

An attempt is counted with the commits that hold its views, once; where they fall into two of the parts that are
counted together, twice. Buckets grow by an eighth of a power of two: a percentile is accurate to 4.5 %.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import orjson
import pyarrow as pa

from sagascope import semconv
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.records import Records
from sagascope_collector.storage.schema import table

SQL: Final = statements("statistics")

SLOT_SECONDS: Final = 300
"""Steps that started within this time are counted together while they are young."""

OLD_SLOT_SECONDS: Final = 3600

YOUNG_SECONDS: Final = 2 * 86_400
KEPT_SECONDS: Final = 400 * 86_400
"""Age at which slots become hours, and at which they are deleted."""

MAX_STEPS: Final = 1_000
"""Steps that are counted of one part: the most frequent. What has more has ids in the names of its steps."""

COUNT_ROWS: int = 250_000
COUNT_INTERVAL_SECONDS: float = 60.0
"""Records, or time, after which spans are counted."""

FRESH_SECONDS: Final = 2.0
"""Time for which counts of spans that were not counted yet are used again."""

AGE_INTERVAL_SECONDS: Final = 3600.0

PERCENTILES: Final = (0.5, 0.95, 0.99)

TRANSITION: Final = "transition"
"""The type of what is no step, but the time from the end of one to the start of another."""


def whole_period(seconds: int) -> int:
    """Returns the shortest period, in seconds, into which steps can be counted that is no shorter than this."""
    unit = SLOT_SECONDS if seconds < OLD_SLOT_SECONDS else OLD_SLOT_SECONDS
    return max(-(-seconds // unit), 1) * unit


def steps_of(transition: str) -> tuple[str, str]:
    """Returns the two steps of a transition."""
    before, _, after = transition.partition("\x1f")
    return before, after


class StepPeriod(NamedTuple):
    """What became of the attempts of one step that started within a part of a window."""

    at: int
    """When the part begins, in nanoseconds since 1970."""
    succeeded: int
    failed: int
    percentiles: tuple[float, float, float] | None
    """As in `StepStatistics`."""


class StepStatistics(NamedTuple):
    """What became of the attempts of one step."""

    step: str
    type: str
    succeeded: int
    failed: int
    retried: int
    """Attempts after the first."""
    compensated: int
    """Successes of what compensates it."""
    in_flight: int
    """Open sagas whose current step it is."""
    percentiles: tuple[float, float, float] | None
    """p50, p95 and p99 of the duration of attempts that succeeded, in seconds; None: none did."""
    periods: Sequence[StepPeriod]
    """The parts of the window in which any attempt started, the earliest first."""


class PathCount(NamedTuple):
    """How many sagas of a type that ended took one path, and the newest of them."""

    steps: tuple[str, ...]
    sagas: int
    completed: int
    newest: SagaId


class Statistics:
    """The tables of counts. One thread counts; any may read."""

    def __init__(self, database: Database, records: Records) -> None:
        self._database = database
        self._records = records
        self._counted_seq = int(database.rows(SQL["select_counted_seq"])[0][0])
        self._next_count = time.monotonic() + COUNT_INTERVAL_SECONDS
        self._next_aging = 0.0
        self._recent: tuple[float, int, pa.Table] | None = None

    @property
    def counted_seq(self) -> int:
        """The commit up to which every span is counted."""
        return self._counted_seq

    def count(self, now: int) -> bool:
        """Counts spans that were not counted yet, once there are enough; False: there are not.

        Raises:
            StorageUnavailable: nothing was counted.
        """
        waiting = self._records.seq - self._counted_seq
        if waiting < COUNT_ROWS and (time.monotonic() < self._next_count or not waiting):
            return False
        through = min(self._records.seq, self._counted_seq + 2 * COUNT_ROWS)
        counted = self._count(self._counted_seq, through)
        with self._database.transaction():
            if counted.num_rows:
                self._database.rows(SQL["put_step_counts"], counted=counted)
                self._database.rows(SQL["put_step_durations"], counted=counted)
            self._database.rows(SQL["update_counted_seq"], {"seq": through})
            if time.monotonic() >= self._next_aging:
                self._age(now // NANOSECONDS_PER_SECOND)
        self._counted_seq = through
        self._recent = None
        self._next_count = time.monotonic() + COUNT_INTERVAL_SECONDS
        return waiting > COUNT_ROWS

    def _count(self, after: int, through: int) -> pa.Table:
        values = {"after": after, "through": through, "limit": MAX_STEPS}
        return self._database.arrow(SQL["count_attempts"], values)

    def _age(self, now: int) -> None:
        values = {"before": (now - YOUNG_SECONDS) // OLD_SLOT_SECONDS * OLD_SLOT_SECONDS}
        gone = values | {"oldest": now - KEPT_SECONDS}
        for name in ("age_step_counts", "age_step_durations"):
            self._database.rows(SQL[name], values)
        for name in ("delete_aged_step_counts", "delete_aged_step_durations"):
            self._database.rows(SQL[name], gone)
        self._next_aging = time.monotonic() + AGE_INTERVAL_SECONDS

    def steps(self, name: str, environment: str | None, since: int, period: int) -> list[StepStatistics]:
        """Returns how often and how long the steps of a saga type ran that started since then, in their usual order.

        What is of the type `TRANSITION` is the time between two steps, which `steps_of` names.

        Args:
            name: the saga type.
            environment: None: all of them.
            since: in nanoseconds since 1970; cut to five minutes, or, where it is older than two days, to hours.
            period: length of a part of the window, in seconds: a `whole_period`.
        """
        asked = {"name": name, "environment": environment}
        values = asked | {"since": since // NANOSECONDS_PER_SECOND // SLOT_SECONDS * SLOT_SECONDS, "width": period}
        recent = self._of_recent()
        counted: dict[tuple[str, str], list[_Counts]] = {}
        for step, type_, at, *counts in self._database.rows(SQL["select_step_counts"], values, recent=recent):
            counted.setdefault((step, type_), []).append(_Counts(at, *counts))
        durations: dict[tuple[str, str, int], dict[int, int]] = {}
        for step, type_, at, bucket, attempts in self._database.rows(
            SQL["select_step_durations"], values, recent=recent
        ):
            durations.setdefault((step, type_, at), {})[bucket] = int(attempts)
        current = dict(self._database.rows(SQL["count_current_steps"], asked))
        for step in current.keys() - {step for step, _ in counted}:
            counted[step, semconv.TYPE_ACTION] = []  # started, and never ended within the window
        ordered = sorted(counted, key=lambda key: (_position(counted[key]), key))
        return [_statistics(*key, counted[key], durations, current.get(key[0], 0)) for key in ordered]

    def paths(self, name: str, environment: str | None, since: int, limit: int) -> list[PathCount]:
        """Returns the paths of sagas of a type that started since then and ended, the most frequent first."""
        values = {"name": name, "environment": environment, "since": since, "limit": limit}
        return [
            PathCount(tuple(orjson.loads(steps)), sagas, completed, SagaId(where, id_))
            for steps, sagas, completed, where, id_ in self._database.rows(SQL["count_paths"], values)
        ]

    def _of_recent(self) -> pa.Table:
        """Returns counts of what was not counted yet; made anew every `FRESH_SECONDS` at most."""
        recent = self._recent
        if recent is None or time.monotonic() - recent[0] > FRESH_SECONDS:
            recent = time.monotonic(), self._counted_seq, self._count(self._counted_seq, self._records.seq)
            self._recent = recent
        return recent[2]


class _Counts(NamedTuple):
    """Of one step in one period; `at` is in seconds since 1970."""

    at: int
    succeeded: int
    failed: int
    retried: int
    compensated: int
    position: float


def _position(periods: Sequence[_Counts]) -> float:
    """Returns where in its saga a step usually is."""
    first = sum(each.succeeded + each.failed - each.retried for each in periods)
    return sum(each.position for each in periods) / first if first > 0 else math.inf


def _statistics(
    step: str,
    type_: str,
    periods: Sequence[_Counts],
    durations: Mapping[tuple[str, str, int], Mapping[int, int]],
    in_flight: int,
) -> StepStatistics:
    of = {each.at: durations.get((step, type_, each.at), {}) for each in periods}
    every = Counter[int]()
    for buckets in of.values():
        every.update(buckets)
    return StepStatistics(
        step=step,
        type=type_,
        succeeded=int(sum(each.succeeded for each in periods)),
        failed=int(sum(each.failed for each in periods)),
        retried=int(sum(each.retried for each in periods)),
        compensated=int(sum(each.compensated for each in periods)),
        in_flight=int(in_flight),
        percentiles=percentiles(every),
        periods=[
            StepPeriod(
                each.at * NANOSECONDS_PER_SECOND, int(each.succeeded), int(each.failed), percentiles(of[each.at])
            )
            for each in periods
        ],
    )


def percentiles(buckets: Mapping[int, int]) -> tuple[float, float, float] | None:
    """Returns p50, p95 and p99 in seconds; None: of nothing."""
    found: list[float] = []
    total, passed = sum(buckets.values()), 0
    for bucket, attempts in sorted(buckets.items()):
        passed += attempts
        while len(found) < len(PERCENTILES) and passed >= math.ceil(PERCENTILES[len(found)] * total):
            found.append(2 ** ((bucket + 0.5) / 8) / 1e9)
    return (found[0], found[1], found[2]) if total else None


OUTCOMES: Final = statements("outcomes")

SagaType = tuple[str, str]
"""An environment, and a saga name."""


class OutcomePeriod(NamedTuple):
    """The sagas that ended within one minute, or, where that is long ago, within one hour."""

    start: int
    """In seconds since 1970."""
    ended: int
    failed: int
    """Those of them that failed or were compensated."""
    running: int = 0
    """Sagas that started within it and have not ended."""


class FailedSaga(NamedTuple):
    """A saga that failed or was compensated, and when it ended."""

    key: SagaKey
    ended_at: int


class Outcomes:
    """The table of outcome counts. Safe from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def failing_types(self, since: int, failed: int) -> list[SagaType]:
        """Returns the types of which so many sagas or more failed since then, in seconds since 1970."""
        found = self._database.rows(OUTCOMES["select_failing_types"], {"since": since, "failed": failed})
        return [(environment, name) for environment, name in found]

    def counts(self, types: Iterable[SagaType], oldest: int, recent: int) -> dict[SagaType, list[OutcomePeriod]]:
        """Returns the outcomes of these types since `oldest`: by minute since `recent`, by hour before it.

        Sagas that need attention are left out. Both times are in seconds since 1970.
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
        """Returns the attempts since `oldest` by (environment, saga name, step), as far as they are counted.

        By five minutes since `recent`, by hour before it; both times are in seconds since 1970. Steps with fewer than
        `failed` failed attempts since `recent` are left out.
        """
        found: dict[tuple[str, str, str], list[OutcomePeriod]] = {}
        values = {"oldest": oldest, "recent": recent, "failed": failed}
        for environment, name, step, *period in self._database.rows(OUTCOMES["select_step_counts"], values):
            found.setdefault((environment, name, step), []).append(OutcomePeriod(*period))
        return found

    def step_sagas(self, environment: str, name: str, step: str, since: int, until: int) -> list[OutcomePeriod]:
        """Returns the sagas that reached a step between these times, by five minutes; those with an error have failed.

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
        """Adds up minutes before `before` to hours, and deletes what is older than `oldest`; both in seconds."""
        values = {"before": before // 3600 * 3600}
        with self._database.transaction():
            self._database.rows(OUTCOMES["age_outcome_counts"], values)
            self._database.rows(OUTCOMES["delete_aged_outcome_counts"], values | {"oldest": oldest})
