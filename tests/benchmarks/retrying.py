"""Very many sagas that are open and retried every hour, so that their records are spread over a long history.

`SAGAS` says how many, `ROUNDS` how often each was tried, `REST` the seconds in which the collector may gather their
records before it is asked.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import httpx
from history import INSTALLED
from ingest import SETTLING_SECONDS, settled
from report import load, table

from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp import decode
from sagascope_collector.storage import Storage
from support import history
from support.collector import RunningCollector, running_collector
from support.load import http_sender
from support.otlp import SECOND, of_saga, resource, span, traces

SAGAS = int(os.environ.get("SAGAS", "10000"))
ROUNDS = int(os.environ.get("ROUNDS", "60"))
REST = float(os.environ.get("REST", "120"))
BATCHES = 2
"""Batches of other sagas between two rounds."""

ASKED = 200
REQUEST_SPANS = 1_000
HOUR = 3600 * SECOND
LATEST = 60.0
"""Seconds after which a record that changed no summary is a failure."""

POLL = 0.02


def main() -> str:
    """Fill, ask, and send further attempts."""
    with TemporaryDirectory(dir=os.environ.get("KEEP")) as name:
        path = Path(name) / "retrying.duckdb"
        spans = _fill(path)
        with running_collector(path.parent, "--keep", "forever", db=path, environment=INSTALLED) as collector:
            begun = time.perf_counter()
            settled(collector)
            taken = time.perf_counter() - begun
            rows = [
                (
                    "evaluated and gathered",
                    "s",
                    f"{taken:.0f}" if taken < SETTLING_SECONDS else f"not in {SETTLING_SECONDS:.0f}",
                )
            ]
            rows.append(_measured("one of them by its id, records as they came", _pages(collector)))
            time.sleep(REST)
            rows.append(_measured(f"the same {REST:.0f} s later", _pages(collector)))
            rows.append(_measured("from a further attempt to its summary in lists", _waits(collector)))
            rows.append(("load of the machine", "", load()))
    return table(("", "", f"{SAGAS:,} sagas of {ROUNDS} attempts, {spans:,} spans"), rows)


def _fill(path: Path) -> int:
    """Stores the history, and returns its number of spans; the collector evaluates the sagas that are retried."""
    drawn = history.draw()
    store = Storage(str(path))
    began = time.time_ns() - ROUNDS * HOUR
    first = (began - history.BEGAN) // history.STRIDE
    for attempt in range(1, ROUNDS + 1):
        at = began + attempt * HOUR
        for number in range(0, SAGAS, REQUEST_SPANS):
            store.records.append(
                decode([_attempts(range(number, min(number + REQUEST_SPANS, SAGAS)), attempt, at)]).batch
            )
        for batch in range(BATCHES):
            _append_others(store, drawn, first + attempt * HOUR // history.STRIDE + batch)
        store.maintain()
    store.close()
    return ROUNDS * (SAGAS + BATCHES * drawn.spans)


def _append_others(store: Storage, drawn: history.History, number: int) -> None:
    """Stores a batch of sagas that are not retried, with their summaries."""
    store.records.append(drawn.at(number))
    changed = store.changes.claim(SAGAS + 2 * history.SAGAS)
    store.sagas.put([each for each in changed if not each.id.startswith("retried-")], drawn.rows(number))


def _attempts(sagas: range, attempt: int, at: int) -> Payload:
    spans = [_attempt(each, attempt, at) for each in sagas]
    request = traces(*spans, of=resource("wallet", service_instance_id="wallet-1"))
    return Payload(Signal.TRACES, Encoding.PROTOBUF, request.SerializeToString(), at)


def _attempt(saga: int, attempt: int, at: int) -> object:
    step = of_saga(f"retried-{saga}", role="step", step_name="wallet.debit", step_type="action", step_attempt=attempt)
    number = saga * 1_000 + attempt + 1
    return span(number, trace=number, start=at - SECOND, end=at, attributes=step, error="the bank does not answer")


def _pages(collector: RunningCollector) -> Iterator[float]:
    chance = Random(1)
    with httpx.Client(base_url=collector.api, timeout=LATEST, trust_env=False) as client:
        for _ in range(ASKED):
            path = f"/api/v1/sagas/payment/retried-{chance.randrange(SAGAS)}"
            yield _seconds(lambda path=path: client.get(path).raise_for_status())


def _waits(collector: RunningCollector) -> Iterator[float]:
    """Yields the seconds from the acknowledgement of an attempt to the list that counts it."""
    send = http_sender(collector.otlp_http)
    with httpx.Client(base_url=collector.api, timeout=LATEST, trust_env=False) as client:
        for saga in Random(2).sample(range(SAGAS), min(ASKED, SAGAS)):
            send(_attempts(range(saga, saga + 1), ROUNDS + 1, time.time_ns()).body)
            yield _seconds(lambda saga=saga: _await(client, saga))


def _await(client: httpx.Client, saga: int) -> None:
    query = {"q": f"retried-{saga}", "name": "payment", "limit": 100}
    for _ in range(int(LATEST / POLL)):
        items = client.get("/api/v1/sagas", params=query).json()["items"]
        if any(each["id"] == f"retried-{saga}" and each["attempts"] > ROUNDS for each in items):
            return
        time.sleep(POLL)
    raise RuntimeError(f"Saga {saga} has no further attempt after {LATEST} s.")


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _measured(title: str, seconds: Iterator[float]) -> tuple[str, str, str]:
    figures = statistics.quantiles(seconds, n=20)
    return title, "ms, p50 / p95", f"{figures[9] * 1e3:.0f} / {figures[18] * 1e3:.0f}"
