"""`Presence`s to columns and back. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson
import pyarrow as pa

from sagascope_collector.records import Following, Listing, Process
from sagascope_collector.store.presence import Beat, Presence

SCHEMA: Final = pa.schema(
    [
        ("environment", pa.string()),
        ("service", pa.string()),
        ("identity", pa.string()),
        ("version", pa.string()),
        ("instance", pa.string()),
        ("first_seen", pa.uint64()),
        ("last_seen", pa.uint64()),
        ("beat_at", pa.uint64()),
        ("beat_interval", pa.float64()),
        ("beat_sequence", pa.int64()),
        ("beat_open_spans", pa.string()),
        ("beat_parts", pa.int32()),
        ("beat_dropped", pa.int64()),
        ("beat_final", pa.bool_()),
        ("parts_seen", pa.string()),
        ("past", pa.string()),
        ("beat_following", pa.string()),
    ]
)


def table(presences: Iterable[Presence]) -> pa.Table:
    """The presences as a table of `SCHEMA`."""
    return pa.Table.from_pylist([_written(each) for each in presences], schema=SCHEMA)


def read(columns: Sequence[Any]) -> Presence:
    """One fetched row, its columns in the order of `SCHEMA`."""
    row = dict(zip(SCHEMA.names, columns, strict=True))
    process = Process(row["environment"], row["service"], row["version"], row["identity"], row["instance"])
    parts_seen = frozenset(orjson.loads(row["parts_seen"]))
    past = tuple(Listing(at, frozenset(spans)) for at, spans in orjson.loads(row["past"]))
    return Presence(process, row["first_seen"], row["last_seen"], _beat(row), parts_seen, past)


def _beat(row: dict[str, Any]) -> Beat | None:
    if row["beat_at"] is None:
        return None
    return Beat(
        at=row["beat_at"],
        interval=row["beat_interval"],
        sequence=row["beat_sequence"],
        open_spans=frozenset(orjson.loads(row["beat_open_spans"])),
        parts=row["beat_parts"],
        dropped=row["beat_dropped"],
        final=row["beat_final"],
        following=Following(**orjson.loads(row["beat_following"])) if row["beat_following"] else None,
    )


def _written(presence: Presence) -> dict[str, Any]:
    process, beat = presence.process, presence.beat
    return {
        "environment": process.environment,
        "service": process.service,
        "identity": process.identity,
        "version": process.version,
        "instance": process.instance,
        "first_seen": presence.first_seen,
        "last_seen": presence.last_seen,
        "parts_seen": orjson.dumps(sorted(presence.parts_seen)).decode(),
        "past": orjson.dumps([(each.at, sorted(each.open_spans)) for each in presence.past]).decode(),
        **(_beat_written(beat) if beat else {}),
    }


def _beat_written(beat: Beat) -> dict[str, Any]:
    return {
        "beat_at": beat.at,
        "beat_interval": beat.interval,
        "beat_sequence": beat.sequence,
        "beat_open_spans": orjson.dumps(sorted(beat.open_spans)).decode(),
        "beat_parts": beat.parts,
        "beat_dropped": beat.dropped,
        "beat_final": beat.final,
        "beat_following": orjson.dumps(beat.following).decode() if beat.following else None,
    }
