"""Limits of a request and of its records.

A few kilobytes of compressed bytes can hold millions of empty messages, each of which takes a hundred bytes of memory
and microseconds once it is decoded. So a large request is counted before it is decoded, by one walk over its bytes, and
split into parts. A request that holds too much is refused finally, so that its sender does not repeat it. The parts are
stored one by one, between the requests of others.

A record that exceeds a limit is rejected alone, or cut and marked. Every list shows a saga with its identifiers, so a
few records without limits would make lists unanswerable.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from sagascope import semconv
from sagascope_collector.errors import TooLarge, Undecodable
from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.records import Mark, Process
from sagascope_collector.storage import schema

MAX_RECORDS: Final = 100_000
"""Spans or log records of one request."""

MAX_GROUPS: Final = 100_000
"""Resources and scopes of one request."""

MAX_ELEMENTS: Final = 2_000_000
"""Attributes, events, links and elements of lists of one request."""

MAX_FIELDS: Final = 10_000_000
"""Fields of one request, known or not: an attribute has four."""

MAX_JSON_OBJECTS: Final = 2_000_000
"""Objects and lists of one request in JSON."""

MAX_JSON_VALUES: Final = 3_000_000
"""Commas outside texts in one request in JSON: OTLP has about one for each object."""

MAX_DEPTH: Final = 64
"""Messages within messages."""

FULL_WALK_BYTES: Final = 4 * 1024 * 1024
"""Of a smaller request, only groups and records are counted: it can exceed `MAX_ELEMENTS` by a few percent at most."""

PART_BYTES: Final = 1024 * 1024
"""Records of a larger request are split into parts of about this size."""

SKIPPED_FIELDS: Final = 1_000
"""Fields that hold no message, after which the walk checks again whether there are too many."""

LENGTH_DELIMITED, FIXED64, FIXED32, VARINT = 2, 1, 5, 0

Fields = dict[int, "MessageType"]
"""The fields of a message that hold messages, by number."""


class MessageType:
    """A type of message: what it counts as, and its fields that hold messages."""

    __slots__ = ("fields", "kind")

    def __init__(self, kind: int, fields: Fields) -> None:
        self.kind = kind
        self.fields = fields


GROUP, RECORD, ELEMENT, UNCOUNTED = range(4)

_VALUE: Final = MessageType(UNCOUNTED, {})
_PAIR: Final = MessageType(ELEMENT, {2: _VALUE})
_VALUE.fields.update(
    {5: MessageType(UNCOUNTED, {1: MessageType(ELEMENT, _VALUE.fields)}), 6: MessageType(UNCOUNTED, {1: _PAIR})}
)
_RESOURCE: Final = MessageType(UNCOUNTED, {1: _PAIR})
_SCOPE: Final = MessageType(UNCOUNTED, {3: _PAIR})
_SPAN: Final = MessageType(
    RECORD, {9: _PAIR, 11: MessageType(ELEMENT, {3: _PAIR}), 13: MessageType(ELEMENT, {4: _PAIR})}
)
_LOG: Final = MessageType(RECORD, {5: _VALUE, 6: _PAIR})


def _request(record: MessageType) -> Fields:
    """Returns the fields of an export request with these records, by their numbers in opentelemetry-proto."""
    return {1: MessageType(GROUP, {1: _RESOURCE, 2: MessageType(GROUP, {1: _SCOPE, 2: record})})}


_REQUESTS: Final = {Signal.TRACES: _request(_SPAN), Signal.LOGS: _request(_LOG)}

_LIMITS: Final = {
    GROUP: (MAX_GROUPS, "resources and scopes"),
    RECORD: (MAX_RECORDS, "records"),
    ELEMENT: (MAX_ELEMENTS, "attributes, events and links"),
}


def is_large(payload: Payload) -> bool:
    """Returns whether a request may exceed a limit: a message has two bytes at least."""
    return len(payload.body) > 2 * min(MAX_GROUPS, MAX_RECORDS)


def check_request(payload: Payload) -> None:
    """Counts what a request holds.

    Raises:
        TooLarge: it holds more than a request may.
        Undecodable: it is not protobuf.
    """
    if payload.encoding is Encoding.JSON:
        _check_json(payload.body)
        return
    walk = _Walk(payload.body, is_full=len(payload.body) > FULL_WALK_BYTES)
    try:
        walk.count(0, len(payload.body), _REQUESTS[payload.signal], 0)
    except IndexError:
        raise Undecodable("This is not OTLP in protobuf: it ends in the middle of a field.") from None


def _check_json(body: bytes) -> None:
    if body.count(b"{") + body.count(b"[") > MAX_JSON_OBJECTS or body.count(b",") > MAX_JSON_VALUES:
        _check_json_outside_texts(body)


def _check_json_outside_texts(body: bytes) -> None:
    """Counts the brackets and commas that are not within texts."""
    objects = values = position = 0
    texts = (text.span() for text in _JSON_TEXT.finditer(body))
    for start, end in chain(texts, [(len(body), len(body))]):
        objects += body.count(b"{", position, start) + body.count(b"[", position, start)
        if objects > MAX_JSON_OBJECTS:
            raise _too_large(objects, MAX_JSON_OBJECTS, "objects and lists")
        values += body.count(b",", position, start)
        if values > MAX_JSON_VALUES:
            raise _too_large(values, MAX_JSON_VALUES, "values")
        position = end


def _too_large(found: int, limit: int, what: str) -> TooLarge:
    return TooLarge(f"This request holds {found:,} {what} or more; {limit:,} are allowed. Send smaller batches.")


_JSON_TEXT: Final = re.compile(rb'"(?:[^"\\]+|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""A text; one that never ends is one text, as the time would otherwise grow with the square of its length."""


