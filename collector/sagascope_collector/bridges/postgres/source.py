"""Polls PostgreSQL databases for prepared transactions, for their decisions and for the sessions that they block."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final, Self

import psycopg
from psycopg.rows import namedtuple_row
from pydantic import BaseModel, ConfigDict

from sagascope import semconv
from sagascope_collector.bridges.bridge import PollResult
from sagascope_collector.bridges.otlp import Span, Telemetry
from sagascope_collector.bridges.postgres.telemetry import (
    Decision,
    Decisions,
    GlobalIdFormat,
    Locks,
    Participant,
    PreparedTelemetry,
    PreparedTransaction,
    statement_start,
)
from sagascope_collector.durations import NANOSECONDS_PER_SECOND, to_nanoseconds
from sagascope_collector.postgres_dsn import dsn_parameters

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

UNREADABLE_DELAY_NS: Final = 60 * NANOSECONDS_PER_SECOND
"""Age at which a decision that cannot be read becomes an error."""

UNREADABLE_LIMIT_NS: Final = 86_400 * NANOSECONDS_PER_SECOND
"""Age at which it is given up: no longer read and reported."""

XIDS_PER_EPOCH: Final = 2**32


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
    gone_since: int = 0
    """When it was first found to be no longer prepared, while its decision cannot be read; 0: it is prepared."""
    is_reported_unknown: bool = False


class Checkpoint(BaseModel):
    """The state after a poll. It shows later which transactions were decided while the bridge did not run."""

    model_config = ConfigDict(extra="forbid")

    databases: dict[str, dict[int, UndecidedTransaction]] = {}
    """By database and transaction id."""
    decided: dict[str, Decisions] = {}
    """The decisions of sagas that have not ended, by the saga's key."""


@dataclass(frozen=True, slots=True)
class Database:
    """A database to follow."""

    name: str
    """The name of the participant: of its step and its service."""
    dsn: str
    """A URL or key-value pairs as in libpq; never logged."""


