"""The columns of records: in decoded form (a `Batch`), and in stored form.

Ids are bytes. Attributes are two JSON texts: the array of keys, which repeats from record to record, and the array of
values, as `json_values` writes them. A number n among the keys stands for the attribute in column n of `MARK`; its
value is in that column, and not among the values. Events, links, resource and scope are texts of the same kind, with
``[[key, value], ...]`` for attributes, ``""`` if there are none. ``""`` and 0 mean: not given.

No column is a list: DuckDB 2.0 would write the elements of up to 2,048 earlier rows into its log with each commit.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import pyarrow as pa

from sagascope import semconv

Column = tuple[str, pa.DataType]

MARK: Final[tuple[Column, ...]] = (
    ("saga_id", pa.string()),
    ("saga_name", pa.string()),
    ("saga_run", pa.string()),
    ("saga_role", pa.string()),
    ("step_name", pa.string()),
    ("step_type", pa.string()),
    ("step_key", pa.string()),
    ("step_attempt", pa.int64()),
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

PROCESS: Final[tuple[Column, ...]] = (
    ("environment", pa.string()),
    ("service", pa.string()),
    ("version", pa.string()),
    ("identity", pa.string()),
    ("instance", pa.string()),
)
"""The fields of `records.Process`, in its order."""

ATTRIBUTES: Final[tuple[Column, ...]] = (("attribute_keys", pa.string()), ("attribute_values", pa.string()))

ORIGIN: Final[tuple[Column, ...]] = (*PROCESS, ("resource", pa.string()), ("scope", pa.string()))
"""Properties that all records of one scope share."""

RECEIPT: Final[tuple[Column, ...]] = (("received_at", pa.int64()), ("origin", pa.int32()))
"""The time of receipt of a record, and the number of its row of `ORIGINS`."""

_IDS: Final[tuple[Column, ...]] = (("trace_id", pa.binary()), ("span_id", pa.binary()))

_SPAN: Final[tuple[Column, ...]] = (
    *_IDS,
    ("parent_id", pa.binary()),
    ("name", pa.string()),
    ("kind", pa.string()),
    ("start", pa.uint64()),
    ("end", pa.uint64()),
    ("status", pa.string()),
    ("status_message", pa.string()),
)

EXTRAS: Final[tuple[Column, ...]] = (
    ("trace_state", pa.string()),
    ("flags", pa.uint32()),
    ("dropped_attributes", pa.uint32()),
    ("dropped_events", pa.uint32()),
    ("dropped_links", pa.uint32()),
)
"""Fields that most spans do not have, stored as one JSON text."""

_LISTS: Final[tuple[Column, ...]] = (("events", pa.string()), ("links", pa.string()))

SPAN: Final[tuple[Column, ...]] = (*_SPAN, *EXTRAS, *_LISTS)

LOG: Final[tuple[Column, ...]] = (
    ("at", pa.uint64()),
    ("timestamp", pa.uint64()),
    ("observed_at", pa.uint64()),
    ("severity", pa.int32()),
    ("severity_text", pa.string()),
    ("body", pa.string()),
    ("event_name", pa.string()),
    *_IDS,
    ("flags", pa.uint32()),
    ("dropped_attributes", pa.uint32()),
)

ORIGINS: Final = pa.schema(ORIGIN)
SPANS: Final = pa.schema([*SPAN, *MARK, *ATTRIBUTES, *RECEIPT])
LOGS: Final = pa.schema([*LOG, *MARK, *ATTRIBUTES, *RECEIPT])

LINKS: Final = pa.schema([*_IDS, ("environment", pa.string()), *MARK])
"""One row for each link that names a saga; the ids are those of the span with the link."""

_RECEIVED: Final[tuple[Column, ...]] = (("received_at", pa.int64()), ("origin_id", pa.uint32()))

STORED_SPANS: Final = pa.schema([*_RECEIVED, *_SPAN, ("extras", pa.string()), *_LISTS, *MARK, *ATTRIBUTES])
"""The columns of `span_records` after `seq`."""

STORED_LOGS: Final = pa.schema([*_RECEIVED, *LOG, *MARK, *ATTRIBUTES])
"""The columns of `log_records` after `seq`."""


def table(names: str, rows: Iterable[Sequence[Any]], **types: pa.DataType) -> pa.Table:
    """Returns rows as a table with these column names; columns are texts unless `types` gives another type."""
    kinds = [(name, types.get(name, pa.string())) for name in names.split()]
    columns = list(zip(*rows, strict=True)) or [()] * len(kinds)
    arrays = [pa.array(column, kind) for column, (_, kind) in zip(columns, kinds, strict=True)]
    return pa.table(arrays, schema=pa.schema(kinds))


def no_rows(schema: pa.Schema) -> pa.Table:
    """Returns an empty table. `pa.Schema.empty_table` would import pandas, which takes a third of the start-up time."""
    return pa.Table.from_batches([], schema)
