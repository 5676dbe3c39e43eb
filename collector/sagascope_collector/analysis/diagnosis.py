"""The diagnosis of a saga at one moment, for every list, page and alert.

`AttentionCode` defines the attention codes; each has one rule in `RULES`. The first code that applies is reported.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sagascope_collector.analysis import actions, headline, integrity_rules, progress_rules, two_phase
from sagascope_collector.analysis.case import Case, Finding
from sagascope_collector.analysis.context import Context
from sagascope_collector.analysis.evidence import evidence
from sagascope_collector.analysis.ledger import has_ended
from sagascope_collector.analysis.ledger_text import customer_line
from sagascope_collector.analysis.model import Confidence, Failure, Phase, Saga, Status, Step
from sagascope_collector.analysis.runbooks import KEY_PREFIX
from sagascope_collector.analysis.spans import FINAL_SPAN_GRACE_NS, is_unlisted
from sagascope_collector.analysis.wording import (
    Action,
    ActionKind,
    Evidence,
    Text,
    datetime_text,
    midnight_after,
    run_name,
)
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.records import Instance


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a saga needs attention."""

    reason: AttentionCode
    phase: Phase
    step: str | None
    service: str | None
    instance: str | None
    since: int
    headline: Text
    evidence: tuple[Evidence, ...]
    actions: tuple[Text, ...]
    verifies_first: bool
    """Whether an action verifies what is in effect before one that changes the saga."""
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The diagnosis of a saga at one moment."""

    step: str | None
    """The current step; None once the saga has ended and needs no attention."""
    service: str | None
    attempts: int
    """Attempts of the current step."""
    error: Failure | None
    """The latest error of the current step."""
    verdict: Verdict | None
    headline: Text
    """The headline of the verdict; without a verdict, the saga's current state."""
    customer_line: Text
    """One sentence for people outside engineering: whether the customer was charged or refunded, as far as known."""
    due_at: int | None
    """The next time at which this diagnosis may change without a new fact; None: never."""
    report_deadlines: Mapping[tuple[str, str], int | None] = field(default_factory=dict)
    """The report deadlines of processes that the diagnosis relies on, by (service, identity): see `must_report_by`."""


class Rule(NamedTuple):
    """The functions that find and describe one attention code."""

    find: Callable[[Case], Finding | None]
    fact: Callable[[Case, Finding], Text]
    """The sentence at the start of the headline."""
    actions: Callable[[Case, Finding], list[Action]]


RULES: Final[Mapping[AttentionCode, Rule]] = {
    AttentionCode.APPLIED_TWICE: Rule(integrity_rules.applied_twice, headline.applied_twice, actions.applied_twice),
    AttentionCode.COMPENSATION_FAILED: Rule(
        integrity_rules.compensation_failed, headline.compensation_failed, actions.compensation_failed
    ),
    AttentionCode.UNCOMPENSATED: Rule(integrity_rules.uncompensated, headline.uncompensated, actions.uncompensated),
    AttentionCode.MIXED_OUTCOME: Rule(
        two_phase.find_mixed_outcome, two_phase.mixed_outcome_fact, two_phase.mixed_outcome_actions
    ),
    AttentionCode.IN_DOUBT: Rule(two_phase.find_in_doubt, two_phase.in_doubt_fact, two_phase.in_doubt_actions),
    AttentionCode.BLOCKED: Rule(progress_rules.blocked, headline.blocked, actions.blocked),
    AttentionCode.INSTANCE_LOST: Rule(progress_rules.instance_lost, headline.instance_lost, actions.instance_lost),
    AttentionCode.RETRYING: Rule(progress_rules.retrying, headline.retrying, actions.retrying),
    AttentionCode.HUNG: Rule(progress_rules.hung, headline.hung, actions.hung),
    AttentionCode.NEXT_STEP_MISSING: Rule(
        progress_rules.next_step_missing, headline.next_step_missing, actions.next_step_missing
    ),
    AttentionCode.NEVER_CLOSED: Rule(progress_rules.never_closed, headline.never_closed, actions.never_closed),
}
"""The rules by code, in the order of `AttentionCode`."""

_APPLICABLE: Final = {
    status: tuple(
        rule
        for code, rule in RULES.items()
        if code.scope == "all"
        or not has_ended(status)
        or (code.scope == "not completed" and status is not Status.COMPLETED)
    )
    for status in Status
}


def find_attention(case: Case) -> Finding | None:
    """The finding to report; None if the saga needs no attention."""
    _await_final_spans(case)
    for rule in _APPLICABLE[case.saga.status]:
        finding = rule.find(case)
        if finding is not None:
            return finding
    return None


def actions_of(case: Case, finding: Finding) -> list[Action]:
    """Returns the recommended actions. Before work is changed, another run of the id must be looked at."""
    found = RULES[finding.reason].actions(case, finding)
    other = case.saga.other_run
    if other is None or not any(each.kind.changes_work for each in found):
        return found
    is_compensation = finding.phase is Phase.COMPENSATION or any(each.kind is ActionKind.REVERSE for each in found)
    text = (
        "Verify that {} of this id does not rely on what would be compensated. If it does, compensate nothing."
        if is_compensation
        else "Verify that {} of this id has not taken over. If it has, repeat nothing."
    )
    return [Action.verify(text, run_name(other, "the other run")), *found]


