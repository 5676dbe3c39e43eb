"""Anomaly rules: events that should not happen in a saga, whether or not the saga needs attention.

Each code has one rule. Each anomaly states the telemetry that it is based on.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Final, NamedTuple

from sagascope import semconv
from sagascope_collector.analysis import plans
from sagascope_collector.analysis.clocks import Edge, is_answered_call
from sagascope_collector.analysis.ledger import StepEffect, compensated_amount
from sagascope_collector.analysis.model import (
    COMPENSATING_TYPES,
    FORWARD_TYPES,
    Anomaly,
    Attempt,
    AttemptState,
    Phase,
    Plan,
    Status,
    Step,
)
from sagascope_collector.analysis.order import called_after, ended_before
from sagascope_collector.analysis.values import ROUNDING_TOLERANCE_NS, ImpossibleTime
from sagascope_collector.analysis.wording import datetime_text, money, name_list, process_label, time_text
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import Span


@dataclass(frozen=True, slots=True)
class AnomalyContext:
    """The steps of a saga, their effects, and the spans that report them."""

    steps: Sequence[Step]
    effects: Sequence[StepEffect]
    plan: Plan
    status: Status
    closing: Span | None
    restarts: Sequence[int]
    spans: Sequence[Span]
    edges: Sequence[Edge]
    impossible_times: Sequence[ImpossibleTime]
    lost_spans: frozenset[str]
    started_at: int

    def at(self, moment: int) -> str:
        """Formats a time, with its date if the saga started on another day."""
        return time_text(moment, self.started_at)


class Occurrence(NamedTuple):
    """One result of a rule. Its code is the rule's key in `RULES`."""

    text: str
    step: str | None


def duplicate_execution(context: AnomalyContext) -> Iterator[Occurrence]:
    """A second success of one step with the same key, even if an idempotency key made it harmless."""
    return _repeated(context, FORWARD_TYPES)


def compensated_twice(context: AnomalyContext) -> Iterator[Occurrence]:
    """A second success of one compensation."""
    return _repeated(context, COMPENSATING_TYPES)


def _repeated(context: AnomalyContext, types: Sequence[str]) -> Iterator[Occurrence]:
    for step in context.steps:
        done = [each for each in step.attempts if each.state is AttemptState.OK]
        if step.type in types and len(done) > 1:
            ends = [
                f"at {context.at(each.ended_at or each.started_at)} in {process_label(each.process)}"
                for each in done[:5]
            ]
            yield Occurrence(f"{step.label} succeeded {len(done)} times: {name_list(ends)}", step.name)


def compensation_order(context: AnomalyContext) -> Iterator[Occurrence]:
    """A step that was compensated before a step that was executed after it."""
    compensated = [each for each in context.effects if each.compensated and each.executed]
    for earlier, later in pairwise(compensated):
        first, second = earlier.compensated[0], later.compensated[0]
        if ended_before(earlier.executed[-1], later.executed[0]) and ended_before(first, second):
            when = f"{earlier.name} was compensated at {context.at(first.finished_at or 0)}"
            text = f"{when}, before {later.name}, which was executed after it"
            yield Occurrence(text, earlier.name)


def compensated_amount_differs(context: AnomalyContext) -> Iterator[Occurrence]:
    """A compensation of another amount than that of the step: a partial refund, or more than was charged."""
    for effect in context.effects:
        amount = compensated_amount(effect)
        if amount is not None:
            executed, compensation = effect.executed[0], effect.compensated[0]
            when = context.at(compensation.finished_at or compensation.called_at)
            amounts = [money(each, executed.currency) for each in (executed.amount or amount, amount)]
            text = f"{effect.label} reported {amounts[0]}, and {effect.compensation} at {when} reported {amounts[1]}"
            yield Occurrence(text, effect.name)


def compensated_without_action(context: AnomalyContext) -> Iterator[Occurrence]:
    """A compensation of a step that was not executed, as far as telemetry shows."""
    executed = _maybe_executed(context)
    for step in context.steps:
        is_compensation = step.type == semconv.TYPE_COMPENSATION and step.compensates
        if is_compensation and step.compensates not in executed:
            when = f"{step.name} started at {context.at(step.attempts[0].started_at)}"
            text = f"{when}; no execution of {step.compensates} was received"
            yield Occurrence(text, step.name)


def forward_after_compensation(context: AnomalyContext) -> Iterator[Occurrence]:
    """An action that started after the first compensation."""
    restarted_at = context.restarts[0] if context.restarts else 0
    compensating = [
        attempt
        for step in context.steps
        if step.type == semconv.TYPE_COMPENSATION
        for attempt in step.attempts
        if attempt.called_at >= restarted_at
    ]
    if not compensating:
        return
    first = min(compensating, key=lambda each: each.called_at)
    for step in context.steps:
        late = [each for each in step.attempts if step.type == semconv.TYPE_ACTION and called_after(each, first)]
        if late:
            when = (
                f"at {context.at(late[0].started_at)}, after compensation had started at {context.at(first.started_at)}"
            )
            yield Occurrence(f"{step.label} started {when}", step.name)


