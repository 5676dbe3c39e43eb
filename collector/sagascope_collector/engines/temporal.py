"""Temporal's own OpenTelemetry interceptors for Python, Go, TypeScript and Java.

``StartWorkflow:X``, ``RunWorkflow:X`` and ``CompleteWorkflow:X`` describe a workflow, ``StartActivity:A`` a scheduled
activity, ``RunActivity:A`` one attempt of it. Some SDKs close the spans of workflow code at once, because replayed code
cannot hold a span open; these spans have no duration. Attempts in a worker have one. Attempts are not numbered, and an
attempt whose worker died leaves no span: a scheduled activity without a successful attempt is outstanding. The server
starts another attempt only if it did not accept the outcome of the previous one, whatever that worker reports.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sagascope import semconv
from sagascope_collector.engines import engine
from sagascope_collector.engines.engine import Engine, EngineSpans, RecordFields, in_order
from sagascope_collector.records import Mark, Span

WORKFLOW_ID: Final = ("temporalWorkflowID", "temporalWorkflowId")
RUN_ID: Final = ("temporalRunID", "temporalRunId", "run_id", "runId")
ACTIVITY_ID: Final = ("temporalActivityID", "temporalActivityId", "activityId")
JAVA_WORKFLOW_ID: Final = "workflowId"
"""Other systems also use this key, so it is read only on spans with a name of Temporal's."""

START_WORKFLOW: Final = ("StartWorkflow", "SignalWithStartWorkflow", "StartUpdateWithStartWorkflow")
RUN_WORKFLOW: Final = "RunWorkflow"
COMPLETE_WORKFLOW: Final = "CompleteWorkflow"
START_ACTIVITY: Final = "StartActivity"
RUN_ACTIVITY: Final = "RunActivity"
WORKFLOW_SPANS: Final = (*START_WORKFLOW, RUN_WORKFLOW, COMPLETE_WORKFLOW)
ACTIVITY_SPANS: Final = (START_ACTIVITY, RUN_ACTIVITY)

MAX_ACTIVITY_ID_DIGITS: Final = 9
"""Ids with more digits are not compared as numbers."""

NAME: Final = "temporal"


def mark(record: RecordFields) -> Mark | None:
    """Returns the saga of a record: the workflow is the saga, the activity the step."""
    operation, _, type_ = record.name.partition(":")
    is_interceptor = operation in WORKFLOW_SPANS or operation in ACTIVITY_SPANS
    workflow = record.first(*WORKFLOW_ID, JAVA_WORKFLOW_ID) if is_interceptor else record.first(*WORKFLOW_ID)
    if not workflow:
        return None
    run = record.first(*RUN_ID)
    if not is_interceptor:
        return Mark(id=workflow, run=run)
    if operation in WORKFLOW_SPANS:
        return Mark(id=workflow, name=type_, run=run, role=NAME)
    return Mark(id=workflow, run=run, role=NAME, step=type_)


def interpret(spans: Sequence[Span]) -> EngineSpans:
    """Rewrites the spans of one run of a workflow."""
    by_operation: dict[str, list[Span]] = {}
    for span in in_order(spans):
        by_operation.setdefault(span.name.partition(":")[0], []).append(span)
    starts = [span for operation in START_WORKFLOW for span in by_operation.get(operation, ())]
    runs, completions = by_operation.get(RUN_WORKFLOW, []), by_operation.get(COMPLETE_WORKFLOW, [])
    completion = completions[0] if completions else None
    interpreted = EngineSpans([engine.producer(span) for span in starts])
    interpreted.spans += map(engine.participant, completions)
    interpreted.spans += [_root(span, completion) if span is runs[0] else engine.participant(span) for span in runs]
    interpreted.continued |= {span.span_id for span in [*runs, *completions] if engine.continues_as_new(span)}
    is_over = completion is not None or any(span.end > span.start for span in runs)
    latest_start = max((span.start for span in spans), default=0)
    activities = _activities(by_operation.get(START_ACTIVITY, []), by_operation.get(RUN_ACTIVITY, []))
    _recognise_compensations(activities)
    for activity in activities:
        activity.interpret(interpreted, is_over=is_over, latest_start=latest_start)
    return interpreted


def _root(run: Span, completion: Span | None) -> Span:
    if run.end > run.start:  # this SDK ends the span with the workflow
        return engine.root(run, semconv.OUTCOME_COMPLETED if engine.continues_as_new(run) else "")
    if completion is None:
        return engine.root(run, end=0)
    has_failed = completion.status == "error" or any(
        event.name == engine.EXCEPTION and not engine.is_control_flow(event) for event in completion.events
    )
    outcome = semconv.OUTCOME_FAILED if has_failed else semconv.OUTCOME_COMPLETED
    status, message = ("error", completion.status_message) if has_failed else (run.status, run.status_message)
    events = (*run.events, *completion.events)
    return engine.root(run, outcome, end=completion.start, status=status, status_message=message, events=events)


