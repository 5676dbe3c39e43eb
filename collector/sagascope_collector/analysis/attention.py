"""Whether a saga needs attention: one record for each code, the first that holds is reported."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sagascope_collector.analysis import actions, headline, retries, self_reported, standstill, wrongs
from sagascope_collector.analysis.advice import Action
from sagascope_collector.analysis.case import Case, Finding
from sagascope_collector.analysis.evidence import Basis
from sagascope_collector.analysis.ledger import has_ended
from sagascope_collector.analysis.model import Reason, Status
from sagascope_collector.analysis.spans import GRACE, is_unlisted
from sagascope_collector.analysis.wording import Text

Tone = Literal["alarm", "wait"]
"""The colour of a code: ``alarm`` where something is wrong and stays wrong, ``wait`` where it may still succeed."""

Life = Literal["open", "failed", "ended"]
"""Sagas of which a code can hold: open ones alone, also ended ones that did not complete, or all."""


@dataclass(frozen=True, slots=True)
class Code:
    """Everything about one attention code."""

    reason: Reason
    label: str
    tone: Tone
    holds_for: Life
    find: Callable[[Case], Finding | None]
    fact: Callable[[Case, Finding], Text]
    """The sentence at the start of the headline."""
    actions: Callable[[Case, Finding], list[Action]]
    rests_on_absence: bool = False
    """It claims that something was not received: never certain but for a reported shutdown."""
    stops_at_a_step: bool = False
    """The saga waits at one step, in which other sagas may succeed."""

    @property
    def basis(self) -> Basis:
        """What its evidence shows beside the attempts."""
        return Basis(self.stops_at_a_step, self.rests_on_absence)


CODES: Final[Sequence[Code]] = (
    Code(
        Reason.APPLIED_TWICE,
        "Executed twice",
        "alarm",
        "ended",
        wrongs.applied_twice,
        headline.applied_twice,
        actions.applied_twice,
    ),
    Code(
        Reason.COMPENSATION_FAILED,
        "Compensation failed",
        "alarm",
        "failed",
        wrongs.compensation_failed,
        headline.compensation_failed,
        actions.compensation_failed,
    ),
    Code(
        Reason.UNCOMPENSATED,
        "Not compensated",
        "alarm",
        "failed",
        wrongs.uncompensated,
        headline.uncompensated,
        actions.uncompensated,
        rests_on_absence=True,
    ),
    Code(
        Reason.MIXED_OUTCOME,
        "Mixed outcome",
        "alarm",
        "ended",
        self_reported.mixed_outcome,
        headline.mixed_outcome,
        actions.mixed_outcome,
    ),
    Code(
        Reason.IN_DOUBT,
        "In doubt",
        "alarm",
        "failed",
        wrongs.in_doubt,
        headline.in_doubt,
        actions.in_doubt,
        rests_on_absence=True,
    ),
    Code(
        Reason.BLOCKED,
        "Blocked",
        "alarm",
        "open",
        self_reported.blocked,
        headline.blocked,
        actions.blocked,
        stops_at_a_step=True,
    ),
    Code(
        Reason.INSTANCE_LOST,
        "Instance lost",
        "alarm",
        "open",
        standstill.instance_lost,
        headline.instance_lost,
        actions.instance_lost,
        rests_on_absence=True,
        stops_at_a_step=True,
    ),
    Code(
        Reason.RETRYING,
        "Retrying",
        "wait",
        "open",
        retries.retrying,
        headline.retrying,
        actions.retrying,
        stops_at_a_step=True,
    ),
    Code(
        Reason.HUNG,
        "Hung",
        "wait",
        "open",
        standstill.hung,
        headline.hung,
        actions.hung,
        stops_at_a_step=True,
    ),
    Code(
        Reason.NEXT_STEP_MISSING,
        "Next step missing",
        "alarm",
        "open",
        standstill.next_step_missing,
        headline.next_step_missing,
        actions.next_step_missing,
        rests_on_absence=True,
        stops_at_a_step=True,
    ),
    Code(
        Reason.NEVER_CLOSED,
        "Never closed",
        "wait",
        "open",
        standstill.never_closed,
        headline.never_closed,
        actions.never_closed,
        rests_on_absence=True,
    ),
)

BY_REASON: Final = {code.reason: code for code in CODES}


def find(case: Case) -> Finding | None:
    """The finding to be reported, if any."""
    _await_final_spans(case)
    for code in CODES:
        finding = code.find(case) if _can_hold(code, case.saga.status) else None
        if finding is not None:
            return finding
    return None


def _can_hold(code: Code, status: Status) -> bool:
    if code.holds_for == "ended" or not has_ended(status):
        return True
    return code.holds_for == "failed" and status is not Status.COMPLETED


def _await_final_spans(case: Case) -> None:
    """Evaluate again when an open span that its process no longer lists is to be given up."""
    for span in case.saga.spans:
        announced_at = case.saga.announced.get(span.span_id) if not span.end else None
        instance = case.liveness.instance(span.process) if announced_at is not None else None
        if announced_at is None or instance is None or instance.heartbeat is None or span.span_id in case.saga.gone:
            continue
        if is_unlisted(span.span_id, announced_at, instance.heartbeat):
            case.watch.remind(instance.heartbeat.at + GRACE)
