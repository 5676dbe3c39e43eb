"""How often and how long steps ran: counts and histograms, rolled up when records are sealed.

An attempt is counted where its last view was sealed, once; where its views fall into two generations, at a generation's
end, twice. Buckets grow by an eighth of two: a percentile is right to 4.5 %.
"""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from sagascope import semconv
from sagascope_collector.store import rows
from sagascope_collector.store.contract import OLD_SLOT, SLOT, StepPeriod, StepStatistics
from sagascope_collector.store.database import Database
from sagascope_collector.store.generation import Generation, joined
from sagascope_collector.store.sql import Query

COLUMNS: Final = (
    "saga_id", "saga_name", "saga_run", "saga_role", "step_name", "step_type", "step_key", "step_attempt", "name",
    "start", "end", "status", "environment", "attribute_keys", "attribute_values",
)  # fmt: skip
"""What of a span is looked at."""

ATTEMPT: Final = ("environment", "saga_id", "saga_run", "step_name", "step_key", "step_attempt")
"""What the views of one attempt have in common."""

MOST_STEPS: Final = 1_000
"""Steps that are counted of one generation: the most frequent."""

SECOND: Final = 1_000_000_000

YOUNG: Final = 2 * 86_400
KEPT: Final = 400 * 86_400
"""Seconds after which slots become hours, and after which they are forgotten."""

PERCENTILES: Final = (0.5, 0.95, 0.99)

FRESH: Final = 2.0
"""Seconds for which what was counted of the hot tier is good enough."""


