"""Log records of OTLP to columns, many requests at a time. Pure."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sagascope_collector.otlp import limits
from sagascope_collector.otlp.columnar import protobuf_schema
from sagascope_collector.otlp.columnar.attributes import Attributes
from sagascope_collector.otlp.columnar.declined import Integers, decline
from sagascope_collector.otlp.columnar.nesting import NestedRecords, unnest
from sagascope_collector.otlp.columnar.scopes import observe, receipts, senders
from sagascope_collector.otlp.columnar.spans import usable_ids
from sagascope_collector.otlp.columnar.texts import one_each
from sagascope_collector.otlp.columns import Origins
from sagascope_collector.otlp.logs import EVENT_NAME
from sagascope_collector.otlp.observations import Observations
from sagascope_collector.otlp.spans import SPAN_ID_BYTES, TRACE_ID_BYTES
from sagascope_collector.storage import schema


def read_logs(
    bodies: Sequence[bytes], received_at: Sequence[int], origins: Origins, observations: Observations
) -> pa.Table:
    """Read requests of log records, as `schema.LOGS`.

    Raises:
        Declined: some of them cannot be read here; nothing of the others was noted either.
    """
    nested = unnest(protobuf_schema.LOGS, bodies)
    attributes = Attributes(nested)
    of = senders(nested, received_at, origins)
    at = _at(nested, of.received_at)
    columns = [pa.array(at), *_own(nested, attributes), *attributes.columns().arrays(), *receipts(nested, of)]
    table = pa.Table.from_arrays(columns, schema=schema.LOGS)
    decline(limits.exceeding(table), nested.request)
    observe(nested, of, at, at, observations)
    return table


def _at(nested: NestedRecords, received_at: Integers) -> Integers:
    said, observed = (nested.records.field(name).to_numpy() for name in ("timestamp", "observed_at"))
    received = received_at[nested.request].astype(np.uint64)
    at: Integers = np.where(said != 0, said, np.where(observed != 0, observed, received))
    return at


def _own(nested: NestedRecords, attributes: Attributes) -> list[pa.Array]:
    """The columns of `schema.LOG` after its time."""
    field = nested.records.field
    return [
        field("timestamp"),
        field("observed_at"),
        field("severity"),
        field("severity_text"),
        one_each(field("body"), nested.request).texts(np.arange(len(nested.records))),
        _event_names(field("event_name"), attributes),
        usable_ids(field("trace_id"), TRACE_ID_BYTES),
        usable_ids(field("span_id"), SPAN_ID_BYTES),
        field("flags"),
        field("dropped_attributes"),
    ]


def _event_names(names: pa.StringArray, attributes: Attributes) -> pa.StringArray:
    """The names in the field, else in the attribute that older SDKs use."""
    if EVENT_NAME not in attributes.names:
        return names
    older = attributes.first_strings(EVENT_NAME)
    missing = np.flatnonzero(pc.equal(names, "").to_numpy(zero_copy_only=False)).tolist()
    told = names.to_pylist()
    for place in missing:
        told[place] = older.get(place, "")
    return pa.array(told, pa.string())
