"""The courses that transactions of one type took, and in what each is other than the usual one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sagascope_collector.client import schemas
from sagascope_dashboard.filters import Filters, SagaAddress
from sagascope_dashboard.format import line

MOST_NAMED = 6
"""Steps that are named of what is different."""


@dataclass(frozen=True, slots=True)
class Course:
    """One course; `differs` says in what."""

    key: str
    steps: str
    differs: tuple[str, ...]
    """Empty: it is the usual one."""
    number: str
    share: str
    href: str
    """Those that took it."""
    completed: str
    newest: str
    newest_href: str


def courses(known: schemas.FlowInFull, only: Filters, window: str) -> tuple[Course, ...]:
    """The usual one, then the most frequent."""
    every = sum(each.sagas for each in known.courses)
    return tuple(_course(each, known.name, only.having(since=window), every) for each in known.courses)


def _course(told: schemas.FlowCourse, name: str, only: Filters, every: int) -> Course:
    exactly = json.dumps(told.steps, ensure_ascii=False, separators=(",", ":"))
    return Course(
        key=exactly,
        steps=" → ".join(line(step, 60) for step in told.steps) or "no step",
        differs=() if told.is_usual else _differs(told),
        number=f"{told.sagas:,}",
        share=_share(told.sagas, every),
        href=only.having(course=exactly).href(),
        completed=_share(told.completed, told.sagas),
        newest=line(told.newest, 80),
        newest_href=SagaAddress(name, told.newest, told.environment or None).href(),
    )


def _differs(told: schemas.FlowCourse) -> tuple[str, ...]:
    said = []
    if told.missing:
        said.append(f"without {_named(told.missing)}")
    if told.added:
        said.append(f"with {_named(told.added)} besides")
    if told.is_reordered:
        said.append("in another order")
    return tuple(said)


def _named(steps: Sequence[str]) -> str:
    named = ", ".join(line(step, 60) for step in steps[:MOST_NAMED])
    return named if len(steps) <= MOST_NAMED else f"{named} and {len(steps) - MOST_NAMED} more"


def _share(part: int, whole: int) -> str:
    if not part or part == whole:
        return "none" if not part else "all"
    share = 100 * part / whole
    return f"{share:.0f} %" if 1 <= share <= 99 else "under 1 %" if share < 1 else "over 99 %"
