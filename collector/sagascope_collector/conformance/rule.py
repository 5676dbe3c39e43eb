"""One point of the contract, and how it is judged."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sagascope_collector.conformance.heard import Heard
from sagascope_collector.conformance.report import Finding, Point, Verdict


@dataclass(frozen=True, slots=True)
class Rule:
    """Looks at what was heard: one finding for each record to which it applies."""

    section: str
    point: str
    requirement: str
    fix: str
    look: Callable[[Heard], Iterable[Finding]]

    def judge(self, heard: Heard) -> Point:
        """Passed where nothing is wrong with anything that it applies to."""
        found = list(self.look(heard))
        wrong = [each for each in found if each.wrong]
        example = next(iter(wrong or found), None)
        return Point(
            section=self.section,
            point=self.point,
            requirement=self.requirement,
            verdict=Verdict.FAILED if wrong else Verdict.PASSED if found else Verdict.NOT_SEEN,
            seen=len(found),
            wrong=len(wrong),
            example=example.where if example else None,
            reason=example.wrong or None if example else None,
            fix=self.fix if wrong else None,
        )
