"""Temporal's own OpenTelemetry interceptors: Python, Go, TypeScript, Java.

``StartWorkflow:X``, ``RunWorkflow:X`` and ``CompleteWorkflow:X`` tell of a workflow, ``StartActivity:A`` of an activity
that was called for, ``RunActivity:A`` of one try of it. Those of workflow code have no duration where the SDK closes
them at once, because code that is replayed cannot hold a span open; a worker's tries have one. Nothing numbers the
tries, and one whose worker died leaves no span: an activity that was called for and has no successful try is
outstanding. The server starts another attempt only where it did not accept the outcome of the one before, whatever
that one's worker says of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from sagascope import semconv
from sagascope_collector.engines import failed, telling
from sagascope_collector.engines.engine import Engine, Seen, Told, in_order
from sagascope_collector.records import Mark, Span

WORKFLOW_ID: Final = ("temporalWorkflowID", "temporalWorkflowId")
RUN_ID: Final = ("temporalRunID", "temporalRunId", "run_id", "runId")
ACTIVITY_ID: Final = ("temporalActivityID", "temporalActivityId", "activityId")
JAVA_WORKFLOW_ID: Final = "workflowId"
"""Said by others too: read on spans that are called as Temporal calls them."""

START_WORKFLOW: Final = ("StartWorkflow", "SignalWithStartWorkflow", "StartUpdateWithStartWorkflow")
RUN_WORKFLOW: Final = "RunWorkflow"
COMPLETE_WORKFLOW: Final = "CompleteWorkflow"
START_ACTIVITY: Final = "StartActivity"
RUN_ACTIVITY: Final = "RunActivity"
WORKFLOWS: Final = (*START_WORKFLOW, RUN_WORKFLOW, COMPLETE_WORKFLOW)
ACTIVITIES: Final = (START_ACTIVITY, RUN_ACTIVITY)

NAME: Final = "temporal"


def mark(seen: Seen) -> Mark | None:
    """Where a record belongs: the workflow is the saga, the activity the step."""
    verb, _, noun = seen.name.partition(":")
    ours = verb in WORKFLOWS or verb in ACTIVITIES
    workflow = seen.said(*WORKFLOW_ID, JAVA_WORKFLOW_ID) if ours else seen.said(*WORKFLOW_ID)
    if not workflow:
        return None
    run = seen.said(*RUN_ID)
    if not ours:
        return Mark(id=workflow, run=run)
    if verb in WORKFLOWS:
        return Mark(id=workflow, name=noun, run=run, role=NAME)
    return Mark(id=workflow, run=run, role=NAME, step=noun)


def tell(spans: Sequence[Span]) -> Told:
    """What the spans of one run of a workflow mean."""
    by_verb: dict[str, list[Span]] = {}
    for span in in_order(spans):
        by_verb.setdefault(span.name.partition(":")[0], []).append(span)
    completed = next(iter(by_verb.get(COMPLETE_WORKFLOW, ())), None)
    begun = by_verb.get(RUN_WORKFLOW, [])
    told = Told([telling.call(span) for verb in START_WORKFLOW for span in by_verb.get(verb, ())])
    told.spans += [telling.part(span) for span in by_verb.get(COMPLETE_WORKFLOW, ())]
    told.spans += [_workflow(span, completed) if span is begun[0] else telling.part(span) for span in begun]
    told.continued |= {span.span_id for span in [*begun, *by_verb.get(COMPLETE_WORKFLOW, ())] if _continues(span)}
    is_over = completed is not None or any(span.end > span.start for span in begun)
    latest = max((span.start for span in spans), default=0)
    for number, (called, tries) in _numbered(by_verb.get(START_ACTIVITY, []), by_verb.get(RUN_ACTIVITY, [])):
        _Activity(called, tries, telling.repetition(number)).tell(told, is_over=is_over, latest=latest)
    return told


def _continues(span: Span) -> bool:
    return failed.continues_as_new(span)


def _workflow(begun: Span, completed: Span | None) -> Span:
    if begun.end > begun.start:  # this SDK ends the span with the workflow
        return telling.root(begun, semconv.OUTCOME_COMPLETED if _continues(begun) else "")
    if completed is None:
        return telling.root(begun, end=0)
    has_failed = completed.status == "error" or any(
        event.name == failed.EXCEPTION and not failed.is_control_flow(event) for event in completed.events
    )
    outcome = semconv.OUTCOME_FAILED if has_failed else semconv.OUTCOME_COMPLETED
    status, message = ("error", completed.status_message) if has_failed else (begun.status, begun.status_message)
    events = (*begun.events, *completed.events)
    return telling.root(begun, outcome, end=completed.start, status=status, status_message=message, events=events)


Called = tuple[Span | None, list[Span]]
"""A call for an activity, if it came, and the tries of it."""


def _numbered(calls: Iterable[Span], tries: Iterable[Span]) -> list[tuple[int, Called]]:
    """Every activity with its place among those of its name."""
    counted: dict[str, int] = {}
    numbered = []
    for activity in sorted(_joined(calls, tries), key=_activity_order):
        name = (activity[0] or activity[1][0]).mark.step
        counted[name] = counted.get(name, 0) + 1
        numbered.append((counted[name], activity))
    return numbered


def _joined(calls: Iterable[Span], tries: Iterable[Span]) -> list[Called]:
    """Tries to their call: by what stands above, else by the activity's id."""
    by_call = {(span.trace_id, span.span_id): (span, list[Span]()) for span in calls}
    calls_of: dict[str, list[Span]] = {}
    without: dict[str, list[Span]] = {}
    later = []
    for span in tries:
        call = by_call.get((span.trace_id, span.parent_id))
        if call is None:
            later.append(span)
            continue
        call[1].append(span)
        calls_of[_activity_id(span)] = call[1]
    for span in later:
        activity = _activity_id(span)
        known = calls_of.get(activity) if activity else None
        (without.setdefault(activity or span.span_id, []) if known is None else known).append(span)
    return [*by_call.values(), *((None, each) for each in without.values())]


