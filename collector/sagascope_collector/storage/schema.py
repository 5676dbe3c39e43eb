"""The columns of records, decoded (a `Batch`) and stored, and their conversion from one to the other and to records.

Ids are bytes. Attributes are two JSON texts: the array of keys, which repeats from record to record, and the array of
values, as `json_values` writes them. A number n among the keys stands for the attribute in column n of `MARK`; its
value is in that column, and not among the values. Events, links, resource and scope are texts of the same kind, with
``[[key, value], ...]`` for attributes, ``""`` if there are none. ``""`` and 0 mean: not given.

No column is a list: DuckDB 2.0 would write the elements of up to 2,048 earlier rows into its log with each commit.

Every changed saga is read again, so that reading is a hot path: values are parsed together, repeated values are built
once, and columns are accessed by position.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache, cached_property, lru_cache
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from sagascope import semconv
from sagascope_collector import json_values, records
from sagascope_collector.storage.connection import statements
from sagascope_collector.storage.database import Database

SQL: Final = statements("records")


def columns(names: str, **types: pa.DataType) -> tuple[tuple[str, pa.DataType], ...]:
    """Returns columns with these names; they are texts unless `types` gives another type."""
    return tuple((name, types.get(name, pa.string())) for name in names.split())


MARK: Final = columns(
    "saga_id saga_name saga_run saga_role step_name step_type step_key step_attempt", step_attempt=pa.int64()
)
"""The fields of `records.Mark`, in its order."""

MARK_KEYS: Final = (
    semconv.SAGA_ID,
    semconv.SAGA_NAME,
    semconv.SAGA_RUN_ID,
    semconv.SAGA_ROLE,
    semconv.STEP_NAME,
    semconv.STEP_TYPE,
    semconv.STEP_KEY,
    semconv.STEP_ATTEMPT,
)
"""The attributes whose values are in the columns of `MARK`."""

PROCESS: Final = columns("environment service version identity instance")
"""The fields of `records.Process`, in its order."""

ATTRIBUTES: Final = columns("attribute_keys attribute_values")

ORIGIN: Final = (*PROCESS, *columns("resource scope"))
"""Properties that all records of one scope share."""

RECEIPT: Final = columns("received_at origin", received_at=pa.int64(), origin=pa.int32())
"""The time of receipt of a record, and the number of its row of `ORIGINS`."""

_IDS: Final = columns("trace_id span_id", trace_id=pa.binary(), span_id=pa.binary())

_SPAN: Final = (
    *_IDS,
    *columns(
        "parent_id name kind start end status status_message", parent_id=pa.binary(), start=pa.uint64(), end=pa.uint64()
    ),
)

EXTRAS: Final = (
    ("trace_state", pa.string()),
    *((name, pa.uint32()) for name in ("flags", "dropped_attributes", "dropped_events", "dropped_links")),
)
"""Fields that most spans do not have, stored as one JSON text."""

_LISTS: Final = columns("events links")

SPAN: Final = (*_SPAN, *EXTRAS, *_LISTS)

LOG: Final = (
    *((name, pa.uint64()) for name in ("at", "timestamp", "observed_at")),
    *columns("severity severity_text body event_name", severity=pa.int32()),
    *_IDS,
    *((name, pa.uint32()) for name in ("flags", "dropped_attributes")),
)

ORIGINS: Final = pa.schema(ORIGIN)
SPANS: Final = pa.schema([*SPAN, *MARK, *ATTRIBUTES, *RECEIPT])
LOGS: Final = pa.schema([*LOG, *MARK, *ATTRIBUTES, *RECEIPT])

LINKS: Final = pa.schema([*_IDS, ("environment", pa.string()), *MARK])
"""One row for each link that names a saga; the ids are those of the span with the link."""

_RECEIVED: Final = columns("received_at origin_id", received_at=pa.int64(), origin_id=pa.uint32())

STORED_SPANS: Final = pa.schema([*_RECEIVED, *_SPAN, ("extras", pa.string()), *_LISTS, *MARK, *ATTRIBUTES])
"""The columns of `span_records` after `seq`."""

STORED_LOGS: Final = pa.schema([*_RECEIVED, *LOG, *MARK, *ATTRIBUTES])
"""The columns of `log_records` after `seq`."""

STORED_ORIGINS: Final = pa.schema([("origin_id", pa.uint32()), *ORIGIN])


def table(names: str, rows: Iterable[Sequence[Any]], **types: pa.DataType) -> pa.Table:
    """Returns rows as a table with these column names; columns are texts unless `types` gives another type."""
    kinds = columns(names, **types)
    values = list(zip(*rows, strict=True)) or [()] * len(kinds)
    arrays = [pa.array(column, kind) for column, (_, kind) in zip(values, kinds, strict=True)]
    return pa.table(arrays, schema=pa.schema(kinds))


def no_rows(schema: pa.Schema) -> pa.Table:
    """Returns an empty table. `pa.Schema.empty_table` would import pandas, which takes a third of the start-up time."""
    return pa.Table.from_batches([], schema)


_MARK: Final = [name for name, _ in MARK]
_READ_SPAN: Final = [*(name for name, _ in _SPAN), "extras", *(name for name, _ in _LISTS), "received_at"]
_READ_LOG: Final = [*(name for name, _ in LOG), "received_at"]
_NO_MARK: Final = (None,) * len(MARK)

OriginValues = tuple[str, ...]
"""The values of `ORIGIN`."""


class Origin:
    """Properties that all records of one scope of one process share."""

    def __init__(self, values: OriginValues) -> None:
        """Parses the process at once, because every record needs it."""
        self.process = records.Process(*values[: len(PROCESS)])
        self._resource, self._scope = values[len(PROCESS) :]

    @cached_property
    def parsed(self) -> tuple[records.Resource, records.Scope]:
        """The resource and the scope, parsed at first access."""
        return _resource(self._resource), _scope(self._scope)


class Origins:
    """The table of origins, also in memory. Written by the one thread that appends; any thread may read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._of_id: list[Origin | None] = []
        self._numbers: dict[OriginValues, int] = {}
        for number, *values in database.rows(SQL["select_origins"]):
            self._put(number, tuple(values))

    def numbered(self, batch: pa.Table) -> tuple[list[int], pa.Table]:
        """Returns the number of each row of `ORIGINS`, and the rows of `STORED_ORIGINS` to insert for new ones.

        Call `added` with these once they are on disk.
        """
        rows = list(zip(*(column.to_pylist() for column in batch.columns), strict=True)) if batch.num_rows else []
        following = len(self._of_id)
        new: dict[OriginValues, int] = {}
        for row in rows:
            if row not in self._numbers and row not in new:
                new[row] = following + len(new)
        numbers = [self._numbers[row] if row in self._numbers else new[row] for row in rows]
        added = ((number, *values) for values, number in new.items())
        return numbers, table(" ".join(STORED_ORIGINS.names), added, origin_id=pa.uint32())

    def added(self, rows: pa.Table) -> None:
        """Adds inserted rows to memory."""
        for number, *values in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            self._put(number, tuple(values))

    def __getitem__(self, number: int) -> Origin:
        """Returns the origin with this number, which must exist."""
        found = self._of_id[number]
        if found is None:
            raise KeyError(number)
        return found

    def rows_within(self, table: pa.Table, environments: Collection[str]) -> pa.Table:
        """Returns the rows of a table whose origins are in one of these environments."""
        known = table["origin_id"].unique().to_pylist()
        wanted = [number for number in known if self[number].process.environment in environments]
        return table if wanted == known else table.filter(pc.is_in(table["origin_id"], pa.array(wanted, pa.uint32())))

    def environments(self) -> list[str]:
        """Returns the environment of each origin, by number; "" for an unused number."""
        with self._lock:
            return [each.process.environment if each else "" for each in self._of_id]

    def _put(self, number: int, values: OriginValues) -> None:
        with self._lock:
            self._of_id += [None] * (number + 1 - len(self._of_id))
            self._of_id[number] = Origin(values)
            self._numbers[values] = number


