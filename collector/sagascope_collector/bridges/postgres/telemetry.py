"""The records that describe prepared transactions: their prepare and decision spans, and the locks they hold. Pure.

Trace and span ids are derived from what PostgreSQL reports, so that a repeated report is the same record.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from pydantic import BaseModel, ConfigDict

from sagascope import semconv
from sagascope_collector.bridges.otlp import Attributes, LogRecord, Resource, Span, span_id, trace_id
from sagascope_collector.errors import BadValue

XA_GLOBAL_ID: Final = re.compile(
    r"(?P<format>-?\d{1,10})_(?P<global>[A-Za-z0-9+/]+={0,2})_(?P<branch>[A-Za-z0-9+/]*={0,2})\Z"
)
"""An XA id as PostgreSQL's JDBC driver writes it. All participants share the part between the underscores."""

_SPAN_NAMES: Final = {
    semconv.TYPE_PREPARE: "PREPARE TRANSACTION",
    semconv.TYPE_COMMIT: "COMMIT PREPARED",
    semconv.TYPE_ROLLBACK: "ROLLBACK PREPARED",
}

MAX_STATEMENT_LENGTH: Final = 80

_VALUE: Final = re.compile(r"['$]|--|/\*|(?<![\w.])\d|<insufficient privilege>")
"""The start of a value, comment or placeholder in a statement of SQL."""


@dataclass(frozen=True, slots=True)
class GlobalId:
    """The content of a global id."""

    saga_id: str
    name: str = ""
    run: str = ""
    participant: str = ""
    """``""``: the database identifies the participant."""

    @property
    def saga(self) -> "GlobalId":
        """The part that all participants of the saga share."""
        return replace(self, participant="")

    @property
    def saga_key(self) -> str:
        """Identifies the saga in a checkpoint."""
        return "\0".join((self.name, self.run, self.saga_id))


class GlobalIdFormat:
    """Parses global ids, by which coordinators name prepared transactions.

    Args:
        pattern: a regular expression with the group ``id`` and optionally ``name``, ``run`` and ``participant``.

    Raises:
        BadValue: the pattern is not such an expression.
    """

    def __init__(self, pattern: str | None = None) -> None:
        self._pattern = _compile(pattern) if pattern else None

    def parse(self, text: str) -> GlobalId:
        """Parses a global id by the pattern, else as an XA id, else as the saga's id."""
        if self._pattern and (found := self._pattern.search(text)) and found["id"]:
            groups = found.groupdict(default="")
            return GlobalId(found["id"], *(groups.get(name, "") for name in ("name", "run", "participant")))
        found = XA_GLOBAL_ID.match(text)
        return GlobalId((_decode(found["global"]) if found else None) or text)


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise BadValue(f"--gid is not a regular expression: {error}.") from error
    if "id" not in compiled.groupindex:
        raise BadValue("--gid needs a group (?P<id>...) for the id of the transaction.")
    return compiled


def _decode(text: str) -> str | None:
    """Decodes the shared part of an XA id: printable text, else hexadecimal; None if it is not base64."""
    try:
        raw = b64decode(text, validate=True)
    except binascii.Error:
        return None
    return raw.decode() if raw and raw.isascii() and raw.decode().isprintable() else raw.hex()


class PreparedTransaction(BaseModel):
    """A prepared transaction. Times are in nanoseconds since 1970."""

    model_config = ConfigDict(frozen=True)

    gid: str
    xid: int
    """The transaction id, with all 64 bits."""
    at: int
    owner: str


@dataclass(frozen=True, slots=True)
class Participant:
    """A database in its role as a participant of two-phase commit."""

    name: str
    """The name of its step and its service."""
    database: str
    environment: str
    saga_name: str
    """The saga type where the global id does not contain one; may be empty."""
    followed: tuple[str, ...]
    """The names of all databases that the bridge follows."""

    @property
    def resource(self) -> Resource:
        """The resource of its records."""
        attributes = (("service.name", self.name), ("db.system.name", "postgresql"), ("db.namespace", self.database))
        environment = (("deployment.environment.name", self.environment),) if self.environment else ()
        return attributes + environment


@dataclass(frozen=True, slots=True)
class Locks:
    """The locks of a prepared transaction."""

    relations: tuple[str, ...]
    """Tables with the modes of their locks."""
    waiting_sessions: tuple[str, ...]
    """One text for each session that is listed, the one that waits longest first."""
    waiting: int = 0
    """The number of waiting sessions."""

    def __str__(self) -> str:
        held = f"holds {', '.join(self.relations)}" if self.relations else "holds no table"
        if not self.waiting:
            return f"{held}; no session waits for it"
        waits = "1 session waits" if self.waiting == 1 else f"{self.waiting} sessions wait"
        return f"{held}; {waits} for it: {', '.join(self.waiting_sessions)}"


def statement_start(query: str) -> str:
    """Returns a statement of SQL up to its first value, so that it contains none; ``""`` if it starts with one."""
    text = " ".join(query.split())
    value = _VALUE.search(text)
    start = (text[: value.start()] if value else text).strip()
    if len(start) > MAX_STATEMENT_LENGTH:
        start = start[:MAX_STATEMENT_LENGTH].rsplit(" ", 1)[0]
    return start if start == text else f"{start} …" if start else ""


