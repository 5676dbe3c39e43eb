"""What a collector costs a small system: two sagas a second from six services, in 24 requests a second, and at rest.

`SECONDS` says how long each is measured, 30 unless it is set.
"""

import os
import time
from collections.abc import Iterator
from typing import Any

import psutil
from ingest import settled
from report import load, table

from support.collector import RunningCollector, running_collector
from support.load import http_sender
from support.otlp import SECOND, log, logs, of_saga, resource, span, span_id, trace_id, traces

SECONDS = float(os.environ.get("SECONDS", "30"))
WARM_UP_SECONDS = 10.0
SAGA_INTERVAL_SECONDS = 0.5
SERVICES = ("checkout", "fraud", "wallet", "ledger", "shipping", "mail")
STEP_SECONDS = 1

Row = tuple[str, str, str]


def main() -> str:
    """Measures the collector under this load, and then at rest."""
    with running_collector() as collector:
        settled(collector)
        _send(collector, WARM_UP_SECONDS, first=0)
        busy = _measured(collector, lambda: _send(collector, SECONDS, first=1_000_000))
        resident = psutil.Process(collector.process.pid).memory_info().rss / 2**20
        settled(collector)
        rest = _measured(collector, lambda: time.sleep(SECONDS))
    rows: list[Row] = [
        ("two sagas a second, cores", "0.15", f"{busy:.3f}"),
        ("at rest, cores", "0.02", f"{rest:.3f}"),
        ("resident under load, MB", "300", f"{resident:,.0f}"),
        ("load of the machine", "", load()),
    ]
    return table(("", "at most", ""), rows)


def _measured(collector: RunningCollector, work: Any) -> float:
    """Returns the share of a core that the collector took during `work`."""
    process, begun = psutil.Process(collector.process.pid), time.perf_counter()
    before = sum(process.cpu_times()[:2])
    work()
    return (sum(process.cpu_times()[:2]) - before) / (time.perf_counter() - begun)


def _send(collector: RunningCollector, seconds: float, *, first: int) -> None:
    """Sends sagas at a steady rate; each service has its own connections, and sends one record in each request."""
    senders = {
        (service, path): http_sender(collector.otlp_http, path)
        for service in SERVICES
        for path in ("/v1/traces", "/v1/logs")
    }
    requests = list(_requests(first, seconds))
    begun, interval = time.perf_counter(), SAGA_INTERVAL_SECONDS / (2 * len(SERVICES))
    for number, (service, path, body) in enumerate(requests):
        time.sleep(max(0.0, begun + number * interval - time.perf_counter()))
        senders[service, path](body)


def _requests(first: int, seconds: float) -> Iterator[tuple[str, str, bytes]]:
    """Yields, for each service of each saga, the record of a step's start, and then its span."""
    now = time.time_ns()
    for saga in range(first, first + int(seconds / SAGA_INTERVAL_SECONDS)):
        at = now + round((saga - first) * SAGA_INTERVAL_SECONDS * SECOND)
        for place, service in enumerate(SERVICES):
            yield from _step(saga, place, service, at - (len(SERVICES) - place) * STEP_SECONDS * SECOND)


def _step(saga: int, place: int, service: str, start: int) -> Iterator[tuple[str, str, bytes]]:
    number, root = saga * 100 + place + 1, saga * 100 + 1
    is_root = place == 0
    role = {"role": "saga", "plan": list(SERVICES[1:])} if is_root else {"role": "step", "step_name": f"{service}.work"}
    attributes = of_saga(f"payment-{saga}", **role)
    process = resource(service, service_instance_id=f"{service}-1")
    started = log(
        at=start,
        event_name="sagascope.span.start",
        trace_id=trace_id(saga + 1),
        span_id=span_id(number),
        attributes=attributes,
    )
    yield service, "/v1/logs", logs(started, of=process).SerializeToString()
    duration = (len(SERVICES) if is_root else 1) * STEP_SECONDS * SECOND
    ended = span(
        number,
        trace=saga + 1,
        start=start,
        end=start + duration - 1,
        name="payment" if is_root else f"{service}.work",
        attributes=attributes,
        **({} if is_root else {"parent_span_id": span_id(root)}),
    )
    yield service, "/v1/traces", traces(ended, of=process).SerializeToString()
