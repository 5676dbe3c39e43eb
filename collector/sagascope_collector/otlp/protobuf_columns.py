"""Reads OTLP's protobuf into Arrow: many requests at a time, their records in one array.

The messages are declared again, with the numbers and wire types of OTLP, but without its inner levels: messages that
are read one by one stay bytes. The wire format allows that a single message comes in several pieces, which protobuf
merges. Such a message is declared as repeated; pieces that stay bytes are merged by joining them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from numpy.typing import NDArray
from ptars import HandlerPool

_PACKAGE: Final = "sagascope.columnar"

Field = tuple[str, int, str]
"""Name, number and type of a field; a type that ends with ``*`` is repeated."""

_MESSAGES: Final[dict[str, Sequence[Field]]] = {
    "AnyValue": (
        ("string", 1, "string"),
        ("bool", 2, "bool"),
        ("int", 3, "int64"),
        ("double", 4, "double"),
        ("array", 5, "bytes*"),
        ("kvlist", 6, "bytes*"),
        ("bytes", 7, "bytes"),
        ("strindex", 8, "int32"),
    ),
    "KeyValue": (("key", 1, "string"), ("value", 2, "AnyValue*")),
    "Status": (("message", 2, "string"), ("code", 3, "int32")),
    "Span": (
        ("trace_id", 1, "bytes"),
        ("span_id", 2, "bytes"),
        ("trace_state", 3, "string"),
        ("parent_id", 4, "bytes"),
        ("name", 5, "string"),
        ("kind", 6, "int32"),
        ("start", 7, "fixed64"),
        ("end", 8, "fixed64"),
        ("attributes", 9, "KeyValue*"),
        ("dropped_attributes", 10, "uint32"),
        ("events", 11, "bytes*"),
        ("dropped_events", 12, "uint32"),
        ("links", 13, "bytes*"),
        ("dropped_links", 14, "uint32"),
        ("status", 15, "Status*"),
        ("flags", 16, "fixed32"),
    ),
    "LogRecord": (
        ("timestamp", 1, "fixed64"),
        ("severity", 2, "int32"),
        ("severity_text", 3, "string"),
        ("body", 5, "AnyValue*"),
        ("attributes", 6, "KeyValue*"),
        ("dropped_attributes", 7, "uint32"),
        ("flags", 8, "fixed32"),
        ("trace_id", 9, "bytes"),
        ("span_id", 10, "bytes"),
        ("observed_at", 11, "fixed64"),
        ("event_name", 12, "string"),
    ),
    "ScopeSpans": (("scope", 1, "bytes*"), ("records", 2, "Span*"), ("schema_url", 3, "string")),
    "ScopeLogs": (("scope", 1, "bytes*"), ("records", 2, "LogRecord*"), ("schema_url", 3, "string")),
    "ResourceSpans": (("resource", 1, "bytes*"), ("scopes", 2, "ScopeSpans*"), ("schema_url", 3, "string")),
    "ResourceLogs": (("resource", 1, "bytes*"), ("scopes", 2, "ScopeLogs*"), ("schema_url", 3, "string")),
    "Traces": (("resources", 1, "ResourceSpans*"),),
    "Logs": (("resources", 1, "ResourceLogs*"),),
}

ONE_OF: Final = ("string", "bool", "int", "double", "bytes", "strindex")
"""The members of AnyValue's oneof that can be unset."""


