"""The transition of a row between two polls: the attempts that it implies, and their spans. Pure."""

import json
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from sagascope import semconv
from sagascope_collector.bridges.otlp import LogRecord, Resource, Span, Telemetry, Value, span_id, trace_id
from sagascope_collector.bridges.tables.mapping import FINAL_STATES, State, Table
from sagascope_collector.bridges.tables.rows import Attempt, OpenRow, Row
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.engines.engine import Work, compensated_steps

SCHEDULE_MARGIN_SECONDS: Final = 30.0
"""How long after its time a scheduled row may still be started without being late."""

MAX_UNSEEN_ATTEMPTS: Final = 9
"""The number of attempts before the first one that was seen, known only from the row's counter, that are reported."""

IN_FLIGHT_STATES: Final = frozenset({State.PENDING, State.STARTED, State.COMPENSATING})
FAILED_STATES: Final = frozenset({State.RETRYING, State.FAILED, State.COMPENSATION_FAILED})
COMPENSATION_STATES: Final = frozenset({State.COMPENSATING, State.COMPENSATED, State.COMPENSATION_FAILED})

DEFAULT_COMPENSATION: Final = "undo {step}"
"""The name of a compensation that neither the row nor the mapping names."""


class AttemptReport(NamedTuple):
    """An attempt that is in flight or has ended."""

    attempt: Attempt
    end: int = 0
    """0: it is in flight."""
    failed: bool = False
    has_error: bool = False
    """Whether the row's error is the error of this attempt."""


class Transition(NamedTuple):
    """What to report about a row."""

    row: Row
    is_new: bool
    """Whether nothing was reported about the row before."""
    start: int
    """The start of the saga or step."""
    attempts: list[AttemptReport]
    end: int
    """The end of the saga or step; 0: it is in flight."""
    outcome: str | None
    """The outcome of the saga, if the row describes a saga that has ended."""
    after: OpenRow | None
    """The row in flight for the checkpoint; None: it has ended."""
    waited: bool = False
    """Whether the row waited for an event before."""


def transition(table: Table, before: OpenRow | None, row: Row, *, is_first: bool = False) -> Transition:
    """Returns the transition from the row as it was last reported to the row as it is now.

    The row must have a time of its last update. With `is_first` the row cannot have been reported before, not even as
    one that had ended.
    """
    row = _interpreted(table, before, row)
    start = before.started_at if before else row.started or row.changed
    at = max(start, row.ended or row.changed) if row.state in FINAL_STATES else row.changed
    old = before.attempt if before else None
    new = _current_attempt(table, row, before, at)
    attempts = list(_attempts(table, row, old, new, at))
    if new and not attempts and before and row.state is State.PENDING and row.retry_at != before.row.retry_at:
        attempts.append(AttemptReport(new))
    done = (*(before.done if before else ()), *_done_steps(attempts))
    if new and _compensates_unreported(table, row, new, done, is_first=is_first, is_known=before is not None):
        attempts.insert(0, AttemptReport(_compensated_attempt(table, row, new, start), start))
        done = (*(before.done if before else ()), *_done_steps(attempts))
    is_compensating = (
        row.state in COMPENSATION_STATES
        or bool(new and _is_compensation(new))
        or bool(before and before.is_compensating)
    )
    if row.state in FINAL_STATES:
        outcome = _outcome(row.state, is_compensating=is_compensating)
        waited = before is not None and before.row.state is State.AWAITING
        return Transition(row, before is None, start, attempts, at, outcome, None, waited)
    last = new and new.model_copy(update={"has_failed": row.state in FAILED_STATES})
    after = OpenRow(row=row, started_at=start, attempt=last, is_compensating=is_compensating, done=done)
    return Transition(row, before is None, start, attempts, 0, None, after)


def has_started(table: Table, row: Row) -> bool:
    """Returns whether a row describes work; a row of a saga does so even before the saga's first step."""
    if row.state is State.PENDING and table.rows == "steps":
        return _waits_for_retry(table, row)
    return row.state is not State.SKIPPED


def _waits_for_retry(table: Table, row: Row) -> bool:
    """Returns whether a pending row of a step has failed before: a time for its retry alone may be its first start."""
    failures = (row.attempt or 0) - (table.counts == "attempts")
    return bool(row.retry_at and (row.error or row.started or failures > 0))


