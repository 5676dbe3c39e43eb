"""Lists of sagas, in an order, narrowed and paged; and the search for one."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import BadCursor
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.saga_filters import FILTERS, SagaFilters
from sagascope_collector.storage import summaries
from sagascope_collector.storage.changes import DOWNSAMPLED
from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.sagas import Sagas
from sagascope_collector.storage.summaries import LATEST_TIME_NS, NEWEST, Order, Page, SagaRow

SQL: Final = statements("listing")
SELECT_FAILURE_PERIOD: Final = statements("incidents")["select_failure_period"]
SELECT_FAILED_AT_STEP: Final = statements("outcomes")["select_failed_at_step"]

KINDS: Final = ("id", "key", "prefix")
"""For what a saga may be found, best first."""

FIRST_WINDOWS_SECONDS: Final = (600, 10_000, 160_000, 2_600_000)
"""How far back a list by start is read at first: DuckDB skips what started before. Then everything."""

OPEN_STATUSES: Final = ("running", "compensating")
"""What no ended saga has."""

SEARCHED_BATCHES: Final = 200
"""Batches of ended sagas in which a text is looked for; a text in more of them is a value that most sagas share."""

Hit = tuple[str, SagaRow]
"""For what it was found, and the summary."""


class _Position(NamedTuple):
    """The last row of the page before, in an order."""

    order: str
    number: int
    text: str
    environment: str
    name: str
    id: str
    run: str


class _FailurePeriod(NamedTuple):
    """The sagas of a type that failed, or had an error at a step, between these times."""

    environment: str
    name: str
    since: int
    until: int
    step: str


class Listing:
    """Reads summaries. Safe from any thread."""

    def __init__(self, database: Database, sagas: Sagas) -> None:
        self._database = database
        self._sagas = sagas

    def page(self, narrowed: SagaFilters, *, limit: int, cursor: str | None = None, order: Order = NEWEST) -> Page:
        """Returns summaries in an order.

        Raises:
            BadCursor: the cursor is not one of ours, or of another order.
        """
        after = _read_cursor(cursor, str(order)) if cursor else None
        failing = self._failure_period(narrowed)
        if failing and failing.step:
            return self._failed_at_step(failing, limit)
        narrowed, failed = _of_failure_rate(narrowed, failing)
        values = _values(narrowed, order, after) | failed | {"limit": limit + 1}
        with self._database.transaction():  # else one that is moved meanwhile is missing
            found = self._positions(narrowed, values, order, after)
            rows = self._rows(found[:limit])
        placed = [(position, rows[key]) for position in found[:limit] if (key := SagaKey(*position[2:6])) in rows]
        last = found[limit - 1] if len(found) > limit else None
        return Page([row for _, row in placed], _write_cursor(_Position(str(order), *last[:6])) if last else None)

    def _failure_period(self, narrowed: SagaFilters) -> _FailurePeriod | None:
        """Returns of which sagas an incident consists that is about a failure rate; None: no such incident is meant."""
        found = self._database.rows(SELECT_FAILURE_PERIOD, {"key": narrowed.incident}) if narrowed.incident else []
        if not found:
            return None
        ((environment, name, since, until, step),) = found
        if narrowed.environment not in (None, environment) or narrowed.name not in (None, name):
            return None  # no saga of another type is part of it
        return _FailurePeriod(environment, name, since, LATEST_TIME_NS if until is None else until, step)

    def _failed_at_step(self, failing: _FailurePeriod, limit: int) -> Page:
        """Returns the latest sagas with an error at the step; there is no further page, and no further filter."""
        rows = self._database.rows(SELECT_FAILED_AT_STEP, failing._asdict() | {"limit": limit})
        ids = list(dict.fromkeys(SagaId(failing.environment, id_) for id_, *_ in rows))
        return Page([row for row in self.of_ids(ids, limit) if row.key.name == failing.name], None)

    def _positions(
        self, narrowed: SagaFilters, values: dict[str, Any], order: Order, after: _Position | None
    ) -> list[tuple[Any, ...]]:
        only_open = narrowed.status in OPEN_STATUSES or any(
            each is not None for each in (narrowed.attention, narrowed.incident, narrowed.alone)
        )
        values |= {"only_open": only_open, "least": None}
        if order != NEWEST or only_open or not self._sagas.is_long:
            return self._database.rows(SQL["select_positions"], values)
        latest = -after.number if after else self._database.rows(SQL["select_latest_start"])[0][0]
        for seconds in FIRST_WINDOWS_SECONDS if latest else ():
            found = self._database.rows(
                SQL["select_positions"], values | {"least": latest - seconds * NANOSECONDS_PER_SECOND}
            )
            if len(found) == values["limit"]:
                return found
        return self._database.rows(SQL["select_positions"], values)

    def _rows(self, positions: Sequence[tuple[Any, ...]]) -> dict[SagaKey, SagaRow]:
        """Returns the summaries at these positions, by key."""
        if not positions:
            return {}
        ids = {SagaId(position[2], position[4]) for position in positions}
        batches = sorted({position[6] for position in positions if position[6]})
        return {row.key: row for row in self._of_ids(ids, batches)}

    def _of_ids(self, ids: Iterable[SagaId], batches: Iterable[int]) -> Iterator[SagaRow]:
        wanted = summaries.ids_table(ids)
        found = self._database.rows(SQL["select_open_of_ids"], wanted=wanted)
        for batch in batches:
            found += self._database.rows(SQL["select_ended_of_ids"], {"batch": batch}, wanted=wanted)
        yield from map(summaries.read, found)

    def search(self, text: str, *, limit: int) -> list[Hit]:
        """Returns the sagas found by id, by business key or by the beginning of the id; best first, then newest."""
        values = {"text": text, "member": summaries.member(text), "limit": limit}
        with self._database.transaction():
            return _best(self._found(text, values, limit))[:limit]

    def _found(self, text: str, values: Mapping[str, Any], limit: int) -> list[Hit]:
        found = [(kind, summaries.read(row)) for kind, *row in self._database.rows(SQL["search_open"], values)]
        for first, last in _ranges(self._sagas.batches([text])[:SEARCHED_BATCHES]):
            of_range = self._database.rows(SQL["search_ended"], {**values, "first": first, "last": last})
            found += [(kind, summaries.read(row)) for kind, *row in of_range]
        if not any(kind == "id" for kind, _ in found) and len(found) < limit:
            beginning = self._database.rows(SQL["search_ended_beginnings"], {"text": text, "limit": limit})
            found += [("prefix", summaries.read(row)) for row in beginning]
        return found

    def of_ids(self, ids: Sequence[SagaId], limit: int) -> list[SagaRow]:
        """Returns the newest of all summaries of these ids."""
        with self._database.transaction():
            batches = self._sagas.batches({saga.id for saga in ids})
            rows = {row.key: row for row in self._of_ids(ids, batches)}
        return sorted(rows.values(), key=_place)[:limit]

    def downsampled(self, saga_id: str) -> list[SagaRow]:
        """Returns the summaries with this id, in any environment, of which the records were deleted."""
        rows: list[tuple[Any, ...]] = []
        for batch in self._sagas.batches([saga_id]):
            values = {"id": saga_id, "batch": batch, "bounds": DOWNSAMPLED.dump()}
            rows += self._database.rows(SQL["select_downsampled"], values)
        return list(map(summaries.read, rows))


def _of_failure_rate(
    narrowed: SagaFilters, failing: _FailurePeriod | None
) -> tuple[SagaFilters, dict[str, int | None]]:
    """Returns the filter for the sagas that failed then; any other filter as it is."""
    if failing is None:
        return narrowed, {"failed_since": None, "failed_until": None}
    wanted = narrowed.model_copy(update={"environment": failing.environment, "name": failing.name, "incident": None})
    return wanted, {"failed_since": failing.since, "failed_until": failing.until}


def _values(narrowed: SagaFilters, order: Order, after: _Position | None) -> dict[str, Any]:
    """Returns the values of a query for a page."""
    asked: dict[str, Any] = {name: getattr(narrowed, name) for name in FILTERS}
    asked |= {name: summaries.element(asked[name]) for name in ("step", "service")}
    asked["path"] = summaries.names(narrowed.steps)
    return asked | {
        "member": summaries.member(narrowed.q),
        "by": order.by,
        "sign": -1 if order.is_falling else 1,
        "number": after and after.number,
        "text": after and after.text,
        "after_environment": after and after.environment,
        "after_name": after and after.name,
        "after_id": after and after.id,
        "after_run": after and after.run,
    }


def _ranges(batches: Iterable[int]) -> list[tuple[int, int]]:
    """Returns the first and the last of batches that follow each other: one statement reads them."""
    found: list[tuple[int, int]] = []
    for batch in sorted(batches):
        if found and batch == found[-1][1] + 1:
            found[-1] = found[-1][0], batch
        else:
            found.append((batch, batch))
    return found


def _best(hits: Iterable[Hit]) -> list[Hit]:
    """Returns each saga once, what was found for the best reason first."""
    once: dict[SagaKey, Hit] = {}
    for hit in sorted(hits, key=lambda hit: KINDS.index(hit[0])):
        once.setdefault(hit[1].key, hit)
    return sorted(once.values(), key=lambda hit: (KINDS.index(hit[0]), _place(hit[1])))


def _place(row: SagaRow) -> tuple[Any, ...]:
    return (-row.started_at, *row.key)


def _write_cursor(position: _Position) -> str:
    """Returns the cursor that goes on after this position."""
    return urlsafe_b64encode(orjson.dumps(tuple(position))).decode("ascii").rstrip("=")


def _read_cursor(cursor: str, order: str) -> _Position:
    """Returns where to go on.

    Raises:
        BadCursor: `_write_cursor` did not make it for this order.
    """
    try:
        order_of, number, *texts = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        position = _Position(order_of, number, *texts)
    except (ValueError, TypeError) as error:
        raise BadCursor("This cursor was not issued by this collector.") from error
    if order_of != order or not isinstance(number, int) or not all(isinstance(each, str) for each in texts):
        raise BadCursor("This cursor was not issued for this order by this collector.")
    return position
