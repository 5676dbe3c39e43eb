"""Links of spans that stay, without those to sagas that go. Pure."""

from collections.abc import Iterable
from typing import Any, Final

import orjson
import pyarrow as pa

from sagascope import semconv

UNLINKED: Final = pa.schema(
    [("trace_id", pa.binary()), ("span_id", pa.binary()), ("end", pa.uint64()), ("links", pa.string())]
)
"""Spans by what tells them apart, with the links that they have from now on."""


def unlinked(spans: pa.Table, gone: Iterable[str]) -> pa.Table:
    """Of these spans the links that do not name one of these saga ids."""
    without = set(gone)
    texts = [_kept(text, without) for text in spans["links"].to_pylist()]
    return spans.set_column(spans.column_names.index("links"), "links", pa.array(texts, pa.string())).cast(UNLINKED)


def _kept(text: str, gone: set[str]) -> str:
    links: list[list[Any]] = orjson.loads(text) if text else []
    kept = [each for each in links if not any(key == semconv.SAGA_ID and value in gone for key, value in each[2])]
    return orjson.dumps(kept).decode() if kept else ""
