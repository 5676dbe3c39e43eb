"""What one record may hold. What exceeds a limit is rejected for that record alone, or cut and marked.

A saga is listed with its identifiers in every list, so without a limit a few records would make lists unanswerable.
"""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from sagascope import semconv
from sagascope_collector.records import Mark, Process
from sagascope_collector.storage import schema

MAX_IDENTIFIER_CHARACTERS: Final = 1_024
MAX_VALUE_BYTES: Final = 64 * 1024
MAX_BODY_BYTES: Final = 1024 * 1024

MAX_PARTS: Final = 1_000
"""Attributes, events and links of one record, each."""

PARTS: Final = ("attributes", "events", "links")

MAX_COUNT: Final = 2**32 - 1

TOO_LONG: Final = f"an identifier has more than {MAX_IDENTIFIER_CHARACTERS:,} characters"

CUT: Final = "... [cut by Sagascope]"
"""What a text ends with that was cut."""

Bools = np.ndarray[Any, np.dtype[np.bool_]]

_IDENTIFIERS: Final = [name for name, kind in schema.MARK if pa.types.is_string(kind)]
_KEY: Final = f'"{semconv.KEY_PREFIX}'


def is_too_long(mark: Mark, process: Process, attributes: Iterable[KeyValue]) -> bool:
    """Returns whether a record has an identifier that is too long: of its saga, its process or a business key."""
    return any(len(text) > MAX_IDENTIFIER_CHARACTERS for text in _identifiers(mark, process)) or (
        mark.id != "" and any(_is_long_key(each) for each in attributes if each.key.startswith(semconv.KEY_PREFIX))
    )


def _identifiers(mark: Mark, of: Process) -> Iterable[str]:
    yield from (mark.id, mark.name, mark.run, mark.role, mark.step, mark.type, mark.key)
    yield from (of.environment, of.service, of.version, of.identity, of.instance)


def _is_long_key(attribute: KeyValue) -> bool:
    return max(len(attribute.key), len(attribute.value.string_value)) > MAX_IDENTIFIER_CHARACTERS


def trim(record: Any) -> None:
    """Removes attributes, events and links of a record beyond `MAX_PARTS` each, and counts them as dropped."""
    for name in PARTS:
        parts = getattr(record, name, None)
        if parts and (excess := len(parts) - MAX_PARTS) > 0:
            del parts[MAX_PARTS:]
            counter = f"dropped_{name}_count"
            setattr(record, counter, min(getattr(record, counter) + excess, MAX_COUNT))


def cut(value: AnyValue, limit: int = MAX_VALUE_BYTES) -> AnyValue:
    """Returns a value that takes `limit` bytes at most; a longer text is cut, what else is longer is replaced."""
    if value.ByteSize() <= limit:
        return value
    if value.WhichOneof("value") == "string_value":
        kept = value.string_value.encode()[: limit - len(CUT)].decode(errors="ignore")
        return AnyValue(string_value=kept + CUT)
    return AnyValue(string_value=f"[{value.ByteSize():,} bytes]{CUT}")


def cut_text(text: str, limit: int = MAX_VALUE_BYTES) -> str:
    """Returns a text that takes `limit` bytes at most."""
    return text if len(text) <= limit // 4 else cut(AnyValue(string_value=text), limit).string_value


def exceeding(records: pa.Table) -> Bools:
    """Returns which decoded records may exceed a limit: those are left to the exact path."""
    found = np.zeros(records.num_rows, np.bool_)
    for name in _IDENTIFIERS:
        found |= _longer(records[name], MAX_IDENTIFIER_CHARACTERS)
    values = records["attribute_values"]
    found |= _longer(values, MAX_VALUE_BYTES)
    keyed = _longer(values, MAX_IDENTIFIER_CHARACTERS)
    if keyed.any():
        keyed &= pc.match_substring(records["attribute_keys"], _KEY).to_numpy()
        found |= keyed
    if "body" in records.column_names:
        found |= _longer(records["body"], MAX_BODY_BYTES)
    else:
        found |= _longer(records["name"], MAX_VALUE_BYTES) | _longer(records["attribute_keys"], MAX_VALUE_BYTES)
    return found


def _longer(texts: pa.ChunkedArray, limit: int) -> Bools:
    sizes = pc.binary_length(texts)
    return np.asarray(pc.greater(sizes, limit).to_numpy()) if len(texts) else np.zeros(0, np.bool_)
