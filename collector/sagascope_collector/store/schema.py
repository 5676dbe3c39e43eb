"""What a `Batch` looks like: the Arrow schemas of its tables.

Ids are bytes here. Attributes are two JSON texts: the array of keys, which repeats from record to record, and the
array of values, as `store.values` spells them. A number n among the keys stands for the attribute that is column n of
`MARK`; its value is found there, and not among the values. Events, links, resource and scope are texts of the same
spelling, with ``[[key, value], ...]`` for attributes, ``""`` where there are none. ``""`` and 0 mean: not said.

No column is a list: DuckDB 2.0 would write the elements of up to 2,048 earlier rows into its log with each commit.
"""

from typing import Final

import pyarrow as pa

from sagascope import semconv

MARK: Final = (
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
"""The attributes that say what is in the columns of `MARK`."""

PROCESS: Final = (
    ("environment", pa.string()),
    ("service", pa.string()),
    ("version", pa.string()),
    ("identity", pa.string()),
    ("instance", pa.string()),
)
"""The fields of `records.Process`, in its order."""

ATTRIBUTES: Final = (("attribute_keys", pa.string()), ("attribute_values", pa.string()))

ORIGIN: Final = (*PROCESS, ("resource", pa.string()), ("scope", pa.string()))
"""What all records of one scope share."""

RECEIPT: Final = (("received_at", pa.int64()), ("origin", pa.int32()))
"""When a record came, and the row of `ORIGINS` that it came under."""

SPAN: Final = (
    ("key", pa.binary()),
    ("trace_id", pa.binary()),
    ("span_id", pa.binary()),
    ("parent_id", pa.binary()),
    ("name", pa.string()),
    ("kind", pa.string()),
    ("start", pa.uint64()),
    ("end", pa.uint64()),
    ("status", pa.string()),
    ("status_message", pa.string()),
    ("trace_state", pa.string()),
    ("flags", pa.uint32()),
    ("dropped_attributes", pa.uint32()),
    ("dropped_events", pa.uint32()),
    ("dropped_links", pa.uint32()),
    ("events", pa.string()),
    ("links", pa.string()),
)

LOG: Final = (
    ("key", pa.binary()),
    ("at", pa.uint64()),
    ("timestamp", pa.uint64()),
    ("observed_at", pa.uint64()),
    ("severity", pa.int32()),
    ("severity_text", pa.string()),
    ("body", pa.string()),
    ("event_name", pa.string()),
    ("trace_id", pa.binary()),
    ("span_id", pa.binary()),
    ("flags", pa.uint32()),
    ("dropped_attributes", pa.uint32()),
)

ORIGINS: Final = pa.schema(ORIGIN)

SPANS: Final = pa.schema([*SPAN, *MARK, *ATTRIBUTES, *RECEIPT])
"""``key`` = trace id, span id and one byte: 1 for a final span, 0 for one sent while it was open."""

LOGS: Final = pa.schema([*LOG, *MARK, *ATTRIBUTES, *RECEIPT])
"""``key`` = a digest of the record's resource, scope and fields."""

LINKS: Final = pa.schema(
    [("key", pa.binary()), ("trace_id", pa.binary()), ("span_id", pa.binary()), ("environment", pa.string()), *MARK]
)
"""One row for each link that names a saga: ``key`` = the span's key and the link's number; ids are the span's."""