def _activity_id(span: Span) -> str:
    return Seen(attributes=span.attributes).said(*ACTIVITY_ID)


def _activity_order(activity: Called) -> tuple[int, int, str]:
    """Activities that one task of a workflow calls for have one time: then their ids tell."""
    call, tries = activity
    first = call or tries[0]
    said = _activity_id(tries[0]) if tries else ""
    return first.start, int(said) if said.isdecimal() and len(said) < 10 else 0, first.span_id


class _Activity:
    def __init__(self, called: Span | None, tries: list[Span], key: str) -> None:
        self._called, self._tries, self._key = called, in_order(tries), key

    def tell(self, told: Told, *, is_over: bool, latest: int) -> None:
        called, tries = self._called, self._tries
        for number, span in enumerate(tries, 1):
            told.spans.append(telling.attempt(span, number, self._key, kind="consumer"))
        told.unknown |= {span.span_id for span in tries[:-1] if _succeeded(span)}
        if called is None:
            return
        if called.end > called.start and not tries:  # this SDK ends the call with the activity
            told.spans.append(telling.attempt(called, 1, self._key))
        elif any(_succeeded(span) for span in tries) or not self._is_outstanding(is_over=is_over, latest=latest):
            told.spans.append(telling.call(called))
        else:
            self._outstanding(called, told, is_over=is_over)

    def _is_outstanding(self, *, is_over: bool, latest: int) -> bool:
        """Whether a try may be under way; one that failed is over once the workflow goes on without another."""
        if not self._tries:
            return True
        return not is_over and all(span.end >= latest for span in self._tries[-1:] if span.end)

    def _outstanding(self, called: Span, told: Told, *, is_over: bool) -> None:
        """The attempt that is awaited; the call itself keeps its own times, by which clocks are compared."""
        start = max([called.start, *(span.end for span in self._tries)])
        number = len(self._tries) + 1
        if is_over:
            told.lost.add(called.span_id)
        told.spans.append(telling.call(called))
        told.spans.append(telling.attempt(replace(called, start=start, end=0, kind="producer"), number, self._key))


def _succeeded(span: Span) -> bool:
    return span.end > 0 and span.status != "error"


ENGINE: Final = Engine(
    name=NAME,
    keys=(*WORKFLOW_ID, *RUN_ID, *ACTIVITY_ID, JAVA_WORKFLOW_ID),
    needles=("temporalWorkflow", JAVA_WORKFLOW_ID),
    mark=mark,
    tell=tell,
    ours=semconv.TEMPORAL_ACTIVITY_ID,
)