def _outcome(state: State, *, is_compensating: bool) -> str:
    if state in FAILED_STATES:
        return semconv.OUTCOME_FAILED
    return semconv.OUTCOME_COMPENSATED if is_compensating else semconv.OUTCOME_COMPLETED


def _done_steps(reports: Iterable[AttemptReport]) -> Iterator[tuple[str, str]]:
    """Yields the steps that are done, with their keys."""
    for report in reports:
        if report.end and not report.failed and not _is_compensation(report.attempt):
            yield report.attempt.step, report.attempt.step_key


def _is_compensation(attempt: Attempt) -> bool:
    return attempt.type == semconv.TYPE_COMPENSATION


def _compensates_unreported(
    table: Table, row: Row, new: Attempt, done: Container[tuple[str, str]], *, is_first: bool, is_known: bool
) -> bool:
    """Returns whether the attempt compensates a step that was never reported as done.

    A row that has ended is dropped from the checkpoint and can be read again: then only the first poll is certain that
    nothing was reported.
    """
    if not new.compensates or (new.compensates, new.step_key) in done:
        return False
    if table.rows == "steps":
        return is_first and new.compensates == row.step
    return is_first or is_known or row.state not in FINAL_STATES


def _interpreted(table: Table, before: OpenRow | None, row: Row) -> Row:
    """Returns the row with its implied state and step.

    A step that is pending again, or has failed before, waits for a retry. A saga without a current step is at a step
    named after its state; a failed compensation is reported even if the row named no step before.
    """
    if table.rows == "steps" and row.state is State.PENDING and (before or _waits_for_retry(table, row)):
        return row.model_copy(update={"state": State.RETRYING})
    attempt = before.attempt if before else None
    is_unknown_failure = row.state is State.COMPENSATION_FAILED and not (attempt and _is_compensation(attempt))
    is_done = row.state in FINAL_STATES and not is_unknown_failure
    if row.step or table.rows == "steps" or table.columns.step is None or is_done:
        return row
    step = attempt.step if attempt and row.state is State.RETRYING else row.state_name
    return row.model_copy(update={"step": step})


def _current_attempt(table: Table, row: Row, before: OpenRow | None, at: int) -> Attempt | None:
    """Returns the attempt that the row is at; None if there is none."""
    if not row.step or row.state is State.AWAITING or not has_started(table, row):
        return None
    first = _first_attempt(table, row, at)
    has_own_counter = table.rows == "sagas" or row.step == first.step
    previous = before.attempt if before and before.attempt and before.attempt.is_same_step(first) else None
    number = _number(table, row, previous) if has_own_counter else 1
    if previous and previous.number == number:
        return previous
    times = 1 if before is None else 1 + before.done.count((first.step, first.step_key))
    repetition = previous.repetition if previous else times
    starts_row = table.rows == "steps" and number == 1 and has_own_counter
    started_at = row.started if starts_row and row.started else at
    return first.model_copy(update={"number": number, "repetition": repetition, "started_at": started_at})


def _first_attempt(table: Table, row: Row, at: int) -> Attempt:
    """Returns the first attempt of the step that the row is at."""
    compensated = row.compensates or table.compensates.get(row.step, "") or _compensated_by_name(row)
    is_compensation = bool(compensated) or row.state in COMPENSATION_STATES
    has_own_name = bool(compensated) or not is_compensation or row.step == row.state_name
    return Attempt(
        step=row.step if has_own_name else DEFAULT_COMPENSATION.format(step=row.step),
        step_key=row.step_key,
        type=semconv.TYPE_COMPENSATION if is_compensation else semconv.TYPE_ACTION,
        compensates=compensated or ("" if has_own_name else row.step),
        number=1,
        started_at=at,
        is_state=row.step == row.state_name and table.columns.step != table.columns.state,
    )


