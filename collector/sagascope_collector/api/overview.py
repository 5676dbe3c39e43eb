"""What is listed: sagas, their types, and the services."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Protocol

from sagascope_collector import analysis
from sagascope_collector.api.present import moment
from sagascope_collector.client import schemas
from sagascope_collector.records import Following, Instance
from sagascope_collector.step_statistics import TRANSITION, PathCount, StepPeriod, StepStatistics, steps_of
from sagascope_collector.storage import Page, Storage

MAX_PATHS: int = 20
"""Paths in an answer."""


def paths(counted: Sequence[PathCount]) -> list[schemas.FlowPath]:
    """Returns the usual path first, and how each other path differs from it."""
    usual = max(counted, key=lambda each: (each.completed, each.sagas), default=None)
    if usual is None:
        return []
    others = [each for each in counted if each is not usual]
    return [_path(each, usual) for each in (usual, *others)][:MAX_PATHS]


def _path(counted: PathCount, usual: PathCount) -> schemas.FlowPath:
    shared = [step for step in usual.steps if step in counted.steps]
    return schemas.FlowPath(
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


FLOW_COLUMN = {
    "running": "running",
    "compensating": "running",
    "completed": "completed",
    "compensated": "compensated",
    "failed": "failed",
}
"""Where a saga of each status is counted: one that is compensating has not ended."""

PERIODS = 24
"""Parts into which a window is cut, at most."""


def listed(page: Page) -> str:
    """A page of sagas as `schemas.Sagas` in JSON; summaries are kept as such, and put in as they are."""
    items = ",".join(row.document for row in page.rows)
    return f'{{"items":[{items}],"next_cursor":{json.dumps(page.next_cursor)}}}'


def flows(counts: Iterable[tuple[str, str, str, int, int]]) -> schemas.Flows:
    """Saga types by name and environment, from (name, environment, status, sagas, of them needing someone)."""
    columns: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for name, environment, status, number, needing in counts:
        columns[name, environment].update({FLOW_COLUMN[status]: number, "attention": needing})
    return schemas.Flows(items=[_flow(*key, counted) for key, counted in sorted(columns.items())])


def _flow(name: str, environment: str, counted: Counter[str]) -> schemas.Flow:
    return schemas.Flow(
        name=name,
        environment=environment,
        running=counted["running"],
        completed=counted["completed"],
        compensated=counted["compensated"],
        failed=counted["failed"],
        attention=counted["attention"],
    )


def flow(name: str, period: int, steps: Iterable[StepStatistics], counted: Sequence[PathCount]) -> schemas.FlowInFull:
    """The steps of one saga type, in parts of so many seconds, and the paths of its sagas."""
    told = list(steps)
    return schemas.FlowInFull(
        name=name,
        period=period,
        steps=[_step(each) for each in told if each.type != TRANSITION],
        hand_overs=[_hand_over(each) for each in told if each.type == TRANSITION],
        paths=paths(counted),
    )


def _hand_over(told: StepStatistics) -> schemas.HandOver:
    before, after = steps_of(told.step)
    series = [_period(each) for each in told.periods]
    return schemas.HandOver(
        before=before, after=after, number=told.succeeded, series=series, **_percentiles(told.percentiles)
    )


def _step(told: StepStatistics) -> schemas.FlowStep:
    return schemas.FlowStep(
        step=told.step,
        type=told.type,
        started=told.succeeded + told.failed + told.in_flight,
        succeeded=told.succeeded,
        failed=told.failed,
        retried=told.retried,
        compensated=told.compensated,
        in_flight=told.in_flight,
        series=[_period(each) for each in told.periods],
        **_percentiles(told.percentiles),
    )


def _period(told: StepPeriod) -> schemas.FlowPeriod:
    at = moment(told.at)
    return schemas.FlowPeriod(at=at, succeeded=told.succeeded, failed=told.failed, **_percentiles(told.percentiles))


def _percentiles(told: tuple[float, float, float] | None) -> dict[str, float | None]:
    return dict(zip(("p50", "p95", "p99"), told or (None, None, None), strict=True))


def services(instances: Sequence[Instance], context: analysis.Context) -> schemas.Services:
    """Services by name, each with its processes, the one heard last first."""
    of: defaultdict[str, list[Instance]] = defaultdict(list)
    for each in sorted(instances, key=lambda each: -each.last_seen):
        of[each.process.service].append(each)
    return schemas.Services(
        items=[
            schemas.Service(service=service, instances=[_instance(each, context) for each in _processes(heard)])
            for service, heard in sorted(of.items())
        ]
    )


def _processes(heard: Sequence[Instance]) -> Sequence[Instance]:
    """Those that are processes; what a service says of what none of them holds is no further one."""
    return [each for each in heard if each.process.identity] or heard


def _instance(instance: Instance, context: analysis.Context) -> schemas.Instance:
    said = instance.heartbeat
    return schemas.Instance(
        instance=instance.process.instance or None,
        version=instance.process.version or None,
        last_seen=moment(instance.last_seen),
        alive=analysis.is_alive(instance, context),
        in_flight=len(said.open_spans) if said else 0,
        heartbeats=said is not None,
        dropped=said.dropped if said else 0,
        following=_following(said.following) if said and said.following else None,
    )


def _following(said: Following) -> schemas.Following:
    return schemas.Following(kind=said.kind, lag_seconds=said.lag, watching=said.watching, error=said.error or None)


class Health(Protocol):
    """What the API asks of the process that it runs in. Quick, and safe from any thread."""

    def unready(self) -> str | None:
        """Why nothing can be taken in or answered now, in one sentence; None: all is well."""
        ...

    def degraded(self) -> Sequence[str]:
        """What does not work although telemetry is taken in and questions are answered, in sentences."""
        ...

    def lag_seconds(self) -> float:
        """Seconds by which lists may be behind what was stored."""
        ...

    def otlp_http(self) -> str | None:
        """Where OTLP is taken over HTTP, as HOST:PORT; None: not known yet."""
        ...

    def notices(self) -> Sequence[str]:
        """What a reader of any answer should know: sentences, the gravest first."""
        ...


def status(storage: Storage, health: Health) -> schemas.Status:
    """How the collector is; what clients dropped is the sum of what each process said last."""
    counted = storage.records.counters
    spoken = [each.heartbeat for each in storage.instances.all() if each.heartbeat]
    return schemas.Status(
        version=version("sagascope"),
        received=counted.received,
        stored=counted.stored,
        rejected=counted.rejected,
        duplicate=counted.duplicate,
        dropped_by_clients=sum(each.dropped for each in spoken),
        lag_seconds=round(health.lag_seconds(), 3),
        database_bytes=storage.size_bytes(),
        notices=list(health.notices()),
    )
