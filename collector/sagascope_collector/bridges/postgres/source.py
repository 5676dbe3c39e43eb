"""Polls PostgreSQL databases for prepared transactions, for their decisions and for the sessions that they block."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final, Self

import psycopg
from psycopg.rows import namedtuple_row
from pydantic import BaseModel, ConfigDict

from sagascope import semconv
from sagascope_collector.bridges.bridge import PollResult
from sagascope_collector.bridges.otlp import Telemetry
from sagascope_collector.bridges.postgres.telemetry import (
    Decision,
    GlobalId,
    GlobalIdFormat,
    Locks,
    Participant,
    PreparedTelemetry,
    PreparedTransaction,
    decision_spans,
)
from sagascope_collector.durations import NANOSECONDS_PER_SECOND

CONNECTION_OPTIONS: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "application_name": "sagascope-bridge",
    "options": "-c default_transaction_read_only=on -c statement_timeout=5000 -c lock_timeout=1000",
}
"""Bridges never write, and never occupy a database for long."""

LOCKS_DELAY_NS: Final = 2 * NANOSECONDS_PER_SECOND
"""The age from which the locks of a prepared transaction are read: most transactions are decided before."""

LOCKS_INTERVAL_NS: Final = 30 * NANOSECONDS_PER_SECOND
"""The shortest interval between two reports of one transaction's locks."""

MAX_LISTED_LOCKS: Final = 10
"""The number of tables, and of sessions, that a report of locks lists."""

XID_BITS_32: Final = 1 << 32

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_SQL: Final = {
    name: files("sagascope_collector.bridges.postgres").joinpath(f"queries/{name}.sql").read_text(encoding="utf-8")
    for name in ("list_prepared", "get_status", "list_locks", "list_waiting_sessions")
}

_TYPE_BY_STATUS: Final = {"committed": semconv.TYPE_COMMIT, "aborted": semconv.TYPE_ROLLBACK}


class UndecidedTransaction(BaseModel):
    """A prepared transaction, with the last report of its locks."""

    model_config = ConfigDict(frozen=True)

    prepared: PreparedTransaction
    locks: str = ""
    locks_reported_at: int = 0


class Checkpoint(BaseModel):
    """The state after a poll. It shows later which transactions were decided while the bridge did not run."""

    model_config = ConfigDict(extra="forbid")

    databases: dict[str, dict[int, UndecidedTransaction]] = {}
    """By database and transaction id."""
    decided: dict[str, list[str]] = {}
    """The decisions so far of sagas with undecided participants, by the saga's key."""


@dataclass(frozen=True, slots=True)
class Database:
    """A database to follow."""

    name: str
    """The name of the participant: of its step and its service."""
    dsn: str
    """A URL or key-value pairs as in libpq; never logged."""


