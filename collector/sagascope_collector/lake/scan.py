"""Copies from the tables of a lake what a collector has not copied yet, where no snapshots are left to follow."""

from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from sagascope_collector.lake.catalog import SQL
from sagascope_collector.lake.columns import to_batch
from sagascope_collector.lake.cursor import Position
from sagascope_collector.observations import load_observations
from sagascope_collector.storage import Storage

SCAN_ROWS: Final = 50_000
"""Records of one batch."""

SNAPSHOTS: Final = 1_000
"""Snapshots whose texts are read together."""


def scan(
    connection: duckdb.DuckDBPyConnection, session: Any, storage: Storage, position: Position, latest: int
) -> Position:
    """Appends all rows with higher row ids than those of `position`; returns the position after them.

    Row ids grow with each commit, and survive merging and rewriting. After an interruption, the scan starts again: what
    was appended already counts once.

    Args:
        connection: has the lake attached.
        session: of its catalog.
        storage: the local database.
        position: what it has already.
        latest: the snapshot to copy.

    Raises:
        duckdb.Error: the lake cannot be read.
        psycopg.Error: the catalog cannot be read.
        StorageUnavailable: the local database cannot be written.
    """
    storage.instances.adopt(document for (document,) in session.execute(SQL["select_instances"]).fetchall())
    _observe(session, storage, position.snapshot, latest)
    connection.execute(_at(latest, "create_links_since"), {"first": position.linked_spans})
    ((links,),) = connection.execute(SQL["select_last_link"]).fetchall()
    try:
        spans = _append(connection, storage, "spans", position.spans, latest)
        logs = _append(connection, storage, "logs", position.logs, latest)
    finally:
        connection.execute(SQL["drop_links_since"])
    storage.records.write_snapshot()  # with what is known of processes, which no record carries
    return Position(position.lake, latest, spans, logs, max(position.linked_spans, links))


def _at(snapshot: int, name: str) -> str:
    return SQL[name].replace("$snapshot", str(snapshot))


def _observe(session: Any, storage: Storage, after: int, until: int) -> None:
    while after < until:
        found = session.execute(SQL["select_snapshots"], {"after": after, "limit": SNAPSHOTS}).fetchall()
        texts = [text for number, _, text in found if text and number <= until]
        storage.instances.observe([each for text in texts for each in load_observations(text)])
        after = found[-1][0] if found else until


def _append(connection: duckdb.DuckDBPyConnection, storage: Storage, kind: str, first: int, snapshot: int) -> int:
    """Appends the spans or log records; returns the row id after the last."""
    end = first
    with connection.cursor() as other, connection.cursor() as reading:
        statement = _at(snapshot, f"select_{kind}_since")
        for part in reading.sql(statement, params={"first": first}).to_arrow_reader(SCAN_ROWS):
            rows = pa.Table.from_batches([part])
            if kind == "spans":
                other.register("batch", rows)
                links = other.execute(SQL["select_links_of_spans"]).to_arrow_table()
                other.unregister("batch")
                storage.records.append(to_batch(rows, None, links, ()))
            else:
                storage.records.append(to_batch(None, rows, None, ()))
            end = max(end, int(pc.max(rows["row_number"]).as_py()) + 1)
    return end
