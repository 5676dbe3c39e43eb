"""What only the running collector knows of itself, and what the store counts."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Protocol

from sagascope_collector.client import schemas
from sagascope_collector.storage import Storage


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
