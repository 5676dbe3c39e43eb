"""Steps: attempts and states, intended waits, reported obstacles, and two-phase commits."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from sagascope import semconv
from sagascope_collector.analysis import failures, values
from sagascope_collector.analysis.attempts import AttemptContext, StepKey, Views, attempt
from sagascope_collector.analysis.model import (
    COMPENSATING_TYPES,
    DEAD_LETTER,
    TWO_PHASE_TYPES,
    Attempt,
    AttemptState,
    AwaitedEvent,
    BlockReport,
    LedgerEntry,
    LedgerState,
    MixedOutcome,
    Participant,
    Phase,
    Plan,
    Step,
    StepState,
    Wait,
)
from sagascope_collector.analysis.spans import ProcessKey, SpanTree, keyed, process_key, time_of
from sagascope_collector.analysis.wording import shortened
from sagascope_collector.records import Log, Span

_STATES = {
    AttemptState.IN_FLIGHT: StepState.IN_FLIGHT,
    AttemptState.ERROR: StepState.FAILED,
    AttemptState.UNKNOWN: StepState.UNKNOWN,
}


def from_attempts(collected: Mapping[StepKey, list[Views]], about: AttemptContext, plan: Plan) -> list[Step]:
    """Returns the steps with their attempts in order of start.

    A compensation that names no step compensates the step of the plan, else the step with its own name.
    """
    compensates_by_name = {key.name: key.name for key in collected if key.type not in COMPENSATING_TYPES}
    compensates_by_name |= {step.compensation: step.name for step in reversed(plan.steps) if step.compensation}
    steps = [
        _step(key, [attempt(each, about) for each in views], compensates_by_name) for key, views in collected.items()
    ]
    steps.sort(key=lambda step: (step.attempts[0].called_at, step.name, step.type, step.key))
    return steps


def _step(key: StepKey, attempts: list[Attempt], compensates_by_name: dict[str, str]) -> Step:
    if len(attempts) > 1:
        attempts.sort(key=lambda each: (each.called_at, each.number, each.started_at, each.span_id))
    compensates = None
    if key.type in COMPENSATING_TYPES:
        compensates = next(
            (each.compensates for each in attempts if each.compensates), None
        ) or compensates_by_name.get(key.name)
    pivot = True in [each.pivot for each in attempts]
    return Step(key.name, key.key, key.type, _service(attempts), _state(attempts), compensates, tuple(attempts), pivot)


def _service(attempts: Sequence[Attempt]) -> str | None:
    """The service of the latest attempt with a known executor, else of the latest attempt."""
    for each in reversed(attempts):
        if each.is_executor_known:
            return each.process.service or None
    return attempts[-1].process.service or None


def _state(attempts: Sequence[Attempt]) -> StepState:
    """The state of a step: done after one success, else the state of the latest attempt."""
    for each in attempts:
        if each.state is AttemptState.OK:
            return StepState.DONE
    return _STATES[attempts[-1].state]


def skips_attempts(step: Step) -> bool:
    """Whether the numbers of a step's attempts have a gap."""
    numbers = {each.number for each in step.attempts}
    return len(numbers) > 1 and max(numbers) - min(numbers) >= len(numbers)


def final_steps(
    steps: Sequence[Step], ledger: Iterable[LedgerEntry], plan: Plan, not_started: Collection[str]
) -> tuple[Step, ...]:
    """Returns the steps with their compensations from the ledger, followed by the planned ones without attempts.

    `not_started` holds those of the latter that are known not to have started; the others were not seen.
    """
    compensated = {entry.step for entry in ledger if entry.state is LedgerState.COMPENSATED}
    kept = {entry.step for entry in ledger if entry.state is not LedgerState.COMPENSATED}
    seen = {step.name for step in steps}
    return (
        *(
            _compensated(step) if step.name in compensated - kept and _can_be_compensated(step) else step
            for step in steps
        ),
        *(
            _planned(each.name, StepState.NOT_STARTED if each.name in not_started else StepState.NOT_SEEN)
            for each in plan.steps
            if each.name not in seen
        ),
    )