@dataclass(slots=True)
class _Activity:
    scheduled: Span | None
    """The span that scheduled the activity, if it was received."""
    attempts: list[Span] = field(default_factory=list)
    repetition: int = 1
    """Its position among the activities of its type in the run."""

    @property
    def first_span(self) -> Span:
        return self.scheduled or self.attempts[0]

    @property
    def succeeded_at(self) -> int:
        """The end of the first attempt that succeeded; 0: none did."""
        return min((span.end for span in self.attempts if span.end and span.has_succeeded), default=0)

    def compensate(self, step: str) -> None:
        """Makes the activity the compensation of a step."""
        self.attempts = [engine.compensating(span, step) for span in self.attempts]
        if self.scheduled is not None:
            self.scheduled = engine.compensating(self.scheduled, step)

    def order(self) -> tuple[int, int, str]:
        """Returns the sort key. Activities that one workflow task schedules have one time; their ids differ."""
        id_ = _activity_id(self.attempts[0]) if self.attempts else ""
        number = int(id_) if id_.isdecimal() and len(id_) <= MAX_ACTIVITY_ID_DIGITS else 0
        return self.first_span.start, number, self.first_span.span_id

    def interpret(self, interpreted: EngineSpans, *, is_over: bool, latest_start: int) -> None:
        """Adds the attempts, and the outstanding attempt if the activity has not succeeded.

        Args:
            interpreted: receives the spans.
            is_over: whether the workflow has ended.
            latest_start: the latest start of a span of the run.
        """
        scheduled, attempts = self.scheduled, in_order(self.attempts)
        key = engine.repetition_key(self.repetition)
        for number, span in enumerate(attempts, 1):
            # whatever kind the SDK reports: a worker received the task from the server
            interpreted.spans.append(engine.attempt(span, number, key, kind="consumer"))
        interpreted.unknown |= {span.span_id for span in attempts[:-1] if span.has_succeeded}
        if scheduled is None:
            return
        if scheduled.end > scheduled.start and not attempts:  # this SDK ends the span with the activity
            interpreted.spans.append(engine.attempt(scheduled, 1, key))
            return
        interpreted.spans.append(engine.producer(scheduled))
        has_succeeded = any(span.has_succeeded for span in attempts)
        if has_succeeded or not _is_outstanding(attempts, is_over=is_over, latest_start=latest_start):
            return
        if is_over:
            interpreted.lost.add(scheduled.span_id)
        start = max([scheduled.start, *(span.end for span in attempts)])
        # no worker is known to have started it: it was only requested
        outstanding = replace(scheduled, start=start, end=0, kind="producer")
        interpreted.spans.append(engine.attempt(outstanding, len(attempts) + 1, key))


def _recognise_compensations(activities: Sequence[_Activity]) -> None:
    """Recognises compensations by their names, unless an attribute or a rule of the user declares them."""
    works = [_work(activity) for activity in activities]
    for activity, step in zip(activities, engine.compensated_steps(works), strict=True):
        if step:
            activity.compensate(step)


def _work(activity: _Activity) -> engine.Work:
    work = engine.Work.of([activity.first_span, *activity.attempts])
    return replace(
        work, start=activity.first_span.start, succeeded_at=activity.succeeded_at, is_attempted=bool(activity.attempts)
    )


def _is_outstanding(attempts: Sequence[Span], *, is_over: bool, latest_start: int) -> bool:
    """Returns whether another attempt may be in flight. After a failure, a workflow that goes on needs none."""
    if not attempts:
        return True
    return not is_over and (not attempts[-1].end or attempts[-1].end >= latest_start)


def _activities(scheduled: Iterable[Span], attempts: Iterable[Span]) -> list[_Activity]:
    """Returns every activity with its repetition number, in the order in which the activities were scheduled."""
    counts: dict[str, int] = {}
    activities = sorted(_joined(scheduled, attempts), key=_Activity.order)
    for activity in activities:
        type_ = activity.first_span.mark.step
        activity.repetition = counts[type_] = counts.get(type_, 0) + 1
    return activities


def _joined(scheduled: Iterable[Span], attempts: Iterable[Span]) -> list[_Activity]:
    """Joins attempts to the activity that their parent span scheduled, else by the activity's id."""
    by_span = {(span.trace_id, span.span_id): _Activity(span) for span in scheduled}
    by_id: dict[str, _Activity] = {}
    unscheduled: dict[str, _Activity] = {}
    without_parent = []
    for span in attempts:
        activity = by_span.get((span.trace_id, span.parent_id))
        if activity is None:
            without_parent.append(span)
            continue
        activity.attempts.append(span)
        by_id[_activity_id(span)] = activity
    for span in without_parent:
        id_ = _activity_id(span)
        activity = by_id.get(id_) if id_ else None
        if activity is None:
            activity = unscheduled.setdefault(id_ or span.span_id, _Activity(None))
        activity.attempts.append(span)
    return [*by_span.values(), *unscheduled.values()]


def _activity_id(span: Span) -> str:
    return RecordFields(attributes=span.attributes).first(*ACTIVITY_ID)


ENGINE: Final = Engine(
    name=NAME,
    keys=(*WORKFLOW_ID, *RUN_ID, *ACTIVITY_ID, JAVA_WORKFLOW_ID),
    prefilter_terms=("temporalWorkflow", JAVA_WORKFLOW_ID),
    mark=mark,
    interpret=interpret,
    superseded_by=semconv.TEMPORAL_ACTIVITY_ID,
)