class PostgresSource:
    """Polls several databases, one after the other. A context manager; implements `bridges.Source`."""

    def __init__(
        self, databases: Sequence[Database], gid_format: GlobalIdFormat, *, environment: str = "", saga_name: str = ""
    ) -> None:
        self._databases = databases
        self._gid_format = gid_format
        self._environment = environment
        self._saga_name = saga_name
        self._connections: dict[str, psycopg.Connection[Any]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.close()

    def poll(self, checkpoint: Checkpoint, now: int) -> PollResult[Checkpoint]:
        """Polls all databases. One that does not respond does not delay the others."""
        telemetry, undecided = Telemetry(), dict(checkpoint.databases)
        decisions, errors = list[Decision](), list[str]()
        for database in self._databases:
            try:
                poll = self._database_poll(database, now)
                undecided[database.name] = poll.run(checkpoint.databases.get(database.name, {}), telemetry)
                decisions += poll.decisions
                errors += poll.errors
            except psycopg.Error as error:
                self._disconnect(database)
                errors.append(f"{database.name} does not respond: {first_line(error)}.")
        spans, decided = decision_spans(decisions, checkpoint.decided, self._undecided_sagas(undecided))
        telemetry.spans += spans
        in_flight = sum(map(len, undecided.values()))
        return PollResult(telemetry, Checkpoint(databases=undecided, decided=decided), in_flight, " ".join(errors))

    def _undecided_sagas(self, undecided: Mapping[str, Mapping[int, UndecidedTransaction]]) -> set[GlobalId]:
        gids = (each.prepared.gid for transactions in undecided.values() for each in transactions.values())
        return {self._gid_format.parse(gid).saga for gid in gids}

    def _database_poll(self, database: Database, now: int) -> "_DatabasePoll":
        if database.name not in self._connections:
            self._connections[database.name] = psycopg.connect(
                database.dsn, autocommit=True, row_factory=namedtuple_row, **CONNECTION_OPTIONS
            )
        connection = self._connections[database.name]
        participant = Participant(database.name, connection.info.dbname, self._environment, self._saga_name)
        return _DatabasePoll(connection, participant, self._gid_format, now)

    def _disconnect(self, database: Database) -> None:
        """Closes the connection; the next poll opens another one."""
        if (connection := self._connections.pop(database.name, None)) is not None:
            connection.close()


class _DatabasePoll:
    """One poll of one database."""

    def __init__(
        self, connection: psycopg.Connection[Any], participant: Participant, gid_format: GlobalIdFormat, now: int
    ) -> None:
        self._connection = connection
        self._participant = participant
        self._gid_format = gid_format
        self._now = now
        self.decisions: list[Decision] = []
        """The decisions since the previous poll."""
        self.errors: list[str] = []

    def run(self, known: Mapping[int, UndecidedTransaction], telemetry: Telemetry) -> dict[int, UndecidedTransaction]:
        """Returns the undecided transactions; adds what is new to the telemetry."""
        prepared = map(_prepared_transaction, self._rows("list_prepared"))
        undecided = {each.xid: known.get(each.xid) or self._report_prepared(each, telemetry) for each in prepared}
        ended = {xid: transaction for xid, transaction in known.items() if xid not in undecided}
        read_again = {xid: each for xid, each in ended.items() if not self._read_decision(each.prepared, telemetry)}
        return {**self._report_locks(undecided, telemetry), **read_again}

    def _report_prepared(self, prepared: PreparedTransaction, telemetry: Telemetry) -> UndecidedTransaction:
        telemetry.spans.append(self._of(prepared).prepare_span())
        return UndecidedTransaction(prepared=prepared)

    def _read_decision(self, prepared: PreparedTransaction, telemetry: Telemetry) -> bool:
        """Reads the status of a transaction that is no longer prepared; returns whether the next poll need not read it.

        PostgreSQL keeps it for a long time, and shows it as in progress for a moment after the transaction has ended.
        """
        (row,) = self._rows("get_status", {"xid": prepared.xid})
        if row.status is None:
            telemetry.logs.append(self._of(prepared).forgotten_record(self._now))
            self.errors.append(f"{self._participant.name} no longer knows how {prepared.gid} ended.")
            return True
        type_ = _TYPE_BY_STATUS.get(row.status)
        if type_ is None:
            return False
        at = _nanoseconds(row.committed_at) if row.committed_at else self._now
        self.decisions.append(Decision(self._of(prepared), type_, at))
        return True

    def _report_locks(
        self, undecided: dict[int, UndecidedTransaction], telemetry: Telemetry
    ) -> dict[int, UndecidedTransaction]:
        old = {xid for xid, each in undecided.items() if self._now - each.prepared.at > LOCKS_DELAY_NS}
        if not old:
            return undecided
        relations: dict[int, dict[str, str]] = {}
        for row in self._rows("list_locks"):
            relations.setdefault(row.xid, {})[row.relation] = f"{row.relation} ({', '.join(row.modes)})"
        waiting = self._rows("list_waiting_sessions")
        for xid in old:
            low = xid % XID_BITS_32
            locks = _locks(relations.get(low, {}), low, waiting)
            undecided[xid] = self._with_reported_locks(undecided[xid], locks, telemetry)
        return undecided

    def _with_reported_locks(
        self, transaction: UndecidedTransaction, locks: Locks, telemetry: Telemetry
    ) -> UndecidedTransaction:
        """Reports locks that changed, at most once per `LOCKS_INTERVAL_NS`."""
        text, prepared = str(locks), transaction.prepared
        if text == transaction.locks or self._now - transaction.locks_reported_at < LOCKS_INTERVAL_NS:
            return transaction
        telemetry.logs.append(self._of(prepared).locks_record(locks, self._now))
        return UndecidedTransaction(prepared=prepared, locks=text, locks_reported_at=self._now)

    def _of(self, prepared: PreparedTransaction) -> PreparedTelemetry:
        return PreparedTelemetry(self._participant, self._gid_format.parse(prepared.gid), prepared)

    def _rows(self, name: str, values: Mapping[str, Any] | None = None) -> list[Any]:
        return self._connection.execute(_SQL[name], values).fetchall()


def _locks(relations: Mapping[str, str], xid: int, waiting: Sequence[Any]) -> Locks:
    """Returns the locks of one transaction, with the sessions that wait for it, directly or through another one."""
    blocked: dict[int, Any] = {}
    while True:
        found = {row.pid: row for row in waiting if row.pid not in blocked and _waits(row, relations, xid, blocked)}
        if not found:
            break
        blocked |= found
    sessions = [_waiting_session(row) for row in blocked.values()]
    return Locks(tuple(relations.values())[:MAX_LISTED_LOCKS], tuple(sessions[:MAX_LISTED_LOCKS]))


def _waiting_session(row: Any) -> str:
    since = f", since {row.since.astimezone(UTC):%H:%M:%S}Z" if row.since else ""
    return f"{row.application or 'a session'} (pid {row.pid}{since})"


def _waits(row: Any, relations: Mapping[str, str], xid: int, blocked: Mapping[int, Any]) -> bool:
    if any(pid in blocked for pid in row.blocked_by):
        return True
    return 0 in row.blocked_by and (row.xid == xid or row.relation in relations)


def _prepared_transaction(row: Any) -> PreparedTransaction:
    xid = full_xid(row.xid, row.next_xid)
    return PreparedTransaction(gid=row.gid, xid=xid, at=_nanoseconds(row.prepared), owner=row.owner)


def full_xid(low: int, near: int) -> int:
    """Returns the 64-bit transaction id whose lower 32 bits are `low`: the one nearest to `near`."""
    xid = near - near % XID_BITS_32 + low
    if xid - near > XID_BITS_32 // 2:
        return xid - XID_BITS_32
    return xid + XID_BITS_32 if near - xid > XID_BITS_32 // 2 else xid


def _nanoseconds(time: datetime) -> int:
    since = time - _EPOCH
    return (since.days * 86_400 + since.seconds) * NANOSECONDS_PER_SECOND + since.microseconds * 1_000


def first_line(error: psycopg.Error) -> str:
    """Returns the first line of an error of PostgreSQL; it contains hosts and databases, but no password."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