def _can_be_compensated(step: Step) -> bool:
    return step.phase is Phase.FORWARD and step.state is StepState.DONE


def _compensated(step: Step) -> Step:
    return Step(
        step.name, step.key, step.type, step.service, StepState.COMPENSATED, step.compensates, step.attempts, step.pivot
    )


def _planned(name: str, state: StepState) -> Step:
    return Step(name, "", semconv.TYPE_ACTION, None, state, None, ())


def declared_waits(
    spans: Sequence[Span], logs: Sequence[Log], roots: Iterable[Span], offsets: Mapping[ProcessKey, int]
) -> Iterator[Wait]:
    """Returns every wait with a deadline, in no particular order."""
    of_the_saga = {id(root) for root in roots}
    records: list[Span | Log] = [*spans, *logs]
    for record in records:
        if semconv.WAIT_UNTIL in record.attributes:
            moment = values.moment(record.attributes[semconv.WAIT_UNTIL])
            if moment is not None:
                reason = values.text(record.attributes.get(semconv.WAIT_REASON))
                offset = offsets.get(process_key(record.process), 0)
                until = max(moment, moment + offset)  # computed from its own clock, or an agreed time
                yield Wait(time_of(record) + offset, until, reason, whole=id(record) in of_the_saga)


def awaited_event(
    spans: Sequence[Span], logs: Sequence[Log], steps: Sequence[Step], offsets: Mapping[ProcessKey, int]
) -> AwaitedEvent | None:
    """Returns the event that the saga waits for: the last declared, unless an attempt started afterwards.

    Its name is ``""`` if the wait was withdrawn: the event came.

    A span states only its own start, and the wait may be later, so a log record about the same wait of the same span
    takes precedence.
    """
    events = [*_events(logs, offsets)]
    by_log = {(each.name, each.trace_id, each.span_id) for each in events}
    events += [each for each in _events(spans, offsets) if (each.name, each.trace_id, each.span_id) not in by_log]
    if not events:
        return None
    latest = max(events, key=lambda each: (each.declared_at, each.name, each.trace_id, each.span_id))
    called_at = max((attempt.called_at for step in steps for attempt in step.attempts), default=0)
    return latest if called_at <= latest.declared_at else None


def _events(records: Iterable[Span | Log], offsets: Mapping[ProcessKey, int]) -> Iterator[AwaitedEvent]:
    for record in records:
        if semconv.WAIT_FOR in record.attributes:
            yield AwaitedEvent(
                values.text(record.attributes[semconv.WAIT_FOR]) or "",
                time_of(record) + offsets.get(process_key(record.process), 0),
                values.text(record.attributes.get(semconv.WAIT_REASON)),
                record.process,
                record.trace_id,
                record.span_id,
            )


def block_reports(
    spans: Sequence[Span], logs: Iterable[Log], steps: Sequence[Step], offsets: Mapping[ProcessKey, int]
) -> tuple[BlockReport, ...]:
    """Returns the reports that were not withdrawn: those on the whole saga first, then the earliest.

    A report is about an open span, or was made after the latest attempt of a step had failed. The latest report of each
    span counts; another cause starts a new report. Work retried since is not blocked.
    """
    latest: dict[str, list[Log]] = {}
    for log in logs:
        if log.event_name == semconv.EVENT_WAITING and log.span_id and _cause(log) != DEAD_LETTER:
            row = latest.setdefault(log.span_id, [])
            if row and _cause(row[0]) != _cause(log):
                row.clear()
            row.append(log)
    blocked = {span_id: row for span_id, row in latest.items() if _cause(row[-1])}
    if not blocked:
        return ()
    found = [
        _report(span, blocked[span.span_id], offsets)
        for span in _unfinished(spans, steps)
        if span.span_id in blocked and blocked[span.span_id][-1].at >= span.end
    ]
    return tuple(sorted(found, key=lambda each: (each.step is not None, each.since, each.span_id)))


