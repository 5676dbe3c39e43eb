"""Realistic history, straight into a store, and what it costs to fill, to seal, to summarise and to read it.

Sagas of 5 to 21 spans: most end well, some after a retry, some are undone, 2 % are open. Of each batch only ids and
times are new; what happened in it is drawn once, from a seed.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc

from sagascope_collector.api import present
from sagascope_collector.api.lookup import Lookup
from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp import decode
from sagascope_collector.projection import Projection
from sagascope_collector.sagas import Context
from sagascope_collector.store import Batch, DuckDBStore, SagaFilter
from support.otlp import SECOND, of_saga, resource, span, span_id, traces

SPANS = int(os.environ.get("SPANS", "2000000"))
LOOKUPS = 200
SAGAS = 700
STEPS = ("fraud.check", "wallet.debit", "ledger.record", "shipping.book", "notification.send")
BEGAN = 1_790_000_000 * SECOND
STRIDE = 2 * SECOND
"""What one batch lasts."""


@dataclass(frozen=True)
class Pattern:
    """One batch, of which `at` brings forth as many as are wanted."""

    batch: Batch
    numbers: np.ndarray
    """Of the saga of each span."""

    def at(self, number: int) -> Batch:
        """A batch of its own ids and times."""
        spans, ids = self.batch.spans, np.random.default_rng(number)
        count = len(spans)
        trace_words = ids.integers(1, 2**63, (SAGAS, 2), np.uint64)[self.numbers]
        own = ids.integers(1, 2**63, count, np.uint64)
        sagas = pa.array([f"{number:x}-{saga:05}" for saga in range(SAGAS)]).take(pa.array(self.numbers))
        fresh = {
            "saga_id": sagas,
            "trace_id": _binary(trace_words.view(np.uint8).reshape(count, 16)),
            "span_id": _binary(own.view(np.uint8).reshape(count, 8)),
            "start": pc.add(spans["start"], pa.scalar(number * STRIDE, pa.uint64())),
            "end": pc.if_else(
                pc.equal(spans["end"], 0), spans["end"], pc.add(spans["end"], pa.scalar(number * STRIDE, pa.uint64()))
            ),
            "attribute_values": pc.replace_substring(spans["attribute_values"], "ord-", f"ord-{number:x}-"),
        }
        for name, column in fresh.items():
            place = spans.schema.get_field_index(name)
            spans = spans.set_column(place, spans.schema.field(place), column)
        return replace(self.batch, spans=spans)


def pattern(seed: int = 1) -> Pattern:
    """Draw what happens in a batch."""
    chance, by_service = Random(seed), {}
    for saga in range(SAGAS):
        for service, each in _saga(saga, chance):
            by_service.setdefault(service, []).append(each)
    requests = [
        traces(
            *spans, of=resource(service, service_instance_id=f"{service}-1", deployment_environment_name="production")
        )
        for service, spans in by_service.items()
    ]
    payloads = [Payload(Signal.TRACES, Encoding.PROTOBUF, each.SerializeToString(), BEGAN) for each in requests]
    batch = decode(payloads).batch
    numbers = np.array([int(each) for each in batch.spans["saga_id"].to_pylist()])
    return Pattern(batch, numbers)


def _saga(saga: int, chance: Random) -> Iterator[tuple[str, object]]:
    fate = chance.random()
    spans, begun = chance.choice((2, 3, 5)), BEGAN + chance.randrange(STRIDE)
    order, at = f"ord-{saga}", begun
    numbers = iter(range(1, 100))
    told = of_saga(str(saga)) | {"http.request.method": "POST", "server.address": "internal", "region": "eu-1"}

    def one(service: str, name: str, start: int, end: int, said: dict, parent: int = 0, **more: object) -> object:
        made = span(
            saga * 100 + next(numbers), trace=saga + 1, name=name, start=start, end=end, attributes=told | said, **more
        )
        made.parent_span_id = span_id(saga * 100 + parent) if parent else b""
        return service, made

    steps: list[tuple[str, object]] = []
    for place, step in enumerate(STEPS[: spans if fate > 0.02 else 2]):
        failed = place == 1 and 0.02 < fate < 0.08
        for attempt in (1, 2) if failed else (1,):
            said = {"saga.role": "step", "saga.step.name": step, "saga.step.attempt": attempt}
            error = {"error": "timeout"} if failed and attempt == 1 else {}
            at += 20_000_000
            steps.append(one("orchestrator", step, at, at + 15_000_000, said, 1, kind=3, **error))
            steps.append(one(step.split(".")[0], step, at + 1, at + 14_000_000, said, 1, kind=2, **error))
            steps += [
                one(step.split(".")[0], "query", at + 2, at + 9_000_000, {}, 1) for _ in range(chance.randint(0, 2))
            ]
    if 0.08 <= fate < 0.1:
        said = {"saga.role": "step", "saga.step.name": "wallet.refund", "saga.step.type": "compensation"}
        steps.append(one("wallet", "wallet.refund", at, at + 9_000_000, said | {"saga.step.compensates": STEPS[1]}, 1))
    if fate > 0.02:
        said = {"saga.role": "saga", "saga.key.order_id": order, "saga.amount": "50.00", "saga.currency": "EUR"}
        said["saga.outcome"] = "compensated" if 0.08 <= fate < 0.1 else "completed"
        yield one("orchestrator", "payment", begun, at + 30_000_000, said)
    yield from steps


def _binary(rows: np.ndarray) -> pa.Array:
    size = rows.shape[1]
    offsets = pa.py_buffer(np.arange(0, rows.size + 1, size, dtype=np.int32))
    return pa.Array.from_buffers(pa.binary(), len(rows), [None, offsets, pa.py_buffer(np.ascontiguousarray(rows))])


def fill(store: DuckDBStore, drawn: Pattern, spans: int, *, first: int = 0) -> int:
    """Append batches until there are so many spans; the number of batches."""
    count = -(-spans // len(drawn.batch.spans))
    for number in range(first, first + count):
        store.append(drawn.at(number))
        if number % 8 == 0:
            store.tend()
    return count


def main() -> None:
    """Fill, seal, summarise and read; `SPANS` says how many."""
    with TemporaryDirectory() as name:
        path = Path(name) / "history.duckdb"
        store, drawn = DuckDBStore(str(path)), pattern()
        batches = _measured("append and seal", SPANS, lambda: fill(store, drawn, SPANS))
        _measured("seal the rest", SPANS, store.seal)
        projection = Projection(
            store,
            summarise=present.summary,
            context=partial(Context, default_timeout=30),
            clock=_now(batches),
            quiet=0.0,
        )
        _measured("summarise", SPANS, lambda: _settle(projection))
        print(f"{store.size_bytes() / SPANS:.1f} bytes a span")
        _reads(store, batches)
        store.close()
        begun = time.perf_counter()
        store = DuckDBStore(str(path))
        print(f"{'open again':24}{time.perf_counter() - begun:10.2f} s")
        print(f"{'resident':24}{psutil.Process().memory_info().rss / 2**20:10.0f} MB")
        store.close()


def _now(batches: int) -> Callable[[], int]:
    return lambda: BEGAN + batches * STRIDE + 3600 * SECOND


def _settle(projection: Projection) -> None:
    while projection.advance():
        pass


def _reads(store: DuckDBStore, batches: int) -> None:
    chance = Random(7)
    lookup = Lookup(store, partial(Context, default_timeout=30), _now(batches))

    def saga_id() -> str:
        return f"{chance.randrange(batches):x}-{chance.randrange(SAGAS):05}"

    def order_id() -> str:
        return f"ord-{chance.randrange(batches):x}-{chance.randrange(SAGAS)}"

    traced = [lookup.saga("payment", saga_id(), None, None).traces[0] for _ in range(20)]
    _timed("one saga in full", lambda: lookup.saga("payment", saga_id(), None, None))
    _timed("search: id", lambda: store.search(saga_id(), limit=50))
    _timed("search: business key", lambda: store.search(order_id(), limit=50), 30)
    _timed("search: trace id", lambda: store.search(chance.choice(traced), limit=50), 30)
    _timed("triage: worst 50", lambda: store.saga_rows(SagaFilter(attention="any"), limit=50), 30)
    _timed("list: newest 50", lambda: store.saga_rows(SagaFilter(), limit=50), 30)
    _timed("flows", store.flow_counts, 10)


def _timed(title: str, read: Callable[[], object], times: int = LOOKUPS) -> None:
    waits = []
    for _ in range(times):
        begun = time.perf_counter()
        read()
        waits.append((time.perf_counter() - begun) * 1000)
    waits.sort()
    print(f"{title:24}{statistics.median(waits):10.1f} ms p50 {waits[int(len(waits) * 0.95)]:8.1f} ms p95", flush=True)


def _measured(title: str, spans: int, work: Callable[[], int | None]) -> int:
    begun, used = time.perf_counter(), time.process_time()
    done = work()
    seconds, used = time.perf_counter() - begun, time.process_time() - used
    print(f"{title:24}{spans / seconds:10,.0f} spans/s {used / spans * 1e6:8.2f} CPU-s/M {seconds:8.1f} s", flush=True)
    return done or 0


if __name__ == "__main__":
    main()
