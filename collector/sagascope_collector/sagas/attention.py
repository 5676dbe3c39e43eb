"""Whether a saga needs someone. Rules in the order in which they are said: the first that holds."""

from collections.abc import Callable
from typing import Final

from sagascope_collector.sagas import standstill, wrongs
from sagascope_collector.sagas.case import Case, Finding
from sagascope_collector.sagas.ledger import has_ended
from sagascope_collector.sagas.model import Reason, Status
from sagascope_collector.sagas.spans import GRACE, is_unlisted

Rule = Callable[[Case], Finding | None]

RULES: Final[dict[Reason, Rule]] = {
    Reason.APPLIED_TWICE: wrongs.applied_twice,
    Reason.COMPENSATION_FAILED: wrongs.compensation_failed,
    Reason.UNCOMPENSATED: wrongs.uncompensated,
    Reason.IN_DOUBT: wrongs.in_doubt,
    Reason.INSTANCE_LOST: standstill.instance_lost,
    Reason.RETRYING: standstill.retrying,
    Reason.HUNG: standstill.hung,
    Reason.NEXT_STEP_MISSING: standstill.next_step_missing,
    Reason.NEVER_CLOSED: standstill.never_closed,
}

AFTER_THE_END: Final = (
    Reason.APPLIED_TWICE,
    Reason.COMPENSATION_FAILED,
    Reason.UNCOMPENSATED,
    Reason.IN_DOUBT,
)
"""What can still be said of a saga that has ended; of one that was completed, the first alone."""


def find(case: Case) -> Finding | None:
    """The finding to be said, if any."""
    _await_final_spans(case)
    for reason in _possible(case.saga.status):
        finding = RULES[reason](case)
        if finding is not None:
            return finding
    return None


def _possible(status: Status) -> tuple[Reason, ...]:
    if status is Status.COMPLETED:
        return AFTER_THE_END[:1]
    return AFTER_THE_END if has_ended(status) else tuple(RULES)


def _await_final_spans(case: Case) -> None:
    """Look again when an open span that its process no longer lists is to be given up."""
    for span in case.saga.spans:
        announced_at = case.saga.announced.get(span.span_id) if not span.end else None
        instance = case.liveness.instance(span.process) if announced_at is not None else None
        if announced_at is None or instance is None or instance.heartbeat is None or span.span_id in case.saga.gone:
            continue
        if is_unlisted(span.span_id, announced_at, instance.heartbeat):
            case.watch.remind(instance.heartbeat.at + GRACE)
