"""What rules for whole traces say of stored records does not depend on when and in which order they came."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from sagascope_collector import remapping
from sagascope_collector.api import database
from sagascope_collector.engines import AttributeMapping, read_mapping
from sagascope_collector.records import SagaId
from sagascope_collector.remapping import Remapping
from sagascope_collector.storage import Storage
from support.otlp import NOON, SECOND, log, logs, of_saga, span, span_id, trace_id, traces

from .conftest import Request, append

RULES = """\
rules:
  - scope: trace
    when: {has: [order.id]}
    id: order.id
    name: {constant: NAME}
    keys: {user: user.id}
"""


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remapping, "UNIT_RECORDS", 3)
    monkeypatch.setattr(remapping, "STEP_SECONDS", 0.0)


def rules(folder: Path, name: str = "shop") -> AttributeMapping:
    file = folder / "mapping.yaml"
    file.write_text(RULES.replace("NAME", name))
    return read_mapping(file)


def requests() -> list[Request]:
    """Two traces of orders, in which one span each has the id, a trace of none, and a saga that names itself."""
    found: list[Request] = []
    for trace in (1, 2, 3):
        for number in range(1, 5):
            of = {"order.id": f"o-{trace}", "user.id": trace} if number == 3 and trace < 3 else {"note": "ä 1e3"}
            parent = span_id(trace * 10 + number - 1) if number > 1 else b""
            start = NOON + number * SECOND
            sent = span(trace * 10 + number, trace=trace, start=start, attributes=of, parent_span_id=parent, kind=2)
            found.append(traces(sent))
        found.append(logs(log("a line", trace_id=trace_id(trace), span_id=span_id(trace * 10 + 4))))
    found.append(traces(span(99, trace=1, attributes=of_saga())))
    return found


def mapped(mapping: Remapping) -> None:
    for _ in range(200):
        mapping.step()
    assert not mapping.progress.is_remapping


def shown(storage: Storage) -> list[tuple[object, ...]]:
    """All records as people query them, in an order of their own."""
    columns = "saga_id, saga_name, role, step, step_type, trace_id, attributes::VARCHAR"
    spans = storage.database.rows(f"SELECT name, span_id, {columns} FROM spans ORDER BY ALL")
    return spans + storage.database.rows(f"SELECT body, span_id, {columns} FROM logs ORDER BY ALL")


@pytest.fixture
def expected(tmp_path: Path) -> list[tuple[object, ...]]:
    storage = Storage()
    mapping = Remapping(storage, rules(tmp_path))
    append(storage, *requests())
    mapped(mapping)
    ids = [row[2] for row in shown(storage)]
    assert {id_: ids.count(id_) for id_ in set(ids)} == {"o-1": 5, "o-2": 5, None: 5, "8492": 1}
    return shown(storage)


@pytest.mark.parametrize("seed", range(8))
def test_order_requests_and_repeats_change_nothing(
    tmp_path: Path, expected: Sequence[tuple[object, ...]], seed: int
) -> None:
    chance, sent = Random(seed), requests()
    chance.shuffle(sent)
    storage = Storage()
    mapping = Remapping(storage, rules(tmp_path))
    following, size = iter(sent + chance.sample(sent, 4)), chance.choice((1, 3, 20))
    while some := list(islice(following, size)):
        append(storage, *some)
        if chance.random() < 0.5:
            mapping.step()
    mapped(mapping)
    assert shown(storage) == expected
    append(storage, *sent)
    mapped(mapping)
    assert shown(storage) == expected


def test_an_interrupted_mapping_is_resumed_and_forgets_no_saga(
    tmp_path: Path, expected: Sequence[tuple[object, ...]]
) -> None:
    path = str(tmp_path / "storage.duckdb")
    storage = Storage(path)
    for each in requests():
        append(storage, each)
    mapping = Remapping(storage, rules(tmp_path))
    while not storage.changes.called("o-1"):
        mapping.step()
    assert mapping.progress.is_remapping
    storage.database.close()  # as after a crash: nothing is written at the end
    storage = Storage(path)
    assert storage.changes.called("o-1")
    mapping = Remapping(storage, rules(tmp_path))
    assert 0 < mapping.progress.seq < storage.records.seq
    mapped(mapping)
    assert shown(storage) == expected
    assert len(storage.lookup.facts([SagaId("", "o-1")])[SagaId("", "o-1")].spans) == 4
    storage.close()


def test_other_rules_apply_to_all_that_is_stored_and_the_same_again_change_nothing(
    tmp_path: Path, expected: Sequence[tuple[object, ...]]
) -> None:
    storage = Storage()
    append(storage, *requests())
    mapping = Remapping(storage, rules(tmp_path, "other"))
    mapped(mapping)
    assert "other" in {row[3] for row in shown(storage)}
    mapping.use(rules(tmp_path))
    mapped(mapping)
    assert shown(storage) == expected
    for saga in storage.changes.claim(100):
        storage.changes.settle([saga])
    mapping.use(rules(tmp_path), from_start=True)
    mapped(mapping)
    assert shown(storage) == expected
    assert not storage.changes.all()


def test_a_trace_with_very_many_records_stays_without_a_saga(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remapping, "MAX_TRACE_RECORDS", 4)
    storage = Storage()
    mapping = Remapping(storage, rules(tmp_path))
    append(storage, *requests())
    mapped(mapping)
    assert {row[2] for row in shown(storage)} == {None, "8492"}


def test_attributes_of_spans_in_no_saga_are_counted_and_ranked(tmp_path: Path) -> None:
    storage = Storage()
    mapping = Remapping(storage, rules(tmp_path))
    append(storage, *requests())
    assert database.recent_spans(storage) == (13, 12)
    first, second = database.suggestions(storage).items
    assert (first.attribute, first.values, first.spans, first.joined, first.is_likely) == ("order.id", 2, 2, 0, True)
    assert (second.attribute, second.is_likely) == ("user.id", False)
    mapped(mapping)
    assert database.recent_spans(storage) == (13, 4)
    assert database.suggestions(storage).items == []
