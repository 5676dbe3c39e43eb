"""Data health: what arrives, from whom, and what a service could send better."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import line, plural
from sagascope_dashboard.palette import Sign
from sagascope_dashboard.viewmodels.services import (
    BEHIND,
    TROUBLED,
    Arrivals,
    Bridge,
    arrivals,
    bridges,
    without_bridges,
)

MAX_LAG_SECONDS = 5.0
"""Seconds by which the collector may be behind what arrives before that is a fault."""

FINE = Sign("Complete", "good", "check")
LACKING = Sign("Could tell more", "wait", "mark")
LOSING = Sign("Loses records", "alarm", "cross")


@dataclass(frozen=True, slots=True)
class Advice:
    """What is missing, what follows from it, and what to do."""

    fault: str
    then: str
    do: str


@dataclass(frozen=True, slots=True)
class Sender:
    """One service as a sender of telemetry."""

    name: str
    sign: Sign
    alive: int
    heard: datetime
    advice: tuple[Advice, ...]


@dataclass(frozen=True, slots=True)
class Health:
    """The whole screen."""

    sign: Sign
    sentence: str
    arrived: Arrivals
    collector: tuple[Advice, ...]
    senders: tuple[Sender, ...]
    bridges: tuple[Bridge, ...]


def health(status: schemas.Status, services: schemas.Services) -> Health:
    """What the collector knows of what it is sent; senders that lose something come first."""
    senders = sorted(map(_sender, without_bridges(services)), key=lambda one: (_rank(one.sign), one.name))
    followers, own = bridges(services), tuple(_of_collector(status))
    failing = [one for one in followers if one.sign in (TROUBLED, BEHIND)]
    signs = [LOSING if own else FINE, LACKING if failing else FINE, *(one.sign for one in senders)]
    sentence = _sentence(senders, own, failing)
    return Health(min(signs, key=_rank), sentence, arrivals(status), own, tuple(senders), followers)


def _rank(sign: Sign) -> int:
    return (LOSING, LACKING, FINE).index(sign)


def _sentence(senders: Sequence[Sender], own: Sequence[Advice], failing: Sequence[Bridge]) -> str:
    losing = [one.name for one in senders if one.sign is LOSING]
    lacking = [one.name for one in senders if one.sign is LACKING]
    if own:
        return own[0].fault
    if losing:
        return f"Records of {_named(losing)} are lost before they can be sent."
    if failing:
        return f"The bridge {failing[0].name} does not keep up: {failing[0].trouble}"
    if lacking:
        return f"{_named(lacking)} could tell more of work that has not ended."
    return "Everything that is sent arrives." if senders else "No service has been heard yet."


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {plural(len(names) - 3, 'other service')}" if len(names) > 3 else shown


def _of_collector(status: schemas.Status) -> Iterator[Advice]:
    if status.lag_seconds > MAX_LAG_SECONDS:
        yield Advice(
            f"The collector is {status.lag_seconds:.0f} s behind what arrives.",
            "Lists and verdicts are late by as much; deadlines do not run meanwhile.",
            "Look at its processor and its disk; see Sizing in docs/operations.md.",
        )
    if status.rejected:
        yield Advice(
            f"{plural(status.rejected, 'record')} could not be understood and {_were(status.rejected)} refused.",
            "They are in no transaction.",
            "The collector's log names the reason; sagascope conformance judges what a service sends.",
        )


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _sender(service: schemas.Service) -> Sender:
    advice = tuple(_advice(service))
    dropped = any(one.dropped for one in service.instances)
    return Sender(
        name=line(service.service, 80) or "a service without a name",
        sign=LOSING if dropped else LACKING if advice else FINE,
        alive=sum(one.alive for one in service.instances),
        heard=max(one.last_seen for one in service.instances),
        advice=advice,
    )


def _advice(service: schemas.Service) -> Iterator[Advice]:
    latest = max(service.instances, key=lambda one: one.last_seen)
    if dropped := sum(one.dropped for one in service.instances):
        yield Advice(
            f"Says that it could not send {plural(dropped, 'record')}.",
            "Steps are missing from its transactions; what rests on their absence is only possible.",
            "Let it reach the collector, and give it a longer queue or a spool: docs/instrumenting.md.",
        )
    if not latest.heartbeats:
        yield Advice(
            "Sends no heartbeats.",
            "If it dies in the midst of a step, that is only seen when the step's time is over, and called hung.",
            "Call sagascope.configure() in it, or send sagascope.heartbeat records: docs/semconv.md.",
        )
    if latest.instance is None:
        yield Advice(
            "Its processes have no names.",
            "One that was lost cannot be told from one that took over.",
            "Set service.instance.id in its resource.",
        )
    if not service.service:
        yield Advice("Has no name.", "Its work stands in no lane of its own.", "Set service.name in its resource.")
