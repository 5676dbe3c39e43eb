"""One look at one table: the rows that have moved, and those that are gone."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from sagascope_collector.bridges.tables.asking import TOGETHER, Asking, Found
from sagascope_collector.bridges.tables.mapping import Table
from sagascope_collector.bridges.tables.moves import is_begun, move
from sagascope_collector.bridges.tables.place import Open, Pending, TablePlace
from sagascope_collector.bridges.tables.rows import SECOND, Row
from sagascope_collector.bridges.tables.states import ENDED, State

PAGES: Final = 10
"""Queries for rows at one look, of `TOGETHER` rows each; and as many for rows by their key."""

MOST_OPEN: Final = 50_000
"""Rows in flight that are followed of one table."""

SETTLED_AFTER: Final = 30.0
"""Seconds after which transactions have ended that began before the last row was met; more, if the overlap is."""

GONE: Final = "The row is gone."


class Reading:
    """A look at a table since a place. What it finds stands in `place` afterwards, to be told."""

    def __init__(self, table: Table, since: TablePlace, now: int) -> None:
        self._table = table
        self._now = now
        self._is_full = False
        self._is_doubled = False
        copied = {"open": dict(since.open), "pending": [], "reading": dict(since.reading)}
        self.place = since.model_copy(update=copied)

    @property
    def trouble(self) -> str:
        """What could not be followed; may be empty."""
        label = self._table.label
        if self._is_doubled:
            return f"{label} has several rows of one key: {', '.join(self._table.key)} does not tell them apart."
        return (
            f"{label} has more than {MOST_OPEN:,} rows in flight; the others are not followed." if self._is_full else ""
        )

    def look(self, asking: Asking, *, history: bool) -> None:
        """Read on; at the end of the table, look for the rows in flight that were not met.

        Raises:
            psycopg.Error: PostgreSQL does not answer, or not to this. `place` is then of no use.
        """
        if not self.place.after:
            self._begin(asking, history=history)
        ended = self._read(asking)
        if self._table.cursor:
            self._ask(asking, self.place.open.keys(), TOGETHER if self._table.cursor.moves else PAGES * TOGETHER)
        elif ended:
            self._ask(asking, self.place.open.keys() - self.place.recent.keys(), PAGES * TOGETHER)

    def _begin(self, asking: Asking, *, history: bool) -> None:
        self.place.reading, self.place.begun = {}, self._now
        if self._table.cursor is None:
            return
        if self.place.has_begun:
            self.place.after = self.place.last if self.place.is_settled else []
        elif history:
            self.place.has_begun = True
        else:
            self.place.at, self.place.at_since = asking.end(), self._now

    def _read(self, asking: Asking) -> bool:
        """Whether it came to the end."""
        for _ in range(PAGES):
            found = self._next(asking)
            self._take(found)
            if found:
                self.place.after = found[-1].place
            if len(found) < TOGETHER:
                self._end()
                return True
        return False

    def _next(self, asking: Asking) -> list[Found]:
        if self._table.cursor is None or not self.place.has_begun:
            return asking.in_flight(self.place.after)
        return asking.moved(self.place.at, self.place.after)

    def _end(self) -> None:
        if self._table.cursor and self.place.has_begun:
            self._settle(self._table.cursor.overlap)
        self.place.has_begun, self.place.after = True, []
        self.place.recent, self.place.reading = self.place.reading, {}

    def _settle(self, overlap: float) -> None:
        """Go on behind the last row; from before it as long as others can be committed there."""
        last = self.place.after
        if last and last != self.place.last:
            self.place.at, self.place.last, self.place.at_since = last[0], last, self._now
        self.place.is_settled = self.place.begun >= self.place.at_since + max(overlap, SETTLED_AFTER) * SECOND

    def _ask(self, asking: Asking, keys: Iterable[str], most: int) -> None:
        """Ask for rows in flight by their keys, `most` at one look: a row that is gone moves no cursor."""
        wanted = sorted(key for key in keys if key > self.place.asked)
        now = wanted[:most]
        self.place.asked = now[-1] if len(now) < len(wanted) else ""
        for part in _parts(now):
            found = asking.of(part)
            self._take(found, kept=False)
            for key in set(part).difference(each.key for each in found):
                self._note(key, self._gone(self.place.open[key].row))

    def _take(self, found: Sequence[Found], *, kept: bool = True) -> None:
        rows = {each.key: each for each in found}
        self._is_doubled = self._is_doubled or len(rows) < len(found)
        for each in rows.values():
            known = self.place.recent.get(each.key) == each.hash or self.place.reading.get(each.key) == each.hash
            is_done = each.row is None or known or self._note(each.key, each.row)
            if is_done and kept:
                self.place.reading[each.key] = each.hash

    def _gone(self, row: Row) -> Row:
        error = GONE if self._table.gone is State.FAILED else ""
        return row.model_copy(
            update={"state": self._table.gone, "changed": self._now, "ended": self._now, "error": error}
        )

    def _note(self, key: str, row: Row) -> bool:
        """Remember what is to be told of a row; False: there is no room to follow it."""
        before = self.place.open.get(key)
        if before and before.row == _dated(row, before.row.changed):
            return True
        if before is None and not is_begun(self._table, row):
            return True
        if before is None and row.state not in ENDED and len(self.place.open) >= MOST_OPEN:
            self._is_full = True
            return False
        pending = Pending(
            key=key, row=_dated(row, row.ended or self._now), before=before, is_first=not self.place.has_begun
        )
        self.place.pending.append(pending)
        self._keep(key, move(self._table, before, pending.row, is_first=pending.is_first).after)
        return True

    def _keep(self, key: str, after: Open | None) -> None:
        if after:
            self.place.open[key] = after
        else:
            self.place.open.pop(key, None)


def _dated(row: Row, at: int) -> Row:
    """A row as of a time, where it does not say when it changed."""
    return row if row.changed else row.model_copy(update={"changed": at})


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[first : first + TOGETHER] for first in range(0, len(keys), TOGETHER))
