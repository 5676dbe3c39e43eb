"""What the runbooks of a team say of one saga that needs someone."""

from sagascope_collector.sagas.case import Case, Finding
from sagascope_collector.sagas.model import Failure
from sagascope_collector.sagas.templates import KEY
from sagascope_collector.sagas.words import dated

MOST = 5
"""Runbooks that are told of one saga."""


def told(case: Case, finding: Finding) -> list[str]:
    """What the runbooks that are for it say, in the order of their file."""
    if not case.context.runbooks:
        return []
    fields = _fields(case, finding)
    return [each.told(fields) for each in case.context.runbooks if each.fits(fields)][:MOST]


def _fields(case: Case, finding: Finding) -> dict[str, str]:
    saga, attempt = case.saga, finding.subject.attempt if finding.subject else None
    process = finding.process or (attempt.process if attempt else None)
    error = (attempt.error if attempt else None) or Failure(None, None)
    said = {
        **saga.key._asdict(),
        "status": saga.status.value,
        "reason": finding.reason.value,
        "phase": finding.phase.value,
        "step": finding.step,
        "service": finding.service,
        "instance": process.instance if process else None,
        "since": dated(finding.since),
        "attempt": str(attempt.number) if attempt else None,
        "error_type": error.type,
        "error": error.message,
        "idempotency_key": attempt.idempotency_key if attempt else None,
        "trace_id": attempt.trace_id if attempt else None,
        "span_id": attempt.span_id if attempt else None,
        **{f"{KEY}{name}": value for name, value in saga.keys.items()},
    }
    return {name: value for name, value in said.items() if value}
