"""Resources and scopes, which repeat in every request. Pure."""

from functools import lru_cache
from typing import Final, NamedTuple

import orjson
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from sagascope_collector.otlp import anyvalue, marks
from sagascope_collector.records import Process

KEPT_BYTES: Final = 8 * 1024
"""A larger resource or scope is read anew each time: what is kept in memory stays small."""


class ReadResource(NamedTuple):
    """A resource, and the process that it describes."""

    process: Process
    text: str


def resource(message: Resource, schema_url: str) -> ReadResource:
    """Read a resource; `text` is its stored form."""
    raw = message.SerializeToString()
    return _kept_resource(raw, schema_url) if len(raw) <= KEPT_BYTES else _resource(message, schema_url)


def scope(message: InstrumentationScope, schema_url: str) -> str:
    """The stored form of a scope."""
    raw = message.SerializeToString()
    return _kept_scope(raw, schema_url) if len(raw) <= KEPT_BYTES else _scope(message, schema_url)


@lru_cache(maxsize=1024)
def _kept_resource(raw: bytes, schema_url: str) -> ReadResource:
    return _resource(Resource.FromString(raw), schema_url)


@lru_cache(maxsize=1024)
def _kept_scope(raw: bytes, schema_url: str) -> str:
    return _scope(InstrumentationScope.FromString(raw), schema_url)


def _resource(message: Resource, schema_url: str) -> ReadResource:
    entities = [
        (each.schema_url, each.type, list(each.id_keys), list(each.description_keys)) for each in message.entity_refs
    ]
    text = orjson.dumps(
        (anyvalue.encoded_pairs(message.attributes), message.dropped_attributes_count, schema_url, entities)
    )
    return ReadResource(marks.process(anyvalue.plain(message.attributes)), text.decode())


def _scope(message: InstrumentationScope, schema_url: str) -> str:
    attributes = anyvalue.encoded_pairs(message.attributes)
    dropped = message.dropped_attributes_count
    return orjson.dumps((message.name, message.version, attributes, dropped, schema_url)).decode()
