"""Exports all records as Parquet files: a folder for each day, plain column types, attributes as JSON."""

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

from sagascope_collector import records
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import BadValue
from sagascope_collector.records import Log, Mark, Process, Span
from sagascope_collector.storage import Storage

TIMESTAMP: Final = pa.timestamp("ns", tz="UTC")

_COMMON_COLUMNS: Final = (
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

SPAN_SCHEMA: Final = pa.schema(
    [
        ("start_time", TIMESTAMP),
        ("end_time", TIMESTAMP),
        ("parent_id", pa.string()),
        ("name", pa.string()),
        ("kind", pa.string()),
        ("status", pa.string()),
        ("status_message", pa.string()),
        ("events", pa.string()),
        ("links", pa.string()),
        *_COMMON_COLUMNS,
    ]
)
"""The end time of a span that was sent while it was open is null."""

LOG_SCHEMA: Final = pa.schema(
    [
        ("time", TIMESTAMP),
        ("severity", pa.int32()),
        ("severity_text", pa.string()),
        ("event_name", pa.string()),
        ("body", pa.string()),
        *_COMMON_COLUMNS,
    ]
)

BATCH_ROWS: Final = 65_536

MAX_TIMESTAMP_NS: Final = 2**63 - 1

MAX_OPEN_FILES: Final = 32


def export(storage: Storage, folder: Path, since: int = 0, until: int = MAX_TIMESTAMP_NS) -> int:
    """Writes the records that started in a period, in Unix nanoseconds, to a new folder; returns their number.

    Removes the folder if the export fails.

    Raises:
        BadValue: the folder exists, or cannot be written.
    """
    if folder.exists():
        raise BadValue(f"{folder} already exists and was not changed. Name another folder.")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        written = _write(temporary, "spans", SPAN_SCHEMA, "start_time", map(_span, storage.lookup.spans(since, until)))
        written += _write(temporary, "logs", LOG_SCHEMA, "time", map(_log, storage.lookup.logs(since, until)))
        temporary.rename(folder)
        return written
    except OSError as error:
        raise BadValue(f"{folder} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


Row = Mapping[str, Any]


def _write(folder: Path, kind: str, schema: pa.Schema, time_column: str, rows: Iterable[Row]) -> int:
    written = 0
    with ExitStack() as stack:
        days = _DayFiles(folder / kind, schema, stack)
        remaining = iter(rows)
        while batch := list(islice(remaining, BATCH_ROWS)):
            by_day: dict[str, list[Row]] = {}
            for row in batch:
                by_day.setdefault(_day(row[time_column]), []).append(row)
            for day, day_rows in by_day.items():
                days.write(day, day_rows)
            written += len(batch)
    return written


def _day(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // NANOSECONDS_PER_SECOND, UTC).strftime("%Y-%m-%d")


class _DayFiles:
    """The Parquet files, by day. Closes them all when too many are open; a day may thus have several files."""

    def __init__(self, folder: Path, schema: pa.Schema, stack: ExitStack) -> None:
        self._folder = folder
        self._schema = schema
        self._open: dict[str, pq.ParquetWriter] = {}
        self._number = 0
        stack.callback(self._close)

    def write(self, day: str, rows: list[Row]) -> None:
        """Appends rows to the file of a day."""
        if day not in self._open and len(self._open) >= MAX_OPEN_FILES:
            self._close()
        writer = self._open.get(day) or self._open_file(day)
        writer.write_table(pa.Table.from_pylist(rows, schema=self._schema))

    def _open_file(self, day: str) -> pq.ParquetWriter:
        folder = self._folder / f"day={day}"
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
        "end_time": min(span.end, MAX_TIMESTAMP_NS) or None,
        "parent_id": span.parent_id,
        "name": span.name,
        "kind": span.kind,
        "status": span.status,
        "status_message": span.status_message,
        "events": _json_text(
            [{"name": e.name, "at": e.at, "attributes": records.json_attributes(e.attributes)} for e in span.events]
        ),
        "links": _json_text(
            [
                {"trace_id": e.trace_id, "span_id": e.span_id, "attributes": records.json_attributes(e.attributes)}
                for e in span.links
            ]
        ),
        **_common_values(span, span.mark, span.process),
    }


def _log(log: Log) -> Row:
    return {
        "time": log.at,
        "severity": log.severity,
        "severity_text": log.severity_text,
        "event_name": log.event_name,
        "body": log.body if isinstance(log.body, str) else _json_text(records.json_value(log.body)),
        **_common_values(log, log.mark, log.process),
    }


def _common_values(record: Span | Log, mark: Mark, process: Process) -> Row:
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
        "attributes": _json_text(records.json_attributes(record.attributes)),
        "resource": _json_text(records.json_attributes(record.resource.attributes)),
        "scope": record.scope.name,
    }


def _json_text(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()
