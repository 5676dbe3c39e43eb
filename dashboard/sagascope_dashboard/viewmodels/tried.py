"""The attempts of a saga as bars, and the time between them."""

import itertools
from collections.abc import Mapping, Sequence

from sagascope_collector.client import schemas
from sagascope_dashboard.format import block, line, milliseconds
from sagascope_dashboard.palette import ATTEMPT, ATTENTION
from sagascope_dashboard.viewmodels.bars import UNNAMED, Bar


def attempts(saga: schemas.Saga, instances: Mapping[str, schemas.Instance]) -> list[Bar]:
    """Every attempt; a compensation names the bar that it undoes."""
    traces = {trace: number for number, trace in enumerate(saga.traces, start=1)}
    bars = [
        _attempt(step, attempt, traces, instances.get(attempt.instance or ""))
        for step in saga.steps
        for attempt in step.attempts
    ]
    done = {step.name: step.attempts[-1].span_id for step in saga.steps if step.attempts and step.compensates is None}
    undoes = {attempt.span_id: done.get(step.compensates or "", "") for step in saga.steps for attempt in step.attempts}
    for bar in bars:
        bar.undoes = undoes[bar.id]
    return bars


def _attempt(
    step: schemas.Step, attempt: schemas.Attempt, traces: Mapping[str, int], instance: schemas.Instance | None
) -> Bar:
    silent = attempt.ended_at is None and instance is not None and not instance.alive
    return Bar(
        id=attempt.span_id,
        lane=attempt.service or step.service or UNNAMED,
        kind="compensation" if step.compensates is not None or step.type == "compensation" else "action",
        state=attempt.state,
        label=line(step.name, 80) + (f" [{line(step.key, 40)}]" if step.key else ""),
        start=milliseconds(attempt.started_at),
        end=None if attempt.ended_at is None else milliseconds(attempt.ended_at),
        word=ATTEMPT[attempt.state].word,
        number=attempt.number,
        tries=len(step.attempts),
        heard=milliseconds(instance.last_seen) if silent and instance else None,
        trace=traces.get(attempt.trace_id, 0),
        facts=_attempt_facts(step, attempt),
        stack=block(attempt.error.stacktrace) if attempt.error else "",
    )


def _attempt_facts(step: schemas.Step, attempt: schemas.Attempt) -> tuple[tuple[str, str], ...]:
    error = attempt.error
    said = (
        ("Type", "" if step.type == "action" else step.type),
        ("Undoes", step.compensates),
        ("Process", attempt.instance),
        ("Error", ": ".join(part for part in (error.type, error.message) if part) if error else ""),
        ("Trace", attempt.trace_id),
        ("Span", attempt.span_id),
    )
    return tuple((name, line(value, 1000)) for name, value in said if value)


def waits(saga: schemas.Saga, tried: Sequence[Bar]) -> list[Bar]:
    """The time between a failed attempt and the next of the same step; to the present where none followed yet."""
    by_id = {bar.id: bar for bar in tried}
    between = []
    for step in saga.steps:
        bars = sorted((by_id[attempt.span_id] for attempt in step.attempts), key=lambda bar: bar.start)
        for before, after in itertools.pairwise(bars):
            if before.state == "error" and before.end is not None and after.start > before.end:
                between.append(_wait(before, after.start))
        if bars and saga.attention == "retrying" and saga.step == step.name and bars[-1].end is not None:
            between.append(_wait(bars[-1], None))
    return between


def _wait(before: Bar, until: float | None) -> Bar:
    return Bar(
        id=f"{before.id}-wait",
        lane=before.lane,
        kind="wait",
        state="ok" if until is not None else "in_flight",
        label=f"wait before the next attempt of {before.label}",
        start=before.end or before.start,
        end=until,
        word="Waiting",
    )


def missing(saga: schemas.Saga) -> list[Bar]:
    """A step that should have begun and did not."""
    if saga.attention != "next_step_missing" or not saga.step or saga.since is None:
        return []
    begun = [attempt for step in saga.steps if step.name == saga.step for attempt in step.attempts]
    return [
        Bar(
            id="missing",
            lane=saga.service or (begun[-1].service if begun else None) or UNNAMED,
            kind="missing",
            state="unknown",
            label=f"{line(saga.step, 80)} has not begun",
            start=milliseconds(saga.since),
            end=None,
            word=ATTENTION["next_step_missing"].word,
        )
    ]
