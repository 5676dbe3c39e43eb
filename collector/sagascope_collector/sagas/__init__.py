"""Facts in, saga and verdict out. Pure: no clock, no database, no network."""

from collections.abc import Mapping
from typing import Final

from sagascope_collector.records import Facts
from sagascope_collector.sagas import identity
from sagascope_collector.sagas.context import Context
from sagascope_collector.sagas.experience import Experience, in_order, learn
from sagascope_collector.sagas.fold import fold
from sagascope_collector.sagas.lessons import Lesson, lesson, load
from sagascope_collector.sagas.liveness import is_alive, promised_until
from sagascope_collector.sagas.model import Judgement, Saga
from sagascope_collector.sagas.outage import outages
from sagascope_collector.sagas.pace import Pace
from sagascope_collector.sagas.spans import processes
from sagascope_collector.sagas.verdict import judge

__all__ = [
    "Context",
    "Experience",
    "Judgement",
    "Lesson",
    "Pace",
    "Saga",
    "in_order",
    "is_alive",
    "judge",
    "learn",
    "lesson",
    "load",
    "outages",
    "promised_until",
    "rebuild",
    "runners",
]


NOTHING_LEARNED: Final[Mapping[tuple[str, str], Experience]] = {}


def runners(saga: Saga) -> dict[str, str]:
    """The service that ran each step of a saga, by the step's name, where that is known."""
    return {
        step.name: step.service
        for step in saga.steps
        if step.service and any(each.is_executor_known for each in step.attempts)
    }


def rebuild(
    facts: Facts, now: int | None = None, experience: Mapping[tuple[str, str], Experience] = NOTHING_LEARNED
) -> list[Saga]:
    """Every saga behind one id, of each name and run, latest started first.

    ``now`` decides when open spans that their process no longer lists are given up; without it, the latest moment
    that the facts tell of. ``experience`` is what finished sagas taught, by (environment, saga name).
    """
    instances = processes(facts.instances)
    moment = now if now is not None else max((each.last_seen for each in facts.instances), default=0)
    sagas = [
        fold(key, share, instances, moment, experience.get((key.environment, key.name)))
        for key, share in identity.shares(facts).items()
    ]
    return sorted(sagas, key=lambda saga: (-saga.started_at, saga.key))
