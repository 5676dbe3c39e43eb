"""How far the clocks of two processes can differ, by what callers and executors tell of the same calls.

A span below another starts after it, and the answer to a call comes before the call's end. So each call bounds by how
much the executor's clock is to be moved to agree with the caller's; calls of one saga, and of finished ones, bound
pairs of processes that never called each other, too.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sagascope_collector.analysis.clocks import Edge, is_answered_call
from sagascope_collector.analysis.spans import ProcessKey, process_key
from sagascope_collector.records import Span

Pair = tuple[ProcessKey, ProcessKey]
"""(caller, executor)."""

UNKNOWN_SKEW_NS: Final = 500_000_000
"""Nanoseconds that moments of two processes must lie apart to be told in order where nothing bounds their skew."""

UNBOUNDED_NS: Final = 1 << 62
"""Nanoseconds: no order can be told."""

DRIFT: Final = 100e-6
"""Share of the time that has passed by which two clocks may have drifted apart: twice what quartz does."""

MAX_PROCESSES: Final = 32
"""Processes that are compared with each other; beyond, nothing is known of their skew."""

MAX_PAIRS: Final = 32
"""Pairs of which one finished saga teaches, and the most recent ones that are remembered of each type, times ten."""


class Bound(NamedTuple):
    """Nanoseconds by which the executor's clock is to be moved to agree with the caller's: at least, at most."""

    least: int
    most: int
    at: int
    """When it was seen."""

    def aged(self, now: int) -> "Bound":
        """What is left of it at another moment."""
        drift = round(abs(now - self.at) * DRIFT)
        return Bound(self.least - drift, self.most + drift, now)

    def narrowed(self, other: "Bound") -> "Bound":
        """Both together, as of the later; where they contradict, a clock was set: then the later alone."""
        early, late = sorted((self, other), key=lambda each: (each.at, each.least, each.most))
        aged = early.aged(late.at)
        both = Bound(max(aged.least, late.least), min(aged.most, late.most), late.at)
        return both if both.least <= both.most else late


def bounds(edges: Iterable[Edge]) -> dict[Pair, Bound]:
    """What the answered calls of one saga tell of each pair of processes that are told apart."""
    found: dict[Pair, Bound] = {}
    for parent, child in edges:
        if not (parent.process.identity and child.process.identity and is_answered_call(parent, child)):
            continue
        pair = process_key(parent.process), process_key(child.process)
        told = Bound(parent.start - child.start, parent.end - child.end, parent.end)
        if told.least <= told.most:
            known = found.get(pair)
            found[pair] = told if known is None else known.narrowed(told)
    return found


def learned(several: Iterable[Mapping[Pair, Bound]]) -> dict[Pair, Bound]:
    """The bounds of several sagas together, of the pairs seen last."""
    found: dict[Pair, Bound] = {}
    for each in several:
        for pair, told in each.items():
            known = found.get(pair)
            found[pair] = told if known is None else known.narrowed(told)
    latest = sorted(found.items(), key=lambda item: (-item[1].at, item[0]))[: 10 * MAX_PAIRS]
    return dict(latest)


class Skew:
    """Says how far moments of two processes of one saga must lie apart to be told in order."""

    def __init__(
        self,
        spans: Iterable[Span],
        edges: Sequence[Edge],
        offsets: Mapping[ProcessKey, int],
        taught: Mapping[Pair, Bound],
    ) -> None:
        self._edges, self._offsets, self._taught = edges, offsets, taught
        self._processes, self._now = set[ProcessKey](), 0
        if taught:
            for span in spans:
                self._processes.add(process_key(span.process))
                self._now = max(self._now, span.end or span.start)
        self._most: dict[Pair, int] | None = None

    def doubt(self, later: ProcessKey, earlier: ProcessKey) -> int:
        """Nanoseconds by which a moment of one process must follow one of another to be surely later.

        Both are on the saga's clock, their processes' offsets added. What calls bound only roughly is taken to differ
        by `UNKNOWN_SKEW_NS` more than it must, at most; but not where clocks of the saga are known to be wrong by more.
        """
        if later == earlier:
            return 0
        if self._most is None:
            self._most = self._closed()
        most = self._most.get((later, earlier))
        applied = self._offsets.get(later, 0) - self._offsets.get(earlier, 0)
        if any(abs(offset) > UNKNOWN_SKEW_NS for offset in self._offsets.values()):
            return UNBOUNDED_NS if most is None else max(most + applied, 0)
        least = self._most.get((earlier, later))
        likely = UNKNOWN_SKEW_NS if least is None else max(applied - least, 0) + UNKNOWN_SKEW_NS
        return likely if most is None else min(max(most + applied, 0), likely)

    def _closed(self) -> dict[Pair, int]:
        """By how much the second clock of each pair is to be moved beyond the first at most, over all paths."""
        most = self._direct()
        nodes = sorted({process for pair in most for process in pair})
        if len(nodes) > MAX_PROCESSES:
            return {}
        for between in nodes:
            for one in nodes:
                first = most.get((one, between))
                if first is None:
                    continue
                for other in nodes:
                    second = most.get((between, other))
                    if second is not None and first + second < most.get((one, other), first + second + 1):
                        most[one, other] = first + second
        contradicts = any(most.get((each, each), 0) < 0 for each in nodes)
        return {} if contradicts else most

    def _direct(self) -> dict[Pair, int]:
        most: dict[Pair, int] = {}

        def note(one: ProcessKey, other: ProcessKey, nanoseconds: int) -> None:
            most[one, other] = min(most.get((one, other), nanoseconds), nanoseconds)

        for parent, child in self._edges:
            caller, executor = process_key(parent.process), process_key(child.process)
            if not (parent.process.identity and child.process.identity):
                continue
            note(executor, caller, child.start - parent.start)
            if is_answered_call(parent, child):
                note(caller, executor, parent.end - child.end)
        for (caller, executor), told in self._taught.items():
            if caller in self._processes or executor in self._processes:
                aged = told.aged(self._now)
                note(caller, executor, aged.most)
                note(executor, caller, -aged.least)
        return most
