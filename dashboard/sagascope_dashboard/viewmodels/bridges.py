"""Bridges: what each follows, how far it is behind, and what it cannot reach."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sagascope_collector.client import schemas
from sagascope_dashboard.format import duration, line, plural
from sagascope_dashboard.palette import Sign

MAX_LAG_SECONDS = 30.0
"""Seconds by which a bridge may be behind what it follows before that is a fault."""

FOLLOWS = Sign("Follows", "good", "check")
BEHIND = Sign("Behind", "wait", "mark")
TROUBLED = Sign("Cannot follow", "alarm", "cross")
SILENT = Sign("Silent", "idle", "unplugged")


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
    return tuple(sorted(told, key=lambda one: (_rank(one.sign), one.name, one.place)))


def without_bridges(known: schemas.Services) -> Iterator[schemas.Service]:
    """The services, as far as their processes are no bridges."""
    for each in known.items:
        if own := [one for one in each.instances if one.following is None]:
            yield each.model_copy(update={"instances": own})


def _rank(sign: Sign) -> int:
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
