"""Finds records that are stored already. Senders repeat a request whose answer they did not get.

Most repeats come soon. A record whose few numbers (ids and times) are not among those of the recent ones is new without
a look into the database, unless it is older than what is remembered. The others are compared with what is stored, in
full: a copy that differs in anything is no repeat.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sagascope_collector.digests import MIN_NUMBERS_IN_MEMORY, Mask, Numbers, NumberSet, log_numbers, span_numbers
from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database

SQL: Final = statements("records")

MAX_SKEW_NS: Final = 60_000_000_000
"""By how much a sender's clock may be ahead for its records to be looked for where they would be."""

RANGE_GAP_NS: Final = 600_000_000_000
"""Records whose times lie further apart are looked for in two ranges of time."""

MAX_RANGES: Final = 32

RECEIPT_RANGE_NS: Final = 3_600_000_000_000
"""A log record without a time was given that of its receipt: its original is looked for so far back."""


class Repeats:
    """Knows what came lately. Used by the one thread that appends."""

    def __init__(self, database: Database, since: int) -> None:
        """Remembers nothing from before `since`, in nanoseconds; 0: nothing is stored from before."""
        self._database = database
        self._since = self._newer_since = since
        self._older, self._newer = NumberSet(), NumberSet()

    def remember(self, numbers: Numbers, now: int) -> None:
        """Takes in the numbers of records that are stored now."""
        if len(self._newer) + numbers.size > MIN_NUMBERS_IN_MEMORY:
            self._older, self._newer = self._newer, NumberSet()
            self._since, self._newer_since = self._newer_since, now
        self._newer.add(numbers)

    def fresh_spans(self, spans: pa.Table) -> tuple[Mask, Numbers]:
        """Returns which of these stored spans are no repeats, and the numbers of all."""
        numbers = span_numbers(spans)
        start, end = spans["start"].to_numpy(), spans["end"].to_numpy()
        doubtful = self._doubtful(numbers, np.maximum(start, end))
        return self._fresh(spans, doubtful, start, SQL["select_repeated_spans"], "late_spans"), numbers

    def fresh_logs(self, logs: pa.Table) -> tuple[Mask, Numbers]:
        """Returns which of these stored log records are no repeats, and the numbers of all."""
        numbers = log_numbers(logs)
        at = logs["at"].to_numpy()
        doubtful = self._doubtful(numbers, at)
        timeless = (logs["timestamp"].to_numpy() == 0) & (logs["observed_at"].to_numpy() == 0)
        since = np.where(timeless, np.maximum(at, RECEIPT_RANGE_NS) - np.uint64(RECEIPT_RANGE_NS), at)
        return self._fresh(logs, doubtful, since, SQL["select_repeated_logs"], "late_logs", at), numbers

    def _doubtful(self, numbers: Numbers, latest: Numbers) -> Mask:
        """Returns which may be repeats: of what is remembered, of what came before that, or of each other."""
        doubtful = self._newer.has(numbers) | self._older.has(numbers)
        if self._since:
            doubtful |= latest < np.uint64(self._since + MAX_SKEW_NS)
        _, places, counts = np.unique(numbers, return_inverse=True, return_counts=True)
        return doubtful | (counts[places] > 1)

    def _fresh(
        self, rows: pa.Table, doubtful: Mask, since: Numbers, statement: str, name: str, until: Numbers | None = None
    ) -> Mask:
        fresh = np.ones(rows.num_rows, np.bool_)
        places = np.flatnonzero(doubtful)
        if not places.size:
            return fresh
        until = since if until is None else until
        chosen = rows.take(pa.array(places)).append_column("number", pa.array(places))
        for within in _ranges(since[places]):
            values = {"since": int(since[places[within]].min()), "until": int(until[places[within]].max())}
            found = self._database.rows(statement, values, **{name: chosen.take(pa.array(within))})
            fresh[[number for (number,) in found]] = False
        _drop_doubles(chosen, places, fresh)
        return fresh


def _ranges(times: Numbers) -> Iterator[npt.NDArray[np.int64]]:
    """Returns the positions of times that lie close together, in few groups."""
    order = np.argsort(times)
    gaps = np.diff(times[order])
    cuts = np.flatnonzero(gaps > RANGE_GAP_NS)
    if cuts.size >= MAX_RANGES:
        cuts = np.sort(cuts[np.argsort(gaps[cuts])[-MAX_RANGES + 1 :]])
    yield from np.split(order, cuts + 1)


def _drop_doubles(rows: pa.Table, places: npt.NDArray[np.int64], fresh: Mask) -> None:
    """Lets one of several rows with the same content be fresh."""
    compared = rows.drop_columns([name for name in ("received_at", "at", "number") if name in rows.column_names])
    seen: set[tuple[Any, ...]] = set()
    for place, row in zip(places, zip(*(each.to_pylist() for each in compared.columns), strict=True), strict=True):
        if row in seen:
            fresh[place] = False
        seen.add(row)
