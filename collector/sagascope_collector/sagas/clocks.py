"""Whose clock contradicts whose, and by how much each is to be set.

A span below another cannot begin before it; the answer to a call cannot come after the call's end. Where clocks say
otherwise, the clock of the process below is moved by the least amount, or to the middle of what is possible.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sagascope_collector.records import Span
from sagascope_collector.sagas.spans import ProcessKey, SpanKey, process_key

MARGIN = 2_000_000
"""Nanoseconds by which clocks may disagree without being set."""


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


def edges(spans: Sequence[Span], by_key: Mapping[SpanKey, Span]) -> list[Edge]:
    """Every span with a parent in another process; clocks of processes that are not told apart are taken as one."""
    found = []
    for span in spans:
        parent = by_key.get((span.trace_id, span.parent_id)) if span.parent_id else None
        if parent is None or parent.process is span.process:
            continue
        if parent.process.identity != span.process.identity or parent.process.service != span.process.service:
            found.append(Edge(parent, span))
    return found


def offsets(found: Iterable[Edge], reference: ProcessKey | None) -> dict[ProcessKey, int]:
    """Nanoseconds to add to the clock of each process, seen from the reference; 0 is left out."""
    if not any(_contradicts(parent, child) for parent, child in found):
        return {}
    bounds: dict[tuple[ProcessKey, ProcessKey], _Bounds] = {}
    for parent, child in found:
        _narrow(bounds, parent, child)
    return _spread(bounds, reference)


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
    return (
        parent.kind == "client"
        and child.kind == "server"
        and parent.status != "error"
        and bool(child.end and parent.end)
    )


def _spread(
    bounds: Mapping[tuple[ProcessKey, ProcessKey], _Bounds], reference: ProcessKey | None
) -> dict[ProcessKey, int]:
    """Carry corrections outward from the reference; a process that two paths reach keeps the first, by name."""
    steps: dict[ProcessKey, dict[ProcessKey, int]] = {}
    for (parent, child), each in sorted(bounds.items(), key=lambda item: item[0]):
        steps.setdefault(parent, {}).setdefault(child, each.correction())
        steps.setdefault(child, {}).setdefault(parent, -each.correction())
    settled: dict[ProcessKey, int] = {}
    for start in [*([reference] if reference else []), *sorted(steps)]:
        if start in steps and start not in settled:
            _walk(start, steps, settled)
    return {process: offset for process, offset in settled.items() if offset}


def _walk(
    start: ProcessKey, steps: Mapping[ProcessKey, Mapping[ProcessKey, int]], settled: dict[ProcessKey, int]
) -> None:
    settled[start] = 0
    waiting = [start]
    for process in waiting:
        for neighbour, correction in steps[process].items():
            if neighbour not in settled:
                settled[neighbour] = settled[process] + correction
                waiting.append(neighbour)
