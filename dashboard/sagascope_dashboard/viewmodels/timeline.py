"""The timeline: swim lanes by service, as plain data that the browser draws.

Times are milliseconds since the Unix epoch. A bar without an end is in flight: the browser draws it to the present.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sagascope_collector.client import schemas
from sagascope_dashboard.format import line, milliseconds
from sagascope_dashboard.viewmodels.bars import Bar
from sagascope_dashboard.viewmodels.lanes import Lane, lanes
from sagascope_dashboard.viewmodels.marks import attach
from sagascope_dashboard.viewmodels.participants import participants
from sagascope_dashboard.viewmodels.quiet import instants, quiet_stretches
from sagascope_dashboard.viewmodels.tried import attempts, missing, waits


@dataclass(frozen=True, slots=True)
class Timeline:
    """Everything that the browser needs to draw."""

    start: float
    end: float | None
    """None while the saga is open: it reaches to the present."""
    lanes: tuple[Lane, ...]
    bars: tuple[Bar, ...]
    quiet: tuple[tuple[float, float | None], ...]
    """Stretches without any event, in order; an end of None is the present."""
    traces: tuple[tuple[float, int], ...]
    """When each trace but the first began, and its number."""
    left_out: int
    remaining: tuple[str, ...]
    """Planned steps that have not begun, while the saga is open."""


def timeline(saga: schemas.Saga, instances: Mapping[str, schemas.Instance] | None = None) -> Timeline:
    """Lay one saga out.

    `instances` are the known processes by name: one that is no longer alive marks where its work was last heard of.
    """
    tried = attempts(saga, instances or {})
    others, left_out = participants(saga, {bar.id for bar in tried})
    bars = [*tried, *waits(saga, tried), *missing(saga), *others]
    attach(saga, bars)
    drawn = lanes(bars, saga)
    begin = min([bar.start for bar in bars], default=milliseconds(saga.started_at))
    end = _end(saga, bars)
    return Timeline(
        start=begin,
        end=end,
        lanes=drawn,
        bars=tuple(sorted(bars, key=lambda bar: (bar.start, bar.kind, bar.id))),
        quiet=quiet_stretches(instants(bars), end),
        traces=_traces(bars),
        left_out=left_out,
        remaining=_remaining(saga),
    )


def _traces(bars: Sequence[Bar]) -> tuple[tuple[float, int], ...]:
    begun: dict[int, float] = {}
    for bar in bars:
        if bar.trace > 1:
            begun[bar.trace] = min(bar.start, begun.get(bar.trace, bar.start))
    return tuple(sorted((at, trace) for trace, at in begun.items()))


def living(services: schemas.Services | None) -> dict[str, schemas.Instance]:
    """The processes that are known, by name."""
    known = services.items if services else []
    return {instance.instance: instance for service in known for instance in service.instances if instance.instance}


def _end(saga: schemas.Saga, bars: Sequence[Bar]) -> float | None:
    if saga.ended_at is None:
        return None
    return max([moment for bar in bars if (moment := bar.end) is not None] + [milliseconds(saga.ended_at)])


def _remaining(saga: schemas.Saga) -> tuple[str, ...]:
    if saga.ended_at is not None or saga.status == "compensating":
        return ()
    begun = {step.name for step in saga.steps if step.attempts}
    return tuple(line(step.name, 60) for step in saga.plan.steps if step.name not in begun)