class _Walk:
    """One walk over the bytes of a request."""

    def __init__(self, body: bytes, *, is_full: bool) -> None:
        self._body = body
        self._is_full = is_full
        self._counts = [0, 0, 0, 0]
        self._fields_left = MAX_FIELDS

    def count(self, position: int, end: int, fields: Fields, depth: int) -> None:
        """Counts the messages between two positions, and what they hold."""
        if depth > MAX_DEPTH:
            raise TooLarge(f"This request nests messages more than {MAX_DEPTH} deep.")
        for number, _, start, stop in fields_of(self._body, position, end, self._count_skipped):
            self._fields_left -= 1
            if self._fields_left < 0:
                raise _too_large(MAX_FIELDS + 1, MAX_FIELDS, "fields")
            type_ = fields.get(number)
            if type_ is not None:
                self._enter(type_, start, stop, depth)

    def _count_skipped(self, fields: int) -> None:
        self._fields_left -= fields
        if self._fields_left < 0:
            raise _too_large(MAX_FIELDS + 1, MAX_FIELDS, "fields")

    def _enter(self, type_: MessageType, start: int, end: int, depth: int) -> None:
        kind = type_.kind
        if kind != UNCOUNTED:
            found = self._counts[kind] = self._counts[kind] + 1
            limit, what = _LIMITS[kind]
            if found > limit:
                raise _too_large(found, limit, what)
        if (self._is_full or kind == GROUP) and end > start:
            self.count(start, end, type_.fields, depth + 1)


def fields_of(
    body: bytes, position: int, end: int, skipped: Callable[[int], None] = lambda _: None
) -> Iterator[tuple[int, int, int, int]]:
    """Yields each length-delimited field between two positions: number, start of its key, start and end of its value.

    `skipped` is called with the number of other fields, at the end and after some of them.

    Raises:
        IndexError: a field ends beyond the end.
        Undecodable: it is not protobuf.
    """
    others = 0
    while position < end:
        key_start = position
        key = body[position]
        position += 1
        if key >= 0x80:
            key, position = _read_varint(body, key_start)
        if key & 7 != LENGTH_DELIMITED:
            position = _skip(body, position, key & 7)
            others += 1
            if others == SKIPPED_FIELDS:
                skipped(others)
                others = 0
            continue
        length = body[position]
        position += 1
        if length >= 0x80:
            length, position = _read_varint(body, position - 1)
        if position + length > end:
            raise IndexError
        yield key >> 3, key_start, position, position + length
        position += length
    skipped(others)


def _skip(body: bytes, position: int, kind: int) -> int:
    if kind == VARINT:
        while body[position] >= 0x80:
            position += 1
        return position + 1
    if kind == FIXED64:
        return position + 8
    if kind == FIXED32:
        return position + 4
    raise Undecodable("This is not OTLP in protobuf: it has a field of a kind that OTLP does not use.")


