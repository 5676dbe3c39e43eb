"""The collector's own metrics, at `GET /metrics` in the Prometheus text format."""

import asyncio
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Final

from sagascope_collector.access import Application, Receive, Scope, Send
from sagascope_collector.errors import SagascopeError
from sagascope_collector.ingest import Ingest
from sagascope_collector.storage import Storage

PATH: Final = "/metrics"
CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"

COMMIT_BUCKETS_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

OPEN_STATUSES: Final = frozenset({"running", "compensating"})


class Counters:
    """Counts of this process that are not in the database. Safe in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refused: Counter[str] = Counter()
        self._commits = [0] * (len(COMMIT_BUCKETS_SECONDS) + 1)
        self._seconds = 0.0

    def refused(self, error: SagascopeError) -> None:
        """Counts a request that was answered with an error."""
        with self._lock:
            self._refused[type(error).__name__] += 1

    def committed(self, seconds: float) -> None:
        """Counts a commit and its duration."""
        with self._lock:
            self._commits[bisect_left(COMMIT_BUCKETS_SECONDS, seconds)] += 1
            self._seconds += seconds

    def lines(self) -> Iterator[str]:
        """Returns its lines of the exposition."""
        with self._lock:
            refused, commits, seconds = dict(self._refused), list(self._commits), self._seconds
        yield from _header("requests_refused_total", "counter", "Requests answered with an error, by reason.")
        for reason, number in sorted(refused.items()):
            yield f'sagascope_requests_refused_total{{reason="{reason}"}} {number}'
        yield from _header(
            "commit_seconds", "histogram", "Duration of a commit, after which its requests are answered."
        )
        for index, bound in enumerate([*map(str, COMMIT_BUCKETS_SECONDS), "+Inf"]):
            yield f'sagascope_commit_seconds_bucket{{le="{bound}"}} {sum(commits[: index + 1])}'
        yield f"sagascope_commit_seconds_sum {seconds:.6f}"
        yield f"sagascope_commit_seconds_count {sum(commits)}"


class Exposition:
    """Collects all metrics when they are scraped."""

    def __init__(
        self,
        storage: Storage,
        ingest: Ingest,
        counters: Counters,
        lag_seconds: Callable[[], float],
        scrubbed: Callable[[], Mapping[str, int]],
        unreadable: Callable[[], int],
        incidents: Callable[[], Mapping[tuple[str, str], int]],
    ) -> None:
        self._storage = storage
        self._ingest = ingest
        self._counters = counters
        self._lag_seconds = lag_seconds
        self._scrubbed = scrubbed
        self._unreadable = unreadable
        self._incidents = incidents

    def text(self) -> str:
        """Returns the exposition; raises `StorageUnavailable` if the database does not answer."""
        return "\n".join([*self._gathered(), *self._counters.lines(), ""])

    def _gathered(self) -> Iterator[str]:
        records = self._storage.records.counters
        requests, queue_bytes = self._ingest.waiting()
        flows = self._storage.sagas.flow_counts()
        open_sagas = sum(number for _, _, status, number, _ in flows if status in OPEN_STATUSES)
        needing_attention = sum(count for *_, count in flows)
        yield from _header("build_info", "gauge", "Version of the collector.")
        yield f'sagascope_build_info{{version="{version("sagascope")}"}} 1'
        for name, number, text in (
            ("records_received_total", records.received, "Spans and log records received."),
            ("records_stored_total", records.stored, "Spans and log records stored."),
            ("records_duplicate_total", records.duplicate, "Spans and log records that were received before."),
        ):
            yield from _sample(name, "counter", number, text)
        yield from _header("records_rejected_total", "counter", "Spans and log records rejected, by reason.")
        yield f'sagascope_records_rejected_total{{reason="invalid_id"}} {records.rejected}'
        yield from _header("scrubbed_total", "counter", "Texts and attributes removed from telemetry, by rule.")
        for rule, number in sorted(self._scrubbed().items()):
            yield f'sagascope_scrubbed_total{{rule="{rule}"}} {number}'
        yield from _sample("queue_requests", "gauge", requests, "Requests that wait for the database.")
        yield from _sample("queue_bytes", "gauge", queue_bytes, "Size of the requests that wait for the database.")
        yield from _sample(
            "lag_seconds", "gauge", round(self._lag_seconds(), 3), "Delay of answers behind received telemetry."
        )
        yield from _sample("open_sagas", "gauge", open_sagas, "Sagas that have not ended.")
        yield from _sample("sagas_needing_attention", "gauge", needing_attention, "Sagas that need attention.")
        yield from _header("incidents", "gauge", "Incidents that are not resolved, by reason and state.")
        for (reason, state), number in sorted(self._incidents().items()):
            yield f'sagascope_incidents{{reason="{reason}",state="{state}"}} {number}'
        yield from _sample("unreadable_sagas", "gauge", self._unreadable(), "Sagas that cannot be read or evaluated.")
        yield from _sample("database_bytes", "gauge", self._storage.size_bytes(), "Size of the database on disk.")


def with_metrics(application: Application, exposition: Exposition) -> Application:
    """Returns the application with `/metrics` beside it."""

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "GET":
            await application(scope, receive, send)
            return
        try:
            status, body = 200, await asyncio.to_thread(exposition.text)
        except SagascopeError as error:
            status, body = 503, f"# {error}\n"
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", CONTENT_TYPE)]})
        await send({"type": "http.response.body", "body": body.encode()})

    return answered


def _header(name: str, kind: str, text: str) -> Iterable[str]:
    return f"# HELP sagascope_{name} {text}", f"# TYPE sagascope_{name} {kind}"


def _sample(name: str, kind: str, value: float, text: str) -> Iterator[str]:
    yield from _header(name, kind, text)
    yield f"sagascope_{name} {value}"
