"""Services with their processes, bridges, the state of the collector, and which telemetry is missing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import duration, line, plural
from sagascope_dashboard.palette import Style
from sagascope_dashboard.urls import Filters

MAX_BRIDGE_LAG_SECONDS = 30.0
"""Lag of a bridge above which it counts as behind."""

UP_TO_DATE = Style("Up to date", "good", "check")
BEHIND = Style("Behind", "wait", "mark")
BLOCKED = Style("Blocked", "alarm", "cross")


MAX_NOT_REPORTING_SHOWN = 3
"""Processes of one service that are listed though they are not reporting; those with work in flight always are."""

REPORTING = Style("Reporting", "good", "check")
NOT_REPORTING = Style("Not reporting", "idle", "unplugged")
NOT_REPORTING_IN_FLIGHT = Style("Not reporting, work in flight", "alarm", "unplugged")


@dataclass(frozen=True, slots=True)
class Bridge:
    """One bridge."""

    name: str
    checkpoint: str
    """Its host and the file of its checkpoint; empty if not sent."""
    style: Style
    lag: str
    """As text, as it last reported."""
    in_flight: str
    last_seen: datetime
    error: str
    """The error as a sentence; empty for none."""


def bridges(known: schemas.Services) -> tuple[Bridge, ...]:
    """Prepares every known bridge, the blocked ones first."""
    rows = [_bridge(one, one.bridge) for each in known.items for one in each.instances if one.bridge]
    return tuple(sorted(rows, key=lambda one: (_bridge_rank(one.style), one.name, one.checkpoint)))


def without_bridges(known: schemas.Services) -> Iterator[schemas.Service]:
    """Yields the services without the processes that are bridges."""
    for each in known.items:
        if own := [one for one in each.instances if one.bridge is None]:
            yield each.model_copy(update={"instances": own})


def _bridge_rank(style: Style) -> int:
    return (BLOCKED, BEHIND, UP_TO_DATE, NOT_REPORTING).index(style)


def _bridge(instance: schemas.Instance, bridge: schemas.BridgeState) -> Bridge:
    style = _bridge_style(instance, bridge)
    return Bridge(
        name=line(bridge.kind, 40),
        checkpoint=line(instance.instance or "", 120),
        style=style,
        lag=f"{duration(bridge.lag_seconds)} behind",
        in_flight=f"{plural(bridge.watching, 'item')} in flight",
        last_seen=instance.last_seen,
        error=_error(style, bridge),
    )


def _bridge_style(instance: schemas.Instance, bridge: schemas.BridgeState) -> Style:
    if not instance.alive:
        return NOT_REPORTING
    if bridge.error:
        return BLOCKED
    return BEHIND if bridge.lag_seconds > MAX_BRIDGE_LAG_SECONDS else UP_TO_DATE


def _error(style: Style, bridge: schemas.BridgeState) -> str:
    if bridge.error:
        return line(bridge.error, 400)
    if style is NOT_REPORTING:
        return "It ended, or cannot reach the collector; its source is no longer reported."
    return "Its source changes faster than it reports." if style is BEHIND else ""


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a service."""

    name: str
    version: str
    style: Style
    last_seen: datetime
    in_flight: int


@dataclass(frozen=True, slots=True)
class Service:
    """One service with its processes, those that need attention first."""

    name: str
    href: str
    """The transactions that need attention in it."""
    processes: tuple[Process, ...]
    left_out: int
    versions: str
    """The versions where several run at once; else empty."""


@dataclass(frozen=True, slots=True)
class CollectorStatus:
    """The collector's own state as texts."""

    facts: tuple[tuple[str, str], ...]
    notices: tuple[str, ...]


def services(known: schemas.Services) -> tuple[Service, ...]:
    """Prepares every service, by name. Bridges are shown by Data health."""
    return tuple(map(_service, sorted(without_bridges(known), key=lambda service: service.service)))


def collector_status(status: schemas.Status) -> CollectorStatus:
    """Prepares the collector's own state."""
    facts = (
        ("Received", plural(status.received, "record")),
        ("Stored", plural(status.stored, "record")),
        ("Duplicates", f"{status.duplicate:,}"),
        ("Rejected", f"{status.rejected:,}"),
        ("Dropped by services before sending", f"{status.dropped_by_clients:,}"),
        ("Lag", f"{status.lag_seconds:.1f} s"),
        ("Database", _size(status.database_bytes)),
        ("Version", line(status.version, 40)),
    )
    return CollectorStatus(facts, tuple(line(notice, 400) for notice in status.notices))


def _service(service: schemas.Service) -> Service:
    ordered = sorted(service.instances, key=lambda one: (_rank(one), -one.last_seen.timestamp()))
    not_reporting = [one for one in ordered if not one.alive and not one.in_flight]
    left_out = set(map(id, not_reporting[MAX_NOT_REPORTING_SHOWN:]))
    running = sorted({line(one.version, 40) for one in service.instances if one.alive and one.version})
    return Service(
        name=line(service.service, 80),
        href=Filters(service=service.service, attention="any").href(),
        processes=tuple(_process(one) for one in ordered if id(one) not in left_out),
        left_out=len(left_out),
        versions=", ".join(running) if len(running) > 1 else "",
    )


