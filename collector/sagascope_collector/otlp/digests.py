"""What tells log records apart, which have no id of their own: a digest of what is stored of them. Pure."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sagascope_collector.otlp.columns import Origins
from sagascope_collector.store import schema

KEY_BYTES: Final = 16

_COUNTED: Final = [each for each in schema.LOGS if each.name not in {"key", "at", "received_at", "origin"}]
"""Columns that tell records apart; the origin does too, as what it stands for."""

_NONE: Final = schema.LOGS.empty_table()
_NUMBERS: Final = [each.name for each in _COUNTED if pa.types.is_integer(each.type)]
_TEXTS: Final = [each.name for each in _COUNTED if each.name not in _NUMBERS]


def keyed(records: pa.Table, origins: Origins) -> pa.Table:
    """Log records, all columns of `schema.LOGS` but the key, with it."""
    if not records.num_rows:
        return _NONE
    keys = [blake2b(each, digest_size=KEY_BYTES).digest() for each in _contents(records, origins).to_pylist()]
    return records.add_column(0, schema.LOGS.field("key"), pa.array(keys, pa.binary()))


def _contents(records: pa.Table, origins: Origins) -> pa.ChunkedArray:
    """Of each record bytes that no other has."""
    texts = [records.column(name).cast(pa.binary()) for name in _TEXTS]
    numbers = [records.column(name).to_numpy().astype("<i8") for name in _NUMBERS]
    lengths = [pc.binary_length(each).to_numpy().astype("<i8") for each in texts]
    of_origins = pa.array(map(_digest, origins.texts()), pa.binary()).take(records.column("origin"))
    return pc.binary_join_element_wise(_rows([*numbers, *lengths]), of_origins, *texts, b"")


def _rows(columns: Sequence[np.ndarray]) -> pa.BinaryArray:
    """Rows of whole numbers as bytes."""
    rows = np.column_stack(columns)
    at = np.arange(len(rows) + 1, dtype=np.int32) * (rows.itemsize * rows.shape[1])
    return pa.Array.from_buffers(pa.binary(), len(rows), [None, pa.py_buffer(at), pa.py_buffer(rows)])


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=KEY_BYTES).digest()
