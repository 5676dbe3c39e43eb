"""What to do, concretely and safely: nothing is done again that may have been done, unless a key makes it harmless."""

from collections.abc import Callable

from sagascope_collector.sagas import forecast as forecasts
from sagascope_collector.sagas import messages, settlement
from sagascope_collector.sagas.case import Case, Finding
from sagascope_collector.sagas.forecast import forecast
from sagascope_collector.sagas.model import AttemptState, Reason
from sagascope_collector.sagas.standstill import failed_in_a_row
from sagascope_collector.sagas.words import who


def actions(case: Case, finding: Finding) -> tuple[str, ...]:
    """Steps for a person, the first thing first."""
    make = _ACTIONS.get(finding.reason, _look)
    return tuple(messages.actions(case, finding) or make(case, finding))


def _verify(case: Case, finding: Finding) -> list[str]:
    """First see whether it was done; only then go on."""
    step = finding.step
    where = f"in {finding.service}" if finding.service else "where it runs"
    attempt = finding.subject.attempt if finding.subject else None
    if attempt is None or step is None:
        return _look(case, finding)
    if attempt.idempotency_key:
        key = attempt.idempotency_key
        return [
            f"Look up key {key} {where}: if it is absent, resubmit {step} with that same key; "
            "if it is there, go on after it."
        ]
    return [
        f"Verify first {where} whether {step} was done for {_business(case)}: no idempotency key was received, "
        "so trying again could do it twice.",
        "If it was done, let the saga go on after it; if it was not, have it tried again.",
    ]


def _lost(case: Case, finding: Finding) -> list[str]:
    subject = finding.subject
    if subject is None or subject.attempt.state is not AttemptState.IN_FLIGHT:
        process = who(finding.process) if finding.process else "the process that drives it"
        return [
            f"See why {process} is gone, and whether another process can take {_business(case)} up again "
            f"at {finding.step}."
        ]
    return _verify(case, finding)


def _hung(case: Case, finding: Finding) -> list[str]:
    queue = messages.queue_of(finding.subject.attempt) if finding.subject else ""
    if queue:
        return [f"See whether anybody takes work from {queue}: what waits there lets {_business(case)} go on."]
    process = who(finding.subject.attempt.process) if finding.subject else finding.service
    return [f"See what {process} is waiting for in {finding.step}.", *_verify(case, finding)]


def _retrying(case: Case, finding: Finding) -> list[str]:
    set_right = f"Set right what makes {finding.step} fail in {finding.service or 'its service'}"
    expected = forecast(case, failed_in_a_row(finding.subject)[-1]) if finding.subject else None
    return [f"{set_right}; {forecasts.told(case, expected) if expected else 'it is still being tried'}."]


def _missing(case: Case, finding: Finding) -> list[str]:
    if finding.process:
        where = f"in {who(finding.process)} why nothing followed"
    elif finding.service:
        where = f"in {finding.service} whether it was ever asked for {finding.step}, and in its caller why not"
    else:
        where = f"who should have asked for {finding.step}, and why it did not"
    return [f"See {where}, then let {_business(case)} go on at {finding.step}."]


def _unclosed(case: Case, finding: Finding) -> list[str]:
    driver = who(finding.process) if finding.process else "whoever drives it"
    outcome = "compensated" if case.is_backward else "completed"
    return [f"See in {driver} why it did not go on, then have it close {_business(case)} as {outcome}."]


def _undo(case: Case, finding: Finding) -> list[str]:
    where = f" in {finding.service}" if finding.service else ""
    return [f"Verify{where} what of {finding.step} is in force for {_business(case)}, then undo it by hand."]


def _twice(case: Case, finding: Finding) -> list[str]:
    where = f" in {finding.service}" if finding.service else ""
    return [
        f"Verify{where} that {finding.step} took effect twice for {_business(case)}, then take one of the two back."
    ]


def _decide(case: Case, finding: Finding) -> list[str]:
    return list(settlement.actions(case))


def _look(case: Case, finding: Finding) -> list[str]:
    return [f"Look at {_business(case)} where it stands."]


def _business(case: Case) -> str:
    return f"{case.saga.key.name} {case.saga.key.id}"


_ACTIONS: dict[Reason, Callable[[Case, Finding], list[str]]] = {
    Reason.APPLIED_TWICE: _twice,
    Reason.COMPENSATION_FAILED: _undo,
    Reason.UNCOMPENSATED: _undo,
    Reason.IN_DOUBT: _decide,
    Reason.INSTANCE_LOST: _lost,
    Reason.RETRYING: _retrying,
    Reason.HUNG: _hung,
    Reason.NEXT_STEP_MISSING: _missing,
    Reason.NEVER_CLOSED: _unclosed,
}
