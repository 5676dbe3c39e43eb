"""Swim lanes: one a service, its bars in rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from sagascope_collector.client import schemas
from sagascope_dashboard.format import line
from sagascope_dashboard.viewmodels.bars import Bar


@dataclass(frozen=True, slots=True)
class Lane:
    """One service."""

    name: str
    rows: int
    note: str
    """Its instances."""


def lanes(bars: Sequence[Bar], saga: schemas.Saga) -> tuple[Lane, ...]:
    """One lane a service, in the order of their first work; bars that overlap go to rows of their own."""
    order = dict.fromkeys(bar.lane for bar in sorted(bars, key=lambda bar: (bar.start, bar.kind != "saga")))
    made = []
    for name in order:
        mine = [bar for bar in bars if bar.lane == name]
        main = _pack([bar for bar in mine if bar.kind in {"action", "compensation", "wait", "missing"}], 0)
        top = _pack([bar for bar in mine if bar.kind == "saga"], main)
        rows = _pack([bar for bar in mine if bar.kind == "span"], top)
        made.append(Lane(line(name, 60), rows, _instances(saga, name)))
        for bar in mine:
            bar.lane = line(name, 60)
    return tuple(made)


def _pack(bars: Sequence[Bar], first: int) -> int:
    """Give each bar the first row that is free at its start; the row after the last one used."""
    free: list[float] = []
    for bar in sorted(bars, key=lambda bar: (bar.start, bar.end is None)):
        row = next((index for index, end in enumerate(free) if end <= bar.start), len(free))
        free[row : row + 1] = [float("inf") if bar.end is None else max(bar.end, bar.start)]
        bar.row = first + row
    return first + len(free)


def _instances(saga: schemas.Saga, service: str) -> str:
    seen = dict.fromkeys(
        attempt.instance
        for step in saga.steps
        for attempt in step.attempts
        if attempt.service == service and attempt.instance
    )
    return ", ".join(line(instance, 40) for instance in seen)
