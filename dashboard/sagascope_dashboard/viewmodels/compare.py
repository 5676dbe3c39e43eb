"""A saga beside a typical completed one of its type, and the differences."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import ATTEMPT, STEP, UNKNOWN_STATE, Style, duration, line, plural
from sagascope_dashboard.viewmodels.saga import step_id, step_label

SLOWER_FACTOR = 2.0
"""A step is reported as slower from this factor on, if it also takes `MIN_SLOWER_SECONDS` more."""

MIN_SLOWER_SECONDS = 0.5

MAX_ROWS = 60
"""Steps that are shown."""

EDGE_BARS = 60
"""Attempts that are shown from each end of a step that has more than twice as many."""

MAX_ATTRIBUTES = 40
"""Differing attributes that are shown."""

OWN_ATTRIBUTE_PREFIXES = ("saga.", "sagascope.")
"""Prefixes of attributes that other parts of the screen show."""


@dataclass(frozen=True, slots=True)
class AttemptBar:
    """One attempt; times are seconds since the start of its own saga."""

    start: float
    end: float
    is_open: bool
    style: Style
    text: str


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step in both; without bars where it was not reached."""

    name: str
    this: tuple[AttemptBar, ...]
    reference: tuple[AttemptBar, ...]
    differences: tuple[str, ...]
    late_from: float | None
    """Where this one takes much longer: from when on."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole screen."""

    this: schemas.Saga
    reference: schemas.Saga
    summary: tuple[str, ...]
    rows: tuple[StepRow, ...]
    """In the order of their starts. Of very many, those that differ and the first others."""
    rows_left_out: int
    length: float
    """Seconds from the start to the end of the longer one."""
    reference_length: float
    attributes: tuple[tuple[str, str, str], ...]
    """The name of each differing attribute, its value here and in the reference; empty where it is absent."""
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
    rows = sorted(_rows(this, reference, now), key=lambda row: min(bar.start for bar in row.reference or row.this))
    shown = [row for row in rows if row.differences][:MAX_ROWS]
    others = [row for row in rows if not row.differences][: MAX_ROWS - len(shown)]
    ours, theirs = _attribute_values(this), _attribute_values(reference)
    differing = [name for name in sorted(ours.keys() | theirs.keys()) if ours.get(name) != theirs.get(name)]
    ends = [bar.end for row in rows for bar in row.this]
    reference_ends = [bar.end for row in rows for bar in row.reference]
    return Comparison(
        this=this,
        reference=reference,
        summary=tuple(f"{row.name}: {what}" for row in rows for what in row.differences),
        rows=tuple(row for row in rows if row in shown or row in others),
        rows_left_out=len(rows) - len(shown) - len(others),
        length=max(ends + reference_ends, default=0.0),
        reference_length=max(reference_ends, default=0.0),
        attributes=tuple(
            (line(name, 80), line(ours.get(name), 120), line(theirs.get(name), 120))
            for name in differing[:MAX_ATTRIBUTES]
        ),
        left_out=max(0, len(differing) - MAX_ATTRIBUTES),
    )


def _duration_seconds(saga: schemas.SagaSummary) -> float:
    return ((saga.ended_at or saga.updated_at) - saga.started_at).total_seconds()


def _rows(this: schemas.Saga, reference: schemas.Saga, now: datetime) -> Iterator[StepRow]:
    steps, reference_steps = _attempted_steps(this), _attempted_steps(reference)
    for key in dict.fromkeys([*reference_steps, *steps]):
        step, other = steps.get(key), reference_steps.get(key)
        ours = tuple(_bars(step, this.started_at, now)) if step else ()
        theirs = tuple(_bars(other, reference.started_at, reference.ended_at or now)) if other else ()
        yield StepRow(
            name=step_label(step or reference_steps[key]),
            this=ours,
            reference=theirs,
            differences=tuple(_differences(step, other, now)),
            late_from=_late_from(ours, theirs),
        )


def _bars(step: schemas.Step, start: datetime, now: datetime) -> Iterator[AttemptBar]:
    ordered = sorted(step.attempts, key=lambda each: each.started_at)
    for attempt in ordered if len(ordered) <= 2 * EDGE_BARS else ordered[:EDGE_BARS] + ordered[-EDGE_BARS:]:
        begin = (attempt.started_at - start).total_seconds()
        end = ((attempt.ended_at or now) - start).total_seconds()
        style = ATTEMPT.get(attempt.state, UNKNOWN_STATE)
        where = line(attempt.instance or attempt.service, 60)
        error = f": {line(attempt.error.message, 120)}" if attempt.error else ""
        number = f", attempt {attempt.number}" if len(step.attempts) > 1 else ""
        text = f"{style.label}{error}{number}, {duration(end - begin)}{f' in {where}' if where else ''}"
        yield AttemptBar(begin, max(end, begin), attempt.ended_at is None, style, text)


def _late_from(this: Sequence[AttemptBar], reference: Sequence[AttemptBar]) -> float | None:
    if not this or not reference:
        return None
    start, usual = this[0].start, max(bar.end for bar in reference) - reference[0].start
    took = max(bar.end for bar in this) - start
    return start + usual if _is_slower(took, usual) else None


def _attempted_steps(saga: schemas.Saga) -> dict[str, schemas.Step]:
    # by more than the name: two-phase commit has several steps of one name
    return {step_id(step): step for step in saga.steps if step.attempts}


def _step_seconds(step: schemas.Step) -> float | None:
    """Returns the seconds from the first attempt's start to the last one's end; None while open."""
    ends = [each.ended_at for each in step.attempts]
    if not ends or any(end is None for end in ends):
        return None
    return (max(end for end in ends if end) - min(each.started_at for each in step.attempts)).total_seconds()


def _differences(this: schemas.Step | None, reference: schemas.Step | None, now: datetime) -> Iterator[str]:
    if this is None or reference is None:
        yield "not reached" if this is None else "only here"
        return
    if this.state != reference.state:
        here, there = (STEP.get(each.state, UNKNOWN_STATE).label.lower() for each in (this, reference))
        yield f"{here} (typical: {there})"
    if len(this.attempts) != len(reference.attempts):
        yield f"{plural(len(this.attempts), 'attempt')} (typical: {len(reference.attempts):,})"
    yield from _slower(this, reference, now)
    if this.service != reference.service:
        yield f"run by {line(this.service, 60)} (typical: {line(reference.service, 60)})"


def _slower(this: schemas.Step, reference: schemas.Step, now: datetime) -> Iterator[str]:
    usual, took = _step_seconds(reference), _step_seconds(this)
    so_far = (now - min(each.started_at for each in this.attempts)).total_seconds() if took is None else took
    if usual is not None and _is_slower(so_far, usual):
        yield f"{'took' if took is not None else 'open for'} {duration(so_far)} (typical: {duration(usual)})"


def _is_slower(this: float, reference: float) -> bool:
    return this > SLOWER_FACTOR * reference and this - reference >= MIN_SLOWER_SECONDS


def _attribute_values(saga: schemas.Saga) -> dict[str, Any]:
    """Returns its business keys and span attributes, one value a name: the outermost and earliest span's."""
    values: dict[str, Any] = dict(saga.keys)
    for span in sorted(saga.spans, key=lambda span: (span.parent_id is not None, span.started_at)):
        for name, value in span.attributes.items():
            if not name.startswith(OWN_ATTRIBUTE_PREFIXES):
                values.setdefault(name, value)
    return values
