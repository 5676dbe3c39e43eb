"""What is told of prepared transactions: their votes, how they were decided, and whom their locks hold up. Pure.

Ids are made from what PostgreSQL says, so that whatever is told twice is the same record.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from sagascope import semconv
from sagascope_collector.bridges.postgres.gids import Gid
from sagascope_collector.bridges.postgres.place import Prepared
from sagascope_collector.bridges.telling import Attributes, LogRecord, Resource, Span

EVENT_LOCKS: Final = "sagascope.prepared.locks"
"""Event name of the log record that says what a prepared transaction holds, and who waits for it."""

PREPARED_GID: Final = "sagascope.prepared.gid"
"""string: the name by which PostgreSQL knows the prepared transaction."""

PREPARED_OWNER: Final = "sagascope.prepared.owner"
"""string: who may decide it, besides a superuser."""

TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8


@dataclass(frozen=True, slots=True)
class Participant:
    """A database, as it is told of."""

    name: str
    """Its step, and its service."""
    database: str
    environment: str
    saga_name: str
    """Of sagas whose name the global id does not say; may be empty."""

    @property
    def resource(self) -> Resource:
        """Who did it."""
        said = (("service.name", self.name), ("db.system.name", "postgresql"), ("db.namespace", self.database))
        return (*said, ("deployment.environment.name", self.environment)) if self.environment else said


@dataclass(frozen=True, slots=True)
class Held:
    """What a prepared transaction holds, and who waits for it."""

    relations: tuple[str, ...]
    waiting: tuple[str, ...]
    """A text for each session, without anything of what it wants to do."""
    longest: int = 0
    """Since when the first of them waits, in nanoseconds since 1970."""

    def __str__(self) -> str:
        held = f"holds {', '.join(self.relations)}" if self.relations else "holds no table"
        if not self.waiting:
            return f"{held}; nobody waits for it"
        waits = "1 session waits" if len(self.waiting) == 1 else f"{len(self.waiting)} sessions wait"
        return f"{held}; {waits} for it: {', '.join(self.waiting)}"


def vote(whose: Participant, gid: Gid, prepared: Prepared) -> Span:
    """That a participant is prepared, and what a person would run to decide it."""
    quoted = "'" + prepared.gid.replace("'", "''") + "'"
    statements = {name: f"{_VERBS[type_]} {quoted};" for type_, name in _SETTLE.items()}
    return _span(whose, gid, prepared, semconv.TYPE_PREPARE, prepared.at, "PREPARE TRANSACTION", statements)


def decision(whose: Participant, gid: Gid, prepared: Prepared, type_: str, at: int, outcome: str | None) -> Span:
    """That it was decided: `type_` is a commit or a rollback. An outcome says that it was the last one."""
    said = {semconv.SAGA_OUTCOME: outcome} if outcome else {}
    return _span(whose, gid, prepared, type_, max(at, prepared.at), _VERBS[type_], said)


_VERBS: Final = {semconv.TYPE_COMMIT: "COMMIT PREPARED", semconv.TYPE_ROLLBACK: "ROLLBACK PREPARED"}
_SETTLE: Final = {semconv.TYPE_COMMIT: semconv.SETTLE_COMMIT, semconv.TYPE_ROLLBACK: semconv.SETTLE_ROLLBACK}


def locks(whose: Participant, gid: Gid, prepared: Prepared, held: Held, at: int) -> LogRecord:
    """What it holds at a time."""
    return LogRecord(
        resource=whose.resource,
        trace_id=_trace_id(gid),
        span_id=_span_id(whose, prepared, semconv.TYPE_PREPARE),
        at=at,
        event_name=EVENT_LOCKS,
        body=f"The prepared transaction {held}.",
        attributes=_attributes(whose, gid, prepared, semconv.TYPE_PREPARE),
        is_warning=bool(held.waiting),
    )


def _span(whose: Participant, gid: Gid, prepared: Prepared, type_: str, at: int, name: str, said: Attributes) -> Span:
    role: Attributes = {semconv.SAGA_ROLE: semconv.ROLE_STEP, semconv.STEP_ATTEMPT: 1}
    return Span(
        resource=whose.resource,
        trace_id=_trace_id(gid),
        span_id=_span_id(whose, prepared, type_),
        name=name,
        start=at,
        end=at,
        attributes={**_attributes(whose, gid, prepared, type_), **role, **said},
    )


def _attributes(whose: Participant, gid: Gid, prepared: Prepared, type_: str) -> Attributes:
    said = {
        semconv.SAGA_ID: gid.saga_id,
        semconv.SAGA_NAME: gid.name or whose.saga_name,
        semconv.SAGA_RUN_ID: gid.run,
        semconv.STEP_NAME: gid.participant or whose.name,
        semconv.STEP_TYPE: type_,
        PREPARED_GID: prepared.gid,
        PREPARED_OWNER: prepared.owner,
    }
    return {key: value for key, value in said.items() if value}


def _trace_id(gid: Gid) -> bytes:
    return _digest(gid.name, gid.saga_id, gid.run)[:TRACE_ID_BYTES]


def _span_id(whose: Participant, prepared: Prepared, type_: str) -> bytes:
    said = (whose.name, whose.database, prepared.gid, str(prepared.xid), str(prepared.at), type_)
    return _digest(*said)[:SPAN_ID_BYTES]


def _digest(*texts: str) -> bytes:
    return sha256("\0".join(texts).encode()).digest()
