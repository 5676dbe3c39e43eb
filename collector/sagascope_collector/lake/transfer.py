"""Transfers the records and incidents of a database file into a lake. It can be interrupted and repeated."""

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
from sagascope_collector.lake.catalog import SQL, Lake
from sagascope_collector.lake.incidents import transfer_incidents
from sagascope_collector.lake.writer import LakeWriter
from sagascope_collector.observations import Beat, KnownInstance, Observation, dump_observations
from sagascope_collector.storage import Storage, schema

COMMIT_ROWS: int = 50_000
"""Approximate number of records in one commit."""

_INSTANCE: Final = TypeAdapter(KnownInstance)


class _Part(NamedTuple):
    """A range of commits of the database, or of moves of long-running sagas, that one commit of the lake contains."""

    kind: str
    """``records``, or ``moves`` for the tables of long-running sagas."""
    first: int
    last: int


class Transfer:
    """Transfers one database. Each commit also writes a row of the lake that contains the progress."""

    def __init__(self, storage: Storage, lake: Lake) -> None:
        """Creates it.

        Raises:
            CannotStart: the database is a copy of a lake itself.
        """
        if storage.follows_lake:
            raise CannotStart("The database of --db is a copy of a lake; its records are there.")
        self._storage = storage
        self._lake = lake
        ((self._id,),) = storage.database.rows(SQL["select_database"])
        self._name = f"migration-{self._id}"
        self._writer = LakeWriter(lake, self._name)

    def run(self, report: Callable[[int], None]) -> int:
        """Transfers what is not in the lake yet; returns the number of records, and reports it after each commit.

        Raises:
            CannotStart: another copy of the database, with different later records, was transferred. Nothing changes.
            StorageUnavailable: the lake does not answer. The next call continues after the last commit.
        """
        try:
            with self._lake.attached() as connection:
                done = dict(connection.execute(SQL["select_transferred"], [self._id]).fetchall())
                self._check_history(connection, done.get("records", 0))
            with self._lake.session() as session:
                self._write_outages(session)
            transferred = 0
            parts = list(self._parts(done))
            for part in parts:
                transferred += self._transfer(part, is_last=part is parts[-1])
                report(transferred)
            with self._lake.session() as session:
                transfer_incidents(self._storage, session)
            return transferred
        except (duckdb.Error, psycopg.Error) as error:
            raise StorageUnavailable(f"The lake cannot be written: {self._lake.reason(error)}") from error
        finally:
            self._writer.close()

    def _check_history(self, connection: duckdb.DuckDBPyConnection, last: int) -> None:
        """Checks that the commits up to `last` were transferred from this file: its last records are in the lake."""
        transferred = self._storage.database.arrow(SQL["select_last_transferred"], {"last": last})
        if not transferred.num_rows:
            return
        connection.register("batch", transferred)
        ((number,),) = connection.execute(SQL["count_transferred"]).fetchall()
        if not number:
            raise CannotStart(
                "The records of another copy of this database are in the lake: one was restored from a backup of the "
                "other, and both went on. Only one of them can be moved."
            )

    def _parts(self, done: Mapping[str, int]) -> Iterator[_Part]:
        """Yields what follows the last commit and the last move that are in the lake."""
        last = self._storage.records.seq
        for first in range(done.get("records", 0) + 1, last + 1, COMMIT_ROWS):
            yield _Part("records", first, min(first + COMMIT_ROWS - 1, last))
        counted = self._storage.database.rows(SQL["select_moves"], {"after": done.get("moves", 0)})
        chunks: dict[int, list[int]] = {}
        for (move, _), total in zip(counted, accumulate(count for _, count in counted), strict=True):
            chunks.setdefault(total // COMMIT_ROWS, []).append(move)
        for moves in chunks.values():
            yield _Part("moves", moves[0], moves[-1])

    def _transfer(self, part: _Part, *, is_last: bool) -> int:
        values = {"first": part.first, "last": part.last}
        spans = _with_extras(self._storage.database.arrow(SQL[f"select_{part.kind}_spans"], values))
        logs = self._storage.database.arrow(SQL[f"select_{part.kind}_logs"], values)
        links = self._storage.database.arrow(SQL[f"select_{part.kind}_links"], values)
        known = map(_INSTANCE.validate_json, self._storage.instances.documents().values())
        observations = dump_observations(list(map(_observation, known))) if is_last else ""
        progress = schema.table("database_id part last", [(self._id, part.kind, part.last)], last=pa.int64())
        self._writer.put({"spans": spans, "logs": logs, "linked_spans": links, "migrations": progress}, observations)
        return int(spans.num_rows + logs.num_rows)

    def _write_outages(self, session: Any) -> None:
        """Stores the ingest outages, of which the last continues until a receiver reports, and the instances."""
        outages = self._storage.outages.since(0)
        seconds = [(start / NANOSECONDS_PER_SECOND, end / NANOSECONDS_PER_SECOND) for start, end in outages]
        with session.transaction(), session.cursor() as cursor:
            cursor.execute(SQL["delete_outages"], [self._name])
            cursor.executemany(SQL["insert_outage"], [(self._name, *each) for each in seconds])
            cursor.execute(SQL["put_stopped_receiver"], {"receiver": self._name})
            documents = self._storage.instances.documents()
            cursor.executemany(SQL["add_instance"], [(*key, text) for key, text in documents.items()])


def _with_extras(spans: pa.Table) -> pa.Table:
    """Returns rows with the columns of `schema.EXTRAS` instead of their stored form."""
    rows = [orjson.loads(text) if text else ("", 0, 0, 0, 0) for text in spans["extras"].to_pylist()]
    columns = list(zip(*rows, strict=True)) or [()] * len(schema.EXTRAS)
    for (name, kind), column in zip(schema.EXTRAS, columns, strict=True):
        spans = spans.append_column(name, pa.array(column, kind))
    return spans.drop_columns(["extras"])


def _observation(known: KnownInstance) -> Observation:
    """Returns an observation from which a collector learns all that is known of a process."""
    beats: list[Beat] = []
    if beat := known.beat:
        beats = [Beat(each.at, beat.interval, beat.sequence, each.open_spans, ahead=each.ahead) for each in known.past]
        beats.append(beat)
    return Observation(known.process, known.first_seen, known.last_seen, tuple(beats))