def _read_varint(body: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise Undecodable("This is not OTLP in protobuf: a number has more than ten bytes.")


def split_request(payload: Payload) -> list[Payload]:
    """Returns a checked request in protobuf as parts that together have its records, each with its resource and scope.

    The same request is always split in the same way, so that a repeated request consists of repeated parts.
    """
    body = payload.body
    if len(body) <= 2 * PART_BYTES:
        return [payload]
    parts: list[bytes] = []
    part: list[bytes] = []
    size = 0
    for group in _records(body):
        part.append(group)
        size += len(group)
        if size >= PART_BYTES:
            parts.append(b"".join(part))
            part, size = [], 0
    parts.append(b"".join(part))
    return [replace(payload, body=each) for each in parts if each]


def _records(body: bytes) -> Iterator[bytes]:
    """Yields the request's groups of records, each of about `PART_BYTES` at most, as requests of their own."""
    for number, _, start, end in fields_of(body, 0, len(body)):
        if number != 1:
            continue
        scopes = [each for each in fields_of(body, start, end) if each[0] == 2]
        resource = _without(body, start, end, scopes)
        for _, _, scope_start, scope_end in scopes:
            records = [each for each in fields_of(body, scope_start, scope_end) if each[0] == 2]
            scope = _without(body, scope_start, scope_end, records)
            for some in _batches(records):
                content = scope + b"".join(body[key:stop] for _, key, _, stop in some)
                yield _field(1, resource + _field(2, content))


def _batches(records: list[tuple[int, int, int, int]]) -> Iterator[list[tuple[int, int, int, int]]]:
    batch: list[tuple[int, int, int, int]] = []
    size = 0
    for each in records:
        batch.append(each)
        size += each[3] - each[1]
        if size >= PART_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _without(body: bytes, start: int, end: int, left_out: list[tuple[int, int, int, int]]) -> bytes:
    """Returns a message without some of its fields."""
    kept, position = [], start
    for _, key, _, stop in left_out:
        kept.append(body[position:key])
        position = stop
    return b"".join([*kept, body[position:end]])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


# --- one record ---------------------------------------------------------------------------------------

MAX_IDENTIFIER_CHARACTERS: Final = 1_024
MAX_VALUE_BYTES: Final = 64 * 1024
MAX_LOG_BODY_BYTES: Final = 1024 * 1024

MAX_ITEMS_PER_LIST: Final = 1_000
"""Attributes, events and links of one record, each."""

RECORD_LISTS: Final = ("attributes", "events", "links")

MAX_COUNT: Final = 2**32 - 1

TOO_LONG: Final = f"an identifier has more than {MAX_IDENTIFIER_CHARACTERS:,} characters"

CUT: Final = "... [cut by Sagascope]"
"""The end of a text that was cut."""

Bools = np.ndarray[Any, np.dtype[np.bool_]]

_IDENTIFIER_COLUMNS: Final = [name for name, kind in schema.MARK if pa.types.is_string(kind)]
_KEY: Final = f'"{semconv.KEY_PREFIX}'


def is_too_long(mark: Mark, process: Process, attributes: Iterable[KeyValue]) -> bool:
    """Returns whether a record has an identifier that is too long: of its saga, its process or a business key."""
    return any(len(text) > MAX_IDENTIFIER_CHARACTERS for text in _identifiers(mark, process)) or (
        mark.id != "" and any(_is_long_key(each) for each in attributes if each.key.startswith(semconv.KEY_PREFIX))
    )


def _identifiers(mark: Mark, process: Process) -> Iterable[str]:
    yield from (mark.id, mark.name, mark.run, mark.role, mark.step, mark.type, mark.key)
    yield from (process.environment, process.service, process.version, process.identity, process.instance)


def _is_long_key(attribute: KeyValue) -> bool:
    return max(len(attribute.key), len(attribute.value.string_value)) > MAX_IDENTIFIER_CHARACTERS


def trim(record: Any) -> None:
    """Removes attributes, events and links of a record beyond `MAX_ITEMS_PER_LIST` each, and counts them as dropped."""
    for name in RECORD_LISTS:
        items = getattr(record, name, None)
        if items and (excess := len(items) - MAX_ITEMS_PER_LIST) > 0:
            del items[MAX_ITEMS_PER_LIST:]
            counter = f"dropped_{name}_count"
            setattr(record, counter, min(getattr(record, counter) + excess, MAX_COUNT))


def cut(value: AnyValue, limit: int = MAX_VALUE_BYTES) -> AnyValue:
    """Returns a value of at most `limit` bytes; a longer text is cut, a longer value of another type is replaced."""
    if value.ByteSize() <= limit:
        return value
    if value.WhichOneof("value") == "string_value":
        kept = value.string_value.encode()[: limit - len(CUT)].decode(errors="ignore")
        return AnyValue(string_value=kept + CUT)
    return AnyValue(string_value=f"[{value.ByteSize():,} bytes]{CUT}")


def cut_text(text: str, limit: int = MAX_VALUE_BYTES) -> str:
    """Returns a text of at most `limit` bytes."""
    # a character has at most four bytes, so most texts need not be encoded to be measured
    return text if len(text) <= limit // 4 else cut(AnyValue(string_value=text), limit).string_value


def exceeding(records: pa.Table) -> Bools:
    """Returns which decoded records may exceed a limit: those are decoded record by record."""
    found = np.zeros(records.num_rows, np.bool_)
    for name in _IDENTIFIER_COLUMNS:
        found |= _longer(records[name], MAX_IDENTIFIER_CHARACTERS)
    values = records["attribute_values"]
    found |= _longer(values, MAX_VALUE_BYTES)
    keyed = _longer(values, MAX_IDENTIFIER_CHARACTERS)
    if keyed.any():
        keyed &= pc.match_substring(records["attribute_keys"], _KEY).to_numpy()
        found |= keyed
    if "body" in records.column_names:
        found |= _longer(records["body"], MAX_LOG_BODY_BYTES)
    else:
        found |= _longer(records["name"], MAX_VALUE_BYTES) | _longer(records["attribute_keys"], MAX_VALUE_BYTES)
    return found


def _longer(texts: pa.ChunkedArray, limit: int) -> Bools:
    sizes = pc.binary_length(texts)
    return np.asarray(pc.greater(sizes, limit).to_numpy()) if len(texts) else np.zeros(0, np.bool_)
