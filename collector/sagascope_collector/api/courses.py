"""How sagas of one type went, compared with how most of them go."""

from collections.abc import Sequence

from sagascope_collector.client import schemas
from sagascope_collector.storage import PathCount

SHOWN: int = 20
"""Courses that are told."""


def courses(counted: Sequence[PathCount]) -> list[schemas.FlowCourse]:
    """The usual one, and in what the others are different."""
    usual = max(counted, key=lambda each: (each.completed, each.sagas), default=None)
    if usual is None:
        return []
    others = [each for each in counted if each is not usual]
    return [_course(each, usual) for each in (usual, *others)][:SHOWN]


def _course(told: PathCount, usual: PathCount) -> schemas.FlowCourse:
    shared = [step for step in usual.steps if step in told.steps]
    return schemas.FlowCourse(
        steps=list(told.steps),
        sagas=told.sagas,
        completed=told.completed,
        is_usual=told is usual,
        missing=[step for step in usual.steps if step not in told.steps],
        added=[step for step in told.steps if step not in usual.steps],
        is_reordered=[step for step in told.steps if step in usual.steps] != shared,
        newest=told.newest.id,
        environment=told.newest.environment,
    )
