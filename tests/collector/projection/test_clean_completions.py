"""What is summarised in bulk is what the general path says, whatever sagas there are and however they arrive."""

import json
from collections.abc import Iterator
from random import Random
from threading import Event

import pytest

from sagascope_collector.analysis import Context
from sagascope_collector.api import present
from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp import decode
from sagascope_collector.projection import Projection, clean_completions
from sagascope_collector.projection.baseline_learner import BaselineLearner
from sagascope_collector.projection.summaries import Summaries
from sagascope_collector.projection.system_state import SystemState
from sagascope_collector.saga_filters import SagaFilters
from sagascope_collector.storage import SagaRow, Storage
from support.otlp import NOON, SECOND, log, logs, of_saga, resource, span, span_id, trace_id, traces
from support.payloads import requests

pytestmark = pytest.mark.slow

SAGAS = 600
NOW = NOON + 3600 * SECOND
STEPS = ("fraud.check", "wallet.debit", "ledger.record", "shipping.book", "wallet.refund")
SERVICES = ("orchestrator", "wallet", "ledger", "shipping")


@pytest.fixture
def storage() -> Iterator[Storage]:
    opened = Storage(clock=lambda: NOW)
    yield opened
    opened.close()


class Teller(Random):
    """Tells sagas most of which are plain, and each of which may be odd in any way."""

    numbers = 0

    def saga(self, id_: str) -> Iterator[object]:
        self.oddity = self.choice((0.0, 0.0, 0.05, 0.3))
        self.trace, self.id, self.told = self.fresh(), id_, []
        root, start = self.fresh(), NOON + self.randrange(1000) * SECOND
        count = self.randint(0, 4)
        end = 0 if self.odd() else start + count * SECOND + self.randrange(3) * SECOND
        self.add("orchestrator", root, start, end, self.root(), error=self.odd())
        for number in range(count):
            yield from self.step(root, STEPS[number], start + number * SECOND)
        if self.odd():
            self.add("orchestrator", self.fresh(), start + SECOND, end, self.root())
        if self.random() < 0.4:
            self.note("hello", root, start, {})
        if self.random() < 0.3:
            said = {"sagascope.span.name": "x", "sagascope.span.kind": "internal", "sagascope.span.parent_id": ""}
            self.note("", self.fresh() if self.odd() else root, start, said, "sagascope.span.start")
        yield from self.told

    def root(self) -> dict[str, object]:
        said: dict[str, object] = {"saga.role": "saga"}
        if self.random() < 0.5:
            said["saga.outcome"] = "completed" if not self.odd() else self.choice(("compensated", "failed", "x", 1))
        if self.random() < 0.5:
            said |= {"saga.amount": self.choice(("50.00", 12, 0.5, "much", True)), "saga.currency": "EUR"}
        if self.random() < 0.4:
            said |= {
                "saga.plan": list(STEPS[:3]),
                "saga.plan.compensations": ["", STEPS[4 if not self.odd() else 1], ""],
            }
        if self.random() < 0.5:
            said |= {"saga.key.order_id": self.choice(("o-1", 7, 'ü"')), "saga.key.": "none", "saga.timeout": 9.0}
        return said

    def step(self, root: int, name: str, start: int) -> Iterator[object]:
        tries = 1 if self.random() < 0.85 else 2
        for number in range(1, tries + 1):
            said: dict[str, object] = {"saga.role": "step", "saga.step.name": name}
            if self.random() < 0.9:
                said["saga.step.attempt"] = number
            if self.odd():
                said |= self.choice(
                    (
                        {"saga.step.type": "compensation"},
                        {"saga.step.type": "prepare"},
                        {"saga.step.compensates": STEPS[0]},
                        {"saga.step.key": "k"},
                        {"saga.role": "other"},
                        {"saga.step.name": ""},
                        {"saga.key.customer": "c9"},
                    )
                )
            fails = number < tries or self.odd()
            begun, over = start + number * SECOND // 4, start + (number + 1) * SECOND // 4
            caller, executor = self.fresh(), self.fresh()
            self.add("orchestrator", caller, begun, over, said, parent=root, error=fails, kind=3)
            if self.random() < 0.6:
                service = self.choice(SERVICES)
                self.add(
                    service, executor, begun + 1, over, said, parent=caller, error=fails and not self.odd(), kind=2
                )
            if self.random() < 0.4:
                self.add(
                    self.choice(SERVICES), self.fresh(), begun + 2, over, {}, parent=caller, kind=self.choice((1, 2))
                )
        yield from ()

    def add(self, service: str, number: int, start: int, end: int, said: dict[str, object], **fields: object) -> None:
        attributes = of_saga(self.id) | said
        if self.odd():
            attributes |= self.choice(
                ({"saga.name": "refund"}, {"saga.run.id": "r1"}, {"saga.wait.until": 1e9}, {"saga.id": self.id})
            )
        if self.odd():
            attributes.pop("saga.name", None)
        links = [(9, 1, of_saga(self.choice((self.id, "1"))))] if self.odd() else []
        final = 0 if self.odd() else max(end, start)
        parent, kind, error = fields.get("parent", 0), fields.get("kind", 1), fields.get("error")
        told = span(
            number,
            trace=self.trace,
            start=start,
            end=final if end else 0,
            kind=kind,
            attributes=attributes,
            links=links,
            **({"error": "refused"} if error else {}),
        )
        told.parent_span_id = span_id(parent) if parent else b""
        self.told.append(traces(told, of=resource(service, service_instance_id=f"{service}-1")))

    def note(self, text: str, about: int, at: int, said: dict[str, object], event: str = "") -> None:
        record = log(text, at=at, attributes=of_saga(self.id) | said, event_name=event)
        record.trace_id, record.span_id = trace_id(self.trace), span_id(about)
        self.told.append(logs(record, of=resource("orchestrator", service_instance_id="orchestrator-1")))

    def odd(self) -> bool:
        return self.random() < self.oddity

    def fresh(self) -> int:
        self.numbers += 1
        return self.numbers


