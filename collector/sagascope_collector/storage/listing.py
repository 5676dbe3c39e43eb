"""Lists of sagas: filtered, ordered and paged; and the search for one saga."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Any, Final, NamedTuple

import orjson
import pyarrow as pa

from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import BadCursor
from sagascope_collector.incident_records import AmountAtRisk, PeriodCount
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.saga_filters import FILTERS, NEWEST, Order, SagaFilters
from sagascope_collector.storage import summaries
from sagascope_collector.storage.changes import DOWNSAMPLED, merged
from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.incidents import amount_at_risk
from sagascope_collector.storage.sagas import Sagas
from sagascope_collector.storage.summaries import LATEST_TIME_NS, Page, SagaRow, id_of

SQL: Final = statements("listing")
SELECT_FAILURE_PERIOD: Final = statements("incidents")["select_failure_period"]
SELECT_FAILED_AT_STEP: Final = statements("outcomes")["select_failed_at_step"]

KINDS: Final = ("id", "key", "prefix", "key_prefix")
"""How a search can match a saga, best first."""

FIRST_WINDOWS_SECONDS: Final = (600, 10_000, 160_000, 2_600_000)
"""Time windows that a list by start reads in turn, before it reads all: DuckDB skips sagas that started earlier."""

MAX_COUNTED_IDS: Final = 10_000
"""Maximum number of sagas with an error at a step that are counted by period."""

OF_OPEN: Final = ("attention", "incident", "alone", "amount", "stuck_since", "stuck_until")
"""The filters that only sagas which need attention pass."""

OPEN_STATUSES: Final = ("running", "compensating")
"""The statuses of sagas that have not ended."""

MAX_PAGE_CHARACTERS: Final = 4_000_000
"""A page ends before its summaries are longer, and has a cursor then; one saga is always in it."""

SEARCHED_BATCHES: Final = 200
"""Maximum number of batches of ended sagas that a search reads; a text in more of them is a common value."""

KEY_PREFIX_SAGAS: Final = 1_000_000
"""Number of the latest ended sagas in which a prefix of a business key is searched."""

Ids = Iterable[SagaId]
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

    def page(
        self, filters: SagaFilters, *, limit: int, cursor: str | None = None, order: Order = NEWEST, also: Ids = ()
    ) -> Page:
        """Returns a page of summaries. `also` are ids that the filter `q` finds beside those that match its text.

        Raises:
            BadCursor: the cursor was not issued here, or is of another list.
        """
        dumped = orjson.dumps([getattr(filters, name) for name in FILTERS])
        name = f"{order} {blake2b(dumped, digest_size=6).hexdigest()}"
        after = _read_cursor(cursor, name) if cursor else None
        failing = self._failure_period(filters)
        if failing and failing.step:
            return self._failed_at_step(failing, limit)
        position = {f"after_{name}": getattr(after, name, None) for name in _Position._fields[1:]}
        values = _values(filters, failing, order, also) | position | {"limit": limit + 1}
        with self._database.transaction():  # otherwise a saga that is moved meanwhile is missing
            found = self._positions(values, order, after)
            rows = self._rows(found[:limit])
        placed = [(position, rows[key]) for position in found[:limit] if (key := SagaKey(*position[2:6])) in rows]
        last = found[limit - 1] if len(found) > limit else None
        sizes = accumulate(len(row.document) for _, row in placed)
        if (number := max(1, sum(size <= MAX_PAGE_CHARACTERS for size in sizes))) < len(placed):
            del placed[number:]
            last = placed[-1][0]
        following = urlsafe_b64encode(orjson.dumps((name, *last[:6]))).decode().rstrip("=") if last else None
        return Page([row for _, row in placed], following)

    def counts(
        self, filters: SagaFilters, since: int, until: int, period: int, also: Ids = ()
    ) -> tuple[list[PeriodCount], list[AmountAtRisk]]:
        """Returns the numbers of matching sagas by period and the amounts at risk in them; times in nanoseconds."""
        failing = self._failure_period(filters)
        if failing and failing.step:
            also = [id_of(row) for row in self._failed_at_step(failing, MAX_COUNTED_IDS).rows]
            filters, failing = SagaFilters(name=failing.name, q="\x1f"), None  # no id begins so
        values = _values(filters, failing, Order("none"), also) | {"least": None}
        window = {"from": since, "to": until, "period": period}
        with self._database.transaction():
            counted = self._database.rows(_of_matching(SQL["count_periods"]), values | window)
            summed = self._database.rows(_of_matching(SQL["sum_matching_amounts"]), values)
        return [PeriodCount(*row) for row in counted], [amount_at_risk(*row) for row in summed]

    def _failure_period(self, filters: SagaFilters) -> _FailurePeriod | None:
        """Returns the period of an incident about a failure rate; None: the filter does not name such an incident."""
        found = self._database.rows(SELECT_FAILURE_PERIOD, {"key": filters.incident}) if filters.incident else []
        if not found:
            return None
        ((environment, name, since, until, step),) = found
        if filters.environment not in (None, environment) or filters.name not in (None, name):
            return None  # the incident has no sagas of another type
        return _FailurePeriod(environment, name, since, LATEST_TIME_NS if until is None else until, step)

    def _failed_at_step(self, failing: _FailurePeriod, limit: int) -> Page:
        """Returns the latest sagas with an error at the step; there is only one page, and no further filter."""
        rows = self._database.rows(SELECT_FAILED_AT_STEP, failing._asdict() | {"limit": limit})
        ids = list(dict.fromkeys(SagaId(failing.environment, id_) for id_, *_ in rows))
        return Page([row for row in self.of_ids(ids, limit) if row.key.name == failing.name], None)

    def _positions(self, values: dict[str, Any], order: Order, after: _Position | None) -> list[tuple[Any, ...]]:
        statement = _of_matching(SQL["select_positions"])
        if order != NEWEST or values["only_open"] or not self._sagas.has_many_ended:
            return self._database.rows(statement, values | {"least": None})
        latest = -after.number if after else self._database.rows(SQL["select_latest_start"])[0][0]
        for seconds in FIRST_WINDOWS_SECONDS if latest else ():
            found = self._database.rows(statement, values | {"least": latest - seconds * NANOSECONDS_PER_SECOND})
            if len(found) == values["limit"]:
                return found
        return self._database.rows(statement, values | {"least": None})

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
        begins = {"text": text, "beginning": f":{summaries.element(text)}"[:-1], "limit": limit}
        with self._database.transaction():
            return _best_matches(self._found(text, begins, limit))[:limit]

    def _found(self, text: str, begins: Mapping[str, Any], limit: int) -> list[Hit]:
        member = {"member": summaries.member(text)}
        rows = self._database.rows(SQL["search_open"], {**begins, **member})
        batches = self._sagas.batches([text])[:SEARCHED_BATCHES]
        for first, last in merged(((batch, batch) for batch in batches), gap=1):  # a range is read by one statement
            exact = {"text": text, "limit": limit, "first": first, "last": last}
            rows += self._database.rows(SQL["search_ended"], {**exact, **member})
        if not any(kind == "id" for kind, *_ in rows) and len(rows) < limit:
            rows += self._database.rows(SQL["search_ended_beginnings"], {**begins, "newest": KEY_PREFIX_SAGAS})
        return [(kind, summaries.read(row)) for kind, *row in rows]

    def of_ids(self, ids: Sequence[SagaId], limit: int) -> list[SagaRow]:
        """Returns the newest of all summaries of these ids."""
        wanted = summaries.ids_table(ids)
        with self._database.transaction():
            found = self._database.rows(SQL["select_open_of_ids"], wanted=wanted)
            for batch in self._sagas.batches({saga.id for saga in ids}):
                found += self._database.rows(SQL["select_ended_of_ids"], {"batch": batch}, wanted=wanted)
        rows = {row.key: row for row in map(summaries.read, found)}
        return sorted(rows.values(), key=_sort_key)[:limit]

    def downsampled(self, saga_id: str) -> list[SagaRow]:
        """Returns the summaries with this id, in any environment, whose records were deleted."""
        rows: list[tuple[Any, ...]] = []
        for batch in self._sagas.batches([saga_id]):
            values = {"id": saga_id, "batch": batch, "bounds": DOWNSAMPLED.dump()}
            rows += self._database.rows(SQL["select_downsampled"], values)
        return list(map(summaries.read, rows))


def _of_matching(statement: str) -> str:
    return "WITH found AS (" + SQL["matching"] + ")" + statement


def _values(filters: SagaFilters, failing: _FailurePeriod | None, order: Order, also: Ids) -> dict[str, Any]:
    """Returns the parameters of `matching` except `least`; `failing` is the period of the filter `incident`."""
    asked: dict[str, Any] = {name: getattr(filters, name) for name in FILTERS}
    if failing:
        asked |= {"environment": failing.environment, "name": failing.name, "incident": None}
    only_open = filters.status in OPEN_STATUSES or any(asked[name] is not None for name in OF_OPEN)
    return asked | {
        **{name: summaries.element(asked[name]) for name in ("step", "service")},
        "path": None if filters.steps is None else summaries.text_of(filters.steps),
        "member": filters.q and f"{summaries.member(filters.q)}"[:-1],  # the value begins with it
        "also": list(map(chr(31).join, also)),
        "failed_since": failing and failing.since,
        "failed_until": failing and failing.until,
        "only_open": only_open,
        "codes": [code.value for code in AttentionCode],
        "by": order.by,
        "sign": -1 if order.is_falling else 1,
    }


def _best_matches(hits: Iterable[Hit]) -> list[Hit]:
    """Returns each saga once, with its best match."""
    once: dict[SagaKey, Hit] = {}
    for hit in sorted(hits, key=lambda hit: KINDS.index(hit[0])):
        once.setdefault(hit[1].key, hit)
    return sorted(once.values(), key=lambda hit: (KINDS.index(hit[0]), _sort_key(hit[1])))


def _sort_key(row: SagaRow) -> tuple[Any, ...]:
    return (-row.started_at, *row.key)


def _read_cursor(cursor: str, list_name: str) -> _Position:
    """Returns the position of a cursor.

    Raises:
        BadCursor: it was not issued for this list.
    """
    try:
        found, number, *texts = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        position = _Position(found, number, *texts)
    except (ValueError, TypeError) as error:
        raise BadCursor("This cursor was not issued by this collector.") from error
    if found != list_name or not isinstance(number, int) or not all(isinstance(each, str) for each in texts):
        raise BadCursor("This cursor belongs to a list with another order or other filters.")
    return position
