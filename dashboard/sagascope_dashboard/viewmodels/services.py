"""Services: which processes are heard, which fell silent, and what arrives from all of them."""

from dataclasses import dataclass
from datetime import datetime

from sagascope_collector.client import schemas
from sagascope_dashboard.filters import Filters
from sagascope_dashboard.format import line, plural
from sagascope_dashboard.palette import Sign
from sagascope_dashboard.viewmodels.bridges import without_bridges

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