def _compensated_by_name(row: Row) -> str:
    """Returns the step that a row compensates by its name; ``""``: none, or the steps before it are unknown."""
    try:
        earlier = [(str(name), bool(succeeded)) for name, succeeded in json.loads(row.earlier or "[]")]
    except (TypeError, ValueError):  # a value of the table, which may be any JSON
        return ""
    works = [
        Work(name, start, start if succeeded else 0, is_attempted=True, is_declared=False)
        for start, (name, succeeded) in enumerate([*earlier, (row.step, True)], 1)
    ]
    return [*compensated_steps(works)][-1] if earlier else ""


def _number(table: Table, row: Row, previous: Attempt | None) -> int:
    """Returns the attempt's number; without a counter, a start after a failure is the next attempt."""
    if row.attempt is None:
        if previous is None:
            return 1
        return previous.number + (previous.has_failed and row.state in IN_FLIGHT_STATES)
    is_next = table.counts == "failures" and row.state not in FAILED_STATES
    return max(1, row.attempt + is_next)


def _attempts(table: Table, row: Row, old: Attempt | None, new: Attempt | None, at: int) -> Iterator[AttemptReport]:
    if old and not old.has_failed and (new is None or old != new):
        yield _ended_attempt(row, old, new, at)
    if new is None:
        return
    if old is None or new != old:
        yield from _unseen_attempts(table, row, old, new)
    if row.state in IN_FLIGHT_STATES:
        if new != old or new.has_failed:
            yield AttemptReport(new)
    elif row.state not in FAILED_STATES or new != old or not new.has_failed:
        failed = row.state in FAILED_STATES
        yield AttemptReport(new, max(new.started_at, at), failed, has_error=failed)


def _ended_attempt(row: Row, old: Attempt, new: Attempt | None, at: int) -> AttemptReport:
    """Returns the end of an attempt that the row has left."""
    end = max(old.started_at, at)
    is_retried = new is not None and old.is_same_step(new)
    is_abandoned = (
        old.type == semconv.TYPE_ACTION
        and row.state in COMPENSATION_STATES
        and (new is None or new.compensates != old.step)
    )
    failed = is_retried or is_abandoned or (new is None and row.state in FAILED_STATES)
    return AttemptReport(old, end, failed, has_error=failed)


def _compensated_attempt(table: Table, row: Row, new: Attempt, start: int) -> Attempt:
    """Returns the attempt that a compensation compensates; when it ended is unknown."""
    number = max(1, row.attempt or 1) if table.rows == "steps" else 1
    fields = {"step": new.compensates, "type": semconv.TYPE_ACTION, "compensates": "", "number": number}
    return new.model_copy(update={**fields, "started_at": start})


def _unseen_attempts(table: Table, row: Row, old: Attempt | None, new: Attempt) -> Iterator[AttemptReport]:
    """Yields failed attempts that are known only from the counter; the row's error belongs to the latest one."""
    known = old.number if old and old.is_same_step(new) else 0
    at = (table.rows == "steps" and row.started) or new.started_at
    for number in range(max(known + 1, new.number - MAX_UNSEEN_ATTEMPTS), new.number):
        is_latest = number == new.number - 1 and row.state in IN_FLIGHT_STATES
        attempt = new.model_copy(update={"number": number, "started_at": at})
        yield AttemptReport(attempt, at, failed=True, has_error=is_latest)


