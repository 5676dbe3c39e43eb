"""Whose clock contradicts whose, and by how much each is to be set.

A span below another cannot begin before it; the answer to a call cannot come after the call's end. Where clocks say
otherwise, the clock of the process below is moved by the least amount, or to the middle of what is possible.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sagascope import semconv
from sagascope_collector.analysis.lineage import Lineage
from sagascope_collector.analysis.spans import ProcessKey, process_key
from sagascope_collector.records import Span

MARGIN = 2_000_000
"""Nanoseconds by which clocks may disagree without being set."""


AGREEING = 500_000_000
"""Nanoseconds by which clocks that are right may differ, as far as they can be told."""


HANDED_ON = 30_000_000_000
"""Nanoseconds that work which was only handed on may have waited: a caller need not have waited for it."""


class Edge(NamedTuple):
    """A span and the one above it, of different processes."""

    parent: Span
    child: Span


@dataclass(slots=True)
class _Bounds:
    """What the clock of one process must be moved by, as seen from another: at least, at most."""

    least: int
    most: int | None = None

    def correction(self) -> int:
        if self.least <= MARGIN and (self.most is None or self.most >= -MARGIN):
            return 0
        if self.most is None or self.most < self.least:
            return self.least
        return (self.least + self.most) // 2


def edges(spans: Sequence[Span], lineage: Lineage) -> list[Edge]:
    """Every span with a parent in another process; clocks of processes that are not told apart are taken as one."""
    found = []
    for span in spans:
        parent = lineage.parent(span)
        if parent is None or parent.process is span.process:
            continue
        if parent.process.identity != span.process.identity or parent.process.service != span.process.service:
            found.append(Edge(parent, span))
    return found


def offsets(found: Sequence[Edge], root: ProcessKey | None) -> dict[ProcessKey, int]:
    """Nanoseconds to add to the clock of each process, so that all agree; 0 is left out.

    The clock that most agree with is taken to be right; where as many agree with others, the root's, else the one
    that tells of the latest moment.
    """
    if not any(_contradicts(parent, child) for parent, child in found):
        return {}
    bounds: dict[tuple[ProcessKey, ProcessKey], _Bounds] = {}
    for parent, child in found:
        _narrow(bounds, parent, child)
    reference = root or _latest(found)
    settled = _spread(bounds, reference)
    agreed = _agreed(settled, reference)
    settled = _spread(bounds, agreed) if settled[agreed] else settled
    return {process: offset for process, offset in settled.items() if offset}


def _latest(found: Sequence[Edge]) -> ProcessKey:
    span = max((span for edge in found for span in edge), key=lambda span: (max(span.start, span.end), span.span_id))
    return process_key(span.process)


def _agreed(settled: Mapping[ProcessKey, int], reference: ProcessKey) -> ProcessKey:
    """The process with whose clock most agree, the reference before others."""

    def agreeing(process: ProcessKey) -> tuple[int, bool]:
        near = sum(abs(offset - settled[process]) <= AGREEING for offset in settled.values())
        return near, process == reference

    return max(sorted(settled), key=agreeing)


def _contradicts(parent: Span, child: Span) -> bool:
    if child.start + MARGIN < parent.start:
        return True
    return child.end - MARGIN > parent.end > 0 and is_answered_call(parent, child)


def _narrow(bounds: dict[tuple[ProcessKey, ProcessKey], _Bounds], parent: Span, child: Span) -> None:
    pair = (process_key(parent.process), process_key(child.process))
    least = parent.start - child.start
    known = bounds.get(pair)
    if known is None:
        known = bounds[pair] = _Bounds(least)
    known.least = max(known.least, least)
    if is_answered_call(parent, child):
        most = parent.end - child.end
        known.most = most if known.most is None else min(known.most, most)


def is_answered_call(parent: Span, child: Span) -> bool:
    """Whether the parent waited for the child and got its answer: then it ended after it."""
    if parent.status == "error" or not (child.end and parent.end):
        return False
    return (parent.kind == "client" and child.kind == "server") or _is_ahead(parent, child)


def _is_ahead(caller: Span, executor: Span) -> bool:
    """Whether the executor's clock must be ahead: else it began an attempt long after its caller knew it was done."""
    one, other = caller.mark, executor.mark
    return (
        one.role == other.role == semconv.ROLE_STEP
        and (one.step, one.key, one.attempt) == (other.step, other.key, other.attempt)
        and caller.kind != "producer"
        and executor.kind != "consumer"
        and executor.end - executor.start <= caller.end - caller.start
        and executor.start - caller.end > HANDED_ON
    )


def _spread(bounds: Mapping[tuple[ProcessKey, ProcessKey], _Bounds], reference: ProcessKey) -> dict[ProcessKey, int]:
    """Carry corrections outward from the reference; a process that two paths reach keeps the first, by name."""
    steps: dict[ProcessKey, dict[ProcessKey, int]] = {}
    for (parent, child), each in sorted(bounds.items(), key=lambda item: item[0]):
        steps.setdefault(parent, {}).setdefault(child, each.correction())
        steps.setdefault(child, {}).setdefault(parent, -each.correction())
    settled: dict[ProcessKey, int] = {}
    for start in [reference, *sorted(steps)]:
        if start not in settled:
            _walk(start, steps, settled)
    return settled


def _walk(
    start: ProcessKey, steps: Mapping[ProcessKey, Mapping[ProcessKey, int]], settled: dict[ProcessKey, int]
) -> None:
    settled[start] = 0
    waiting = [start]
    for process in waiting:
        for neighbour, correction in steps.get(process, {}).items():
            if neighbour not in settled:
                settled[neighbour] = settled[process] + correction
                waiting.append(neighbour)
