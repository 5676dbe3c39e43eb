"""Facts in, saga and verdict out. Pure: no clock, no database, no network."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from sagascope_collector.analysis import identity, runs
from sagascope_collector.analysis.context import Context
from sagascope_collector.analysis.experience import Experience, in_order, learn
from sagascope_collector.analysis.fold import fold
from sagascope_collector.analysis.inference import infer
from sagascope_collector.analysis.lessons import Lesson, lesson, load
from sagascope_collector.analysis.liveness import is_alive, promised_until
from sagascope_collector.analysis.model import Judgement, Saga
from sagascope_collector.analysis.outage import outages
from sagascope_collector.analysis.pace import Pace
from sagascope_collector.analysis.spans import ProcessKey, processes
from sagascope_collector.analysis.verdict import judge
from sagascope_collector.records import Facts, Instance, SagaKey

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
    sagas = [_saga(key, share, instances, moment, experience) for key, share in identity.shares(facts).items()]
    return sorted(runs.linked(sagas), key=lambda saga: (-saga.started_at, saga.key))


def _saga(
    key: SagaKey,
    share: identity.Share,
    instances: Mapping[ProcessKey, Instance],
    now: int,
    experience: Mapping[tuple[str, str], Experience],
) -> Saga:
    saga = fold(key, share, instances, now, experience.get((key.environment, key.name)))
    if key.name != identity.UNKNOWN:
        return saga
    inferred = infer(key.environment, saga.steps, experience)
    if inferred.name is None:
        return replace(saga, longest_pause=inferred.longest_pause)
    known = fold(key, share, instances, now, experience[key.environment, inferred.name])
    return replace(known, inferred_name=inferred.name)
