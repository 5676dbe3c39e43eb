"""Everything that was received, as Parquet that any engine reads: a folder a day, plain types, attributes as JSON."""

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from sagascope_collector import values
from sagascope_collector.errors import BadValue
from sagascope_collector.records import Log, Mark, Process, Span
from sagascope_collector.storage import Storage

MOMENT: Final = pa.timestamp("ns", tz="UTC")

_SHARED: Final = (
    ("trace_id", pa.string()),
    ("span_id", pa.string()),
    ("environment", pa.string()),
    ("service", pa.string()),
    ("version", pa.string()),
    ("instance", pa.string()),
    ("saga_id", pa.string()),
    ("saga_name", pa.string()),
    ("saga_run", pa.string()),
    ("saga_role", pa.string()),
    ("step_name", pa.string()),
    ("step_type", pa.string()),
    ("step_key", pa.string()),
    ("step_attempt", pa.int64()),
    ("attributes", pa.string()),
    ("resource", pa.string()),
    ("scope", pa.string()),
)

SPANS: Final = pa.schema(
    [
        ("start_time", MOMENT),
        ("end_time", MOMENT),
        ("parent_id", pa.string()),
        ("name", pa.string()),
        ("kind", pa.string()),
        ("status", pa.string()),
        ("status_message", pa.string()),
        ("events", pa.string()),
        ("links", pa.string()),
        *_SHARED,
    ]
)
"""A null end: the span was sent while it was open."""

LOGS: Final = pa.schema(
    [
        ("time", MOMENT),
        ("severity", pa.int32()),
        ("severity_text", pa.string()),
        ("event_name", pa.string()),
        ("body", pa.string()),
        *_SHARED,
    ]
)

TOGETHER: Final = 65_536
"""Rows that are written at once."""

LATEST: Final = 2**63 - 1
"""The last moment that these types can say."""

AT_ONCE: Final = 32
"""Days whose files are open at one time."""


def export(storage: Storage, folder: Path, since: int = 0, until: int = LATEST) -> int:
    """Write what began between two moments, in nanoseconds since 1970, to a folder that did not exist; the records.

    Nothing is left of it if that fails.

    Raises:
        BadValue: the folder is there already, or cannot be written.
    """
    if folder.exists():
        raise BadValue(f"{folder} is there already and was left as it is. Name another folder.")
    place = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        place.mkdir(parents=True)
        written = _write(place, "spans", SPANS, "start_time", map(_span, storage.lookup.spans(since, until)))
        written += _write(place, "logs", LOGS, "time", map(_log, storage.lookup.logs(since, until)))
        place.rename(folder)
        return written
    except OSError as error:
        raise BadValue(f"{folder} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


Row = Mapping[str, Any]


def _write(place: Path, kind: str, schema: pa.Schema, at: str, told: Iterable[Row]) -> int:
    written = 0
    with ExitStack() as stack:
        days = _Days(place / kind, schema, stack)
        rest = iter(told)
        while several := list(islice(rest, TOGETHER)):
            of: dict[str, list[Row]] = {}
            for row in several:
                of.setdefault(_day(row[at]), []).append(row)
            for day, found in of.items():
                days.write(day, found)
            written += len(several)
    return written


def _day(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC).strftime("%Y-%m-%d")


class _Days:
    """The files of days; where there are too many to be open at once, a day gets another file."""

    def __init__(self, place: Path, schema: pa.Schema, stack: ExitStack) -> None:
        self._place = place
        self._schema = schema
        self._open: dict[str, pq.ParquetWriter] = {}
        self._number = 0
        stack.callback(self._close)

    def write(self, day: str, found: list[Row]) -> None:
        """Add rows to a day."""
        if day not in self._open and len(self._open) >= AT_ONCE:
            self._close()
        writer = self._open.get(day) or self._begin(day)
        writer.write_table(pa.Table.from_pylist(found, schema=self._schema))

    def _begin(self, day: str) -> pq.ParquetWriter:
        folder = self._place / f"day={day}"
        folder.mkdir(parents=True, exist_ok=True)
        self._number += 1
        self._open[day] = pq.ParquetWriter(folder / f"{self._number:05}.parquet", self._schema, compression="zstd")
        return self._open[day]

    def _close(self) -> None:
        for writer in self._open.values():
            writer.close()
        self._open.clear()


def _span(span: Span) -> Row:
    return {
        "start_time": span.start,
        "end_time": min(span.end, LATEST) or None,
        "parent_id": span.parent_id,
        "name": span.name,
        "kind": span.kind,
        "status": span.status,
        "status_message": span.status_message,
        "events": _text(
            [{"name": e.name, "at": e.at, "attributes": values.attributes(e.attributes)} for e in span.events]
        ),
        "links": _text(
            [
                {"trace_id": e.trace_id, "span_id": e.span_id, "attributes": values.attributes(e.attributes)}
                for e in span.links
            ]
        ),
        **_shared(span, span.mark, span.process),
    }


def _log(log: Log) -> Row:
    return {
        "time": log.at,
        "severity": log.severity,
        "severity_text": log.severity_text,
        "event_name": log.event_name,
        "body": log.body if isinstance(log.body, str) else _text(values.natural(log.body)),
        **_shared(log, log.mark, log.process),
    }


def _shared(record: Span | Log, mark: Mark, process: Process) -> Row:
    return {
        "trace_id": record.trace_id,
        "span_id": record.span_id,
        "environment": process.environment,
        "service": process.service,
        "version": process.version,
        "instance": process.instance,
        "saga_id": mark.id,
        "saga_name": mark.name,
        "saga_run": mark.run,
        "saga_role": mark.role,
        "step_name": mark.step,
        "step_type": mark.type,
        "step_key": mark.key,
        "step_attempt": mark.attempt,
        "attributes": _text(values.attributes(record.attributes)),
        "resource": _text(values.attributes(record.resource.attributes)),
        "scope": record.scope.name,
    }


def _text(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()
