"""OTLP's JSON form, which is protobuf's but for ids (hex, not base64) and enums (numbers). Pure.

It is read into the protobuf messages themselves, so that everything behind has one form to deal with.
"""

from base64 import b64decode
from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeVar

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


def parse(body: bytes, message: type[M]) -> M:
    """Read one message. Unknown fields and nulls are passed over; an id that is no hex is left empty.

    Raises:
        Undecodable: it is no JSON, or a field holds what it cannot.
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Undecodable(f"This is no JSON: {error}.") from error
    read: M = message()
    _fill(read, found, "request", DEPTH)
    return read


def _fill(message: Any, found: Any, path: str, depth: int) -> None:
    if not isinstance(found, dict):
        raise Undecodable(f"This is no OTLP in JSON: {path} is not an object.")
    if not depth:
        raise Undecodable(f"This is no OTLP in JSON: more than {DEPTH} levels are nested.")
    fields = _fields(message.DESCRIPTOR)
    for name, value in found.items():
        if value is not None and name in fields:
            _set(message, fields[name], value, f"{path}.{name}", depth)


def _set(message: Any, field: FieldDescriptor, value: Any, path: str, depth: int) -> None:
    if field.is_repeated:
        _extend(getattr(message, field.name), field, value, path, depth)
    elif field.message_type:
        inner = getattr(message, field.name)
        inner.SetInParent()
        _fill(inner, value, path, depth - 1)
    else:
        try:
            setattr(message, *_fitting(field, value))
        except (ValueError, TypeError, OverflowError) as error:
            raise _misfit(path, value) from error


def _fitting(field: FieldDescriptor, value: Any) -> tuple[str, Any]:
    """The field that takes the value, and the value as it takes it."""
    if field.full_name == INT_VALUE and isinstance(value, int | float) and not -INT64 <= value < INT64:
        # OpenTelemetry JS calls every whole number an int, 1e300 too; what is refused here is lost for its sender
        return "double_value", _double(value)
    return field.name, _reader(field)(value)


def _extend(items: Any, field: FieldDescriptor, value: Any, path: str, depth: int) -> None:
    if not isinstance(value, list):
        raise Undecodable(f"This is no OTLP in JSON: {path} is not a list.")
    for number, each in enumerate(value):
        if field.message_type:
            _fill(items.add(), {} if each is None else each, f"{path}[{number}]", depth - 1)
            continue
        try:
            items.append(_reader(field)(each))
        except (ValueError, TypeError, OverflowError) as error:
            raise _misfit(f"{path}[{number}]", each) from error


def _misfit(path: str, value: Any) -> Undecodable:
    return Undecodable(f"This is no OTLP in JSON: {path} cannot be {str(value)[:80]!r}.")


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


def _same(value: Any) -> Any:
    return value


_READERS: Final[dict[int, Reader]] = {
    FieldDescriptor.CPPTYPE_STRING: _same,
    FieldDescriptor.CPPTYPE_BOOL: _same,
    FieldDescriptor.CPPTYPE_DOUBLE: _double,
    FieldDescriptor.CPPTYPE_FLOAT: _double,
    FieldDescriptor.CPPTYPE_INT32: _integer,
    FieldDescriptor.CPPTYPE_INT64: _integer,
    FieldDescriptor.CPPTYPE_UINT32: _integer,
    FieldDescriptor.CPPTYPE_UINT64: _integer,
}