def _rank(instance: schemas.Instance) -> int:
    if not instance.alive and instance.in_flight:
        return 0
    return 1 if instance.alive else 2


def _process(instance: schemas.Instance) -> Process:
    missing = NOT_REPORTING_IN_FLIGHT if instance.in_flight else NOT_REPORTING
    return Process(
        name=line(instance.instance, 80) or "unnamed process",
        version=line(instance.version, 40),
        style=REPORTING if instance.alive else missing,
        last_seen=instance.last_seen,
        in_flight=instance.in_flight,
    )


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


MAX_COLLECTOR_LAG_SECONDS = 5.0
"""Lag of the collector above which it counts as a problem."""

COMPLETE = Style("Complete", "good", "check")
INCOMPLETE = Style("Incomplete", "wait", "mark")
LOSING_RECORDS = Style("Loses records", "alarm", "cross")


@dataclass(frozen=True, slots=True)
class Advice:
    """A problem, its consequence, and what to do."""

    problem: str
    consequence: str
    action: str


@dataclass(frozen=True, slots=True)
class Sender:
    """One service as a sender of telemetry."""

    name: str
    style: Style
    alive: int
    last_seen: datetime
    advice: tuple[Advice, ...]


@dataclass(frozen=True, slots=True)
class Health:
    """The whole screen."""

    style: Style
    sentence: str
    status: CollectorStatus
    collector: tuple[Advice, ...]
    senders: tuple[Sender, ...]
    bridges: tuple[Bridge, ...]


def health(status: schemas.Status, services: schemas.Services) -> Health:
    """Prepares the screen; senders that lose records come first."""
    senders = sorted(map(_sender, without_bridges(services)), key=lambda one: (_severity(one.style), one.name))
    bridge_rows, own = bridges(services), tuple(_collector_advice(status))
    lagging = [one for one in bridge_rows if one.style in (BLOCKED, BEHIND)]
    styles = [LOSING_RECORDS if own else COMPLETE, INCOMPLETE if lagging else COMPLETE, *(one.style for one in senders)]
    sentence = _sentence(senders, own, lagging)
    return Health(min(styles, key=_severity), sentence, collector_status(status), own, tuple(senders), bridge_rows)


def _severity(style: Style) -> int:
    return (LOSING_RECORDS, INCOMPLETE, COMPLETE).index(style)


def _sentence(senders: Sequence[Sender], own: Sequence[Advice], lagging: Sequence[Bridge]) -> str:
    losing = [one.name for one in senders if one.style is LOSING_RECORDS]
    incomplete = [one.name for one in senders if one.style is INCOMPLETE]
    if own:
        return own[0].problem
    if losing:
        return f"Records of {_join_names(losing)} are lost before they can be sent."
    if lagging:
        return f"The bridge {lagging[0].name} does not keep up: {lagging[0].error}"
    if incomplete:
        return f"The telemetry of {_join_names(incomplete)} is incomplete."
    return "Everything sent is received." if senders else "No service has reported yet."


def _join_names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {plural(len(names) - 3, 'other service')}" if len(names) > 3 else shown


def _collector_advice(status: schemas.Status) -> Iterator[Advice]:
    if status.lag_seconds > MAX_COLLECTOR_LAG_SECONDS:
        yield Advice(
            f"The collector is {status.lag_seconds:.0f} s behind what arrives.",
            "Lists and verdicts are late by as much; deadlines do not run meanwhile.",
            "Look at its processor and its disk; see Sizing in docs/operations.md.",
        )
    if status.rejected:
        yield Advice(
            f"{plural(status.rejected, 'record')} could not be parsed and {_were(status.rejected)} rejected.",
            "They are missing from their transactions.",
            "The collector's log names the reason; sagascope conformance diagnoses what a service sends.",
        )


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _sender(service: schemas.Service) -> Sender:
    advice = tuple(_advice(service))
    dropped = any(one.dropped for one in service.instances)
    return Sender(
        name=line(service.service, 80) or "a service without a name",
        style=LOSING_RECORDS if dropped else INCOMPLETE if advice else COMPLETE,
        alive=sum(one.alive for one in service.instances),
        last_seen=max(one.last_seen for one in service.instances),
        advice=advice,
    )


def _advice(service: schemas.Service) -> Iterator[Advice]:
    latest = max(service.instances, key=lambda one: one.last_seen)
    if dropped := sum(one.dropped for one in service.instances):
        yield Advice(
            f"Reports {plural(dropped, 'record')} that it could not send.",
            "Steps are missing from its transactions; verdicts that rest on their absence are only possible.",
            "Check its connection to the collector, and give it a longer queue or a spool: docs/instrumenting.md.",
        )
    if not latest.heartbeats:
        yield Advice(
            "Sends no heartbeats.",
            "If it dies during a step, that is only detected when the step's time limit passes, and reported as hung.",
            "Call sagascope.configure() in it, or send sagascope.heartbeat records: docs/semconv.md.",
        )
    if latest.instance is None:
        yield Advice(
            "Its processes have no instance ids.",
            "A lost process cannot be distinguished from its replacement.",
            "Set service.instance.id in its resource.",
        )
    if not service.service:
        yield Advice("Has no name.", "Its work has no lane of its own.", "Set service.name in its resource.")