@dataclass(frozen=True, slots=True)
class TableTelemetry:
    """Builds the spans of one table."""

    database: str
    table: Table
    environment: str

    def add(self, key: str, transition: Transition, telemetry: Telemetry) -> None:
        """Adds the records of a row's transition."""
        spans = list(self._attempts(key, transition))
        if self.table.rows == "sagas" and (transition.outcome or transition.is_new):
            spans.append(self._saga(key, transition))
        telemetry.spans += [span for span in spans if span.end]
        telemetry.logs += [span.start_record() for span in spans if not span.end]
        telemetry.logs += self._wait(key, transition)
        if self.table.messages and transition.after and transition.after.attempt:
            telemetry.logs += self._unpublished(key, transition, transition.after.attempt)

    def _wait(self, key: str, transition: Transition) -> Iterator[LogRecord]:
        """Yields the wait for an event, and its withdrawal when the event came."""
        row = transition.row
        is_over = transition.waited and row.state is not State.AWAITING
        if is_over or (row.state is State.AWAITING and transition.is_new):
            yield LogRecord(
                resource=self._resource(row),
                trace_id=trace_id(self.environment, row.id, row.run),
                span_id=span_id(self.database, self.table.name, key),
                at=max(row.changed, row.ended),
                event_name="",
                body="the wait is over" if is_over else f"waits for {row.step or row.state_name}",
                attributes={**_saga(row), semconv.WAIT_FOR: "" if is_over else row.step or row.state_name},
            )

    def _unpublished(self, key: str, transition: Transition, attempt: Attempt) -> Iterator[LogRecord]:
        """Yields why a message was not published; an empty text withdraws what was reported before."""
        row = transition.row
        if not row.error and (transition.is_new or transition.attempts):
            return
        yield LogRecord(
            resource=self._resource(row),
            trace_id=trace_id(self.environment, row.id, row.run),
            span_id=span_id(self.database, self.table.name, key, *_id_parts(attempt)),
            at=row.changed,
            event_name=semconv.EVENT_WAITING,
            body=row.error,
            attributes={**_saga(row), **({semconv.BLOCKED_CAUSE: "unpublished"} if row.error else {})},
        )

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
            row = transition.row
            if not report.has_error:
                row = row.model_copy(update={"error": "", "error_type": ""})
            if self.table.rows == "steps":
                attributes |= _amount(row)
            if report.end and not report.failed and attempt.step in self.table.closes:
                attributes[semconv.SAGA_OUTCOME] = self.table.closes[attempt.step]
            yield self._span(
                key,
                row,
                _id_parts(attempt),
                attempt.step,
                attempt.started_at,
                report.end,
                attributes,
                failed=report.failed,
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
        business_keys = {f"{semconv.KEY_PREFIX}{name}": value for name, value in row.keys}
        origin = {semconv.TABLE_NAME: self.table.name, semconv.TABLE_KEY: key}
        error = {"error.type": row.error_type} if failed and row.error_type else {}
        return Span(
            resource=self._resource(row),
            trace_id=trace_id(self.environment, row.id, row.run),
            span_id=span_id(self.database, self.table.name, key, *id_parts),
            name=name,
            start=start,
            end=end or None,
            attributes={**_saga(row), **attributes, **business_keys, **origin, **error},
            error=row.error if failed else None,
        )

    def _resource(self, row: Row) -> Resource:
        service = row.service or self.database
        attributes = {"service.name": service, "deployment.environment.name": self.environment}
        return tuple(_non_empty(attributes).items())


def _saga(row: Row) -> dict[str, str]:
    return _non_empty({semconv.SAGA_ID: row.id, semconv.SAGA_NAME: row.name, semconv.SAGA_RUN_ID: row.run})


def _id_parts(attempt: Attempt) -> tuple[str, ...]:
    """Returns what distinguishes the attempts of a row in their span ids."""
    return attempt.type, attempt.step, _step_key(attempt), str(attempt.number)


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
    if attempt.is_state:
        attributes[semconv.TABLE_STATE] = True
    if row.step not in (attempt.step, attempt.compensates):
        return attributes
    if row.state is State.PENDING and row.retry_at and not report.end:
        attributes[semconv.WAIT_UNTIL] = row.retry_at / NANOSECONDS_PER_SECOND + SCHEDULE_MARGIN_SECONDS
        attributes[semconv.WAIT_REASON] = "scheduled"
    if row.max_attempts:
        attributes[semconv.STEP_MAX_ATTEMPTS] = row.max_attempts
    if row.timeout:
        attributes[semconv.STEP_TIMEOUT] = row.timeout
    if row.idempotency_key:
        attributes[semconv.STEP_IDEMPOTENCY_KEY] = row.idempotency_key
    if report.has_error and (row.retry_at > report.end or (row.retry_at and row.state is State.RETRYING)):
        attributes[semconv.STEP_RETRY_IN] = max(0, row.retry_at - report.end) / NANOSECONDS_PER_SECOND
    return attributes


def _amount(row: Row) -> dict[str, Value]:
    return {**_non_empty({semconv.AMOUNT: row.amount, semconv.CURRENCY: row.currency})}


def _non_empty(attributes: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in attributes.items() if value}
