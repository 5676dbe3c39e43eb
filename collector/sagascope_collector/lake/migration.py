"""Moves the records of a database file into a lake. It can be interrupted at any time, and repeated."""

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Any, Final, NamedTuple

import duckdb
import orjson
import psycopg
import pyarrow as pa
from pydantic import TypeAdapter

from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.errors import CannotStart, StorageUnavailable
from sagascope_collector.lake import incidents
from sagascope_collector.lake.catalog import SQL, Lake
from sagascope_collector.lake.writer import LakeWriter
from sagascope_collector.observations import Beat, KnownInstance, Observation, dump_observations
from sagascope_collector.storage import Storage, schema

CHUNK_ROWS: int = 50_000
"""Records of one commit, about."""

_INSTANCE: Final = TypeAdapter(KnownInstance)


class _Part(NamedTuple):
    """Commits, or moves of long-running sagas, that are written together."""

    kind: str
    """``records``, or ``moves`` for the tables of long-running sagas."""
    first: int
    last: int


class Migration:
    """Moves one database. The lake knows how far it is: each of its commits says so in a row of its own."""

    def __init__(self, storage: Storage, lake: Lake) -> None:
        """Creates it.

        Raises:
            CannotStart: the database is a copy of a lake itself.
        """
        if storage.database.rows(SQL["select_cursor"]):
            raise CannotStart("The database of --db is a copy of a lake; its records are there.")
        self._storage = storage
        self._lake = lake
        ((self._id,),) = storage.database.rows(SQL["select_database"])
        self._writer = LakeWriter(lake, f"migration-{self._id}")

    def run(self, report: Callable[[int], None]) -> int:
        """Moves what is not in the lake yet; returns the number of records, and reports it after each commit.

        Raises:
            CannotStart: a copy of the database, which has other records since, was moved. Nothing is moved.
            StorageUnavailable: the lake does not answer. What was moved stays; the next call goes on.
        """
        try:
            with self._lake.attached() as connection:
                done = dict(connection.execute(SQL["select_migrated"], [self._id]).fetchall())
                self._check_history(connection, done.get("records", 0))
            with self._lake.session() as session:
                self._write_times(session)
            moved = 0
            parts = list(self._parts(done))
            for part in parts:
                moved += self._move(part, is_last=part is parts[-1])
                report(moved)
            with self._lake.session() as session:
                incidents.move_incidents(self._storage, session)
            return moved
        except (duckdb.Error, psycopg.Error) as error:
            raise StorageUnavailable(f"The lake cannot be written: {self._lake.reason(error)}") from error
        finally:
            self._writer.close()

    def _check_history(self, connection: duckdb.DuckDBPyConnection, last: int) -> None:
        """Checks that the commits up to `last` were moved from this file: its last records are in the lake."""
        moved = self._storage.database.arrow(SQL["select_last_moved"], {"last": last})
        if not moved.num_rows:
            return
        connection.register("batch", moved)
        ((number,),) = connection.execute(SQL["count_moved"]).fetchall()
        if not number:
            raise CannotStart(
                "The records of another copy of this database are in the lake: one was restored from a backup of the "
                "other, and both went on. Only one of them can be moved."
            )

    def _parts(self, done: Mapping[str, int]) -> Iterator[_Part]:
        """Returns what is missing after the last commit and move that are in the lake."""
        last = self._storage.records.seq
        for first in range(done.get("records", 0) + 1, last + 1, CHUNK_ROWS):
            yield _Part("records", first, min(first + CHUNK_ROWS - 1, last))
        counted = self._storage.database.rows(SQL["select_moves"], {"after": done.get("moves", 0)})
        chunks: dict[int, list[int]] = {}
        for (move, _), total in zip(counted, accumulate(count for _, count in counted), strict=True):
            chunks.setdefault(total // CHUNK_ROWS, []).append(move)
        for moves in chunks.values():
            yield _Part("moves", moves[0], moves[-1])

    def _move(self, part: _Part, *, is_last: bool) -> int:
        values = {"first": part.first, "last": part.last}
        spans = _with_extras(self._storage.database.arrow(SQL[f"select_{part.kind}_spans"], values))
        logs = self._storage.database.arrow(SQL[f"select_{part.kind}_logs"], values)
        links = self._storage.database.arrow(SQL[f"select_{part.kind}_links"], values)
        said = dump_observations([_observed(each) for each in self._instances()]) if is_last else ""
        migrated = schema.table("database_id part", [(self._id, part.kind)])
        migrated = migrated.append_column("last", pa.array([part.last], pa.int64()))
        self._writer.put({"spans": spans, "logs": logs, "linked_spans": links, "migrations": migrated}, said)
        return int(spans.num_rows + logs.num_rows)

    def _instances(self) -> list[KnownInstance]:
        return [_INSTANCE.validate_json(text) for text in self._storage.instances.documents().values()]

    def _write_times(self, session: Any) -> None:
        """Stores the ingest outages; the last one lasts until a receiver reports."""
        name, outages = f"migration-{self._id}", self._storage.outages.since(0)
        seconds = [(start / NANOSECONDS_PER_SECOND, end / NANOSECONDS_PER_SECOND) for start, end in outages]
        with session.transaction(), session.cursor() as cursor:
            cursor.execute(SQL["delete_outages"], [name])
            cursor.executemany(SQL["insert_outage"], [(name, *each) for each in seconds])
            cursor.execute(SQL["put_past_life"], {"receiver": name})
            documents = self._storage.instances.documents()
            cursor.executemany(SQL["add_instance"], [(*key, text) for key, text in documents.items()])


def _with_extras(spans: pa.Table) -> pa.Table:
    """Returns rows with the columns of `schema.EXTRAS` instead of their stored form."""
    rows = [orjson.loads(text) if text else ("", 0, 0, 0, 0) for text in spans["extras"].to_pylist()]
    columns = list(zip(*rows, strict=True)) or [()] * len(schema.EXTRAS)
    for (name, kind), column in zip(schema.EXTRAS, columns, strict=True):
        spans = spans.append_column(name, pa.array(column, kind))
    return spans.drop_columns(["extras"])


def _observed(known: KnownInstance) -> Observation:
    """Returns an observation that says what is known of a process."""
    beats: list[Beat] = []
    if beat := known.beat:
        beats = [Beat(each.at, beat.interval, beat.sequence, each.open_spans, ahead=each.ahead) for each in known.past]
        beats.append(beat)
    return Observation(known.process, known.first_seen, known.last_seen, tuple(beats))