def _await_final_spans(case: Case) -> None:
    """Requests a re-evaluation for when an open span that its process no longer lists counts as lost."""
    for span in case.saga.spans:
        announced_at = case.saga.announced.get(span.span_id) if not span.end else None
        instance = case.liveness.instance(span.process) if announced_at is not None else None
        if (
            announced_at is None
            or instance is None
            or instance.heartbeat is None
            or span.span_id in case.saga.lost_spans
        ):
            continue
        if is_unlisted(span.span_id, announced_at, instance.heartbeat):
            case.clock.reevaluate_at(instance.heartbeat.at + instance.behind + FINAL_SPAN_GRACE_NS)


def diagnose(saga: Saga, instances: Sequence[Instance], context: Context) -> Diagnosis:
    """Returns whether a saga needs attention, and why, as of ``context.now``."""
    case = Case(saga, instances, context)
    return diagnosis_of(case, find_attention(case))


def diagnosis_of(case: Case, finding: Finding | None) -> Diagnosis:
    """Describes the finding of `find_attention`; None: the saga needs no attention."""
    if finding is None:
        step, attempted = _current_step(case)
        service, error, verdict, twice = case.service_of(step) if step else None, _latest_error(attempted), None, None
    else:
        step, service, verdict = finding.step, finding.service, _verdict(case, finding)
        attempted = finding.subject.step if finding.subject and finding.subject.step.name == step else None
        attempted = attempted or (case.step(step) if step else None)
        error = _latest_error(attempted) or _reported_error(case, finding)
        twice = finding.phase if finding.reason is AttentionCode.APPLIED_TWICE else None
    if finding is not None or not has_ended(case.saga.status):
        # then the headline names the date of its times, too
        case.clock.reevaluate_at(midnight_after(case.clock.now))
    return Diagnosis(
        step=step,
        service=service,
        attempts=len(attempted.attempts) if attempted else 0,
        error=error,
        verdict=verdict,
        headline=verdict.headline if verdict else headline.state_headline(case, step),
        customer_line=customer_line(case.saga, twice),
        due_at=case.clock.due,
        report_deadlines=case.liveness.report_deadlines,
    )


def _verdict(case: Case, finding: Finding) -> Verdict:
    rule = RULES[finding.reason]
    process = finding.process or (finding.subject.attempt.process if finding.subject else None)
    found = actions_of(case, finding)
    return Verdict(
        reason=finding.reason,
        phase=finding.phase,
        step=finding.step,
        service=finding.service,
        instance=(process.instance or None) if process else None,
        since=finding.since,
        headline=headline.headline(case, finding, rule.fact(case, finding)),
        evidence=evidence(case, finding),
        actions=(*(each.text for each in found), *_runbook_texts(case, finding)),
        verifies_first=any(each.kind is ActionKind.VERIFY for each in found),
        confidence=finding.confidence,
    )


def _current_step(case: Case) -> tuple[str | None, Step | None]:
    """The current step of an open saga: the step in flight, else the last failed step, else the next step."""
    if has_ended(case.saga.status):
        return None, None
    if case.in_flight:
        step = case.in_flight[0].step
        return step.name, step
    if case.failing is not None:
        return case.failing.step.name, case.failing.step
    wanted = progress_rules.awaited(case)
    return (wanted.step, case.step(wanted.step)) if wanted and wanted.step else (None, None)


def _reported_error(case: Case, finding: Finding) -> Failure | None:
    return case.saga.blocked[0].error if finding.reason is AttentionCode.BLOCKED else None


def _latest_error(step: Step | None) -> Failure | None:
    if step is None:
        return None
    return next((each.error for each in reversed(step.attempts) if each.error), None)


MAX_RUNBOOKS = 5
"""Maximum number of runbooks shown for one saga."""


def _runbook_texts(case: Case, finding: Finding) -> list[Text]:
    """The texts of the runbooks that apply, in the order of their file."""
    if not case.context.runbooks:
        return []
    fields = _runbook_fields(case, finding)
    return [Text(each.text(fields)) for each in case.context.runbooks if each.applies(fields)][:MAX_RUNBOOKS]


def _runbook_fields(case: Case, finding: Finding) -> dict[str, str]:
    saga, attempt = case.saga, finding.subject.attempt if finding.subject else None
    process = finding.process or (attempt.process if attempt else None)
    error = (attempt.error if attempt else None) or Failure(None, None)
    # where the next step is missing, the subject is the last attempt of another step
    is_of_step = finding.subject is not None and finding.subject.step.name == finding.step
    fields = {
        **saga.key._asdict(),
        "status": saga.status.value,
        "reason": finding.reason.value,
        "phase": finding.phase.value,
        "step": finding.step,
        "service": finding.service,
        "instance": process.instance if process else None,
        "since": datetime_text(finding.since),
        "attempt": str(attempt.number) if attempt else None,
        "error_type": error.type,
        "error": error.message,
        "idempotency_key": attempt.idempotency_key if attempt and is_of_step else None,
        "trace_id": attempt.trace_id if attempt else None,
        "span_id": attempt.span_id if attempt else None,
        **{f"{KEY_PREFIX}{name}": value for name, value in saga.keys.items()},
    }
    return {name: value for name, value in fields.items() if value}
