"""Data health: what is received, from whom, and which telemetry is missing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import line, plural
from sagascope_dashboard.palette import Style
from sagascope_dashboard.viewmodels.services import (
    BEHIND,
    BLOCKED,
    Bridge,
    CollectorStatus,
    bridges,
    collector_status,
    without_bridges,
)

MAX_LAG_SECONDS = 5.0
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
    senders = sorted(map(_sender, without_bridges(services)), key=lambda one: (_rank(one.style), one.name))
    bridge_rows, own = bridges(services), tuple(_collector_advice(status))
    lagging = [one for one in bridge_rows if one.style in (BLOCKED, BEHIND)]
    styles = [LOSING_RECORDS if own else COMPLETE, INCOMPLETE if lagging else COMPLETE, *(one.style for one in senders)]
    sentence = _sentence(senders, own, lagging)
    return Health(min(styles, key=_rank), sentence, collector_status(status), own, tuple(senders), bridge_rows)


def _rank(style: Style) -> int:
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
    if status.lag_seconds > MAX_LAG_SECONDS:
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
