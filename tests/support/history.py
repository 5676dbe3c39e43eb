"""Realistic history by the million, straight into a store: sagas of 6 to 40 spans with their logs and summaries.

What happens is drawn once, from a seed, and summarised once, by the real projection. From that come as many batches as
are wanted, each with ids and times of its own; columns are rewritten whole, so that a batch costs milliseconds.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sagascope_collector.analysis import Context
from sagascope_collector.api import present
from sagascope_collector.incident_records import IncidentSaga
from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp import decode
from sagascope_collector.projection import Projection
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.saga_filters import SagaFilters
from sagascope_collector.storage import Batch, SagaRow, Storage
from support.otlp import SECOND, log, logs, of_saga, resource, span, span_id, trace_id, traces

SAGAS = 700
"""In one batch."""

STEPS = (
    "fraud.check",
    "wallet.debit",
    "ledger.record",
    "stock.reserve",
    "shipping.book",
    "invoice.write",
    "loyalty.credit",
    "notification.send",
)
BEGAN = 1_790_000_000 * SECOND
STRIDE = 2 * SECOND
"""What one batch lasts."""

OPEN, RETRIED, COMPENSATED, FAILED = 0.02, 0.06, 0.03, 0.005
"""The shares of sagas that are stuck, needed a retry, were compensated, or failed with work committed."""

MILLISECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@dataclass(frozen=True)
class SummaryTemplate:
    """The summary of a saga that was drawn, its text cut where ids and times are to be filled in."""

    row: SagaRow
    parts: Sequence[str | int]
    """Numbers are times in microseconds."""


@dataclass(frozen=True)
class History:
    """One batch, and what `at` and `rows` bring forth of it."""

    batch: Batch
    of_spans: np.ndarray
    """The number of each span's saga within the batch."""
    of_logs: np.ndarray
    parents: np.ndarray
    """The place of each span's parent; -1: none."""
    logged: np.ndarray
    """The place of the span that each log record is of."""
    told: Sequence[SummaryTemplate]

    @property
    def spans(self) -> int:
        """How many there are in a batch."""
        return len(self.of_spans)

    def at(self, number: int) -> Batch:
        """The batch with this number, as no other is."""
        trace_words, own = _ids(number, self.spans)
        of_traces, of_own = trace_words[self.of_spans], own.view(np.uint8).reshape(-1, 8)
        sagas, later = saga_ids(number), pa.scalar(number * STRIDE, pa.uint64())
        spans, records = self.batch.spans, self.batch.logs
        final = pc.not_equal(spans["end"], 0)
        parents = np.where(self.parents[:, None] < 0, np.uint8(0), of_own[self.parents])
        fresh = {
            "trace_id": _binary(_bytes(of_traces)),
            "span_id": _binary(of_own),
            "parent_id": pc.if_else(pa.array(self.parents < 0), pa.scalar(b"", pa.binary()), _binary(parents)),
            "saga_id": sagas.take(pa.array(self.of_spans)),
            "start": pc.add(spans["start"], later),
            "end": pc.if_else(final, pc.add(spans["end"], later), spans["end"]),
            "attribute_values": pc.replace_substring(spans["attribute_values"], "ord-", f"ord-{number:x}-"),
        }
        beside = {
            "trace_id": _binary(_bytes(of_traces[self.logged])),
            "span_id": _binary(of_own[self.logged]),
            "saga_id": sagas.take(pa.array(self.of_logs)),
            **{name: pc.add(records[name], later) for name in ("at", "timestamp")},
        }
        return replace(self.batch, spans=_with(spans, fresh), logs=_with(records, beside))

    def rows(self, number: int) -> list[SagaRow]:
        """The summaries of its sagas."""
        ids, later = saga_ids(number).to_pylist(), number * STRIDE
        return [_row(each, ids[saga], number, later) for saga, each in enumerate(self.told)]


def saga_ids(number: int) -> pa.Array:
    """The ids of a batch."""
    words = np.random.default_rng((7, number)).integers(0, 2**63, SAGAS).tolist()
    return pa.array([f"{word:016x}" for word in words])


def order_id(number: int, saga: int) -> str:
    """The business key of a saga that has ended."""
    return f"ord-{number:x}-{saga}"


def trace_of(number: int, saga: int, drawn: History) -> str:
    """The trace id of a saga."""
    words = _ids(number, drawn.spans)[0][saga]
    return words.tobytes().hex()


def span_of(number: int, place: int, drawn: History) -> str:
    """The id of a span."""
    return _ids(number, drawn.spans)[1][place].tobytes().hex()


