"""Serializes counts, saga types, services, calls, and the status of the collector."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import nlargest
from importlib.metadata import version
from typing import Protocol

from sagascope_collector import analysis
from sagascope_collector.api import database
from sagascope_collector.api.present import amounts_at_risk
from sagascope_collector.client import schemas
from sagascope_collector.durations import to_datetime
from sagascope_collector.incident_records import AmountAtRisk, PeriodCount
from sagascope_collector.records import TEST_ENVIRONMENT, BridgeState, Instance
from sagascope_collector.storage import Storage
from sagascope_collector.storage.statistics import (
    TRANSITION,
    CallCount,
    PathCount,
    StepPeriod,
    StepStatistics,
    steps_of,
)

MAX_FLOWS: int = 1_000
"""Maximum number of saga types in an answer: most sagas that need attention first, then most sagas."""

MAX_INSTANCES: int = 2_000
"""Maximum number of instances in an answer, those that were seen last."""

MAX_PATHS: int = 20
"""Maximum number of paths in an answer."""


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
"""The column in which a saga of each status is counted. A compensating saga is still running."""

MAX_FLOW_PERIODS = 24
"""Maximum number of parts into which a window is divided."""


COUNT_PERIODS_SECONDS = (1, 10, 30, 60, 300, 600, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400, 604_800)
MAX_COUNT_PERIODS = 60
"""Maximum number of periods of a window, up to the longest period."""


def count_period(window_seconds: float) -> int:
    """Returns the length of the periods of a window, in seconds."""
    fitting = (each for each in COUNT_PERIODS_SECONDS if each * MAX_COUNT_PERIODS >= window_seconds)
    return next(fitting, COUNT_PERIODS_SECONDS[-1])


def counts(
    counted: Iterable[PeriodCount], amounts: Iterable[AmountAtRisk], *, since: int, until: int, period: int
) -> schemas.Counts:
    """Returns the counts of periods, and their sums; times are in nanoseconds, `period` in seconds."""
    series: defaultdict[int, dict[str, Counter[str]]] = defaultdict(
        lambda: {"started": Counter(), "attention": Counter()}
    )
    totals: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in counted:
        totals[each.kind][each.name] += each.sagas
        if each.at:
            series[each.at][each.kind][each.name] += each.sagas
    return schemas.Counts.model_validate(
        {
            "total": totals["started"].total(),
            "status": totals["started"],
            "attention": totals["attention"],
            "amount_at_risk": amounts_at_risk(amounts),
            "since": to_datetime(since),
            "until": to_datetime(until),
            "period": period,
            "series": [{"at": to_datetime(at), **counts} for at, counts in sorted(series.items())],
        }
    )


def flows(counts: Iterable[tuple[str, str, str, int, int]]) -> schemas.Flows:
    """Returns saga types by name and environment, from (name, environment, status, sagas, needing attention)."""
    columns: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for name, environment, status, number, needing in counts:
        columns[name, environment].update({FLOW_COLUMN[status]: number, "attention": needing})
    listed = sorted(nlargest(MAX_FLOWS, columns, key=lambda key: (columns[key]["attention"], columns[key].total())))
    names = (*dict.fromkeys(FLOW_COLUMN.values()), "attention")
    items = [
        schemas.Flow(name=key[0], environment=key[1], **{each: columns[key][each] for each in names}) for key in listed
    ]
    return schemas.Flows(items=items, total=len(columns))


def flow(name: str, period: int, steps: Iterable[StepStatistics], counted: Sequence[PathCount]) -> schemas.FlowInFull:
    """Returns the steps of one saga type, in parts of `period` seconds, and the paths of its sagas."""
    statistics = list(steps)
    return schemas.FlowInFull(
        name=name,
        period=period,
        steps=[_step(each) for each in statistics if each.type != TRANSITION],
        transitions=[_transition(each) for each in statistics if each.type == TRANSITION],
        paths=paths(counted),
    )


def _transition(statistics: StepStatistics) -> schemas.FlowTransition:
    before, after = steps_of(statistics.step)
    series = [_period(each) for each in statistics.periods]
    return schemas.FlowTransition(
        before=before, after=after, number=statistics.succeeded, series=series, **_percentiles(statistics.percentiles)
    )


def _step(statistics: StepStatistics) -> schemas.FlowStep:
    return schemas.FlowStep(
        step=statistics.step,
        type=statistics.type,
        started=statistics.succeeded + statistics.failed + statistics.in_flight,
        succeeded=statistics.succeeded,
        failed=statistics.failed,
        retried=statistics.retried,
        compensated=statistics.compensated,
        in_flight=statistics.in_flight,
        series=[_period(each) for each in statistics.periods],
        **_percentiles(statistics.percentiles),
    )


def _period(period: StepPeriod) -> schemas.FlowPeriod:
    return schemas.FlowPeriod(
        at=to_datetime(period.at),
        succeeded=period.succeeded,
        failed=period.failed,
        retried=period.retried,
        durations=list(period.durations),
        **_percentiles(period.percentiles),
    )


def _percentiles(seconds: tuple[float, float, float] | None) -> dict[str, float | None]:
    return dict(zip(("p50", "p95", "p99"), seconds or (None, None, None), strict=True))


def services(instances: Sequence[Instance], context: analysis.Context) -> schemas.Services:
    """Returns services by name, each with its instances, the last seen first; without the test spans of `doctor`."""
    by_service: defaultdict[str, list[Instance]] = defaultdict(list)
    shown = [each for each in instances if each.process.environment != TEST_ENVIRONMENT]
    for each in nlargest(MAX_INSTANCES, shown, key=lambda each: each.last_seen):
        by_service[each.process.service].append(each)
    return schemas.Services(
        items=[
            schemas.Service(
                service=service,
                instances=[_instance(each, context) for each in _identified(known)],
                versions=_versions(known),
            )
            for service, known in sorted(by_service.items())
        ],
        instances_total=len(shown),
    )


def _versions(known: Sequence[Instance]) -> list[schemas.ServiceVersion]:
    seen: dict[str, tuple[int, int]] = {}
    for each in known:
        since, until = seen.get(each.process.version, (each.version_since, each.last_seen))
        seen[each.process.version] = min(since, each.version_since), max(until, each.last_seen)
    return [
        schemas.ServiceVersion(version=version, first_seen=to_datetime(since), last_seen=to_datetime(until))
        for version, (since, until) in sorted(seen.items(), key=lambda item: (-item[1][0], item[0]))
        if version
    ]


def calls(counted: Sequence[CallCount], seconds: int) -> schemas.Calls:
    """Returns the calls between services within the last `seconds`."""
    items = [schemas.Call.model_validate(each) for each in counted]
    return schemas.Calls(seconds=seconds, sampled=max((each.sampled for each in counted), default=1), items=items)


def _identified(known: Sequence[Instance]) -> Sequence[Instance]:
    """Returns the instances that have an identity, or all of them if none has one.

    Records without an identity are not a further instance of the service.
    """
    return [each for each in known if each.process.identity] or known


def _instance(instance: Instance, context: analysis.Context) -> schemas.Instance:
    heartbeat = instance.heartbeat
    return schemas.Instance(
        instance=instance.process.instance or None,
        version=instance.process.version or None,
        last_seen=to_datetime(instance.last_seen),
        alive=analysis.is_alive(instance, context),
        in_flight=len(heartbeat.open_spans) if heartbeat else 0,
        heartbeats=heartbeat is not None,
        dropped=heartbeat.dropped if heartbeat else 0,
        bridge=_bridge_state(heartbeat.bridge) if heartbeat and heartbeat.bridge else None,
    )


def _bridge_state(bridge: BridgeState) -> schemas.BridgeState:
    return schemas.BridgeState(
        kind=bridge.kind, lag_seconds=bridge.lag, watching=bridge.watching, error=bridge.error or None
    )


class Health(Protocol):
    """State of the collector's process, as the API needs it. Methods return quickly and are thread-safe."""

    def unready(self) -> str | None:
        """Returns why nothing can be ingested or queried, in one sentence; None: the collector is ready."""
        ...

    def degraded(self) -> Sequence[str]:
        """Returns one sentence for each function that fails while ingest and queries work."""
        ...

    def lag_seconds(self) -> float:
        """Returns the number of seconds by which lists may lag behind stored records."""
        ...

    def otlp_addresses(self) -> Mapping[str, str]:
        """Returns the addresses of the OTLP receivers by the header that reports each; empty before they listen."""
        ...

    def leads(self) -> bool | None:
        """Returns whether this collector is the leader of its lake; None: it has no lake."""
        ...

    def notices(self) -> Sequence[str]:
        """Returns notices for every reader of the API, one sentence each, the most severe first."""
        ...


def status(storage: Storage, health: Health, *, with_sql: bool) -> schemas.Status:
    """Returns the status of the collector. `dropped_by_clients` is the sum of the last report of each instance."""
    recent, unassigned = database.recent_spans(storage)
    counters = storage.records.counters
    heartbeats = [each.heartbeat for each in storage.instances.all() if each.heartbeat]
    return schemas.Status(
        version=version("sagascope"),
        received=counters.received,
        stored=counters.stored,
        rejected=counters.rejected,
        duplicate=counters.duplicate,
        dropped_by_clients=sum(each.dropped for each in heartbeats),
        lag_seconds=round(health.lag_seconds(), 3),
        database_bytes=storage.size_bytes(),
        recent_spans=recent,
        recent_unassigned=unassigned,
        sql=with_sql,
        leader=health.leads(),
        notices=list(health.notices()),
    )