def _unfinished(spans: Sequence[Span], steps: Sequence[Step]) -> Iterator[Span]:
    """The open spans, and those of failed attempts that may be retried; for each step, those of its latest attempt."""
    left = {view.span_id for step in steps for attempt in step.attempts[:-1] for view in attempt.views}
    left -= {view.span_id for step in steps for attempt in step.attempts[-1:] for view in attempt.views}
    last = (step.attempts[-1] for step in steps if step.attempts)
    failed = {view.span_id for each in last if each.state is not AttemptState.OK for view in each.views}
    return (span for span in spans if span.span_id in failed or not (span.end or span.span_id in left))


def _cause(log: Log) -> str:
    """The reason why the span cannot proceed.

    ``""`` if the record withdraws the report, or reports an intended wait.
    """
    cause = log.attributes.get(semconv.BLOCKED_CAUSE) if log.body else None
    return values.text(cause) or ""


def _report(span: Span, row: Sequence[Log], offsets: Mapping[ProcessKey, int]) -> BlockReport:
    first, last = row[0], row[-1]
    return BlockReport(
        cause=_cause(last),
        text=str(last.body),
        since=first.at + offsets.get(process_key(first.process), 0),
        process=last.process,
        step=span.mark.step or None if span.mark.role != semconv.ROLE_SAGA else None,
        trace_id=span.trace_id,
        span_id=span.span_id,
        error=failures.exception_of(last),
    )


_StepAttempt = tuple[Step, Attempt]


def dead_letters(
    spans: Sequence[Span],
    logs: Iterable[Log],
    steps: Sequence[Step],
    offsets: Mapping[ProcessKey, int],
    is_orchestrated: bool,
) -> Iterator[BlockReport]:
    """Yields the report on each message that a broker gave up and that blocks the saga.

    The reader of a dead-letter queue, or of a broker's advisories, reports it at the span that sent the message.
    A later record with an empty body withdraws the report. A message no longer blocks if an attempt took it over, its
    work is being compensated, or other work goes on. In a saga with an orchestrator, only a message of a call in
    flight blocks.
    """
    latest = {
        (log.trace_id, log.span_id): log
        for log in logs
        if log.event_name == semconv.EVENT_WAITING
        and (not log.body or log.attributes.get(semconv.BLOCKED_CAUSE) == DEAD_LETTER)
    }
    if not any(log.body for log in latest.values()):
        return
    tree = SpanTree(keyed(spans))
    attempts = [(step, attempt) for step in steps for attempt in step.attempts]
    for span in spans:
        log = latest.get((span.trace_id, span.span_id))
        if log is None or not log.body:
            continue
        at = log.at + offsets.get(process_key(log.process), 0)
        received = [(step, each) for step, each in attempts if _is_from(each, span, tree)]
        callers = [(step, each) for step, each in attempts if any(_is_within(span, view, tree) for view in each.views)]
        calling = [(step, each) for step, each in callers if each.state is AttemptState.IN_FLIGHT]
        others = [each for _, each in attempts if all(each is not caller for _, caller in callers)]
        if (is_orchestrated and not calling) or any(_goes_on(each, at) for each in others):
            continue
        if any(each.state is AttemptState.OK for _, each in received) or _is_compensated(received, attempts):
            continue
        # without an orchestrator, the step that sent a message does not wait for it
        step = next((step.name for step, _ in reversed(received or (calling if is_orchestrated else []))), None)
        queue = shortened(values.text(log.attributes.get(semconv.DEAD_LETTER_QUEUE)) or "")
        yield BlockReport(
            cause=DEAD_LETTER,
            text=str(log.body),
            since=at,
            process=log.process,
            step=step,
            trace_id=span.trace_id,
            span_id=span.span_id,
            error=failures.exception_of(log),
            queue=queue,
        )


