"""Attention rules: whether a saga needs attention. The first code that applies is reported.

`AttentionCode` defines the codes; each has one rule here.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from sagascope_collector.analysis import actions, headline, integrity_rules, progress_rules, two_phase
from sagascope_collector.analysis.case import Case, Finding
from sagascope_collector.analysis.diagnosis import Action, ActionKind
from sagascope_collector.analysis.ledger import has_ended
from sagascope_collector.analysis.model import Phase, Status
from sagascope_collector.analysis.spans import FINAL_SPAN_GRACE_NS, is_unlisted
from sagascope_collector.analysis.wording import Text, run_name
from sagascope_collector.attention_codes import AttentionCode


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
    AttentionCode.MIXED_OUTCOME: Rule(integrity_rules.mixed_outcome, headline.mixed_outcome, two_phase.mixed_outcome),
    AttentionCode.IN_DOUBT: Rule(integrity_rules.in_doubt, headline.in_doubt, two_phase.in_doubt),
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


def find(case: Case) -> Finding | None:
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