def batches_of(teller: Teller, told: list[object], sizes: list[int]) -> Iterator[list[object]]:
    """The records in parts of these sizes, over and over."""
    rest = list(told)
    while rest:
        size = teller.choice(sizes)
        yield rest[:size]
        rest = rest[size:]


def append(storage: Storage, told: list[object]) -> None:
    payloads = [
        Payload(
            Signal.TRACES if hasattr(each, "resource_spans") else Signal.LOGS,
            Encoding.PROTOBUF,
            each.SerializeToString(),
            NOON,
        )
        for each in told
    ]
    storage.records.append(decode(payloads).batch)


def projection(storage: Storage) -> Projection:
    return Projection(storage, summarise=present.summary, context=Context, clock=lambda: NOW, quiet=0.0)


def rows(storage: Storage) -> list[dict[str, object]]:
    found = storage.listing.page(SagaFilters(), limit=20_000).rows
    return sorted((comparable(each) for each in found), key=lambda each: each["key"])


@pytest.mark.parametrize("seed", range(3))
def test_the_query_equals_the_general_path(storage: Storage, seed: int) -> None:
    teller = Teller(seed)
    told = [each for number in range(SAGAS) for each in teller.saga(f"{number}")]
    teller.shuffle(told)
    for part in batches_of(teller, told, [700, 3_000]):
        append(storage, part)
    ids = storage.changes.claim(10_000)
    clean = clean_completions.rows(storage, ids)
    Summaries(storage, present.summary, BaselineLearner(storage), SystemState()).renew(ids, Context(NOW), Event())
    general: dict[str, list[SagaRow]] = {}
    for each in storage.listing.page(SagaFilters(), limit=20_000).rows:
        general.setdefault(each.key.id, []).append(each)
    for each in clean:
        assert [comparable(other) for other in general[each.key.id]] == [comparable(each)]
    quiet = sum(
        len(found) == 1 and found[0].status == "completed" and not found[0].attention for found in general.values()
    )
    assert len(clean) > quiet * 0.3


