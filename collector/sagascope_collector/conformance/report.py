"""The conformance report: checks, their results, and what telemetry can prove.

The models are pydantic because the report is also printed as JSON for other programs.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from sagascope_collector.conformance.capture import Capture


class Verdict(StrEnum):
    """The result of one check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_SEEN = "not_seen"
    """No received record is subject to the check."""


class Level(StrEnum):
    """How much an emitter reports about work that has not ended; each level includes the ones before it."""

    NOTHING = "nothing"
    ENDS = "ends"
    STARTS = "starts"
    HEARTBEATS = "heartbeats"


class Finding(NamedTuple):
    """A record that is subject to a check, and its violation; an empty violation means that the record complies."""

    where: str
    violation: str = ""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class CheckResult(_Model):
    """The result of one check over all records."""

    section: str
    point: str
    requirement: str
    verdict: Verdict
    seen: int
    """Records that are subject to the check."""
    wrong: int
    """Those of them that violate it."""
    example: str | None
    """The first record that violates the check, else the first that complies."""
    reason: str | None
    """The violation in the example."""
    fix: str | None
    """How to fix the emitter, if the check failed."""


class SupportedCode(_Model):
    """Whether this emitter's telemetry suffices for one attention code."""

    attention: str
    """An attention code of `docs/diagnosis.md`."""
    confidence: str
    """The highest confidence that is possible: ``certain``, ``likely``, ``possible`` or ``never``."""
    why: str


class Gap(_Model):
    """What the telemetry of one service cannot prove yet, and the two lines of code that change it."""

    attention: list[str]
    """Attention codes of `docs/diagnosis.md`."""
    why: str
    lines: list[str]
    """Two lines in the service's language, as its resource names it; else the attributes or records to send."""


class ServiceGaps(_Model):
    """What the telemetry of one service cannot prove yet."""

    service: str
    level: Level
    gaps: list[Gap]


class Report(_Model):
    """The results of all checks."""

    conformant: bool
    """True if telemetry of at least one saga was received and no check failed."""
    level: Level
    spans: int
    logs: int
    sagas: int
    points: list[CheckResult]
    claims: list[SupportedCode]
    services: list[ServiceGaps]
    """Each service that sent telemetry of sagas, by name."""


Finder = Callable[[Capture], Iterable[Finding]]
"""Yields one finding for each record that is subject to a check."""


@dataclass(frozen=True, slots=True)
class Check:
    """A requirement of the contract."""

    section: str
    point: str
    requirement: str
    fix: str
    find: Finder

    def run(self, capture: Capture) -> CheckResult:
        """Applies the check to everything that was received."""
        findings = list(self.find(capture))
        violations = [each for each in findings if each.violation]
        example = next(iter(violations or findings), None)
        return CheckResult(
            section=self.section,
            point=self.point,
            requirement=self.requirement,
            verdict=Verdict.FAILED if violations else Verdict.PASSED if findings else Verdict.NOT_SEEN,
            seen=len(findings),
            wrong=len(violations),
            example=example.where if example else None,
            reason=example.violation or None if example else None,
            fix=self.fix if violations else None,
        )


class Section:
    """A section of the report, with its checks in order."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.checks: list[Check] = []

    def check(self, point: str, requirement: str, fix: str) -> Callable[[Finder], Finder]:
        """Adds the decorated function as a check."""

        def add(find: Finder) -> Finder:
            self.checks.append(Check(self.title, point, requirement, fix, find))
            return find

        return add