def _ids(number: int, spans: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the words of the trace ids, and the span ids."""
    random = np.random.default_rng((11, number))
    return random.integers(1, 2**63, (SAGAS, 2), np.uint64), random.integers(1, 2**63, spans, np.uint64)


# --- what happens --------------------------------------------------------------------------------


def draw(seed: int = 1) -> History:
    """Draw what happens in a batch."""
    requests = _requests(Random(seed))
    kinds = (Signal.TRACES, Signal.LOGS)
    payloads = [
        Payload(kind, Encoding.PROTOBUF, each.SerializeToString(), BEGAN)
        for kind, of_kind in zip(kinds, requests, strict=True)
        for each in of_kind
    ]
    batch = decode(payloads).batch
    places = {each: place for place, each in enumerate(batch.spans["span_id"].to_pylist())}
    parents = [places.get(each, -1) for each in batch.spans["parent_id"].to_pylist()]
    logged = [places[each] for each in batch.logs["span_id"].to_pylist()]
    of_spans, of_logs = (np.array(list(map(int, each["saga_id"].to_pylist()))) for each in (batch.spans, batch.logs))
    return History(batch, of_spans, of_logs, np.array(parents), np.array(logged), _summaries(batch))


def _requests(chance: Random) -> tuple[list[Any], list[Any]]:
    spans: dict[str, list[Any]] = {}
    records: dict[str, list[Any]] = {}
    for saga in range(SAGAS):
        for service, each, record in _Story(saga, chance).records():
            spans.setdefault(service, []).append(each)
            if record is not None:
                records.setdefault(service, []).append(record)
    return (
        [traces(*each, of=_resource(service)) for service, each in spans.items()],
        [logs(*each, of=_resource(service)) for service, each in records.items()],
    )


def _resource(service: str) -> Any:
    named = {"service_instance_id": f"{service}-1", "deployment_environment_name": "production"}
    return resource(service, service_version="3.2.1", **named)


class _Story:
    """One saga: its root, and of each step the caller's view, the executor's, and what that calls."""

    def __init__(self, saga: int, chance: Random) -> None:
        self._saga, self._chance = saga, chance
        self._at = self._begun = BEGAN + chance.randrange(STRIDE)
        self._last = 1
        common = {"http.request.method": "POST", "server.address": "internal", "region": "eu-1"}
        self._common = of_saga(str(saga)) | common

    def records(self) -> Iterator[tuple[str, Any, Any]]:
        """Yields each service, its span, and a log record of it or None."""
        fate, steps = self._chance.random(), self._chance.choice((2, 2, 3, 4, 5, 5, 8))
        is_open, fate = fate < OPEN, fate - OPEN
        is_retried, is_compensated, has_failed = (
            fate < RETRIED,
            RETRIED < fate < RETRIED + COMPENSATED,
            fate > 1 - OPEN - FAILED,
        )
        for place, step in enumerate(STEPS[: 2 if is_open else steps]):
            is_again = is_retried and place == 1
            if is_again:
                yield from self._step(step, 1, "card issuer did not answer in time")
            yield from self._step(step, 1 + is_again, None)
        if is_open:
            yield from self._stand_still()
            return
        if is_compensated:
            yield from self._step("shipping.book", 1, "no carrier")
            yield from self._compensations()
        yield self._root("compensated" if is_compensated else "failed" if has_failed else "completed")

    def _stand_still(self) -> Iterator[tuple[str, Any, Any]]:
        if self._chance.random() < 0.5:
            for attempt in (1, 2, 3):
                yield from self._step("ledger.record", attempt, "connection refused")
            return
        said = {"saga.role": "step", "saga.step.name": "shipping.book", "saga.step.attempt": 1}
        _, open_span = self._one("shipping", "shipping.book", self._at + 20 * MILLISECOND, None, said, 0, kind=2)
        yield "shipping", open_span, None

    def _step(self, name: str, attempt: int, error: str | None) -> Iterator[tuple[str, Any, Any]]:
        self._at += 20 * MILLISECOND
        begun, service = self._at, name.partition(".")[0]
        said = {"saga.role": "step", "saga.step.name": name, "saga.step.attempt": attempt}
        bad = {} if error is None else {"error": error}
        caller, outer = self._one("orchestrator", name, begun, 15, said, 1, kind=3, **bad)
        yield "orchestrator", outer, None
        executor, inner = self._one(service, name, begun + 1, 14, said, caller, kind=2, **bad)
        body = "failed, is tried again" if error else f"{name} done"
        yield service, inner, self._logged(executor, body) if error or self._chance.random() < 0.2 else None
        for _ in range(self._chance.randint(1, 3)):
            query = {"db.system.name": "postgresql", "saga.step.name": name}
            yield service, self._one(service, "SELECT", begun + 2, 9, query, executor)[1], None

    def _compensations(self) -> Iterator[tuple[str, Any, Any]]:
        said = {"saga.role": "step", "saga.step.name": "wallet.refund", "saga.step.type": "compensation"}
        said |= {"saga.step.compensates": "wallet.debit"}
        self._at += 20 * MILLISECOND
        yield "wallet", self._one("wallet", "wallet.refund", self._at, 9, said, 1)[1], None

    def _root(self, outcome: str) -> tuple[str, Any, Any]:
        said = {"saga.role": "saga", "saga.outcome": outcome, "saga.key.order_id": f"ord-{self._saga}"}
        said |= {"saga.key.customer": f"c-{self._saga % 97}", "saga.amount": "50.00", "saga.currency": "EUR"}
        lasts = (self._at - self._begun) // MILLISECOND + 30
        made = self._made("orchestrator", 1, "payment", self._begun, lasts, said, 0)
        return "orchestrator", made, None

    def _one(self, service: str, name: str, start: int, lasts: int | None, said: dict, parent: int, **more: Any) -> Any:
        self._last += 1
        return self._last, self._made(service, self._last, name, start, lasts, said, parent, **more)

    def _made(
        self, service: str, number: int, name: str, start: int, lasts: int | None, said: dict, parent: int, **more: Any
    ) -> Any:
        end = 0 if lasts is None else start + (lasts + self._chance.randint(0, 3)) * MILLISECOND
        own, trace = self._saga * 100 + number, self._saga + 1
        made = span(own, trace=trace, name=name, start=start, end=end, attributes=self._common | said, **more)
        made.parent_span_id = span_id(self._saga * 100 + parent) if parent else b""
        return made

    def _logged(self, number: int, body: str) -> Any:
        ids = {"trace_id": trace_id(self._saga + 1), "span_id": span_id(self._saga * 100 + number)}
        return log(body, at=self._at, attributes=self._common, **ids)


# --- summaries of it ---------------------------------------------------------------------------------


def _summaries(batch: Batch) -> list[SummaryTemplate]:
    store, rows, incidents = Storage(), dict[str, SagaRow](), dict[str, IncidentSaga | None]()
    put = store.sagas.put

    def put_and_note(ids: Sequence[SagaId], written: Sequence[SagaRow]) -> None:
        incidents.update((row.key.id, row.incident) for row in written)  # rows that are read back do not have it
        put(ids, written)

    store.sagas.put = put_and_note  # type: ignore[method-assign]
    store.records.append(batch)
    context = partial(Context, default_timeout=30)
    clock = partial(int, BEGAN + 3600 * SECOND)
    projection = Projection(store, summarise=present.summary, context=context, clock=clock, quiet=0.0)
    while projection.advance():
        pass
    for row in store.listing.page(SagaFilters(), limit=2 * SAGAS).rows:
        rows[row.key.id] = row._replace(incident=incidents.get(row.key.id))
    store.close()
    return [SummaryTemplate(row, _cut(row)) for row in (rows[str(saga)] for saga in range(SAGAS))]


def _cut(row: SagaRow) -> list[str | int]:
    text = row.document.replace(f'"id":"{row.key.id}"', '"id":"\0"', 1).replace("ord-", "ord-\1")
    times = [_microseconds(each) for each in _MOMENT.findall(text)]
    parts: list[str | int] = [*_MOMENT.split(text)]
    for place, each in enumerate(times):
        parts.insert(2 * place + 1, each)
    return parts


def _row(told: SummaryTemplate, id_: str, number: int, later: int) -> SagaRow:
    row, of_batch = told.row, f"ord-{number:x}-"
    text = "".join(each if isinstance(each, str) else _moment(each + later // 1000) for each in told.parts)
    times = {name: at and at + later for name in ("started_at", "updated_at", "ended_at") if (at := getattr(row, name))}
    return row._replace(
        key=SagaKey(row.key.environment, row.key.name, id_, row.key.run),
        document=text.replace("\0", id_, 1).replace("ord-\1", of_batch),
        keys={name: value.replace("ord-", of_batch) for name, value in row.keys.items()},
        incident=row.incident and replace(row.incident, since=row.incident.since + later),
        **times,
    )


def _microseconds(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def _moment(at: int) -> str:
    return f"{datetime.fromtimestamp(at // 1_000_000, UTC):%Y-%m-%dT%H:%M:%S}.{at % 1_000_000:06}Z"


# --- columns -----------------------------------------------------------------------------------------


def _with(table: pa.Table, columns: dict[str, Any]) -> pa.Table:
    for name, column in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), column)
    return table


def _bytes(words: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(words).view(np.uint8).reshape(len(words), -1)


def _binary(rows: np.ndarray) -> pa.Array:
    size = rows.shape[1]
    offsets = pa.py_buffer(np.arange(0, rows.size + 1, size, dtype=np.int32))
    return pa.Array.from_buffers(pa.binary(), len(rows), [None, offsets, pa.py_buffer(np.ascontiguousarray(rows))])
