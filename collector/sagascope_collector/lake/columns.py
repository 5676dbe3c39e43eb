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


def to_batch(spans: pa.Table, logs: pa.Table, links: pa.Table, observations: Sequence[Observation]) -> Batch:
    """Returns the batch of rows that were written by `to_lake`."""
    numbers: dict[tuple[str, ...], int] = {}
    return Batch(
        spans=_numbered(spans, schema.SPANS, numbers),
        logs=_numbered(logs, schema.LOGS, numbers),
        links=links.select(schema.LINKS.names).cast(schema.LINKS),
        origins=_origins(numbers),
        observations=tuple(observations),
    )


def _origins(numbers: Iterable[tuple[str, ...]]) -> pa.Table:
    columns = list(zip(*numbers, strict=True)) or [()] * len(_ORIGIN)
    return pa.table([pa.array(column, pa.string()) for column in columns], schema=schema.ORIGINS)


def _numbered(table: pa.Table, wanted: pa.Schema, numbers: dict[tuple[str, ...], int]) -> pa.Table:
    rows = zip(*(table[name].to_pylist() for name in _ORIGIN), strict=True)
    origin = pa.array([numbers.setdefault(row, len(numbers)) for row in rows], pa.int32())
    return table.append_column("origin", origin).select(wanted.names).cast(wanted)
