"""A saga beside a typical finished one of its type, and what differs."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import duration, line, plural
from sagascope_dashboard.palette import ATTENTION, STATUS, STEP, STRANGE, Sign
from sagascope_dashboard.urls import SagaAddress

SLOWER_FACTOR = 2.0
"""How many times as long a step takes before that is a difference, and at least `NOTICED` seconds more."""

NOTICED = 0.5
ATTRIBUTES = 40
"""Attributes that differ and are shown."""


OURS = ("saga.", "sagascope.")
"""How the names of attributes begin that the other parts of the screen tell of."""


@dataclass(frozen=True, slots=True)
class Head:
    """One of the two."""

    id: str
    href: str
    sign: Sign
    lasted: str


@dataclass(frozen=True, slots=True)
class Side:
    """A step in one of the two; empty where it was not reached."""

    sign: Sign
    took: str
    tries: int
    where: str


@dataclass(frozen=True, slots=True)
class Row:
    """A step in both."""

    name: str
    mine: Side
    theirs: Side
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Differing:
    """An attribute that is not the same; empty where it is absent."""

    name: str
    mine: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole screen."""

    name: str
    mine: Head
    theirs: Head
    summary: tuple[str, ...]
    rows: tuple[Row, ...]
    attributes: tuple[Differing, ...]
    left_out: int
    """Attributes that differ and are not shown."""


def typical(finished: Sequence[schemas.SagaSummary], of: schemas.Saga) -> schemas.SagaSummary | None:
    """The one that took the middle time, of finished sagas other than this; None: there is none."""
    others = [one for one in finished if one.ended_at and (one.id, one.run) != (of.id, of.run)]
    if not others:
        return None
    middle = statistics.median_low([_lasted(one) for one in others])
    return next(one for one in others if _lasted(one) == middle)


def compare(mine: schemas.Saga, theirs: schemas.Saga, now: datetime) -> Comparison:
    """What is different in `mine`."""
    rows = tuple(_rows(mine, theirs))
    differing = list(_differing(_attribute_values(mine), _attribute_values(theirs)))
    return Comparison(
        name=line(mine.name, 80),
        mine=_head(mine, now),
        theirs=_head(theirs, now),
        summary=tuple(f"{row.name}: {what}" for row in rows for what in row.differences),
        rows=rows,
        attributes=tuple(differing[:ATTRIBUTES]),
        left_out=max(0, len(differing) - ATTRIBUTES),
    )


def _lasted(saga: schemas.SagaSummary) -> float:
    return ((saga.ended_at or saga.updated_at) - saga.started_at).total_seconds()


def _head(saga: schemas.Saga, now: datetime) -> Head:
    sign = ATTENTION.get(saga.attention, STRANGE) if saga.attention else STATUS.get(saga.status, STRANGE)
    address = SagaAddress(saga.name, saga.id, saga.environment, saga.run)
    seconds = ((saga.ended_at or now) - saga.started_at).total_seconds()
    lasted = f"{'took' if saga.ended_at else 'open for'} {duration(seconds)}"
    return Head(line(saga.id, 60), address.href(), sign, lasted)


def _rows(mine: schemas.Saga, theirs: schemas.Saga) -> Iterator[Row]:
    one, other = _by_name(mine), _by_name(theirs)
    for key in dict.fromkeys([*other, *one]):
        a, b = one.get(key), other.get(key)
        yield Row(line(" ".join(filter(None, key)), 100), _side(a), _side(b), tuple(_differences(a, b)))


def _by_name(saga: schemas.Saga) -> dict[tuple[str, str], schemas.Step]:
    return {(step.name, step.key): step for step in saga.steps if step.attempts}


def _side(step: schemas.Step | None) -> Side:
    if step is None:
        return Side(Sign("Not reached", "idle", "dot"), "", 0, "")
    took = _took(step)
    where = ", ".join(dict.fromkeys(line(each.instance or each.service, 60) for each in step.attempts))
    return Side(STEP.get(step.state, STRANGE), "" if took is None else duration(took), len(step.attempts), where)


def _took(step: schemas.Step) -> float | None:
    """Seconds from the first try's start to the last one's end; None: it is still open."""
    ends = [each.ended_at for each in step.attempts]
    if not ends or any(end is None for end in ends):
        return None
    return (max(end for end in ends if end) - min(each.started_at for each in step.attempts)).total_seconds()


def _differences(mine: schemas.Step | None, theirs: schemas.Step | None) -> Iterator[str]:
    if mine is None or theirs is None:
        yield "not reached" if mine is None else "only here"
        return
    if mine.state != theirs.state:
        here, there = STEP.get(mine.state, STRANGE).word.lower(), STEP.get(theirs.state, STRANGE).word.lower()
        yield f"{here}, there {there}"
    if len(mine.attempts) != len(theirs.attempts):
        yield f"{plural(len(mine.attempts), 'attempt')}, there {len(theirs.attempts):,}"
    yield from _slower(_took(mine), _took(theirs))
    if mine.service != theirs.service:
        yield f"run by {line(mine.service, 60)}, there by {line(theirs.service, 60)}"


def _slower(mine: float | None, theirs: float | None) -> Iterator[str]:
    if mine is not None and theirs is not None and mine > SLOWER_FACTOR * theirs and mine - theirs >= NOTICED:
        yield f"took {duration(mine)}, there {duration(theirs)}"


def _attribute_values(saga: schemas.Saga) -> dict[str, Any]:
    """Its business keys, and what its spans say, one value a name: what the outermost span said, and said first."""
    said: dict[str, Any] = dict(saga.keys)
    for span in sorted(saga.spans, key=lambda span: (span.parent_id is not None, span.started_at)):
        for name, value in span.attributes.items():
            if not name.startswith(OURS):
                said.setdefault(name, value)
    return said


def _differing(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[Differing]:
    for name in sorted(mine.keys() | theirs.keys()):
        if mine.get(name) != theirs.get(name):
            yield Differing(line(name, 80), line(mine.get(name), 120), line(theirs.get(name), 120))
