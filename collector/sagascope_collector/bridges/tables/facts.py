"""What is told of rows: the saga, and each attempt. Pure.

Ids are made from the row's key and what the attempt is called, so that whatever is told twice is the same record.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from sagascope import semconv
from sagascope_collector.bridges.tables.moves import Move, Told
from sagascope_collector.bridges.tables.place import Try
from sagascope_collector.bridges.tables.rows import SECOND, Row
from sagascope_collector.bridges.telling import Facts, Resource, Span, Value

TABLE: Final = "sagascope.table.name"
"""string: the table of the row that was told."""

TABLE_KEY: Final = "sagascope.table.key"
"""string: the row's key, as JSON."""

TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8


@dataclass(frozen=True, slots=True)
class Whose:
    """A table, as it is told of."""

    database: str
    label: str
    environment: str
    is_of_sagas: bool
    closes: Mapping[str, str]
    """Steps whose success ends their saga, and how."""

    def tell(self, key: str, move: Move, told: Facts) -> None:
        """Add what a row's move means."""
        spans = list(self._attempts(key, move))
        if self.is_of_sagas and (move.outcome or move.is_new):
            spans.append(self._saga(key, move))
        told.spans += [each for each in spans if each.end]
        told.logs += [each.announced() for each in spans if not each.end]

    def _saga(self, key: str, move: Move) -> Span:
        row = move.row
        said: dict[str, Value] = {semconv.SAGA_ROLE: semconv.ROLE_SAGA, **_money(row)}
        if move.outcome:
            said[semconv.SAGA_OUTCOME] = move.outcome
        if row.timeout and not row.step:
            said[semconv.SAGA_TIMEOUT] = row.timeout
        failed = move.outcome == semconv.OUTCOME_FAILED
        return self._span(key, row, (semconv.ROLE_SAGA,), row.name or row.id, move.since, move.end, said, failed=failed)

    def _attempts(self, key: str, move: Move) -> Iterator[Span]:
        for told in move.attempts:
            attempt, said = told.attempt, _said(move.row, told)
            parts = (attempt.type, attempt.step, _step_key(attempt), str(attempt.number))
            row = move.row if told.error else move.row.model_copy(update={"error": "", "error_type": ""})
            if not self.is_of_sagas:
                said |= _money(row)
            if told.end and not told.failed and attempt.step in self.closes:
                said[semconv.SAGA_OUTCOME] = self.closes[attempt.step]
            yield self._span(key, row, parts, attempt.step, attempt.since, told.end, said, failed=told.failed)

    def _span(
        self,
        key: str,
        row: Row,
        parts: tuple[str, ...],
        name: str,
        start: int,
        end: int,
        said: Mapping[str, Value],
        *,
        failed: bool,
    ) -> Span:
        marks = {semconv.SAGA_ID: row.id, semconv.SAGA_NAME: row.name, semconv.SAGA_RUN_ID: row.run}
        keys = {f"{semconv.KEY_PREFIX}{name}": value for name, value in row.keys}
        where = {TABLE: self.label, TABLE_KEY: key}
        error = {"error.type": row.error_type} if failed and row.error_type else {}
        return Span(
            resource=self._resource(row),
            trace_id=_digest(self.environment, row.id, row.run)[:TRACE_ID_BYTES],
            span_id=_digest(self.database, self.label, key, *parts)[:SPAN_ID_BYTES],
            name=name,
            start=start,
            end=end or None,
            attributes={**_set(marks), **said, **keys, **where, **error},
            error=row.error if failed else None,
        )

    def _resource(self, row: Row) -> Resource:
        said = {"service.name": row.service or self.database, "deployment.environment.name": self.environment}
        return tuple(_set(said).items())


def _step_key(attempt: Try) -> str:
    """Tells repetitions apart, also where the row does not."""
    return f"{attempt.step_key} {attempt.repetition}".strip() if attempt.repetition > 1 else attempt.step_key


def _said(row: Row, told: Told) -> dict[str, Value]:
    attempt: Try = told.attempt
    said: dict[str, Value] = {
        **_set({semconv.STEP_KEY: _step_key(attempt), semconv.STEP_COMPENSATES: attempt.compensates}),
        semconv.SAGA_ROLE: semconv.ROLE_STEP,
        semconv.STEP_NAME: attempt.step,
        semconv.STEP_TYPE: attempt.type,
        semconv.STEP_ATTEMPT: attempt.number,
    }
    if row.step not in (attempt.step, attempt.compensates):
        return said
    if row.max_attempts:
        said[semconv.STEP_MAX_ATTEMPTS] = row.max_attempts
    if row.timeout:
        said[semconv.STEP_TIMEOUT] = row.timeout
    if row.idempotency_key:
        said[semconv.STEP_IDEMPOTENCY_KEY] = row.idempotency_key
    if told.error and row.retry_at > told.end:
        said[semconv.STEP_RETRY_IN] = (row.retry_at - told.end) / SECOND
    return said


def _money(row: Row) -> dict[str, Value]:
    return {**_set({semconv.AMOUNT: row.amount, semconv.CURRENCY: row.currency})}


def _set(said: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in said.items() if value}


def _digest(*texts: str) -> bytes:
    return sha256("\0".join(texts).encode()).digest()
