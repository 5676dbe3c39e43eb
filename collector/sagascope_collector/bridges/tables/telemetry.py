"""The spans of rows: one for the saga and one for each attempt. Pure.

Ids are derived from the row's key and the attempt, so that a repeated report is the same record.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from sagascope import semconv
from sagascope_collector.bridges.otlp import SPAN_ID_BYTES, TRACE_ID_BYTES, Resource, Span, Telemetry, Value
from sagascope_collector.bridges.tables.rows import Attempt, Row
from sagascope_collector.bridges.tables.transitions import AttemptReport, Transition
from sagascope_collector.durations import NANOSECONDS_PER_SECOND

TABLE_NAME: Final = "sagascope.table.name"
"""string: the table of the row."""

TABLE_KEY: Final = "sagascope.table.key"
"""string: the key of the row, as a JSON array."""


@dataclass(frozen=True, slots=True)
class TableTelemetry:
    """Builds the spans of one table."""

    database: str
    table: str
    environment: str
    describes_sagas: bool
    """Whether a row describes a whole saga."""
    closes: Mapping[str, str]
    """Outcomes of a saga by the step whose success ends it."""

    def add(self, key: str, transition: Transition, telemetry: Telemetry) -> None:
        """Adds the records of a row's transition."""
        spans = list(self._attempts(key, transition))
        if self.describes_sagas and (transition.outcome or transition.is_new):
            spans.append(self._saga(key, transition))
        telemetry.spans += [span for span in spans if span.end]
        telemetry.logs += [span.start_record() for span in spans if not span.end]

    def _saga(self, key: str, transition: Transition) -> Span:
        row, start, end = transition.row, transition.start, transition.end
        attributes: dict[str, Value] = {semconv.SAGA_ROLE: semconv.ROLE_SAGA, **_amount(row)}
        if transition.outcome:
            attributes[semconv.SAGA_OUTCOME] = transition.outcome
        if row.timeout and not row.step:
            attributes[semconv.SAGA_TIMEOUT] = row.timeout
        failed = transition.outcome == semconv.OUTCOME_FAILED
        return self._span(key, row, (semconv.ROLE_SAGA,), row.name or row.id, start, end, attributes, failed=failed)

    def _attempts(self, key: str, transition: Transition) -> Iterator[Span]:
        for report in transition.attempts:
            attempt, attributes = report.attempt, _attempt_attributes(transition.row, report)
            id_parts = (attempt.type, attempt.step, _step_key(attempt), str(attempt.number))
            row = transition.row
            if not report.has_error:
                row = row.model_copy(update={"error": "", "error_type": ""})
            if not self.describes_sagas:
                attributes |= _amount(row)
            if report.end and not report.failed and attempt.step in self.closes:
                attributes[semconv.SAGA_OUTCOME] = self.closes[attempt.step]
            yield self._span(
                key, row, id_parts, attempt.step, attempt.started_at, report.end, attributes, failed=report.failed
            )

    def _span(
        self,
        key: str,
        row: Row,
        id_parts: tuple[str, ...],
        name: str,
        start: int,
        end: int,
        attributes: Mapping[str, Value],
        *,
        failed: bool,
    ) -> Span:
        saga = {semconv.SAGA_ID: row.id, semconv.SAGA_NAME: row.name, semconv.SAGA_RUN_ID: row.run}
        business_keys = {f"{semconv.KEY_PREFIX}{name}": value for name, value in row.keys}
        origin = {TABLE_NAME: self.table, TABLE_KEY: key}
        error = {"error.type": row.error_type} if failed and row.error_type else {}
        return Span(
            resource=self._resource(row),
            trace_id=_digest(self.environment, row.id, row.run)[:TRACE_ID_BYTES],
            span_id=_digest(self.database, self.table, key, *id_parts)[:SPAN_ID_BYTES],
            name=name,
            start=start,
            end=end or None,
            attributes={**_non_empty(saga), **attributes, **business_keys, **origin, **error},
            error=row.error if failed else None,
        )

    def _resource(self, row: Row) -> Resource:
        service = row.service or self.database
        attributes = {"service.name": service, "deployment.environment.name": self.environment}
        return tuple(_non_empty(attributes).items())


def _step_key(attempt: Attempt) -> str:
    """Returns the key that distinguishes repetitions of a step, even where the row does not."""
    return f"{attempt.step_key} {attempt.repetition}".strip() if attempt.repetition > 1 else attempt.step_key


def _attempt_attributes(row: Row, report: AttemptReport) -> dict[str, Value]:
    attempt = report.attempt
    attributes: dict[str, Value] = {
        **_non_empty({semconv.STEP_KEY: _step_key(attempt), semconv.STEP_COMPENSATES: attempt.compensates}),
        semconv.SAGA_ROLE: semconv.ROLE_STEP,
        semconv.STEP_NAME: attempt.step,
        semconv.STEP_TYPE: attempt.type,
        semconv.STEP_ATTEMPT: attempt.number,
    }
    if row.step not in (attempt.step, attempt.compensates):
        return attributes
    if row.max_attempts:
        attributes[semconv.STEP_MAX_ATTEMPTS] = row.max_attempts
    if row.timeout:
        attributes[semconv.STEP_TIMEOUT] = row.timeout
    if row.idempotency_key:
        attributes[semconv.STEP_IDEMPOTENCY_KEY] = row.idempotency_key
    if report.has_error and row.retry_at > report.end:
        attributes[semconv.STEP_RETRY_IN] = (row.retry_at - report.end) / NANOSECONDS_PER_SECOND
    return attributes


def _amount(row: Row) -> dict[str, Value]:
    return {**_non_empty({semconv.AMOUNT: row.amount, semconv.CURRENCY: row.currency})}


def _non_empty(attributes: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in attributes.items() if value}


def _digest(*texts: str) -> bytes:
    return sha256("\0".join(texts).encode()).digest()