def out_of_order(context: AnomalyContext) -> Iterator[Occurrence]:
    """A step that started before a step that it must follow in the declared plan.

    Learned plans are ignored: they may change.
    """
    if context.plan.source != "declared":
        return
    first: dict[str, Attempt] = {}
    for step in context.steps:
        if step.attempts and step.phase is Phase.FORWARD:
            first.setdefault(step.name, step.attempts[0])
    needs = plans.prerequisites(context.plan)
    for name, attempt in first.items():
        for before in needs.get(name, ()):
            if before in first and called_after(first[before], attempt):
                at, earlier = context.at(attempt.started_at), context.at(first[before].started_at)
                when = f"{name} started at {at}, {before} at {earlier}"
                yield Occurrence(f"{when}; the plan puts {before} first", name)


def unexpected_step(context: AnomalyContext) -> Iterator[Occurrence]:
    """A step that is not in the declared plan."""
    if context.plan.source != "declared":
        return
    planned = {step.name for step in context.plan.steps}
    planned_or_compensating = planned | {step.compensation for step in context.plan.steps if step.compensation}
    seen: set[str] = set()
    for step in context.steps:
        known = planned_or_compensating if step.type == semconv.TYPE_COMPENSATION else planned
        is_known = step.name in known or (
            step.type == semconv.TYPE_COMPENSATION and not context.plan.compensations_known
        )
        if step.attempts and not is_known and step.name not in seen:
            seen.add(step.name)
            when = f"started at {context.at(step.attempts[0].started_at)} in {process_label(step.attempts[0].process)}"
            yield Occurrence(f"{step.name} {when} and is not in the plan", step.name)


def skipped_step(context: AnomalyContext) -> Iterator[Occurrence]:
    """A required step of the plan that did not run, although the saga was completed."""
    if context.status is not Status.COMPLETED or context.plan.source != "declared":
        return
    executed = _maybe_executed(context)
    for step in context.plan.steps:
        if step.name not in executed and not step.optional:
            yield Occurrence(f"The saga was completed without {step.name}", step.name)


def _maybe_executed(context: AnomalyContext) -> set[str]:
    return {each.name for each in context.effects if any(one.state is not AttemptState.ERROR for one in each.attempts)}


def progress_after_end(context: AnomalyContext) -> Iterator[Occurrence]:
    """An attempt that started, or succeeded, after the saga's end."""
    if context.closing is None:
        return
    end = context.closing.end
    for step in context.steps:
        late = [
            each for each in step.attempts if each.called_at > end + END_TOLERANCE_NS or _succeeded_after(each, end)
        ]
        if late:
            verb = "started" if late[0].called_at > end + END_TOLERANCE_NS else "succeeded"
            at = late[0].started_at if verb == "started" else late[0].ended_at or 0
            text = f"{step.label} {verb} at {context.at(at)}, after the saga had ended at {context.at(end)}"
            yield Occurrence(text, step.name)


def _succeeded_after(attempt: Attempt, end: int) -> bool:
    ended = (attempt.ended_at or 0) + attempt.offset
    return attempt.state is AttemptState.OK and ended > end + END_TOLERANCE_NS


END_TOLERANCE_NS = NANOSECONDS_PER_SECOND
"""Activity later than this after a saga's end is an anomaly."""


def version_straddle(context: AnomalyContext) -> Iterator[Occurrence]:
    """Two versions of one service in one saga."""
    versions: dict[str, dict[str, int]] = {}
    seen: set[int] = set()
    for span in context.spans:
        process = span.process
        if process.version and process.service and id(process) not in seen:
            seen.add(id(process))
            versions.setdefault(process.service, {}).setdefault(process.version, span.start)
    for service, first in sorted(versions.items()):
        if len(first) > 1:
            versions_seen = name_list([f"{version} from {context.at(at)}" for version, at in first.items()])
            yield Occurrence(f"{service} worked on it in versions {versions_seen}", None)


REPORTED_SKEW_NS = NANOSECONDS_PER_SECOND
"""A clock skew greater than this is reported."""


MAX_MISSING_PARENTS = 5
"""Maximum number of missing parents that are named."""


def clock_skew(context: AnomalyContext) -> Iterator[Occurrence]:
    """A span that contradicts its parent's times: started before it, or after its end, or ended after it.

    There is one anomaly for each pair of processes.
    """
    yield from _impossible(context)
    worst: dict[tuple[str, str], tuple[int, Edge]] = {}
    for edge in context.edges:
        if edge.parent.start <= edge.child.start and edge.child.end <= edge.parent.end:
            continue
        by = _skew_ns(edge)
        pair = (process_label(edge.parent.process), process_label(edge.child.process))
        if by > REPORTED_SKEW_NS and by > worst.get(pair, (0, edge))[0]:
            worst[pair] = (by, edge)
    for (above, below), (by, edge) in sorted(worst.items(), key=lambda item: item[0]):
        is_before = edge.child.start < edge.parent.start
        relation = (
            "started before"
            if is_before
            else "started after the end of"
            if _started_after_answer(edge)
            else "ended after"
        )
        text = f"{edge.child.name} in {below} {relation} {edge.parent.name} above it in {above}"
        difference = f"by {by / NANOSECONDS_PER_SECOND:.1f} s: their clocks differ"
        yield Occurrence(f"{text}, {difference}", edge.child.mark.step or None)