def _resource(text: str) -> records.Resource:
    attributes, dropped, schema_url, entities = orjson.loads(text)
    return records.Resource(json_values.attributes(attributes), dropped, schema_url, tuple(map(_entity, entities)))


def _entity(stored: Sequence[Any]) -> records.Entity:
    schema_url, type_, id_keys, description_keys = stored
    return records.Entity(type_, tuple(id_keys), tuple(description_keys), schema_url)


def _scope(text: str) -> records.Scope:
    name, version, attributes, dropped, schema_url = orjson.loads(text)
    return records.Scope(name, version, json_values.attributes(attributes), dropped, schema_url)


def stored(batch: pa.Table, origins: Sequence[int], wanted: pa.Schema) -> pa.Table:
    """Returns rows of `SPANS` or `LOGS` in stored form.

    `origins` are the numbers of the batch's origins; `wanted` is `STORED_SPANS` or `STORED_LOGS`.
    """
    numbers = np.array(origins, np.uint32)
    made = {"origin_id": pa.array(numbers[batch["origin"].to_numpy()] if batch.num_rows else numbers[:0])}
    if "extras" in wanted.names:
        made["extras"] = _extras(batch)
    columns = [made[each.name] if each.name in made else batch[each.name] for each in wanted]
    return pa.table(columns, schema=wanted)


def _extras(batch: pa.Table) -> pa.Array:
    text, *numbers = (batch[name] for name, _ in EXTRAS)
    if not any(each.to_numpy().any() for each in numbers) and text.unique().to_pylist() == [""]:
        return pa.repeat(pa.scalar(""), batch.num_rows)
    rows = zip(text.to_pylist(), *(each.to_pylist() for each in numbers), strict=True)
    return pa.array([_extras_text(*row) for row in rows], pa.string())


