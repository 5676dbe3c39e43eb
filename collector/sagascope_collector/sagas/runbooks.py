"""What a team wants to be done, or read, when a saga of some kind needs someone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sagascope_collector.sagas.case import Case, Finding
from sagascope_collector.sagas.model import Failure
from sagascope_collector.sagas.templates import KEY, Template
from sagascope_collector.sagas.words import dated

MOST = 5
"""Runbooks that are told of one saga."""


@dataclass(frozen=True, slots=True)
class Runbook:
    """What to do, and where to read on, in the cases that it is for."""

    when: Mapping[str, Sequence[str]]
    """Patterns by field, one of which must fit; ``*`` stands for any characters. No field: always."""
    do: Template | None
    link: Template | None

    def fits(self, fields: Mapping[str, str]) -> bool:
        """Whether it is for a saga with these fields."""
        return all(
            any(fnmatchcase(fields.get(field, ""), pattern) for pattern in patterns)
            for field, patterns in self.when.items()
        )

    def told(self, fields: Mapping[str, str]) -> str:
        """The sentence, the link, or both."""
        parts = [self.do.text(fields) if self.do else "", self.link.link(fields) if self.link else ""]
        return " ".join(filter(None, parts))


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
