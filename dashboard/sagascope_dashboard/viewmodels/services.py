"""Services with their processes, bridges, the state of the collector, and which telemetry is missing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import (
    BEHIND,
    BLOCKED,
    COMPLETE,
    INCOMPLETE,
    LOSING_RECORDS,
    NOT_REPORTING,
    NOT_REPORTING_IN_FLIGHT,
    REPORTING,
    UP_TO_DATE,
    Style,
    duration,
    line,
    plural,
)
from sagascope_dashboard.urls import Filters
from sagascope_dashboard.viewmodels.flows import Edge, Node
from sagascope_dashboard.viewmodels.transactions import Table

UNKNOWN_TYPE = "unknown"
"""The name of the type of transactions whose type was never received."""

MAX_BRIDGE_LAG_SECONDS = 30.0
"""Lag of a bridge above which it counts as behind."""


def bridges(known: schemas.Services) -> list[schemas.Instance]:
    """Returns every known bridge, the blocked ones first."""
    found = [one for each in known.items for one in each.instances if one.bridge]
    order = (BLOCKED, BEHIND, UP_TO_DATE, NOT_REPORTING)
    return sorted(found, key=lambda one: (order.index(_bridge_style(one)), _bridge_name(one), one.instance or ""))


def without_bridges(known: schemas.Services) -> Iterator[schemas.Service]:
    """Yields the services without the processes that are bridges."""
    for each in known.items:
        if own := [one for one in each.instances if one.bridge is None]:
            yield each.model_copy(update={"instances": own})


def bridge_table(known: Sequence[schemas.Instance]) -> Table:
    """Prepares a table of bridges; their lag is as they last reported it."""
    rows = [
        {
            "Bridge": _bridge_name(one),
            "State": [_bridge_style(one).label],
            "Lag": f"{duration(one.bridge.lag_seconds)} behind",
            "In flight": f"{plural(one.bridge.watching, 'item')} in flight",
            "Last seen": one.last_seen,
            "Error": _bridge_error(one),
            "Checkpoint": line(one.instance or "", 120),
        }
        for one in known
        if one.bridge
    ]
    return Table("bridges", tuple(rows))


def _bridge_name(one: schemas.Instance) -> str:
    return line(one.bridge.kind, 40) if one.bridge else ""


def _bridge_style(one: schemas.Instance) -> Style:
    if not one.alive or one.bridge is None:
        return NOT_REPORTING
    if one.bridge.error:
        return BLOCKED
    return BEHIND if one.bridge.lag_seconds > MAX_BRIDGE_LAG_SECONDS else UP_TO_DATE


def _bridge_error(one: schemas.Instance) -> str:
    """Returns the error as a sentence; empty for none."""
    if one.bridge and one.bridge.error:
        return line(one.bridge.error, 400)
    if not one.alive:
        return "It ended, or cannot reach the collector; its source is no longer reported."
    return "Its source changes faster than it reports." if _bridge_style(one) is BEHIND else ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """The first appearance of a version of a service that had run another one before."""

    at: datetime
    service: str
    version: str


def deployments(known: schemas.Services | None) -> tuple[Deployment, ...]:
    """Returns the known deployments, the earliest first; none where the collector did not answer."""
    found = [
        Deployment(each.first_seen, line(service.service, 60), line(each.version, 40))
        for service in (known.items if known else ())
        for each in service.versions[:-1]  # the first version that was seen is not a change
    ]
    return tuple(sorted(found, key=lambda each: (each.at, each.service)))


def processes(known: schemas.Services) -> Table:
    """Prepares every process: first those that stopped reporting with work in flight, then those that report."""
    rows = [(service, one) for service in without_bridges(known) for one in service.instances]
    order = (NOT_REPORTING_IN_FLIGHT, REPORTING, NOT_REPORTING)
    rows.sort(key=lambda row: (order.index(_process_style(row[1])), row[0].service, -row[1].last_seen.timestamp()))
    cells = tuple(
        {
            "Service": _name(service),
            "Process": line(one.instance, 80) or "unnamed process",
            "State": [_process_style(one).label],
            "Version": line(one.version, 40),
            "In flight": one.in_flight,
            "Last seen": one.last_seen,
        }
        for service, one in rows
    )
    hrefs = tuple(Filters(service=service.service, attention="any").href() for service, _ in rows)
    return Table("processes", cells, hrefs)


def service_map(known: schemas.Services, calls: schemas.Calls) -> tuple[tuple[Node, ...], tuple[Edge, ...]]:
    """Prepares which services call which others; a service is coloured by the share of calls of it that failed."""
    services = {each.service: each for each in without_bridges(known)}
    names = dict.fromkeys([*services, *(name for each in calls.items for name in (each.caller, each.called))])
    nodes = tuple(_service_node(name, services.get(name), calls) for name in sorted(names))
    edges = tuple(
        Edge(
            each.caller,
            each.called,
            _call_text(each, calls.seconds),
            float(each.calls),
            _share(each.failed, each.calls),
        )
        for each in calls.items
    )
    return nodes, edges


def _service_node(name: str, service: schemas.Service | None, calls: schemas.Calls) -> Node:
    received = [each for each in calls.items if each.called == name]
    share = _share(sum(each.failed for each in received), sum(each.calls for each in received))
    instances = service.instances if service else []
    lost = [one for one in instances if not one.alive and one.in_flight]
    alive = [one for one in instances if one.alive]
    texts = [line(name, 60) or "a service without a name", f"{plural(len(alive), 'process', 'processes')} reporting"]
    if in_flight := sum(one.in_flight for one in alive):
        texts.append(f"{in_flight:,} in flight")
    if lost:
        texts.append(f"{len(lost):,} not reporting, with work in flight")
    if versions := sorted({line(one.version, 30) for one in alive if one.version}):
        texts.append(f"version {', '.join(versions[:3])}")
    return Node(
        key=name,
        texts=tuple(texts),
        share=1.0 if lost else share,
        is_dashed=not alive,
        href=Filters(service=name, attention="any").href(),
    )


def _share(failed: int, of: int) -> float:
    return failed / of if of else 0.0


def _call_text(call: schemas.Call, seconds: int) -> str:
    texts = [_rate(call.calls, seconds)]
    if call.failed:
        share = 100 * call.failed / call.calls
        texts.append(f"{share:.0f} % failed" if share >= 1 else "under 1 % failed")
    if call.p95 is not None:
        texts.append(f"p95 {duration(call.p95)}")
    return ", ".join(texts)


def _rate(number: int, seconds: int) -> str:
    for name, length in (("s", 1), ("min", 60), ("h", 3600)):
        if number * length >= seconds:
            return f"{number * length / seconds:,.3g}/{name}"
    return f"{number:,} in {duration(seconds)}"


def received_facts(status: schemas.Status) -> tuple[tuple[str, str], ...]:
    """Returns what the collector received, and its own state, as names and texts."""
    return (
        ("Received", plural(status.received, "record")),
        ("Stored", plural(status.stored, "record")),
        ("Duplicates", f"{status.duplicate:,}"),
        ("Rejected", f"{status.rejected:,}"),
        ("Dropped by services before sending", f"{status.dropped_by_clients:,}"),
        ("Lag", f"{status.lag_seconds:.1f} s"),
        ("Database", _size(status.database_bytes)),
        ("Version", line(status.version, 40)),
    )


def _process_style(instance: schemas.Instance) -> Style:
    if instance.alive:
        return REPORTING
    return NOT_REPORTING_IN_FLIGHT if instance.in_flight else NOT_REPORTING


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


MAX_COLLECTOR_LAG_SECONDS = 5.0
"""Lag of the collector above which it counts as a problem."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Telemetry that is missing: what follows from that, and how to send it."""

    key: str
    problem: str
    consequence: str
    action: str
    example: str
    """Code or settings; empty for none."""
    senders: tuple[str, ...]
    """The services that do not send it."""


