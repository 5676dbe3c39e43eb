"""Exports of records: lines of OTLP JSON, which `reader` and any OpenTelemetry Collector can read, and Parquet files.

Parquet files are in a folder for each day, with plain column types and attributes as JSON.
"""

import math
import os
import shutil
from base64 import b64encode
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import orjson
import pyarrow as pa

from sagascope_collector.errors import BadValue
from sagascope_collector.json_values import non_finite_name
from sagascope_collector.records import Attributes, Event, Link, Log, Resource, Scope, Span, Value
from sagascope_collector.storage import Storage

LINE_RECORDS: Final = 500

KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES: Final = ("unset", "ok", "error")

Record = TypeVar("Record", Span, Log)
Json = dict[str, Any]


def lines(spans: Iterable[Span], logs: Iterable[Log]) -> Iterator[bytes]:
    """Yields the lines of a file; each ends with a newline."""
    for part in _parts(spans):
        yield _line(part, _span, "resourceSpans", "scopeSpans", "spans")
    for of_logs in _parts(logs):
        yield _line(of_logs, _log, "resourceLogs", "scopeLogs", "logRecords")


def _parts(records: Iterable[Record]) -> Iterator[list[Record]]:
    rest = iter(records)
    while part := list(islice(rest, LINE_RECORDS)):
        yield part


def _line(records: Sequence[Record], encode: Callable[[Record], Json], outer: str, inner: str, leaf: str) -> bytes:
    """Encodes one request, in which records are grouped by resource and scope."""
    resources: dict[Hashable, tuple[Resource, dict[Hashable, tuple[Scope, list[Json]]]]] = {}
    for each in records:
        _, scopes = resources.setdefault(orjson.dumps(_resource(each.resource)), (each.resource, {}))
        _, leaves = scopes.setdefault(orjson.dumps(_scope(each.scope)), (each.scope, []))
        leaves.append(encode(each))
    resource_records = [
        _without_defaults(
            {
                "resource": _resource(resource),
                "schemaUrl": resource.schema_url,
                inner: [
                    _without_defaults({"scope": _scope(scope), "schemaUrl": scope.schema_url, leaf: leaves})
                    for scope, leaves in scopes.values()
                ],
            }
        )
        for resource, scopes in resources.values()
    ]
    return orjson.dumps({outer: resource_records}) + b"\n"


def _resource(resource: Resource) -> Json:
    entities = [
        _without_defaults(
            {
                "schemaUrl": each.schema_url,
                "type": each.type,
                "idKeys": list(each.id_keys),
                "descriptionKeys": list(each.description_keys),
            }
        )
        for each in resource.entities
    ]
    return _without_defaults(
        {
            "attributes": _attributes(resource.attributes),
            "droppedAttributesCount": resource.dropped_attributes,
            "entityRefs": entities,
        }
    )


def _scope(scope: Scope) -> Json:
    return _without_defaults(
        {
            "name": scope.name,
            "version": scope.version,
            "attributes": _attributes(scope.attributes),
            "droppedAttributesCount": scope.dropped_attributes,
        }
    )


def _span(span: Span) -> Json:
    return _without_defaults(
        {
            "traceId": span.trace_id,
            "spanId": span.span_id,
            "traceState": span.trace_state,
            "parentSpanId": span.parent_id,
            "flags": span.flags,
            "name": span.name,
            "kind": _number(KINDS, span.kind),
            "startTimeUnixNano": str(span.start),
            "endTimeUnixNano": str(span.end),
            "attributes": _attributes(span.attributes),
            "droppedAttributesCount": span.dropped_attributes,
            "events": list(map(_event, span.events)),
            "droppedEventsCount": span.dropped_events,
            "links": list(map(_link, span.links)),
            "droppedLinksCount": span.dropped_links,
            "status": _without_defaults({"message": span.status_message, "code": _number(STATUSES, span.status)}),
        }
    )