@lru_cache(maxsize=4096)
def _extras_text(trace_state: str, *numbers: int) -> str:
    return orjson.dumps([trace_state, *numbers]).decode() if trace_state or any(numbers) else ""


def spans(table: pa.Table, origins: Origins) -> Iterator[tuple[records.SagaId, records.Span]]:
    """Yields stored spans as records, each with the id of its saga."""
    for own, mark, attributes, origin in _parts(table, _READ_SPAN, origins):
        yield records.SagaId(origin.process.environment, mark.id), _span(own, mark, origin, attributes)


def logs(table: pa.Table, origins: Origins) -> Iterator[tuple[records.SagaId, records.Log]]:
    """Yields stored log records, each with the id of its saga."""
    for own, mark, attributes, origin in _parts(table, _READ_LOG, origins):
        yield records.SagaId(origin.process.environment, mark.id), _log(own, mark, origin, attributes)


def marks(table: pa.Table) -> Iterator[records.Mark]:
    """Yields the mark of each row."""
    return (records.Mark(*each) for each in _columns(table, _MARK))


Parts = tuple[tuple[Any, ...], records.Mark, records.Attributes, Origin]
"""A record's own columns, and those that every kind of record has."""


def _parts(table: pa.Table, own: Sequence[str], origins: Origins) -> Iterator[Parts]:
    mark = cache(records.Mark)
    return zip(
        _columns(table, own),
        (mark(*each) for each in _columns(table, _MARK)),
        _attributes_of(table),
        map(origins.__getitem__, table.column("origin_id").to_pylist()),
        strict=True,
    )


def _columns(table: pa.Table, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(table.column(name).to_pylist() for name in names), strict=True)


def _attributes_of(table: pa.Table) -> Iterator[records.Attributes]:
    """Yields the attributes of each row. Values are parsed together, which is several times faster."""
    keys, texts = (table.column(name).to_pylist() for name, _ in ATTRIBUTES)
    stored = orjson.loads(f"[{','.join(texts)}]")
    return map(_combined, map(known_keys, keys), stored, _columns(table, _MARK))


def attributes(keys: str, stored: str, mark: Sequence[Any] = _NO_MARK) -> records.Attributes:
    """Returns the attributes of one record; those that have columns are from `mark`."""
    return _combined(known_keys(keys), orjson.loads(stored), mark)


@lru_cache(maxsize=4096)
def known_keys(text: str) -> list[tuple[str, int | None]]:
    """Returns keys, each with the number of its column of `MARK`, or None. Callers must not change the list."""
    return [(MARK_KEYS[key], key) if isinstance(key, int) else (key, None) for key in orjson.loads(text)]


def _combined(keys: Sequence[tuple[str, int | None]], stored: Iterable[Any], mark: Sequence[Any]) -> records.Attributes:
    following = iter(stored)
    return json_values.attributes((key, next(following) if column is None else mark[column]) for key, column in keys)


def _span(own: tuple[Any, ...], mark: records.Mark, origin: Origin, attributes: records.Attributes) -> records.Span:
    trace_id, span_id, parent_id, name, kind, start, end, status, message, extras, events, links, received_at = own
    resource, scope = origin.parsed
    return records.Span(
        trace_id.hex(),
        span_id.hex(),
        parent_id.hex(),
        name,
        kind,
        start,
        end,
        status,
        message,
        mark,
        origin.process,
        attributes,
        _listed(events, _event),
        _listed(links, _link),
        resource,
        scope,
        *_extras_of(extras),
        received_at,
    )


def _log(own: tuple[Any, ...], mark: records.Mark, origin: Origin, attributes: records.Attributes) -> records.Log:
    at, timestamp, observed_at, severity, text, body, event_name, trace_id, span_id, *flags_to_receipt = own
    resource, scope = origin.parsed
    return records.Log(
        at,
        observed_at,
        severity,
        text,
        json_values.decode(body),
        event_name,
        trace_id.hex(),
        span_id.hex(),
        mark,
        origin.process,
        attributes,
        resource,
        scope,
        timestamp,
        *flags_to_receipt,
    )


@lru_cache(maxsize=4096)
def _extras_of(text: str) -> tuple[str, int, int, int, int]:
    return tuple(orjson.loads(text)) if text else ("", 0, 0, 0, 0)


def _event(stored: Sequence[Any]) -> records.Event:
    name, at, pairs, dropped = stored
    return records.Event(name, at, json_values.attributes(pairs), dropped)


def _link(stored: Sequence[Any]) -> records.Link:
    trace_id, span_id, pairs, trace_state, flags, dropped = stored
    return records.Link(trace_id, span_id, json_values.attributes(pairs), trace_state, flags, dropped)


def _listed(text: str, read: Callable[[Sequence[Any]], Any]) -> tuple[Any, ...]:
    return tuple(map(read, orjson.loads(text))) if text else ()