class PostgresSource:
    """Polls several databases, one after the other. A context manager; implements `bridges.Source`.

    Raises:
        BadValue: a DSN is invalid.
    """

    def __init__(
        self, databases: Sequence[Database], gid_format: GlobalIdFormat, *, environment: str = "", saga_name: str = ""
    ) -> None:
        for database in databases:
            dsn_parameters(database.dsn, f"The DSN of {database.name}")
        self._databases = databases
        self._followed = tuple(database.name for database in databases)
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
        # copied, so that a database that does not respond keeps its undecided transactions
        telemetry, undecided = Telemetry(), dict(checkpoint.databases)
        decided = {saga: known.model_copy(deep=True) for saga, known in checkpoint.decided.items()}
        errors, unreadable = list[str](), list[str]()
        for database in self._databases:
            try:
                poll = self._database_poll(database, now)
                undecided[database.name] = poll.run(checkpoint.databases.get(database.name, {}), telemetry)
                unreadable += poll.errors
                for decision in poll.decisions:
                    saga = decision.transaction.gid.saga
                    decided.setdefault(saga.saga_key, Decisions(saga=saga)).add(decision)
                    if decision.type:
                        telemetry.spans.append(decision.transaction.decision_span(decision.type, decision.at))
            except psycopg.Error as error:
                self._disconnect(database)
                errors.append(f"{database.name} does not respond: {first_line(error)}.")
        if not errors:  # a database that does not respond may have a participant that is still prepared
            open_sagas = self._open_sagas(undecided)
            telemetry.spans += self._closing_spans(each for saga, each in decided.items() if saga not in open_sagas)
            decided = {saga: each for saga, each in decided.items() if saga in open_sagas}
        in_flight = sum(map(len, undecided.values()))
        next_checkpoint, errors = Checkpoint(databases=undecided, decided=decided), errors + unreadable
        return PollResult(telemetry, next_checkpoint, in_flight, " ".join(errors))

    def _open_sagas(self, undecided: Mapping[str, Mapping[int, UndecidedTransaction]]) -> set[str]:
        gids = (each.prepared.gid for transactions in undecided.values() for each in transactions.values())
        return {self._gid_format.parse(gid).saga.saga_key for gid in gids}

    def _closing_spans(self, decided: Iterable[Decisions]) -> Iterator[Span]:
        for each in decided:
            if outcome := each.outcome(self._followed):
                yield each.closing_span(self._participant(each.databases[-1]), outcome)

    def _participant(self, name: str) -> Participant:
        connection = self._connections.get(name)
        database = connection.info.dbname if connection else ""
        return Participant(name, database, self._environment, self._saga_name, self._followed)

    def _database_poll(self, database: Database, now: int) -> "_DatabasePoll":
        if database.name not in self._connections:
            self._connections[database.name] = psycopg.connect(
                database.dsn, autocommit=True, row_factory=namedtuple_row, **CONNECTION_OPTIONS
            )
        connection = self._connections[database.name]
        return _DatabasePoll(connection, self._participant(database.name), self._gid_format, now)

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
        """Decisions that cannot be read."""

    def run(self, known: Mapping[int, UndecidedTransaction], telemetry: Telemetry) -> dict[int, UndecidedTransaction]:
        """Returns the undecided transactions; adds what is new to the telemetry."""
        prepared = map(_prepared_transaction, self._rows("list_prepared"))
        undecided = {each.xid: known.get(each.xid) or self._report_prepared(each, telemetry) for each in prepared}
        for xid, transaction in known.items():
            if xid not in undecided and (unreadable := self._read_decision(transaction, telemetry)):
                undecided[xid] = unreadable
        return self._report_locks(undecided, telemetry)

    def _report_prepared(self, prepared: PreparedTransaction, telemetry: Telemetry) -> UndecidedTransaction:
        telemetry.spans.append(self._telemetry_of(prepared).prepare_span())
        return UndecidedTransaction(prepared=prepared)

    def _read_decision(self, transaction: UndecidedTransaction, telemetry: Telemetry) -> UndecidedTransaction | None:
        """Reads the status of a transaction that is no longer prepared; PostgreSQL keeps it for a long time.

        Returns the transaction if its status is not known, to be read again.
        """
        records, gone_since = self._telemetry_of(transaction.prepared), transaction.gone_since or self._now
        status, committed_at = self._status(transaction.prepared.xid)
        if type_ := _TYPE_BY_STATUS.get(status or ""):
            self.decisions.append(Decision(records, type_, to_nanoseconds(committed_at) if committed_at else self._now))
            return None
        if self._now - gone_since > UNREADABLE_LIMIT_NS:
            self.decisions.append(Decision(records, "", self._now))
            return None
        is_reported = self._now - gone_since >= UNREADABLE_DELAY_NS
        if is_reported:
            gid, name = transaction.prepared.gid, self._participant.name
            self.errors.append(f"{name} does not tell how {gid!r} ended, which is no longer prepared.")
            if not transaction.is_reported_unknown:
                telemetry.logs.append(records.forgotten_record(gone_since))
        return transaction.model_copy(update={"gone_since": gone_since, "is_reported_unknown": is_reported})

    def _status(self, xid: int) -> tuple[str | None, datetime | None]:
        """Returns the status of a transaction, and the time of its commit if PostgreSQL records it."""
        try:
            (row,) = self._rows("get_status", {"xid": xid})
        except psycopg.DataError:  # a server that was restored from a backup has not reached the transaction yet
            return None, None
        return row.status, row.committed_at

    def _report_locks(
        self, undecided: dict[int, UndecidedTransaction], telemetry: Telemetry
    ) -> dict[int, UndecidedTransaction]:
        prepared = {xid: each.prepared for xid, each in undecided.items() if not each.gone_since}
        old = {xid for xid, each in prepared.items() if self._now - each.at > LOCKS_DELAY_NS}
        if not old:
            return undecided
        relations: dict[int, dict[str, str]] = {}
        for row in self._rows("list_locks"):
            relations.setdefault(row.xid, {})[row.relation] = f"{row.relation} ({', '.join(row.modes)})"
        waiting = self._rows("list_waiting_sessions")
        for xid in old:
            low = xid % XIDS_PER_EPOCH  # pg_locks has the lower half of a transaction id only
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
        telemetry.logs.append(self._telemetry_of(prepared).locks_record(locks, self._now))
        return UndecidedTransaction(prepared=prepared, locks=text, locks_reported_at=self._now)

    def _telemetry_of(self, prepared: PreparedTransaction) -> PreparedTelemetry:
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
    sessions = [_waiting_session(row) for row in list(blocked.values())[:MAX_LISTED_LOCKS]]
    return Locks(tuple(relations.values())[:MAX_LISTED_LOCKS], tuple(sessions), len(blocked))


def _waiting_session(row: Any) -> str:
    since = f", since {row.since.astimezone(UTC):%H:%M:%S}Z" if row.since else ""
    statement = f": {start}" if (start := statement_start(row.query or "")) else ""
    return f"{row.application or 'a session'} (pid {row.pid}{since}{statement})"


def _waits(row: Any, relations: Mapping[str, str], xid: int, blocked: Mapping[int, Any]) -> bool:
    if any(pid in blocked for pid in row.blocked_by):
        return True
    # PostgreSQL reports 0 as the session of a prepared transaction, without saying of which one
    return 0 in row.blocked_by and (row.xid == xid or row.relation in relations)


def _prepared_transaction(row: Any) -> PreparedTransaction:
    xid = full_xid(row.xid, row.next_xid)
    return PreparedTransaction(gid=row.gid, xid=xid, at=to_nanoseconds(row.prepared), owner=row.owner)


def full_xid(low: int, near: int) -> int:
    """Returns the 64-bit transaction id whose lower 32 bits are `low`: the one nearest to `near`."""
    xid = near - near % XIDS_PER_EPOCH + low
    if xid - near > XIDS_PER_EPOCH // 2:
        return xid - XIDS_PER_EPOCH
    return xid + XIDS_PER_EPOCH if near - xid > XIDS_PER_EPOCH // 2 else xid


def first_line(error: psycopg.Error) -> str:
    """Returns the first line of an error of PostgreSQL. It contains no password if the DSN was checked before."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
