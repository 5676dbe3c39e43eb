"""Services and their instances."""

from sagascope_collector.client.schemas.base import Time, Wire


class Following(Wire):
    """What a bridge said of itself when it was heard last.

    What it told may be `lag_seconds` behind the system that it follows; it knows of `watching` pieces of work that have
    not ended; `trouble` is what it cannot reach or follow.
    """

    kind: str
    lag_seconds: float
    watching: int
    trouble: str | None


class Instance(Wire):
    """One process of a service.

    `heartbeats` says whether it sends any; `dropped` is how many records it says it could not send; `following` is of
    a bridge.
    """

    instance: str | None
    version: str | None
    last_seen: Time
    alive: bool
    in_flight: int
    heartbeats: bool
    dropped: int
    following: Following | None


class Service(Wire):
    """A service and its processes."""

    service: str
    instances: list[Instance]


class Services(Wire):
    """Every service seen."""

    items: list[Service]