def _impossible(context: AnomalyContext) -> Iterator[Occurrence]:
    """Spans with impossible times: an end before the start, or a time that no clock can have had."""
    for each in context.impossible_times:
        span, where = each.span, f"{each.span.name} in {process_label(each.span.process)}"
        if not each.ends_before_start:
            at = datetime_text(span.start)
            text = f"{where} was sent with the time {at} UTC, which cannot be: its time of receipt is used"
        elif span.start - span.end <= ROUNDING_TOLERANCE_NS:
            continue
        else:
            early = (span.start - span.end) / NANOSECONDS_PER_SECOND
            text = f"{where} ends {early:.3f} s before it starts: its duration counts as 0"
        yield Occurrence(text, span.mark.step or None)


def _skew_ns(edge: Edge) -> int:
    parent, child = edge
    if child.start < parent.start:
        return parent.start - child.start
    if is_answered_call(parent, child):
        return max(child.end - parent.end, 0)
    return child.start - parent.end if _started_after_answer(edge) else 0


def _started_after_answer(edge: Edge) -> bool:
    """Whether work started after its caller had received the answer."""
    parent, child = edge
    was_answered = parent.end > 0 and parent.status != "error" and child.start > parent.end
    same = (parent.mark.step, parent.mark.key, parent.mark.attempt) == (
        child.mark.step,
        child.mark.key,
        child.mark.attempt,
    )
    handed_on = parent.kind == "producer" or child.kind == "consumer"
    return was_answered and not handed_on and (is_answered_call(parent, child) or (same and child.kind == "server"))


def missing_span(context: AnomalyContext) -> Iterator[Occurrence]:
    """A final span that was not received; once the saga has ended, a parent span that was not received."""
    for span in context.spans:
        if span.span_id in context.lost_spans:
            begun = f"{span.name} in {process_label(span.process)}, started at {context.at(span.start)}"
            yield Occurrence(f"{begun}, has ended; its final span was not received", span.mark.step or None)
    if context.closing is None:
        return
    found = orphans(context.spans)
    for span in found[:MAX_MISSING_PARENTS]:
        text = (
            f"The parent of {span.name} in {process_label(span.process)}, at {context.at(span.start)}, was not received"
        )
        yield Occurrence(text, span.mark.step or None)
    if len(found) > MAX_MISSING_PARENTS:
        yield Occurrence(f"{len(found) - MAX_MISSING_PARENTS} more parent spans were not received", None)


def orphans(spans: Iterable[Span]) -> list[Span]:
    """Returns spans whose parent was not received, one for each parent.

    A root span, and the earliest span of a trace, may have a parent outside the saga. In the trace of a root span, a
    step is never the earliest, whatever its clock says.
    """
    spans = list(spans)
    known = {span.span_id for span in spans}
    rooted = {span.trace_id for span in spans if span.mark.role == semconv.ROLE_SAGA}
    begun: set[str] = set()
    found: dict[tuple[str, str], Span] = {}
    for span in spans:
        is_inside = span.trace_id in begun or (span.mark.role == semconv.ROLE_STEP and span.trace_id in rooted)
        if is_inside and span.parent_id and span.parent_id not in known and span.mark.role != semconv.ROLE_SAGA:
            found.setdefault((span.trace_id, span.parent_id), span)
        begun.add(span.trace_id)
    return list(found.values())


RULES: Final[Mapping[str, Callable[[AnomalyContext], Iterator[Occurrence]]]] = {
    "duplicate_execution": duplicate_execution,
    "compensated_twice": compensated_twice,
    "compensation_order": compensation_order,
    "compensated_amount_differs": compensated_amount_differs,
    "compensated_without_action": compensated_without_action,
    "forward_after_compensation": forward_after_compensation,
    "out_of_order": out_of_order,
    "unexpected_step": unexpected_step,
    "skipped_step": skipped_step,
    "progress_after_end": progress_after_end,
    "clock_skew": clock_skew,
    "missing_span": missing_span,
    "version_straddle": version_straddle,
}
"""The rules by code, in display order."""

MAX_ANOMALIES_PER_CODE: Final = 20
"""Maximum number of anomalies of one code that are reported for one saga."""


def find(context: AnomalyContext) -> tuple[Anomaly, ...]:
    """Returns the anomalies of a saga, at most `MAX_ANOMALIES_PER_CODE` of each code."""
    return tuple(
        Anomaly(code, found.text, found.step)
        for code, rule in RULES.items()
        for found in islice(rule(context), MAX_ANOMALIES_PER_CODE)
    )
