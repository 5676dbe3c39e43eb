"""The paths that transactions of one type took, and how each differs from the usual path."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sagascope_collector.client import schemas
from sagascope_dashboard.filters import Filters, SagaAddress
from sagascope_dashboard.format import line

MAX_NAMED_STEPS = 6
"""Steps that are named in a difference."""


@dataclass(frozen=True, slots=True)
class PathRow:
    """One path; `differs` lists how it differs from the usual path."""

    key: str
    steps: str
    differs: tuple[str, ...]
    """Empty: it is the usual one."""
    number: str
    share: str
    href: str
    """Leads to the transactions that took it."""
    completed: str
    newest: str
    newest_href: str


def paths(known: schemas.FlowInFull, only: Filters, window: str) -> tuple[PathRow, ...]:
    """Returns the usual path, then the others by frequency."""
    every = sum(each.sagas for each in known.courses)
    return tuple(_path(each, known.name, only.having(since=window), every) for each in known.courses)


def _path(path: schemas.FlowCourse, name: str, only: Filters, every: int) -> PathRow:
    exactly = json.dumps(path.steps, ensure_ascii=False, separators=(",", ":"))
    return PathRow(
        key=exactly,
        steps=" → ".join(line(step, 60) for step in path.steps) or "no step",
        differs=() if path.is_usual else _differs(path),
        number=f"{path.sagas:,}",
        share=_share(path.sagas, every),
        href=only.having(course=exactly).href(),
        completed=_share(path.completed, path.sagas),
        newest=line(path.newest, 80),
        newest_href=SagaAddress(name, path.newest, path.environment or None).href(),
    )


def _differs(path: schemas.FlowCourse) -> tuple[str, ...]:
    texts = []
    if path.missing:
        texts.append(f"without {_named(path.missing)}")
    if path.added:
        texts.append(f"with {_named(path.added)} besides")
    if path.is_reordered:
        texts.append("in another order")
    return tuple(texts)


def _named(steps: Sequence[str]) -> str:
    named = ", ".join(line(step, 60) for step in steps[:MAX_NAMED_STEPS])
    return named if len(steps) <= MAX_NAMED_STEPS else f"{named} and {len(steps) - MAX_NAMED_STEPS} more"


def _share(part: int, whole: int) -> str:
    if not part or part == whole:
        return "none" if not part else "all"
    share = 100 * part / whole
    return f"{share:.0f} %" if 1 <= share <= 99 else "under 1 %" if share < 1 else "over 99 %"
