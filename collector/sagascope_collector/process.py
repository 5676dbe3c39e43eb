"""What only the running process knows of itself."""

from collections.abc import Callable, Sequence

from sagascope_collector.ingest import Ingest
from sagascope_collector.ingest_outages import IngestOutages
from sagascope_collector.projection import Projection
from sagascope_collector.storage import Storage

NANOSECONDS = 1e9


class ProcessHealth:
    """`api.health.Health` of a collector."""

    def __init__(
        self,
        storage: Storage,
        ingest: Ingest,
        projection: Projection,
        outages: IngestOutages,
        clock: Callable[[], int],
    ) -> None:
        self._storage = storage
        self._ingest = ingest
        self._projection = projection
        self._outages = outages
        self._clock = clock
        self._stopping = False
        self._unwritable: str | None = None
        self._otlp_http: str | None = None

    def listens(self, otlp_http: str) -> None:
        """OTLP is taken over HTTP at this HOST:PORT."""
        self._otlp_http = otlp_http

    def otlp_http(self) -> str | None:
        """Where OTLP is taken over HTTP."""
        return self._otlp_http

    def stop(self) -> None:
        """From now on nothing new is taken in."""
        self._stopping = True

    def tried(self, trouble: str | None) -> None:
        """What stood in the way when something was written just now, to try it; None: nothing."""
        self._unwritable = trouble

    def unready(self) -> str | None:
        """Returns why nothing can be taken in now, or why answers may be wrong; None: all is well."""
        if self._stopping:
            return "The collector is stopping."
        if self._storage.is_read_only:
            return f"{self._storage.data_loss} Restore the log, or start with --accept-data-loss."
        if not self._ingest.is_alive():
            return "The collector cannot store anything; see its log."
        return self._unwritable

    def degraded(self) -> Sequence[str]:
        """Returns what does not work although telemetry is taken in and questions are answered."""
        return self._projection.faults()

    def lag_seconds(self) -> float:
        """Seconds by which what is waiting and what is summarised lag behind what was received."""
        oldest = self._ingest.oldest()
        waiting = max(0.0, (self._clock() - oldest) / NANOSECONDS) if oldest else 0.0
        return max(waiting, self._projection.lag_seconds())

    def notices(self) -> Sequence[str]:
        """What a reader of any answer should know."""
        lost = [f"data_loss: {self._storage.data_loss}"] if self._storage.data_loss else []
        return [*lost, *self._outages.notices(), *self._projection.notices()]
