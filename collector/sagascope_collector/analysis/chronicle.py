"""A folded saga, as far as the finders of anomalies need it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sagascope_collector.analysis.accounts import Account
from sagascope_collector.analysis.clocks import Edge
from sagascope_collector.analysis.model import Plan, Status, Step
from sagascope_collector.analysis.timestamps import ImpossibleTime
from sagascope_collector.analysis.words import clock
from sagascope_collector.records import Span


@dataclass(frozen=True, slots=True)
class Chronicle:
    """The steps of a saga, their accounts, and the spans that report them."""

    steps: Sequence[Step]
    books: Sequence[Account]
    plan: Plan
    status: Status
    closing: Span | None
    drives: Sequence[int]
    spans: Sequence[Span]
    edges: Sequence[Edge]
    impossible: Sequence[ImpossibleTime]
    gone: frozenset[str]
    started_at: int

    def at(self, moment: int) -> str:
        """A moment in words; with its date, if the saga had begun on another day."""
        return clock(moment, self.started_at)