class Statistics:
    """The tables of counts. `add` and `age` are called within a transaction of the one thread that seals."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._hot: tuple[float, pa.Table] | None = None

    def rolled(self, spans: pa.Table) -> pa.Table:
        """The counts of stored spans, for `add`."""
        told = spans.select(COLUMNS)
        values = {"most": MOST_STEPS}
        tries = self._database.arrow(
            Query.ROLL_UP_TRIES, values, told=told.drop_columns(["attribute_keys", "attribute_values"])
        )
        return pa.concat_tables([tries, _undone(told).cast(tries.schema)])

    def add(self, rolled: pa.Table) -> None:
        """Add counts to those that stand."""
        if rolled.num_rows:
            self._database.rows(Query.PUT_STEP_COUNTS, rolled=rolled)
            self._database.rows(Query.PUT_STEP_TIMES, rolled=rolled)

    def age(self, now: int) -> None:
        """Put what is old together by hours, and forget what is older still; `now` is in seconds since 1970."""
        values = {"before": (now - YOUNG) // OLD_SLOT * OLD_SLOT}
        gone = values | {"oldest": now - KEPT}
        self._database.rows(Query.AGE_STEP_COUNTS, values)
        self._database.rows(Query.AGE_STEP_TIMES, values)
        self._database.rows(Query.DELETE_AGED_STEP_COUNTS, gone)
        self._database.rows(Query.DELETE_AGED_STEP_TIMES, gone)

    def steps(
        self, name: str, environment: str | None, since: int, period: int, generations: Sequence[Generation]
    ) -> list[StepStatistics]:
        """See `Store.steps`."""
        asked = {"name": name, "environment": environment}
        begun = asked | {"since": since // SECOND // SLOT * SLOT, "width": period}
        hot = self._of_hot(generations)
        counted: dict[tuple[str, str], list[_Counts]] = {}
        for step, type_, at, *counts in self._database.rows(Query.SELECT_STEP_COUNTS, begun, rolled=hot):
            counted.setdefault((step, type_), []).append(_Counts(at, *counts))
        times: dict[tuple[str, str, int], dict[int, int]] = {}
        for step, type_, at, bucket, attempts in self._database.rows(Query.SELECT_STEP_TIMES, begun, rolled=hot):
            times.setdefault((step, type_, at), {})[bucket] = int(attempts)
        standing = dict(self._database.rows(Query.COUNT_FRONTIERS, asked))
        for step in standing.keys() - {step for step, _ in counted}:
            counted[step, semconv.TYPE_ACTION] = []  # begun, and never ended within the window
        ordered = sorted(counted, key=lambda key: (_place(counted[key]), key))
        return [_statistics(*key, counted[key], times, standing.get(key[0], 0)) for key in ordered]

    def _of_hot(self, generations: Sequence[Generation]) -> pa.Table:
        """Counts of what is not sealed yet; looked at anew every `FRESH` seconds at most."""
        if self._hot is None or time.monotonic() - self._hot[0] > FRESH:
            tables = [joined("spans", each.all("spans", COLUMNS), COLUMNS) for each in generations]
            self._hot = time.monotonic(), pa.concat_tables([self.rolled(each) for each in tables])
        return self._hot[1]


class _Counts(NamedTuple):
    """Of one step in one period; `at` is in seconds since 1970."""

    at: int
    succeeded: int
    failed: int
    retried: int
    undone: int
    place: float


def _place(periods: Sequence[_Counts]) -> float:
    """Where in its saga a step usually is."""
    first = sum(each.succeeded + each.failed - each.retried for each in periods)
    return sum(each.place for each in periods) / first if first > 0 else math.inf


def _statistics(
    step: str,
    type_: str,
    periods: Sequence[_Counts],
    times: Mapping[tuple[str, str, int], Mapping[int, int]],
    standing: int,
) -> StepStatistics:
    of = {each.at: times.get((step, type_, each.at), {}) for each in periods}
    every = Counter[int]()
    for buckets in of.values():
        every.update(buckets)
    return StepStatistics(
        step=step,
        type=type_,
        succeeded=int(sum(each.succeeded for each in periods)),
        failed=int(sum(each.failed for each in periods)),
        retried=int(sum(each.retried for each in periods)),
        undone=int(sum(each.undone for each in periods)),
        in_flight=int(standing),
        percentiles=percentiles(every),
        periods=[
            StepPeriod(each.at * SECOND, int(each.succeeded), int(each.failed), percentiles(of[each.at]))
            for each in periods
        ],
    )


def percentiles(buckets: Mapping[int, int]) -> tuple[float, float, float] | None:
    """Seconds within which half, 95 and 99 of a hundred took; None: of nothing."""
    found: list[float] = []
    total, passed = sum(buckets.values()), 0
    for bucket, attempts in sorted(buckets.items()):
        passed += attempts
        while len(found) < len(PERCENTILES) and passed >= math.ceil(PERCENTILES[len(found)] * total):
            found.append(2 ** ((bucket + 0.5) / 8) / 1e9)
    return (found[0], found[1], found[2]) if total else None


def _undone(told: pa.Table) -> pa.Table:
    """Undos that succeeded, counted for the steps that they undo."""
    chosen = told.filter(
        pc.and_(pc.equal(told["step_type"], semconv.TYPE_COMPENSATION), pc.not_equal(told["status"], "error"))
    )
    undone: dict[tuple[object, ...], tuple[str, str, str, int]] = {}
    for each in chosen.to_pylist():
        said = rows.attributes(each["attribute_keys"], each["attribute_values"])
        step = said.get(semconv.STEP_COMPENSATES)
        if isinstance(step, str) and step and each["end"]:
            slot = each["start"] // SECOND // SLOT * SLOT
            attempt = tuple(each[name] for name in ATTEMPT)
            undone[attempt] = each["environment"], each["saga_name"] or "unknown", step, slot
    return _table(Counter(undone.values()))


def _table(counted: Mapping[tuple[str, str, str, int], int]) -> pa.Table:
    keys = list(counted)
    nothing = [0] * len(keys)
    return pa.table(
        {
            "environment": pa.array([key[0] for key in keys], pa.string()),
            "name": pa.array([key[1] for key in keys], pa.string()),
            "step": pa.array([key[2] for key in keys], pa.string()),
            "type": pa.array([semconv.TYPE_ACTION] * len(keys), pa.string()),
            "slot": pa.array([key[3] for key in keys], pa.int64()),
            "bucket": pa.nulls(len(keys), pa.int16()),
            "attempts": pa.array(nothing, pa.int64()),
            "retried": pa.array(nothing, pa.int64()),
            "undone": pa.array(list(counted.values()), pa.int64()),
            "place": pa.array(nothing, pa.float64()),
        }
    )