@dataclass(frozen=True, slots=True)
class PreparedTelemetry:
    """Builds the records of one prepared transaction."""

    participant: Participant
    gid: GlobalId
    prepared: PreparedTransaction

    def prepare_span(self) -> Span:
        """Returns the span of ``PREPARE TRANSACTION``.

        It contains no statement that ends the transaction: that is shown only where the evidence permits it.
        """
        return self._span(
            semconv.TYPE_PREPARE, self.prepared.at, {semconv.PREPARED_FOLLOWED: self.participant.followed}
        )

    def decision_span(self, type_: str, at: int) -> Span:
        """Returns the span of the commit or rollback, which is not before the prepare."""
        return self._span(type_, max(at, self.prepared.at))

    def locks_record(self, locks: Locks, at: int) -> LogRecord:
        """Returns the log record that lists the locks of the transaction."""
        body = f"The prepared transaction {locks}."
        return self._record(semconv.EVENT_PREPARED_LOCKS, body, at, is_warning=bool(locks.waiting))

    def forgotten_record(self, at: int) -> LogRecord:
        """Returns the log record about a transaction whose end PostgreSQL does not report."""
        body = "The transaction is no longer prepared, and PostgreSQL does not tell whether it was committed."
        return self._record(semconv.EVENT_PREPARED_FORGOTTEN, body, at, is_warning=True)

    def _record(self, event_name: str, body: str, at: int, *, is_warning: bool) -> LogRecord:
        return LogRecord(
            resource=self.participant.resource,
            trace_id=_trace_id(self.gid),
            span_id=self._span_id(semconv.TYPE_PREPARE),
            at=at,
            event_name=event_name,
            body=body,
            attributes=self._attributes(semconv.TYPE_PREPARE),
            is_warning=is_warning,
        )

    def _span(self, type_: str, at: int, attributes: Attributes | None = None) -> Span:
        attempt: Attributes = {semconv.SAGA_ROLE: semconv.ROLE_STEP, semconv.STEP_ATTEMPT: 1}
        return Span(
            resource=self.participant.resource,
            trace_id=_trace_id(self.gid),
            span_id=self._span_id(type_),
            name=_SPAN_NAMES[type_],
            start=at,
            end=at,
            attributes={**self._attributes(type_), **attempt, **(attributes or {})},
        )

    def _attributes(self, type_: str) -> Attributes:
        attributes = {
            **_saga(self.gid, self.participant.saga_name),
            semconv.STEP_NAME: self.gid.participant or self.participant.name,
            semconv.STEP_TYPE: type_,
            semconv.PREPARED_GID: self.prepared.gid,
            semconv.PREPARED_OWNER: self.prepared.owner,
        }
        return {key: value for key, value in attributes.items() if value}

    def _span_id(self, type_: str) -> bytes:
        prepared = self.prepared
        database = (self.participant.name, self.participant.database)
        return span_id(*database, prepared.gid, str(prepared.xid), str(prepared.at), type_)


def _saga(gid: GlobalId, saga_name: str) -> dict[str, str]:
    names = {semconv.SAGA_ID: gid.saga_id, semconv.SAGA_NAME: gid.name or saga_name, semconv.SAGA_RUN_ID: gid.run}
    return {key: value for key, value in names.items() if value}


def _trace_id(gid: GlobalId) -> bytes:
    return trace_id(gid.name, gid.saga_id, gid.run)


@dataclass(frozen=True, slots=True)
class Decision:
    """The end of a prepared transaction."""

    transaction: PreparedTelemetry
    type: str
    """`semconv.TYPE_COMMIT` or `semconv.TYPE_ROLLBACK`; ``""``: it cannot be read."""
    at: int


class Decisions(BaseModel):
    """The decisions of one saga's participants so far, in the order in which they were seen."""

    saga: GlobalId
    types: list[str] = []
    databases: list[str] = []
    at: int = 0

    def add(self, decision: Decision) -> None:
        """Adds a decision."""
        self.types.append(decision.type)
        self.databases.append(decision.transaction.participant.name)
        self.at = max(self.at, decision.at, decision.transaction.prepared.at)

    def outcome(self, followed: Collection[str]) -> str | None:
        """Returns the outcome that the decisions prove; None if a decision is unknown.

        A rollback proves that all participants rolled back only if a transaction of each followed database was seen:
        another participant may have committed before the bridge saw it.
        """
        distinct = set(self.types)
        if "" in distinct:
            return None
        if distinct == {semconv.TYPE_COMMIT}:
            return semconv.OUTCOME_COMPLETED
        is_proven = len(distinct) == 1 and len(self.types) > 1 and set(self.databases) >= set(followed)
        return semconv.OUTCOME_COMPENSATED if is_proven else semconv.OUTCOME_FAILED

    def closing_span(self, participant: Participant, outcome: str) -> Span:
        """Returns the span that ends the saga, since a coordinator that died does not do so."""
        return Span(
            resource=participant.resource,
            trace_id=_trace_id(self.saga),
            span_id=span_id(self.saga.saga_key, str(self.at), "end"),
            name="two-phase commit",
            start=self.at,
            end=self.at,
            attributes={**_saga(self.saga, participant.saga_name), semconv.SAGA_OUTCOME: outcome},
        )
