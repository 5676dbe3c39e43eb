"""Converts a batch to rows of the lake, and rows of the lake to a batch."""

from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa

from sagascope_collector.observations import Observation
from sagascope_collector.storage import Batch, schema

_ORIGIN: Final = schema.ORIGINS.names


def to_lake(table: pa.Table, origins: pa.Table) -> pa.Table:
    """Returns rows of `schema.SPANS` or `schema.LOGS` with the columns of their origin instead of its number."""
    of_rows = origins.take(table["origin"])
    for name in _ORIGIN:
        table = table.append_column(name, of_rows[name])
    return table.drop_columns(["origin"])


def links_to_lake(links: pa.Table, spans: pa.Table) -> pa.Table:
    """Returns rows of `schema.LINKS` with the time of receipt of their spans."""
    if not links.num_rows:
        return links
    times = zip(*(spans[name].to_pylist() for name in ("trace_id", "span_id", "received_at")), strict=True)
    received_at = {(trace_id, span_id): at for trace_id, span_id, at in times}
    ids = zip(links["trace_id"].to_pylist(), links["span_id"].to_pylist(), strict=True)
    return links.append_column("received_at", pa.array([received_at[each] for each in ids], pa.int64()))


def to_batch(
    spans: pa.Table | None, logs: pa.Table | None, links: pa.Table | None, observations: Sequence[Observation]
) -> Batch:
    """Returns the batch of rows that were written by `to_lake` and `links_to_lake`."""
    numbers: dict[tuple[str, ...], int] = {}
    return Batch(
        spans=_numbered(spans, schema.SPANS, numbers),
        logs=_numbered(logs, schema.LOGS, numbers),
        links=links.select(schema.LINKS.names).cast(schema.LINKS) if links else schema.no_rows(schema.LINKS),
        origins=_origins(numbers),
        observations=tuple(observations),
    )


def _origins(numbers: Iterable[tuple[str, ...]]) -> pa.Table:
    columns = list(zip(*numbers, strict=True)) or [()] * len(_ORIGIN)
    return pa.table([pa.array(column, pa.string()) for column in columns], schema=schema.ORIGINS)


def _numbered(table: pa.Table | None, wanted: pa.Schema, numbers: dict[tuple[str, ...], int]) -> pa.Table:
    if table is None:
        return schema.no_rows(wanted)
    rows = zip(*(table[name].to_pylist() for name in _ORIGIN), strict=True)
    origin = pa.array([numbers.setdefault(row, len(numbers)) for row in rows], pa.int32())
    return table.append_column("origin", origin).select(wanted.names).cast(wanted)
