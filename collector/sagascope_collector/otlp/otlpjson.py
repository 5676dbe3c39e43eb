"""OTLP's JSON form, which is protobuf's but for ids (hex, not base64) and enums (numbers). Pure.

It is read into the protobuf messages, so that the rest of the collector handles one form only.
"""

from base64 import b64decode
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Generic, TypeVar

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from sagascope_collector.errors import Undecodable

M = TypeVar("M", bound=Message)

DEPTH: Final = 100
"""Messages within messages, as protobuf itself allows."""

IDS: Final = frozenset({"trace_id", "span_id", "parent_span_id"})

INT_VALUE: Final = AnyValue.DESCRIPTOR.fields_by_name["int_value"].full_name
INT64: Final = 2**63

Reader = Callable[[Any], Any]

RECORDS: Final = frozenset({"Span", "LogRecord"})
"""Messages that are rejected alone if the value of a field is invalid."""

IGNORED: Final = frozenset(
    {"dropped_attributes_count", "dropped_events_count", "dropped_links_count", "flags", "kind", "severity_number"}
)
"""Fields that are left unset if their value is invalid: nothing is concluded from them."""

MAX_UNKNOWN_KEYS: Final = 5
"""Unknown keys that a warning names."""


@dataclass(slots=True)
class Parsed(Generic[M]):
    """A message, and the parts of its JSON that it does not contain."""

    message: M
    rejected: Counter[str] = field(default_factory=Counter)
    """The number of records that were left out, by reason."""
    records: int = 0
    unknown_keys: list[str] = field(default_factory=list)
    """The first keys that OTLP does not have."""

    @property
    def warning(self) -> str:
        """The warning for a sender whose request has unknown keys and no records; ``""``: none."""
        if self.records or self.rejected or not self.unknown_keys:
            return ""
        return f"The request has no records. OTLP in JSON does not have these keys: {', '.join(self.unknown_keys)}."


def parse(body: bytes, message: type[M]) -> Parsed[M]:
    """Reads one message.

    Unknown fields and nulls are ignored; an id that is not hex is left empty. A record with an
    invalid field is left out, and the others are read.

    Raises:
        Undecodable: it is not JSON, or a field that all records share is invalid.
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Undecodable(f"This is not JSON: {error}.") from error
    parsed = Parsed(message())
    _MessageBuilder(parsed).fill(parsed.message, found, "request", DEPTH)
    return parsed


class _MessageBuilder:
    """Fills messages from JSON objects."""

    def __init__(self, parsed: Parsed[Any]) -> None:
        self._parsed = parsed
        self._in_record = False

    def fill(self, message: Any, found: Any, path: str, depth: int) -> None:
        """Sets the fields of a message.

        Raises:
            Undecodable: the value of a field is invalid.
        """
        if not isinstance(found, dict):
            raise Undecodable(f"This is not OTLP in JSON: {path} is not an object.")
        if not depth:
            raise Undecodable(f"This is not OTLP in JSON: more than {DEPTH} levels are nested.")
        fields = _fields(message.DESCRIPTOR)
        for name, value in found.items():
            if name not in fields:
                self._note_unknown(name)
            elif value is not None:
                self._set(message, fields[name], value, f"{path}.{name}", depth)

    def _note_unknown(self, name: str) -> None:
        if len(self._parsed.unknown_keys) < MAX_UNKNOWN_KEYS and name not in self._parsed.unknown_keys:
            self._parsed.unknown_keys.append(name[:80])

    def _set(self, message: Any, field: FieldDescriptor, value: Any, path: str, depth: int) -> None:
        if field.is_repeated:
            self._extend(getattr(message, field.name), field, value, path, depth)
        elif field.message_type:
            inner = getattr(message, field.name)
            inner.SetInParent()
            self.fill(inner, value, path, depth - 1)
        else:
            try:
                setattr(message, *_field_for(field, value))
            except (ValueError, TypeError, OverflowError) as error:
                if field.name not in IGNORED:
                    raise _type_mismatch(path, value) from error

    def _extend(self, items: Any, field: FieldDescriptor, value: Any, path: str, depth: int) -> None:
        if not isinstance(value, list):
            raise Undecodable(f"This is not OTLP in JSON: {path} is not a list.")
        if field.message_type and field.message_type.name in RECORDS:
            self._extend_records(items, value, path, depth)
            return
        for number, each in enumerate(value):
            if field.message_type:
                try:
                    self.fill(items.add(), {} if each is None else each, f"{path}[{number}]", depth - 1)
                except Undecodable:
                    if self._in_record or field.message_type.name != "KeyValue":
                        raise
                    del items[-1]  # an attribute of a resource or scope, which many records share
                continue
            try:
                items.append(_reader(field)(each))
            except (ValueError, TypeError, OverflowError) as error:
                raise _type_mismatch(f"{path}[{number}]", each) from error

    def _extend_records(self, items: Any, value: list[Any], path: str, depth: int) -> None:
        self._in_record = True
        for number, each in enumerate(value):
            try:
                self.fill(items.add(), each, f"{path}[{number}]", depth - 1)
                self._parsed.records += 1
            except Undecodable as error:
                del items[-1]
                self._parsed.rejected[str(error).removeprefix("This is not OTLP in JSON: ").removesuffix(".")] += 1
        self._in_record = False


def _field_for(field: FieldDescriptor, value: Any) -> tuple[str, Any]:
    """Returns the name of the field that can hold the value, and the value in its type."""
    if field.full_name == INT_VALUE and isinstance(value, int | float) and not -INT64 <= value < INT64:
        # OpenTelemetry JS calls every whole number an int, 1e300 too; what is refused here is lost for its sender
        return "double_value", _double(value)
    return field.name, _reader(field)(value)


def _type_mismatch(path: str, value: Any) -> Undecodable:
    return Undecodable(f"This is not OTLP in JSON: {path} cannot be {str(value)[:80]!r}.")


@cache
def _fields(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    return {field.json_name: field for field in descriptor.fields}


@cache
def _reader(field: FieldDescriptor) -> Reader:
    if field.name in IDS:
        return _id
    if field.enum_type:
        numbers = {each.name: each.number for each in field.enum_type.values}
        return lambda value: numbers[value] if value in numbers else _integer(value)
    return _READERS[field.cpp_type] if field.type != FieldDescriptor.TYPE_BYTES else _bytes


def _id(value: Any) -> bytes:
    try:
        return bytes.fromhex(value)
    except (ValueError, TypeError):
        return b""


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError(value)
    unpadded = value.rstrip("=").replace("-", "+").replace("_", "/")
    return b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    return int(value)


def _double(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError(value)
    return float(value)


def _unchanged(value: Any) -> Any:
    return value


_READERS: Final[dict[int, Reader]] = {
    FieldDescriptor.CPPTYPE_STRING: _unchanged,
    FieldDescriptor.CPPTYPE_BOOL: _unchanged,
    FieldDescriptor.CPPTYPE_DOUBLE: _double,
    FieldDescriptor.CPPTYPE_FLOAT: _double,
    FieldDescriptor.CPPTYPE_INT32: _integer,
    FieldDescriptor.CPPTYPE_INT64: _integer,
    FieldDescriptor.CPPTYPE_UINT32: _integer,
    FieldDescriptor.CPPTYPE_UINT64: _integer,
}
