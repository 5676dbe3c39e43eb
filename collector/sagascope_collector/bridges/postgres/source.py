"""Asks databases what is prepared in them, and what became of what was."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import psycopg
from psycopg.rows import namedtuple_row

from sagascope_collector.bridges.postgres import endings
from sagascope_collector.bridges.postgres.facts import Participant
from sagascope_collector.bridges.postgres.gids import Gid, Gids
from sagascope_collector.bridges.postgres.look import Decision, Look
from sagascope_collector.bridges.postgres.place import Place, Standing
from sagascope_collector.bridges.running import Harvest
from sagascope_collector.bridges.telling import Facts

SETTINGS: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "application_name": "sagascope-bridge",
    "options": "-c default_transaction_read_only=on -c statement_timeout=5000 -c lock_timeout=1000",
}
"""The bridge never writes, and never keeps a database busy for long."""


@dataclass(frozen=True, slots=True)
class Database:
    """One to follow."""

    name: str
    """The participant: its step and its service."""
    dsn: str
    """A URL or words as libpq reads them; never logged."""


class Postgres:
    """`bridges.Source` of several databases. They are asked one after the other; a context manager."""

    def __init__(
        self, databases: Sequence[Database], gids: Gids, *, environment: str = "", saga_name: str = ""
    ) -> None:
        self._databases = databases
        self._gids = gids
        self._environment = environment
        self._saga_name = saga_name
        self._connections: dict[str, psycopg.Connection[Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._connections.values():
            each.close()

    def poll(self, place: Place, now: int) -> Harvest[Place]:
        """See `Source.poll`. A database that does not answer holds none of the others up."""
        told, standing, decided, trouble = Facts(), dict(place.databases), list[Decision](), list[str]()
        for database in self._databases:
            try:
                look = self._look(database, now)
                standing[database.name] = look.since(place.databases.get(database.name, {}), told)
                decided += look.decided
            except psycopg.Error as error:
                self._lost(database)
                trouble.append(f"{database.name} does not answer: {reason(error)}.")
        kept = endings.tell(decided, place.decided, self._open(standing), told)
        watching = sum(map(len, standing.values()))
        return Harvest(told, Place(databases=standing, decided=kept), watching, " ".join(trouble))

    def _open(self, standing: Mapping[str, Mapping[int, Standing]]) -> set[Gid]:
        """Whose participants stand still."""
        gids = (each.prepared.gid for of in standing.values() for each in of.values())
        return {endings.saga_of(self._gids.read(gid)) for gid in gids}

    def _look(self, database: Database, now: int) -> Look:
        connection = self._connected(database)
        participant = Participant(database.name, connection.info.dbname, self._environment, self._saga_name)
        return Look(connection, participant, self._gids, now)

    def _lost(self, database: Database) -> None:
        """Connect anew next time."""
        if (lost := self._connections.pop(database.name, None)) is not None:
            lost.close()

    def _connected(self, database: Database) -> psycopg.Connection[Any]:
        if database.name not in self._connections:
            opened = psycopg.connect(database.dsn, autocommit=True, row_factory=namedtuple_row, **SETTINGS)
            self._connections[database.name] = opened
        return self._connections[database.name]


def reason(error: psycopg.Error) -> str:
    """The first line of what PostgreSQL says; it names hosts and databases, and no password."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
