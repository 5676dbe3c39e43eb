"""The records that describe prepared transactions: their prepare and decision spans, and the locks they hold. Pure.

Trace and span ids are derived from what PostgreSQL reports, so that a repeated report is the same record.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Collection, Mapping, Sequence
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

_STATEMENTS: Final = {semconv.TYPE_COMMIT: "COMMIT PREPARED", semconv.TYPE_ROLLBACK: "ROLLBACK PREPARED"}
_SETTLE_ATTRIBUTES: Final = {semconv.TYPE_COMMIT: semconv.SETTLE_COMMIT, semconv.TYPE_ROLLBACK: semconv.SETTLE_ROLLBACK}


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
    """One text for each session, without its query."""

    def __str__(self) -> str:
        held = f"holds {', '.join(self.relations)}" if self.relations else "holds no table"
        if not self.waiting_sessions:
            return f"{held}; no session waits for it"
        count = len(self.waiting_sessions)
        waits = "1 session waits" if count == 1 else f"{count} sessions wait"
        return f"{held}; {waits} for it: {', '.join(self.waiting_sessions)}"


@dataclass(frozen=True, slots=True)
class PreparedTelemetry:
    """Builds the records of one prepared transaction."""

    participant: Participant
    gid: GlobalId
    prepared: PreparedTransaction

    def prepare_span(self) -> Span:
        """Returns the span of ``PREPARE TRANSACTION``, with the statements that would end the transaction."""
        quoted = "'" + self.prepared.gid.replace("'", "''") + "'"
        statements = {_SETTLE_ATTRIBUTES[type_]: f"{verb} {quoted};" for type_, verb in _STATEMENTS.items()}
        return self._span(semconv.TYPE_PREPARE, "PREPARE TRANSACTION", self.prepared.at, statements)

    def decision_span(self, type_: str, at: int, attributes: Attributes) -> Span:
        """Returns the span of the commit or rollback, which is not before the prepare."""
        return self._span(type_, _STATEMENTS[type_], max(at, self.prepared.at), attributes)

    def locks_record(self, locks: Locks, at: int) -> LogRecord:
        """Returns the log record that lists the locks of the transaction."""
        is_warning = bool(locks.waiting_sessions)
        return self._record(
            semconv.EVENT_PREPARED_LOCKS, f"The prepared transaction {locks}.", at, is_warning=is_warning
        )

    def forgotten_record(self, at: int) -> LogRecord:
        """Returns the log record of a transaction whose decision PostgreSQL no longer knows."""
        text = "The transaction is no longer prepared, and PostgreSQL no longer knows whether it was committed."
        return self._record(semconv.EVENT_PREPARED_FORGOTTEN, text, at, is_warning=True)

    def _record(self, event_name: str, text: str, at: int, *, is_warning: bool) -> LogRecord:
        return LogRecord(
            resource=self.participant.resource,
            trace_id=self._trace_id(),
            span_id=self._span_id(semconv.TYPE_PREPARE),
            at=at,
            event_name=event_name,
            body=text,
            attributes=self._attributes(semconv.TYPE_PREPARE),
            is_warning=is_warning,
        )

    def _span(self, type_: str, name: str, at: int, attributes: Attributes) -> Span:
        attempt: Attributes = {semconv.SAGA_ROLE: semconv.ROLE_STEP, semconv.STEP_ATTEMPT: 1}
        return Span(
            resource=self.participant.resource,
            trace_id=self._trace_id(),
            span_id=self._span_id(type_),
            name=name,
            start=at,
            end=at,
            attributes={**self._attributes(type_), **attempt, **attributes},
        )

    def _attributes(self, type_: str) -> Attributes:
        attributes = {
            semconv.SAGA_ID: self.gid.saga_id,
            semconv.SAGA_NAME: self.gid.name or self.participant.saga_name,
            semconv.SAGA_RUN_ID: self.gid.run,
            semconv.STEP_NAME: self.gid.participant or self.participant.name,
            semconv.STEP_TYPE: type_,
            semconv.PREPARED_GID: self.prepared.gid,
            semconv.PREPARED_OWNER: self.prepared.owner,
        }
        return {key: value for key, value in attributes.items() if value}

    def _trace_id(self) -> bytes:
        return trace_id(self.gid.name, self.gid.saga_id, self.gid.run)

    def _span_id(self, type_: str) -> bytes:
        prepared = self.prepared
        database = (self.participant.name, self.participant.database)
        return span_id(*database, prepared.gid, str(prepared.xid), str(prepared.at), type_)


@dataclass(frozen=True, slots=True)
class Decision:
    """The commit or rollback of a prepared transaction."""

    of: PreparedTelemetry
    type: str
    """`semconv.TYPE_COMMIT` or `semconv.TYPE_ROLLBACK`."""
    at: int


def decision_spans(
    decisions: Sequence[Decision], earlier: Mapping[str, Sequence[str]], undecided: Collection[GlobalId]
) -> tuple[list[Span], dict[str, list[str]]]:
    """Returns the spans of decisions, and the decisions so far of sagas with undecided participants.

    The last decision of a saga carries the saga's outcome, since a coordinator that died does not report it.

    Args:
        decisions: since the previous poll.
        earlier: the decisions so far that the previous call returned.
        undecided: the sagas of which a participant is still prepared.
    """
    types = {saga: list(types) for saga, types in earlier.items()}
    for decision in decisions:
        types.setdefault(decision.of.gid.saga_key, []).append(decision.type)
    last = {decision.of.gid.saga_key: decision for decision in decisions}
    open_sagas = {gid.saga_key for gid in undecided}
    spans = []
    for decision in decisions:
        saga = decision.of.gid.saga_key
        is_last = decision is last[saga] and saga not in open_sagas
        attributes = {semconv.SAGA_OUTCOME: _outcome(types[saga])} if is_last else {}
        spans.append(decision.of.decision_span(decision.type, decision.at, attributes))
    return spans, {saga: decided for saga, decided in types.items() if saga in open_sagas}


def _outcome(types: Collection[str]) -> str:
    distinct = set(types)
    if len(distinct) > 1:
        return semconv.OUTCOME_FAILED
    return semconv.OUTCOME_COMPLETED if semconv.TYPE_COMMIT in distinct else semconv.OUTCOME_COMPENSATED