@dataclass(frozen=True, slots=True)
class Health:
    """The whole screen."""

    style: Style
    sentence: str
    gaps: tuple[Gap, ...]
    """The most severe first."""
    senders: Table
    """Those that lose records first."""
    bridges: Table


def health(status: schemas.Status, services: schemas.Services, flows: schemas.Flows | None = None) -> Health:
    """Prepares the screen."""
    known = list(without_bridges(services))
    styles = {each.service: _sender_style(each) for each in known}
    known.sort(key=lambda each: (_severity(styles[each.service]), each.service))
    followers, own = bridges(services), tuple(_collector_gaps(status))
    lagging = [one for one in followers if _bridge_style(one) in (BLOCKED, BEHIND)]
    worst = [LOSING_RECORDS if own else COMPLETE, INCOMPLETE if lagging else COMPLETE, *styles.values()]
    return Health(
        style=min(worst, key=_severity),
        sentence=_sentence(known, styles, own, lagging),
        gaps=(*own, *_sender_gaps(known), *_type_gaps(flows)),
        senders=_senders(known, styles),
        bridges=bridge_table(followers),
    )


def _severity(style: Style) -> int:
    return (LOSING_RECORDS, INCOMPLETE, COMPLETE).index(style)


def _sender_style(service: schemas.Service) -> Style:
    if any(one.dropped for one in service.instances):
        return LOSING_RECORDS
    latest = _latest(service)
    is_complete = latest.heartbeats and latest.instance is not None and service.service
    return COMPLETE if is_complete else INCOMPLETE


def _latest(service: schemas.Service) -> schemas.Instance:
    """Returns the process that was seen last: it speaks for its service."""
    return max(service.instances, key=lambda one: one.last_seen)


def _name(service: schemas.Service) -> str:
    return line(service.service, 80) or "a service without a name"