def _event(event: Event) -> Json:
    return _without_defaults(
        {
            "timeUnixNano": str(event.at),
            "name": event.name,
            "attributes": _attributes(event.attributes),
            "droppedAttributesCount": event.dropped_attributes,
        }
    )


def _link(link: Link) -> Json:
    return _without_defaults(
        {
            "traceId": link.trace_id,
            "spanId": link.span_id,
            "traceState": link.trace_state,
            "attributes": _attributes(link.attributes),
            "droppedAttributesCount": link.dropped_attributes,
            "flags": link.flags,
        }
    )


def _log(log: Log) -> Json:
    return _without_defaults(
        {
            "timeUnixNano": str(log.timestamp),
            "observedTimeUnixNano": str(log.observed_at),
            "severityNumber": log.severity,
            "severityText": log.severity_text,
            "body": None if log.body is None else _value(log.body),
            "attributes": _attributes(log.attributes),
            "droppedAttributesCount": log.dropped_attributes,
            "flags": log.flags,
            "traceId": log.trace_id,
            "spanId": log.span_id,
            "eventName": log.event_name,
        }
    )


def _without_defaults(fields: Json) -> Json:
    """Leaves out default values: an absent field means the same."""
    return {name: value for name, value in fields.items() if value not in (None, "", 0, [], {})}


def _number(names: Sequence[str], name: str) -> int:
    """Returns the number of an enum value; a value without a name is its number as text."""
    return names.index(name) if name in names else int(name)


def _attributes(attributes: Attributes) -> list[Json]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: Value) -> Json:
    match value:
        case None:
            return {}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value if math.isfinite(value) else non_finite_name(value)}
        case str():
            return {"stringValue": value}
        case bytes():
            return {"bytesValue": b64encode(value).decode("ascii")}
        case Mapping():
            return {"kvlistValue": {"values": _attributes(value)}}
        case _:
            return {"arrayValue": {"values": list(map(_value, value))}}


MAX_TIMESTAMP_NS: Final = 2**63 - 1

MAX_OPEN_FILES: Final = 32

MAX_DAYS: Final = 100_000
"""Maximum number of days whose records may be read together; pyarrow allows 1,024."""

TIMESTAMP: Final = pa.timestamp("ns", tz="UTC")


def export_parquet(storage: Storage, folder: Path, since: int = 0, until: int = MAX_TIMESTAMP_NS) -> int:
    """Writes the records that started in a period, in Unix nanoseconds, to a new folder; returns their number.

    Removes the folder if the export fails.

    Raises:
        BadValue: the folder exists, or cannot be written.
    """
    if folder.exists():
        raise BadValue(f"{folder} already exists and was not changed. Name another folder.")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    kinds: tuple[Literal["spans", "logs"], ...] = ("spans", "logs")
    try:
        temporary.mkdir(parents=True)
        written = sum(_write(temporary / kind, storage.lookup.between(kind, since, until)) for kind in kinds)
        temporary.rename(folder)  # at the end, so that a folder of this name is complete
        return written
    except OSError as error:
        raise BadValue(f"{folder} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(folder: Path, tables: Iterator[pa.Table]) -> int:
    import pyarrow.dataset as ds  # no other part of the collector needs it

    first = next(tables, None)
    if first is None:
        return 0
    types = [TIMESTAMP if pa.types.is_timestamp(each) else each for each in first.schema.types]
    schema = pa.schema(zip(first.schema.names, types, strict=True))
    written = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal written
        table: pa.Table | None = first
        while table is not None:
            written += table.num_rows
            yield from table.cast(schema).to_batches()
            table = next(tables, None)

    parquet = ds.ParquetFileFormat()
    ds.write_dataset(
        batches(),
        folder,
        schema=schema,
        format=parquet,
        file_options=parquet.make_write_options(compression="zstd"),
        partitioning=ds.partitioning(pa.schema([("day", pa.string())]), flavor="hive"),
        max_open_files=MAX_OPEN_FILES,
        max_partitions=MAX_DAYS,
    )
    return written
