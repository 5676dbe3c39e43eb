"""One commit as bytes: what a journal keeps of a batch. Pure.

A small JSON document, then the tables that have rows, each as Arrow's own messages compressed by LZ4. The schemas are
those of `store.schema`; a journal of another version is told by its first line.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import pyarrow as pa

from sagascope_collector.records import Following, Process
from sagascope_collector.store import schema
from sagascope_collector.store.contract import Counters
from sagascope_collector.store.presence import Beat, Sighting

TABLES: Final = {"spans": schema.SPANS, "logs": schema.LOGS, "links": schema.LINKS, "origins": schema.ORIGINS}

_LENGTH: Final = struct.Struct("<Q")
_OPTIONS: Final = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
"""In the thread that writes: to hand twenty small columns to others takes three times as long as to compress them."""
_NOT_KEPT: Final = {"spans": ("key",)}
"""The key of a span is made of other columns."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One commit."""

    seq: int
    counters: Counters
    """After it."""
    sightings: Sequence[Sighting]
    spans: pa.Table
    logs: pa.Table
    links: pa.Table
    origins: pa.Table


def kept(name: str) -> pa.Schema:
    """The columns that are kept of a table."""
    return pa.schema([each for each in TABLES[name] if each.name not in _NOT_KEPT.get(name, ())])


_KEPT: Final = {name: kept(name) for name in TABLES}


def write(frame: Frame) -> bytes:
    """The body of a frame."""
    told = [frame.seq, list(frame.counters), [_sighting_written(each) for each in frame.sightings]]
    parts = [orjson.dumps(told), *(_table_written(name, getattr(frame, name)) for name in TABLES)]
    return b"".join(piece for part in parts for piece in (_LENGTH.pack(len(part)), part))


def read(body: bytes) -> Frame:
    """What `write` wrote."""
    parts = _parts(body)
    seq, counters, sightings = orjson.loads(parts[0])
    tables = {name: _table_read(name, part) for name, part in zip(TABLES, parts[1:], strict=True)}
    return Frame(seq, Counters(*counters), tuple(map(_sighting_read, sightings)), **tables)


def _parts(body: bytes) -> list[memoryview]:
    parts, offset, view = [], 0, memoryview(body)
    while offset < len(body):
        (length,) = _LENGTH.unpack_from(body, offset)
        offset += _LENGTH.size
        parts.append(view[offset : offset + length])
        offset += length
    return parts


def _table_written(name: str, table: pa.Table) -> bytes:
    if not table.num_rows:
        return b""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _KEPT[name], options=_OPTIONS) as writer:
        writer.write_table(table.select(_KEPT[name].names).cast(_KEPT[name]).combine_chunks())
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _table_read(name: str, part: memoryview) -> pa.Table:
    return pa.ipc.open_stream(pa.py_buffer(part)).read_all() if len(part) else _KEPT[name].empty_table()


def _sighting_written(each: Sighting) -> list[Any]:
    who = each.process
    process = [who.environment, who.service, who.version, who.identity, who.instance]
    return [process, each.first_seen, each.last_seen, list(map(_beat_written, each.beats))]


def _beat_written(beat: Beat) -> list[Any]:
    said = [beat.at, beat.interval, beat.sequence, sorted(beat.open_spans), beat.part, beat.parts]
    return [*said, beat.dropped, beat.final, *([beat.following] if beat.following else [])]


def _sighting_read(spelt: Sequence[Any]) -> Sighting:
    process, first_seen, last_seen, beats = spelt
    return Sighting(Process(*process), first_seen, last_seen, tuple(map(_beat_read, beats)))


def _beat_read(spelt: Sequence[Any]) -> Beat:
    at, interval, sequence, spans, part, parts, dropped, final, *more = spelt
    following = Following(**more[0]) if more else None
    return Beat(at, interval, sequence, frozenset(spans), part, parts, dropped, final, following)