def _file_descriptor() -> FileDescriptorProto:
    file = FileDescriptorProto(name="sagascope/columnar.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        if name == "AnyValue":
            message.oneof_decl.add(name="value")
        for field_name, number, type_ in fields:
            field = message.field.add(name=field_name, number=number, label=_label(type_))
            _set_type(field, type_.removesuffix("*"))
            if name == "AnyValue" and field_name in ONE_OF:
                field.oneof_index = 0
    return file


def _label(type_: str) -> Any:
    return FieldDescriptorProto.LABEL_REPEATED if type_.endswith("*") else FieldDescriptorProto.LABEL_OPTIONAL


def _set_type(field: FieldDescriptorProto, type_: str) -> None:
    if type_ in _MESSAGES:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{_PACKAGE}.{type_}"
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{type_.upper()}")


def _reader(message: str) -> Any:
    pool = DescriptorPool()
    pool.AddSerializedFile(_file_descriptor().SerializeToString())
    descriptor = pool.FindMessageTypeByName(f"{_PACKAGE}.{message}")
    return HandlerPool([descriptor.file]).get_for_message(descriptor)


TRACES: Final = _reader("Traces")
LOGS: Final = _reader("Logs")


Bools = NDArray[np.bool_]
Integers = NDArray[np.integer]


class Declined(Exception):
    """Some requests cannot be read by columns."""

    def __init__(self, requests: Iterable[int]) -> None:
        self.requests = frozenset(map(int, requests))
        """Their positions among the requests that were passed."""


def decline(where: Bools, request: Integers) -> None:
    """Declines the requests of the records that are marked; `request` has the request of each record.

    Raises:
        Declined: there is such a position.
    """
    if where.any():
        raise Declined(np.unique(request[where]))


class ScopeFields(NamedTuple):
    """The resource and scope of records, as they were sent."""

    request: int
    resource: bytes
    resource_schema: str
    scope: bytes
    scope_schema: str


@dataclass(frozen=True, slots=True)
class NestedRecords:
    """The records of many requests."""

    records: pa.StructArray
    scope: Integers
    """The number of the scope of each record, ascending."""
    request: Integers
    """The number of the request of each record, ascending."""
    scopes: Sequence[ScopeFields]

    def only(self, wanted: Bools) -> "NestedRecords":
        """Returns the records that are wanted."""
        records = self.records.filter(pa.array(wanted))
        return replace(self, records=records, scope=self.scope[wanted], request=self.request[wanted])


def unnest(reader: Any, bodies: Sequence[bytes]) -> NestedRecords:
    """Reads requests with one of the readers of this module.

    Raises:
        Declined: some are not what they should be.
    """
    resources = _read(reader, bodies).column(0)
    scopes = resources.values.field("scopes")
    records = scopes.values.field("records")
    of_resource = owners(resources)
    decline(sizes(scopes) == 0, of_resource)  # the columns lack what such a resource holds
    of_scope = of_resource[owners(scopes)]
    scope = owners(records)
    return NestedRecords(records.values, scope, of_scope[scope], _scopes(of_scope, owners(scopes), resources.values))


def owners(lists: pa.ListArray) -> Integers:
    """Returns for each element of the lists the number of its list."""
    return np.repeat(np.arange(len(lists)), sizes(lists))


def sizes(lists: pa.ListArray) -> Integers:
    """Returns the number of elements of each list."""
    found: Integers = np.diff(lists.offsets.to_numpy())
    return found


def _read(reader: Any, bodies: Sequence[bytes]) -> pa.RecordBatch:
    if (batch := _batch(reader, bodies)) is not None:
        return batch
    raise Declined(number for number, body in enumerate(bodies) if _batch(reader, [body]) is None)


def _batch(reader: Any, bodies: Sequence[bytes]) -> pa.RecordBatch | None:
    """Returns the records of requests; None if one of them is invalid."""
    try:
        return reader.list_to_record_batch(list(bodies))
    except BaseException as error:  # a panic of the Rust library is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        return None


def _scopes(request: Integers, resource: Integers, resources: pa.StructArray) -> list[ScopeFields]:
    senders = [b"".join(each) for each in resources.field("resource").to_pylist()]
    schemas = resources.field("schema_url").to_pylist()
    scopes = resources.field("scopes").values
    return [
        ScopeFields(int(request[number]), senders[sender], schemas[sender], b"".join(scope), schema)
        for number, (sender, scope, schema) in enumerate(
            zip(resource, scopes.field("scope").to_pylist(), scopes.field("schema_url").to_pylist(), strict=True)
        )
    ]
