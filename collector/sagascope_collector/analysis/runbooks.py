"""What the runbooks of a team say about one saga that needs attention."""

from sagascope_collector.analysis.case import Case, Finding
from sagascope_collector.analysis.model import Failure
from sagascope_collector.analysis.templates import KEY
from sagascope_collector.analysis.wording import Text
from sagascope_collector.analysis.words import dated

MAX_RUNBOOKS = 5
"""Runbooks that are shown for one saga."""


def texts(case: Case, finding: Finding) -> list[Text]:
    """What the runbooks that apply to it say, in the order of their file."""
    if not case.context.runbooks:
        return []
    fields = _fields(case, finding)
    return [Text(each.text(fields)) for each in case.context.runbooks if each.applies(fields)][:MAX_RUNBOOKS]


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
