"""The paths of one saga type, compared with the usual path."""

from collections.abc import Sequence

from sagascope_collector.client import schemas
from sagascope_collector.storage import PathCount

MAX_PATHS: int = 20
"""Paths in an answer."""


def paths(counted: Sequence[PathCount]) -> list[schemas.FlowCourse]:
    """Returns the usual path first, and how each other path differs from it."""
    usual = max(counted, key=lambda each: (each.completed, each.sagas), default=None)
    if usual is None:
        return []
    others = [each for each in counted if each is not usual]
    return [_path(each, usual) for each in (usual, *others)][:MAX_PATHS]


def _path(counted: PathCount, usual: PathCount) -> schemas.FlowCourse:
    shared = [step for step in usual.steps if step in counted.steps]
    return schemas.FlowCourse(
        steps=list(counted.steps),
        sagas=counted.sagas,
        completed=counted.completed,
        is_usual=counted is usual,
        missing=[step for step in usual.steps if step not in counted.steps],
        added=[step for step in counted.steps if step not in usual.steps],
        is_reordered=[step for step in counted.steps if step in usual.steps] != shared,
        newest=counted.newest.id,
        environment=counted.newest.environment,
    )
