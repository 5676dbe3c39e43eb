"""Lists of sagas: filtered, ordered and paged; and the search for one saga."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import orjson
import pyarrow as pa

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
"""How a search can match a saga, best first."""

FIRST_WINDOWS_SECONDS: Final = (600, 10_000, 160_000, 2_600_000)
"""Time windows that a list by start reads in turn, before it reads all: DuckDB skips sagas that started earlier."""

OPEN_STATUSES: Final = ("running", "compensating")
"""The statuses of sagas that have not ended."""

SEARCHED_BATCHES: Final = 200
"""Maximum number of batches of ended sagas that a search reads; a text in more of them is a common value."""

Hit = tuple[str, SagaRow]
"""How the search matched, and the summary."""


class _Position(NamedTuple):
    """The last row of the previous page, in a list."""

    list_name: str
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
    """Reads summaries. Thread-safe."""

    def __init__(self, database: Database, sagas: Sagas) -> None:
        self._database = database
        self._sagas = sagas

    def page(self, narrowed: SagaFilters, *, limit: int, cursor: str | None = None, order: Order = NEWEST) -> Page:
        """Returns a page of summaries.

        Raises:
            BadCursor: the cursor was not issued here, or is of another list.
        """
        name = _list_name(narrowed, order)
        after = _read_cursor(cursor, name) if cursor else None
        failing = self._failure_period(narrowed)
        if failing and failing.step:
            return self._failed_at_step(failing, limit)
        narrowed, failed = _of_failure_rate(narrowed, failing)
        values = _values(narrowed, order, after) | failed | {"limit": limit + 1}
        with self._database.transaction():  # otherwise a saga that is moved meanwhile is missing
            found = self._positions(narrowed, values, order, after)
            rows = self._rows(found[:limit])
        placed = [(position, rows[key]) for position in found[:limit] if (key := SagaKey(*position[2:6])) in rows]
        last = found[limit - 1] if len(found) > limit else None
        return Page([row for _, row in placed], _write_cursor(_Position(name, *last[:6])) if last else None)

    def _failure_period(self, narrowed: SagaFilters) -> _FailurePeriod | None:
        """Returns the period of an incident about a failure rate; None: the filter does not name such an incident."""
        found = self._database.rows(SELECT_FAILURE_PERIOD, {"key": narrowed.incident}) if narrowed.incident else []
        if not found:
            return None
        ((environment, name, since, until, step),) = found
        if narrowed.environment not in (None, environment) or narrowed.name not in (None, name):
            return None  # the incident has no sagas of another type
        return _FailurePeriod(environment, name, since, LATEST_TIME_NS if until is None else until, step)

    def _failed_at_step(self, failing: _FailurePeriod, limit: int) -> Page:
        """Returns the latest sagas with an error at the step; there is only one page, and no further filter."""
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
        found: list[tuple[Any, ...]] = []
        for name, is_open in (("select_open_at", True), ("select_ended_at", False)):
            if numbers := [row_number for *_, batch, row_number in positions if (batch == 0) == is_open]:
                wanted = pa.table({"row_number": pa.array(numbers, pa.int64())})
                found += self._database.rows(SQL[name], wanted=wanted)
        return {row.key: row for row in map(summaries.read, found)}

    def search(self, text: str, *, limit: int) -> list[Hit]:
        """Returns sagas that match by id, by business key or by a prefix of the id; best first, then newest."""
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
        wanted = summaries.ids_table(ids)
        with self._database.transaction():
            found = self._database.rows(SQL["select_open_of_ids"], wanted=wanted)
            for batch in self._sagas.batches({saga.id for saga in ids}):
                found += self._database.rows(SQL["select_ended_of_ids"], {"batch": batch}, wanted=wanted)
        rows = {row.key: row for row in map(summaries.read, found)}
        return sorted(rows.values(), key=_place)[:limit]

    def downsampled(self, saga_id: str) -> list[SagaRow]:
        """Returns the summaries with this id, in any environment, whose records were deleted."""
        rows: list[tuple[Any, ...]] = []
        for batch in self._sagas.batches([saga_id]):
            values = {"id": saga_id, "batch": batch, "bounds": DOWNSAMPLED.dump()}
            rows += self._database.rows(SQL["select_downsampled"], values)
        return list(map(summaries.read, rows))


def _of_failure_rate(
    narrowed: SagaFilters, failing: _FailurePeriod | None
) -> tuple[SagaFilters, dict[str, int | None]]:
    """Returns the filter for the sagas that failed in the period; without a period, the filter unchanged."""
    if failing is None:
        return narrowed, {"failed_since": None, "failed_until": None}
    wanted = narrowed.model_copy(update={"environment": failing.environment, "name": failing.name, "incident": None})
    return wanted, {"failed_since": failing.since, "failed_until": failing.until}


def _values(narrowed: SagaFilters, order: Order, after: _Position | None) -> dict[str, Any]:
    """Returns the parameters of a query for a page."""
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
    """Returns ranges of consecutive batches, each read by one statement."""
    found: list[tuple[int, int]] = []
    for batch in sorted(batches):
        if found and batch == found[-1][1] + 1:
            found[-1] = found[-1][0], batch
        else:
            found.append((batch, batch))
    return found


def _best(hits: Iterable[Hit]) -> list[Hit]:
    """Returns each saga once, with its best match."""
    once: dict[SagaKey, Hit] = {}
    for hit in sorted(hits, key=lambda hit: KINDS.index(hit[0])):
        once.setdefault(hit[1].key, hit)
    return sorted(once.values(), key=lambda hit: (KINDS.index(hit[0]), _place(hit[1])))


def _place(row: SagaRow) -> tuple[Any, ...]:
    return (-row.started_at, *row.key)


def _list_name(narrowed: SagaFilters, order: Order) -> str:
    """Identifies a list by its order and filters; without times, which move with the clock of who pages."""
    filters = {name: getattr(narrowed, name) for name in FILTERS if name not in ("since", "until")}
    return f"{order} {blake2b(orjson.dumps(filters), digest_size=6).hexdigest()}"


def _write_cursor(position: _Position) -> str:
    """Returns the cursor of the page after this position."""
    return urlsafe_b64encode(orjson.dumps(tuple(position))).decode("ascii").rstrip("=")


def _read_cursor(cursor: str, list_name: str) -> _Position:
    """Returns the position of a cursor.

    Raises:
        BadCursor: `_write_cursor` did not issue it for this list.
    """
    try:
        found, number, *texts = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        position = _Position(found, number, *texts)
    except (ValueError, TypeError) as error:
        raise BadCursor("This cursor was not issued by this collector.") from error
    if found != list_name or not isinstance(number, int) or not all(isinstance(each, str) for each in texts):
        raise BadCursor("This cursor belongs to a list with another order or other filters.")
    return position
