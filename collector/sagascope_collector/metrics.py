"""The collector's own metrics, at `GET /metrics` for Prometheus."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from sagascope_collector.errors import SagascopeError
from sagascope_collector.http_server.access import Application, Receive, Scope, Send, header
from sagascope_collector.ingest import Ingest
from sagascope_collector.storage import Storage

PATH: Final = "/metrics"

COMMIT_BUCKETS_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

OPEN_STATUSES: Final = frozenset({"running", "compensating"})

disable_created_metrics()  # type: ignore[no-untyped-call]  # else each counter has a second series, with the time at which this process started


class Counters:
    """Counters of this process that are not in the database. Thread-safe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._refused = Counter(
            "sagascope_requests_refused",
            "Requests answered with an error, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self._commits = Histogram(
            "sagascope_commit_seconds",
            "Duration of a commit, after which its requests are answered.",
            buckets=COMMIT_BUCKETS_SECONDS,
            registry=self.registry,
        )

    def refused(self, error: SagascopeError) -> None:
        """Counts a request that was answered with an error."""
        self._refused.labels(type(error).__name__).inc()

    def committed(self, seconds: float) -> None:
        """Counts a commit and its duration."""
        self._commits.observe(seconds)


class Exposition(Collector):
    """Collects metrics that are read at scrape time, and exposes them with the counters."""

    def __init__(
        self,
        storage: Storage,
        ingest: Ingest,
        counters: Counters,
        lag_seconds: Callable[[], float],
        scrubbed: Callable[[], Mapping[str, int]],
        unreadable: Callable[[], int],
        incidents: Callable[[], Mapping[tuple[str, str], int]],
        leads: Callable[[], bool | None],
    ) -> None:
        self._storage = storage
        self._ingest = ingest
        self._lag_seconds = lag_seconds
        self._scrubbed = scrubbed
        self._unreadable = unreadable
        self._incidents = incidents
        self._leads = leads
        self._registry = counters.registry
        self._registry.register(self)

    def encoded(self, accept: str) -> tuple[bytes, str]:
        """Returns the metrics in the format that the client accepts, and its media type.

        Raises:
            StorageUnavailable: the database does not answer.
        """
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type

    def describe(self) -> Iterator[Metric]:
        """Returns nothing, so that registering this object does not read the metrics."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Reads the database and the state of the process."""
        records = self._storage.records.counters
        requests, queue_bytes = self._ingest.waiting()
        flows = self._storage.sagas.flow_counts()
        open_sagas = sum(number for _, _, status, number, _ in flows if status in OPEN_STATUSES)
        yield _gauge("build_info", "Version of the collector.", {(version("sagascope"),): 1}, "version")
        yield _counter("records_received", "Spans and log records received.", records.received)
        yield _counter("records_stored", "Spans and log records stored.", records.stored)
        yield _counter("records_duplicate", "Spans and log records that were received before.", records.duplicate)
        rejected = {("invalid_id",): records.rejected}
        yield _counter("records_rejected", "Spans and log records rejected, by reason.", rejected, "reason")
        scrubbed = {(rule,): number for rule, number in self._scrubbed().items()}
        yield _counter("scrubbed", "Texts and attributes removed from telemetry, by rule.", scrubbed, "rule")
        yield _gauge("queue_requests", "Requests that wait for the database.", requests)
        yield _gauge("queue_bytes", "Size of the requests that wait for the database.", queue_bytes)
        yield _gauge("lag_seconds", "Delay of answers behind received telemetry.", round(self._lag_seconds(), 3))
        yield _gauge("open_sagas", "Sagas that have not ended.", open_sagas)
        yield _gauge("sagas_needing_attention", "Sagas that need attention.", sum(count for *_, count in flows))
        incidents = "Incidents that are not resolved, by reason and state."
        yield _gauge("incidents", incidents, self._incidents(), "reason", "state")
        yield _gauge("unreadable_sagas", "Sagas that cannot be read or evaluated.", self._unreadable())
        yield _gauge("database_bytes", "Size of the database on disk.", self._storage.size_bytes())
        leads = self._leads()
        if leads is not None:
            yield _gauge("lake_leader", "Whether this collector leads the collectors of its lake.", float(leads))


def with_metrics(application: Application, exposition: Exposition) -> Application:
    """Returns the application with the route `/metrics` added."""

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "GET":
            await application(scope, receive, send)
            return
        try:
            body, media_type = await asyncio.to_thread(exposition.encoded, header(scope["headers"], b"accept"))
            status = 200
        except SagascopeError as error:
            status, body, media_type = 503, f"# {error}\n".encode(), "text/plain; charset=utf-8"
        headers = [(b"content-type", media_type.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answered


Samples = float | Mapping[Any, float]
"""One value, or one for each combination of labels."""


def _gauge(name: str, text: str, samples: Samples, *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(f"sagascope_{name}", text, labels=labels), samples)


def _counter(name: str, text: str, samples: Samples, *labels: str) -> Metric:
    return _filled(CounterMetricFamily(f"sagascope_{name}", text, labels=labels), samples)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, samples: Samples) -> Metric:
    for labels, number in sorted(samples.items()) if isinstance(samples, Mapping) else [((), samples)]:
        family.add_metric(labels, number)
    return family
