"""What is summarised in bulk is what the fold and the judge say, to the letter, of whatever sagas there are."""

import json
from collections.abc import Iterator
from functools import partial
from random import Random
from threading import Event

import numpy as np
import pytest

from sagascope_collector.api import present
from sagascope_collector.ingest import Encoding, Payload, Signal
from sagascope_collector.otlp import decode
from sagascope_collector.projection import plain
from sagascope_collector.projection.memory import Memory
from sagascope_collector.projection.summaries import Summaries
from sagascope_collector.projection.surroundings import Surroundings
from sagascope_collector.records import SagaId
from sagascope_collector.sagas import Context
from sagascope_collector.store import DuckDBStore, SagaFilter, SagaRow, courses
from support.otlp import NOON, SECOND, log, logs, of_saga, resource, span, span_id, trace_id, traces
from support.payloads import requests

SAGAS = 2_500
NOW = NOON + 3600 * SECOND
STEPS = ("fraud.check", "wallet.debit", "ledger.record", "shipping.book", "wallet.refund")
SERVICES = ("orchestrator", "wallet", "ledger", "shipping")


@pytest.fixture
def store() -> Iterator[DuckDBStore]:
    opened = DuckDBStore(clock=lambda: NOW)
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


@pytest.mark.parametrize("seed", range(4))
def test_the_query_and_the_fold_agree(store: DuckDBStore, seed: int) -> None:
    teller = Teller(seed)
    told = [each for number in range(SAGAS) for each in teller.saga(f"{number}")]
    teller.shuffle(told)
    kinds = [Signal.TRACES if hasattr(each, "resource_spans") else Signal.LOGS for each in told]
    store.append(
        decode(
            [
                Payload(kind, Encoding.PROTOBUF, each.SerializeToString(), NOON)
                for kind, each in zip(kinds, told, strict=True)
            ]
        ).batch
    )
    if seed % 2:
        store.seal()
    ids = [SagaId("", f"{number}") for number in range(SAGAS)]
    said = plain.rows(store.plain_ends(ids))
    summaries = Summaries(store, present.summary, Memory(store), Surroundings())
    summaries.renew(ids, partial(Context)(NOW), Event())
    folded: dict[str, list[SagaRow]] = {}
    for each in store.saga_rows(SagaFilter(), limit=10_000).rows:
        folded.setdefault(each.key.id, []).append(each)
    for each in said:
        assert [comparable(other) for other in folded[each.key.id]] == [comparable(each)]
    calm = sum(len(rows) == 1 and rows[0].status == "completed" and not rows[0].attention for rows in folded.values())
    assert len(said) > calm * 0.4


@pytest.mark.parametrize("limit", ["KNOWN", "TEXTS"])
def test_what_is_known_of_courses_may_be_forgotten(
    store: DuckDBStore, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    teller = Teller(7)
    told = [each for number in range(200) for each in teller.saga(f"{number}") if hasattr(each, "resource_spans")]
    store.append(
        decode([Payload(Signal.TRACES, Encoding.PROTOBUF, each.SerializeToString(), NOON) for each in told]).batch
    )
    ids = [SagaId("", f"{number}") for number in range(200)]
    whole = plain.rows(store.plain_ends(ids))
    monkeypatch.setattr(courses, limit, 3)
    parts = [row for each in ids for row in plain.rows(store.plain_ends([each]))]
    assert sorted(parts) == sorted(whole)
    assert len(whole) > 50


def test_a_text_that_finds_no_room_makes_no_plain_span() -> None:
    one, no = np.ones(2, np.int64), np.zeros(2, np.bool_)
    steps = np.array([1, 1 << courses.WIDTH])
    words = courses.Spans(steps, one, one, one, one, no, ~no, ~no, no, ~no).words()
    known = courses.Courses()
    known.numbers("steps", ["", "a"]), known.numbers("services", ["", "s"]), known.numbers("names", ["", "n"])
    assert [known.judge(each.tobytes()) is not None for each in words] == [True, False]


def test_the_sagas_whose_rate_is_measured_end_plainly(store: DuckDBStore) -> None:
    bodies = requests(2, 510)
    store.append(decode([Payload(Signal.TRACES, Encoding.PROTOBUF, body, NOON) for body in bodies]).batch)
    ids = store.changed_ids(1_000)
    assert len(ids) == 2 * 51
    assert [(row.status, row.attention) for row in plain.rows(store.plain_ends(ids))] == [("completed", None)] * len(
        ids
    )


def comparable(row: SagaRow) -> dict[str, object]:
    """A row as it is compared: the order of steps that began together is nobody's."""
    return {
        "key": row.key,
        "told": (row.status, row.attention, row.step, row.service, row.due_at),
        "times": (row.started_at, row.updated_at, row.ended_at),
        "steps": set(row.steps),
        "services": set(row.services),
        "keys": row.keys,
        "document": json.loads(row.document),
    }
