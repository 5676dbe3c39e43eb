"""The records of a lake: batches as rows, and how far a database has copied them.

`scan` copies what a database does not have where no snapshots are left to follow.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from sagascope_collector.lake.catalog import SQL
from sagascope_collector.observations import Identity, Observation, load_observations
from sagascope_collector.storage import Batch, Storage, schema


class Position(NamedTuple):
    """A position in a lake; the first one is before all records."""

    lake: str
    """The lake's identity."""
    snapshot: int = 0
    """The last snapshot that is stored completely."""
    spans: int = 0
    """The rows of each table with smaller row ids are stored, in whatever snapshot they are."""
    logs: int = 0
    linked_spans: int = 0


class LakeCursor:
    """The table `lake_cursor`."""

    def __init__(self, storage: Storage) -> None:
        self._database = storage.database

    def read(self) -> Position | None:
        """Returns the stored position; None: the database follows no lake."""
        found = self._database.rows(SQL["select_cursor"])
        return Position(*found[0]) if found else None

    def write(self, position: Position) -> None:
        """Stores a position."""
        with self._database.transaction():
            self._database.rows(SQL["delete_cursor"])
            self._database.rows(SQL["insert_cursor"], position._asdict())


_ORIGIN: Final = schema.ORIGINS.names


def to_lake(table: pa.Table, origins: pa.Table) -> pa.Table:
    """Returns rows of `schema.SPANS` or `schema.LOGS` with the columns of their origin instead of its number."""
    of_rows = origins.take(table["origin"])
    for name in _ORIGIN:
        table = table.append_column(name, of_rows[name])
    return table.drop_columns(["origin"])


def links_to_lake(links: pa.Table, spans: pa.Table) -> pa.Table:
    """Returns rows of `schema.LINKS` with the time of receipt of their spans."""
    if not links.num_rows:
        return links
    times = zip(*(spans[name].to_pylist() for name in ("trace_id", "span_id", "received_at")), strict=True)
    received_at = {(trace_id, span_id): at for trace_id, span_id, at in times}
    ids = zip(links["trace_id"].to_pylist(), links["span_id"].to_pylist(), strict=True)
    return links.append_column("received_at", pa.array([received_at[each] for each in ids], pa.int64()))


def to_batch(
    spans: pa.Table | None, logs: pa.Table | None, links: pa.Table | None, observations: Sequence[Observation]
) -> Batch:
    """Returns the batch of rows that were written by `to_lake` and `links_to_lake`."""
    numbers: dict[tuple[str, ...], int] = {}
    return Batch(
        spans=_numbered(spans, schema.SPANS, numbers),
        logs=_numbered(logs, schema.LOGS, numbers),
        links=links.select(schema.LINKS.names).cast(schema.LINKS) if links else schema.no_rows(schema.LINKS),
        origins=_origins(numbers),
        observations=tuple(observations),
    )


def _origins(numbers: Iterable[tuple[str, ...]]) -> pa.Table:
    columns = list(zip(*numbers, strict=True)) or [()] * len(_ORIGIN)
    return pa.table([pa.array(column, pa.string()) for column in columns], schema=schema.ORIGINS)


def _numbered(table: pa.Table | None, wanted: pa.Schema, numbers: dict[tuple[str, ...], int]) -> pa.Table:
    if table is None:
        return schema.no_rows(wanted)
    rows = zip(*(table[name].to_pylist() for name in _ORIGIN), strict=True)
    origin = pa.array([numbers.setdefault(row, len(numbers)) for row in rows], pa.int32())
    return table.append_column("origin", origin).select(wanted.names).cast(wanted)


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


class InstanceTable:
    """The table `sagascope_instances`, as a copy of the lake writes it. For one thread."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._written: dict[Identity, str] = {}

    def write(self, session: Any) -> None:
        """Stores all that the copy knows; only then may snapshots expire that it has copied.

        Raises:
            psycopg.Error: nothing was stored.
        """
        known = self._storage.instances.documents()
        changed = [(*key, text) for key, text in known.items() if self._written.get(key) != text]
        with session.transaction(), session.cursor() as cursor:
            cursor.executemany(SQL["put_instance"], changed)
            cursor.executemany(SQL["delete_instance"], [key for key in self._written if key not in known])
        self._written = known