@pytest.mark.parametrize("sizes", [[1], [3, 40, 700], [10_000]], ids=["one by one", "mixed", "a flood"])
@pytest.mark.parametrize("seed", range(2))
def test_summaries_plans_and_durations_do_not_depend_on_how_records_were_batched(seed: int, sizes: list[int]) -> None:
    """The general path alone is the reference: it evaluates each saga once, when everything has come."""
    teller = Teller(seed)
    told = [each for number in range(100) for each in teller.saga(f"{number}")]
    reference, batched = Storage(clock=lambda: NOW), Storage(clock=lambda: NOW)
    try:
        append(reference, told)
        learner = BaselineLearner(reference)
        summaries = Summaries(reference, present.summary, learner, SystemState())
        summaries.renew(reference.changes.claim(10_000), Context(NOW), Event())
        learner.update_baselines()

        teller.shuffle(told)
        running = projection(batched)
        for part in batches_of(teller, told, sizes if len(sizes) > 1 or sizes[0] > 1 else [40]):
            append(batched, part)
            if teller.random() < 0.5:
                running.advance()
        advance_to_the_end(running)
        assert rows(batched) == rows(reference)
        assert sorted(batched.baselines.all()) == sorted(reference.baselines.all())
        assert BaselineLearner(batched).baselines == BaselineLearner(reference).baselines
    finally:
        reference.close()
        batched.close()


def test_a_type_is_learned_from_although_others_flood(storage: Storage) -> None:
    """Thirty finished sagas of one type among many others teach its durations, as they do alone."""
    flood = list(requests(100, 510))
    payloads = [Payload(Signal.TRACES, Encoding.PROTOBUF, body, NOON) for body in flood]
    few = [each for number in range(30) for each in rare_saga(number)]
    payloads += [Payload(Signal.TRACES, Encoding.PROTOBUF, each.SerializeToString(), NOON) for each in few]
    storage.records.append(decode(payloads).batch)
    running = projection(storage)
    advance_to_the_end(running)
    assert BaselineLearner(storage).baselines["", "rare"].duration_limits["rare.step"] == 10.0


def rare_saga(number: int) -> Iterator[object]:
    begun, trace = NOON + number * SECOND, 9_000_000 + number
    attributes = {"saga.id": f"rare-{number}", "saga.name": "rare"}
    root = span(
        2 * number + 1, trace=trace, start=begun, end=begun + 2 * SECOND, attributes=attributes | {"saga.role": "saga"}
    )
    step = span(
        2 * number + 2,
        trace=trace,
        start=begun,
        end=begun + SECOND,
        attributes=attributes | {"saga.role": "step", "saga.step.name": "rare.step"},
    )
    yield traces(root, step, of=resource("rare", service_instance_id="rare-1"))


def advance_to_the_end(running: Projection) -> None:
    for _ in range(2_000):
        if not running.advance() and not running.advance():
            return
    raise AssertionError("The projection does not come to an end.")


def test_the_sagas_whose_rate_is_measured_complete_cleanly(storage: Storage) -> None:
    bodies = requests(2, 510)
    storage.records.append(decode([Payload(Signal.TRACES, Encoding.PROTOBUF, body, NOON) for body in bodies]).batch)
    ids = storage.changes.claim(1_000)
    assert len(ids) == 2 * 51
    found = [(row.status, row.attention) for row in clean_completions.rows(storage, ids)]
    assert found == [("completed", None)] * len(ids)


def test_a_saga_that_spans_of_others_link_to_is_left_to_the_general_path(storage: Storage) -> None:
    attributes = {"saga.id": "linked", "saga.name": "payment", "saga.role": "saga"}
    root = span(1, trace=1, end=NOON + SECOND, attributes=attributes)
    append(storage, [traces(root)])
    assert len(clean_completions.rows(storage, storage.changes.claim(10))) == 1
    append(storage, [traces(span(2, trace=2, links=[(9, 1, {"saga.id": "linked"})]))])
    assert clean_completions.rows(storage, storage.changes.claim(10)) == []


def comparable(row: SagaRow) -> dict[str, object]:
    """A row as it is compared: steps that started together have no order."""
    return {
        "key": row.key,
        "told": (row.status, row.attention, row.step, row.service, row.due_at),
        "times": (row.started_at, row.updated_at, row.ended_at),
        "steps": set(row.steps),
        "services": set(row.services),
        "keys": row.keys,
        "document": json.loads(row.document),
    }
