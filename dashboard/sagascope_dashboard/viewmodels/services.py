"""Services: which processes are heard, which fell silent, and what arrives from all of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sagascope_collector.client import schemas
from sagascope_dashboard.formatting import duration, line, plural
from sagascope_dashboard.palette import Sign
from sagascope_dashboard.urls import Filters

MAX_LAG_SECONDS = 30.0
"""Seconds by which a bridge may be behind what it follows before that is a fault."""

FOLLOWS = Sign("Follows", "good", "check")
BEHIND = Sign("Behind", "wait", "mark")
TROUBLED = Sign("Cannot follow", "alarm", "cross")


@dataclass(frozen=True, slots=True)
class Bridge:
    """One bridge."""

    name: str
    place: str
    """Its host and the file of its place; empty if it did not say it."""
    sign: Sign
    lag: str
    """In words, as it said when it was heard last."""
    watching: str
    heard: datetime
    trouble: str
    """What is wrong, as a sentence; empty: nothing is."""


def bridges(known: schemas.Services) -> tuple[Bridge, ...]:
    """Every bridge that was heard, those that cannot follow first."""
    told = [_bridge(one, one.following) for each in known.items for one in each.instances if one.following]
    return tuple(sorted(told, key=lambda one: (_bridge_rank(one.sign), one.name, one.place)))


def without_bridges(known: schemas.Services) -> Iterator[schemas.Service]:
    """The services, as far as their processes are no bridges."""
    for each in known.items:
        if own := [one for one in each.instances if one.following is None]:
            yield each.model_copy(update={"instances": own})


def _bridge_rank(sign: Sign) -> int:
    return (TROUBLED, BEHIND, FOLLOWS, SILENT).index(sign)


def _bridge(instance: schemas.Instance, said: schemas.Following) -> Bridge:
    sign = _sign(instance, said)
    return Bridge(
        name=line(said.kind, 40),
        place=line(instance.instance or "", 120),
        sign=sign,
        lag=f"{duration(said.lag_seconds)} behind",
        watching=f"{plural(said.watching, 'piece')} of work not ended",
        heard=instance.last_seen,
        trouble=_trouble(sign, said),
    )


def _sign(instance: schemas.Instance, said: schemas.Following) -> Sign:
    if not instance.alive:
        return SILENT
    if said.trouble:
        return TROUBLED
    return BEHIND if said.lag_seconds > MAX_LAG_SECONDS else FOLLOWS


def _trouble(sign: Sign, said: schemas.Following) -> str:
    if said.trouble:
        return line(said.trouble, 400)
    if sign is SILENT:
        return "It ended, or cannot reach the collector; what it follows is not told any more."
    return "What it follows moves faster than it is told." if sign is BEHIND else ""


SILENT_SHOWN = 3
"""Silent processes of one service that are listed, the latest heard first; those with work in flight always are."""

ALIVE = Sign("Heard", "good", "check")
SILENT = Sign("Silent", "idle", "unplugged")
SILENT_AT_WORK = Sign("Silent with work in flight", "alarm", "unplugged")


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a service."""

    name: str
    version: str
    sign: Sign
    heard: datetime
    in_flight: int


@dataclass(frozen=True, slots=True)
class Service:
    """One service and its processes, those that need a look first."""

    name: str
    href: str
    """The transactions that stand in it."""
    processes: tuple[Process, ...]
    left_out: int
    versions: str
    """Named where several run at once; else empty."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What the collector took in, in words and numbers."""

    facts: tuple[tuple[str, str], ...]
    notices: tuple[str, ...]


def services(known: schemas.Services) -> tuple[Service, ...]:
    """Every service, by name. Bridges are none: Data health shows them."""
    return tuple(map(_service, sorted(without_bridges(known), key=lambda service: service.service)))


def arrivals(status: schemas.Status) -> Arrivals:
    """How the collector itself is."""
    facts = (
        ("Received", plural(status.received, "record")),
        ("Stored", plural(status.stored, "record")),
        ("Sent again, kept once", f"{status.duplicate:,}"),
        ("Refused", f"{status.rejected:,}"),
        ("Lost in services before they could be sent", f"{status.dropped_by_clients:,}"),
        ("Behind by", f"{status.lag_seconds:.1f} s"),
        ("Database", _size(status.database_bytes)),
        ("Version", line(status.version, 40)),
    )
    return Arrivals(facts, tuple(line(notice, 400) for notice in status.notices))


def _service(service: schemas.Service) -> Service:
    ordered = sorted(service.instances, key=lambda one: (_rank(one), -one.last_seen.timestamp()))
    quiet = [one for one in ordered if not one.alive and not one.in_flight]
    left_out = set(map(id, quiet[SILENT_SHOWN:]))
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
    silent = SILENT_AT_WORK if instance.in_flight else SILENT
    return Process(
        name=line(instance.instance, 80) or "one process, unnamed",
        version=line(instance.version, 40),
        sign=ALIVE if instance.alive else silent,
        heard=instance.last_seen,
        in_flight=instance.in_flight,
    )


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