def _senders(known: Sequence[schemas.Service], styles: Mapping[str, Style]) -> Table:
    rows = tuple(
        {
            "Service": _name(each),
            "State": [styles[each.service].label],
            "Processes alive": sum(one.alive for one in each.instances),
            "Last seen": _latest(each).last_seen,
            "Lost records": sum(one.dropped for one in each.instances),
        }
        for each in known
    )
    return Table("senders", rows, tuple(Filters(service=each.service).href() for each in known))


def _sentence(
    known: Sequence[schemas.Service],
    styles: Mapping[str, Style],
    own: Sequence[Gap],
    lagging: Sequence[schemas.Instance],
) -> str:
    losing = [_name(each) for each in known if styles[each.service] is LOSING_RECORDS]
    incomplete = [_name(each) for each in known if styles[each.service] is INCOMPLETE]
    if own:
        return own[0].problem
    if losing:
        return f"Records of {_join_names(losing)} are lost before they can be sent."
    if lagging:
        return f"The bridge {_bridge_name(lagging[0])} does not keep up: {_bridge_error(lagging[0])}"
    if incomplete:
        return f"The telemetry of {_join_names(incomplete)} is incomplete."
    return "Everything sent is received." if known else "No service has reported yet."


def _join_names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {plural(len(names) - 3, 'other service')}" if len(names) > 3 else shown


def _collector_gaps(status: schemas.Status) -> Iterator[Gap]:
    if status.lag_seconds > MAX_COLLECTOR_LAG_SECONDS:
        yield Gap(
            "lag",
            f"The collector is {status.lag_seconds:.0f} s behind what arrives.",
            "Lists and verdicts are late by as much; deadlines do not run meanwhile.",
            "Look at its processor and its disk; see Sizing in docs/operations.md.",
            "",
            (),
        )
    if status.rejected:
        were = "was" if status.rejected == 1 else "were"
        yield Gap(
            "rejected",
            f"{plural(status.rejected, 'record')} could not be parsed and {were} rejected.",
            "They are missing from their transactions.",
            "The collector's log names the reason. This receives what a service sends, and says what is wrong with it:",
            "sagascope conformance",
            (),
        )


def _sender_gaps(known: Sequence[schemas.Service]) -> Iterator[Gap]:
    found: dict[str, list[str]] = {}
    for each in known:
        latest = _latest(each)
        lacks = {
            "dropped": any(one.dropped for one in each.instances),
            "heartbeats": not latest.heartbeats,
            "instance": latest.instance is None,
            "name": not each.service,
            "version": latest.version is None,
        }
        for key in (key for key, is_lacking in lacks.items() if is_lacking):
            found.setdefault(key, []).append(_name(each))
    for key, texts in SENDER_GAPS.items():
        if key in found:
            yield Gap(key, *texts, tuple(found[key]))


SENDER_GAPS = {
    "dropped": (
        "Records are lost before they can be sent.",
        "Steps are missing from transactions; verdicts that rest on their absence are only possible.",
        "Check the connection to the collector, and let the service keep what it cannot send: docs/instrumenting.md.",
        'sagascope.configure(service_name="ledger", spool="/var/spool/ledger")',
    ),
    "heartbeats": (
        "No heartbeats are sent.",
        "A process that dies during a step is only noticed when the step's time limit passes, and reported as hung.",
        "Call this once at the start of a Python service; others send sagascope.heartbeat records: docs/semconv.md.",
        'sagascope.configure(service_name="ledger")',
    ),
    "instance": (
        "Processes have no instance ids.",
        "A lost process cannot be distinguished from its replacement.",
        "Set an id that is different for each process, in the environment of the process:",
        "OTEL_RESOURCE_ATTRIBUTES=service.instance.id=$(uuidgen)",
    ),
    "name": (
        "A service has no name.",
        "Its work has no lane of its own, and it has no place on the map of services.",
        "Set the name in the environment of the process:",
        "OTEL_SERVICE_NAME=ledger",
    ),
    "version": (
        "No version is sent.",
        "Deployments are not marked, and a transaction that ran on two versions is not noticed.",
        "Set the version in the environment of the process:",
        "OTEL_RESOURCE_ATTRIBUTES=service.version=1.4.1",
    ),
}
"""The problem, its consequence, what to do, and an example, the most severe first."""


def _type_gaps(flows: schemas.Flows | None) -> Iterator[Gap]:
    nameless = sum(
        each.running + each.completed + each.compensated + each.failed
        for each in (flows.items if flows else ())
        if each.name == UNKNOWN_TYPE
    )
    if nameless:
        yield Gap(
            "type",
            f"{plural(nameless, 'transaction')} {'has' if nameless == 1 else 'have'} no type.",
            "No plan and no durations can be learned for them, so a missing step is not noticed.",
            "Set saga.name beside saga.id, on at least one span of each transaction: docs/semconv.md.",
            'span.set_attribute("saga.name", "payment")',
            (),
        )