def _is_from(attempt: Attempt, span: Span, tree: SpanTree) -> bool:
    """Whether an attempt processed the message that the span sent."""
    ids = span.trace_id, span.span_id
    return any(
        tree.is_below(view, span) or any((link.trace_id, link.span_id) == ids for link in view.links)
        for view in attempt.views
    )


def _is_compensated(received: Sequence[_StepAttempt], attempts: Iterable[_StepAttempt]) -> bool:
    """Whether a message of forward work is no longer wanted: a compensation was called after the work had started."""
    if not received or any(step.phase is Phase.COMPENSATION for step, _ in received):
        return False
    started_at = min(each.called_at for _, each in received)
    return any(step.phase is Phase.COMPENSATION and each.called_at > started_at for step, each in attempts)


def _is_within(span: Span, view: Span, tree: SpanTree) -> bool:
    return span is view or tree.is_below(span, view)


def _goes_on(attempt: Attempt, at: int) -> bool:
    """Whether an attempt is in flight, or was called after the message was given up."""
    return attempt.called_at > at or (attempt.state is AttemptState.IN_FLIGHT and not attempt.is_only_requested)


DECISIONS = (semconv.TYPE_COMMIT, semconv.TYPE_ROLLBACK)


def unseen_participants(found: Iterable[Step]) -> Iterator[Step]:
    """Returns the databases that a bridge follows and in which it saw no participant of the two-phase commit."""
    votes = [step for step in found if step.type == semconv.TYPE_PREPARE]
    views = [view for step in votes for attempt in step.attempts for view in attempt.views]
    seen = {step.name for step in votes} | {view.process.service for view in views}
    followed = [name for view in views for name in values.texts(view.attributes.get(semconv.PREPARED_FOLLOWED)) or ()]
    return (_planned(name, StepState.NOT_SEEN) for name in dict.fromkeys(followed) if name not in seen)


def mixed_outcomes(steps: Iterable[Step]) -> tuple[MixedOutcome, ...]:
    """Returns every two-phase commit with a mixed outcome, in order of start."""
    return tuple(mixed for one in two_phase_commits(steps) if (mixed := _mixed(one)))


def two_phase_commits(steps: Iterable[Step]) -> Iterator[list[Participant]]:
    """Returns the votes and decisions of each two-phase commit.

    Different keys are different commits. Within one key, a vote after a decision starts the next; so does a decision
    after the opposite one of the same participant, since no participant changes what it decided.
    """
    by_key: dict[str, list[Participant]] = {}
    for step in steps:
        if step.type in TWO_PHASE_TYPES:
            by_key.setdefault(step.key, []).extend(Participant(step, attempt) for attempt in step.attempts)
    return (one for _, parts in sorted(by_key.items()) for one in _divided(parts))


def _divided(parts: list[Participant]) -> Iterator[list[Participant]]:
    """The participants of each two-phase commit with one key."""
    current: list[Participant] = []
    decided: dict[str, str] = {}
    for each in sorted(parts, key=lambda part: (part.attempt.called_at, part.attempt.span_id)):
        name, type_ = each.step.name, each.step.type
        if name in decided and (type_ not in DECISIONS or decided[name] not in ("", type_)):
            yield current
            current, decided = [], {}
        if type_ in DECISIONS:
            decided[name] = type_ if each.attempt.state is AttemptState.OK else decided.get(name, "")
        current.append(each)
    yield current


def _mixed(parts: Iterable[Participant]) -> MixedOutcome | None:
    done = [each for each in parts if each.attempt.state is AttemptState.OK]
    committed = tuple(each for each in done if each.step.type == semconv.TYPE_COMMIT)
    rolled_back = tuple(each for each in done if each.step.type == semconv.TYPE_ROLLBACK)
    names = {each.step.name for each in committed} | {each.step.name for each in rolled_back}
    return MixedOutcome(committed, rolled_back) if committed and rolled_back and len(names) > 1 else None
