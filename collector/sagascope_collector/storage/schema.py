"""The columns of records: as they are decoded (a `Batch`), and as they are stored.

Ids are bytes. Attributes are two JSON texts: the array of keys, which repeats from record to record, and the array of
values, as `encode` writes them. A number n among the keys stands for the attribute that column n of `MARK`
holds; its value is found there, and not among the values. Events, links, resource and scope are texts of the same
kind, with ``[[key, value], ...]`` for attributes, ``""`` where there are none. ``""`` and 0 mean: not said.

JSON has no integers apart from floats, no bytes, no NaN, and its objects forget repeated keys. So a double always
has a fraction or an exponent; bytes are ``{"$bytes": base64}``, and NaN and the infinities ``{"$double": "NaN"}``. A
kvlist is an object, and one with repeated keys or a key that begins with ``$`` is ``{"$kv": [[key, value], ...]}``: no
received text can imitate one of these.

No column is a list: DuckDB 2.0 would write the elements of up to 2,048 earlier rows into its log with each commit.
"""

import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
import pyarrow as pa

from sagascope import semconv
from sagascope_collector.records import Value

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
"""The attributes that say what is in the columns of `MARK`."""

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
"""What all records of one scope share."""

RECEIPT: Final[tuple[Column, ...]] = (("received_at", pa.int64()), ("origin", pa.int32()))
"""When a record came, and the row of `ORIGINS` that it came under."""

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
"""What most spans do not have: stored as one JSON text."""

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
"""One row for each link that names a saga; the ids are those of the span that has it."""

_RECEIVED: Final[tuple[Column, ...]] = (("received_at", pa.int64()), ("origin_id", pa.uint32()))

STORED_SPANS: Final = pa.schema([*_RECEIVED, *_SPAN, ("extras", pa.string()), *_LISTS, *MARK, *ATTRIBUTES])
"""The columns of `span_records` after `seq`."""

STORED_LOGS: Final = pa.schema([*_RECEIVED, *LOG, *MARK, *ATTRIBUTES])
"""The columns of `log_records` after `seq`."""


def no_rows(schema: pa.Schema) -> pa.Table:
    """Returns an empty table; `pa.Schema.empty_table` would import pandas, which takes a third of the start."""
    return pa.Table.from_batches([], schema)


class Pairs(NamedTuple):
    """A kvlist as it was received: in order, repeated keys kept."""

    items: tuple[tuple[str, Value], ...]


def encode(value: Value) -> str:
    """Write a value, or `Pairs`, as JSON text."""
    return orjson.dumps(spell(value)).decode()


def decode(text: str) -> Value:
    """Read what `encode` wrote; of a kvlist's repeated keys the last wins."""
    return _read(orjson.loads(text))


def attributes(pairs: Iterable[tuple[str, Any]]) -> dict[str, Value]:
    """Read attributes that were spelt as pairs of key and value; of repeated keys the last wins."""
    return {key: _read(value) if isinstance(value, list | dict) else value for key, value in pairs}


def spell(value: Value) -> Any:
    """Turn a value into what JSON can carry."""
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$double": _name_of(value)}
    if isinstance(value, bytes):
        return {"$bytes": b64encode(value).decode("ascii")}
    if isinstance(value, Pairs):
        return _object(value.items)
    if isinstance(value, Mapping):
        return _object(tuple(value.items()))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [spell(each) for each in value]
    return value


def _object(items: Sequence[tuple[str, Value]]) -> dict[str, Any]:
    spelled = {key: spell(each) for key, each in items}
    if len(spelled) < len(items) or any(key.startswith("$") for key in spelled):
        return {"$kv": [[key, spell(each)] for key, each in items]}
    return spelled


def _name_of(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _read(spelt: Any) -> Value:
    if isinstance(spelt, list):
        return [_read(each) for each in spelt]
    if isinstance(spelt, dict):
        form = next(iter(spelt), "")
        return _FORMS[form](spelt[form]) if form.startswith("$") else {key: _read(each) for key, each in spelt.items()}
    return spelt


_FORMS: dict[str, Callable[[Any], Value]] = {"$double": float, "$bytes": b64decode, "$kv": attributes}
