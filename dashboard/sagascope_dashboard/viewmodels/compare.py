"""A saga beside a typical completed one of its type, and the differences."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import duration, line, plural
from sagascope_dashboard.palette import ATTENTION, STATUS, STEP, UNKNOWN_STATE, Style
from sagascope_dashboard.urls import SagaAddress

SLOWER_FACTOR = 2.0
"""A step is reported as slower from this factor on, if it also takes `MIN_SLOWER_SECONDS` more."""

MIN_SLOWER_SECONDS = 0.5

MAX_ATTRIBUTES = 40
"""Differing attributes that are shown."""

OWN_ATTRIBUTE_PREFIXES = ("saga.", "sagascope.")
"""Prefixes of attributes that other parts of the screen show."""


@dataclass(frozen=True, slots=True)
class ComparedSaga:
    """One of the two sagas."""

    id: str
    href: str
    style: Style
    duration: str


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step in one of the two; empty where it was not reached."""

    style: Style
    duration: str
    attempts: int
    where: str


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step in both."""

    name: str
    this: StepResult
    reference: StepResult
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AttributeDifference:
    """A differing attribute; empty where it is absent."""

    name: str
    this: str
    reference: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole screen."""

    name: str
    this: ComparedSaga
    reference: ComparedSaga
    summary: tuple[str, ...]
    rows: tuple[StepRow, ...]
    attributes: tuple[AttributeDifference, ...]
    left_out: int
    """Differing attributes that are not shown."""


def typical_saga(finished: Sequence[schemas.SagaSummary], of: schemas.Saga) -> schemas.SagaSummary | None:
    """Returns the completed saga with the median duration, other than `of`; None without any."""
    others = [one for one in finished if one.ended_at and (one.id, one.run) != (of.id, of.run)]
    if not others:
        return None
    middle = statistics.median_low([_duration_seconds(one) for one in others])
    return next(one for one in others if _duration_seconds(one) == middle)


def compare(this: schemas.Saga, reference: schemas.Saga, now: datetime) -> Comparison:
    """Compares `this` with a reference."""
    rows = tuple(_rows(this, reference))
    attribute_differences = list(_attribute_differences(_attribute_values(this), _attribute_values(reference)))
    return Comparison(
        name=line(this.name, 80),
        this=_compared_saga(this, now),
        reference=_compared_saga(reference, now),
        summary=tuple(f"{row.name}: {what}" for row in rows for what in row.differences),
        rows=rows,
        attributes=tuple(attribute_differences[:MAX_ATTRIBUTES]),
        left_out=max(0, len(attribute_differences) - MAX_ATTRIBUTES),
    )


def _duration_seconds(saga: schemas.SagaSummary) -> float:
    return ((saga.ended_at or saga.updated_at) - saga.started_at).total_seconds()


def _compared_saga(saga: schemas.Saga, now: datetime) -> ComparedSaga:
    style = ATTENTION.get(saga.attention, UNKNOWN_STATE) if saga.attention else STATUS.get(saga.status, UNKNOWN_STATE)
    address = SagaAddress(saga.name, saga.id, saga.environment, saga.run)
    seconds = ((saga.ended_at or now) - saga.started_at).total_seconds()
    duration_text = f"{'took' if saga.ended_at else 'open for'} {duration(seconds)}"
    return ComparedSaga(line(saga.id, 60), address.href(), style, duration_text)


def _rows(this: schemas.Saga, reference: schemas.Saga) -> Iterator[StepRow]:
    one, other = _by_name(this), _by_name(reference)
    for key in dict.fromkeys([*other, *one]):
        a, b = one.get(key), other.get(key)
        yield StepRow(
            line(" ".join(filter(None, key)), 100), _step_result(a), _step_result(b), tuple(_differences(a, b))
        )


def _by_name(saga: schemas.Saga) -> dict[tuple[str, str], schemas.Step]:
    return {(step.name, step.key): step for step in saga.steps if step.attempts}


def _step_result(step: schemas.Step | None) -> StepResult:
    if step is None:
        return StepResult(Style("Not reached", "idle", "dot"), "", 0, "")
    seconds = _step_seconds(step)
    where = ", ".join(dict.fromkeys(line(each.instance or each.service, 60) for each in step.attempts))
    return StepResult(
        STEP.get(step.state, UNKNOWN_STATE), "" if seconds is None else duration(seconds), len(step.attempts), where
    )


def _step_seconds(step: schemas.Step) -> float | None:
    """Returns the seconds from the first attempt's start to the last one's end; None while open."""
    ends = [each.ended_at for each in step.attempts]
    if not ends or any(end is None for end in ends):
        return None
    return (max(end for end in ends if end) - min(each.started_at for each in step.attempts)).total_seconds()


def _differences(this: schemas.Step | None, reference: schemas.Step | None) -> Iterator[str]:
    if this is None or reference is None:
        yield "not reached" if this is None else "only here"
        return
    if this.state != reference.state:
        here, there = (
            STEP.get(this.state, UNKNOWN_STATE).label.lower(),
            STEP.get(reference.state, UNKNOWN_STATE).label.lower(),
        )
        yield f"{here}, there {there}"
    if len(this.attempts) != len(reference.attempts):
        yield f"{plural(len(this.attempts), 'attempt')}, there {len(reference.attempts):,}"
    yield from _slower(_step_seconds(this), _step_seconds(reference))
    if this.service != reference.service:
        yield f"run by {line(this.service, 60)}, there by {line(reference.service, 60)}"


def _slower(this: float | None, reference: float | None) -> Iterator[str]:
    if (
        this is not None
        and reference is not None
        and this > SLOWER_FACTOR * reference
        and this - reference >= MIN_SLOWER_SECONDS
    ):
        yield f"took {duration(this)}, there {duration(reference)}"


def _attribute_values(saga: schemas.Saga) -> dict[str, Any]:
    """Returns its business keys and span attributes, one value a name: the outermost and earliest span's."""
    values: dict[str, Any] = dict(saga.keys)
    for span in sorted(saga.spans, key=lambda span: (span.parent_id is not None, span.started_at)):
        for name, value in span.attributes.items():
            if not name.startswith(OWN_ATTRIBUTE_PREFIXES):
                values.setdefault(name, value)
    return values


def _attribute_differences(this: Mapping[str, Any], reference: Mapping[str, Any]) -> Iterator[AttributeDifference]:
    for name in sorted(this.keys() | reference.keys()):
        if this.get(name) != reference.get(name):
            yield AttributeDifference(line(name, 80), line(this.get(name), 120), line(reference.get(name), 120))
