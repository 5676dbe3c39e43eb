"""Repeats: what is sent again with the same content counts once, whenever it comes; copies that differ are all kept."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from sagascope_collector.records import SagaId
from sagascope_collector.storage import Storage, records, repeats
from support.otlp import NOON, SECOND, log, logs, of_saga, resource, span, span_id, traces

from .conftest import Put, Request, append

SAGA = SagaId("", "8492")

HOUR = 3600 * SECOND


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "storage.duckdb"


def others(storage: Storage, count: int, first: int = 100_000) -> None:
    """Other traffic, with more records than are remembered."""
    for start in range(first, first + count, 10):
        append(storage, traces(*(span(number, trace=number, start=NOON + HOUR) for number in range(start, start + 10))))


ORIGINAL: dict[str, Any] = {
    "start": NOON,
    "end": NOON + SECOND,
    "name": "debit",
    "attributes": of_saga(step_name="debit"),
}

DIFFERENT: dict[str, dict[str, Any]] = {
    "end": {"end": NOON + 2 * SECOND},
    "open": {"end": 0},
    "start": {"start": NOON - 1},
    "name": {"name": "credit"},
    "kind": {"kind": 3},
    "status": {"error": "refused"},
    "attribute": {"attributes": of_saga(step_name="debit") | {"x": 1}},
    "attribute's type": {"attributes": of_saga(step_name="debit") | {"x": "1"}},
    "step": {"attributes": of_saga(step_name="credit")},
    "role": {"attributes": of_saga(step_name="debit", role="step")},
    "attempt": {"attributes": of_saga(step_name="debit", step_attempt=2)},
    "parent": {"parent_span_id": span_id(3)},
    "link": {"links": [(1, 1, {"a": 1})]},
    "trace state": {"trace_state": "a=1"},
    "flags": {"flags": 1},
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_a_copy_that_differs_is_kept_and_a_repeat_of_either_is_not(storage: Storage, put: Put, what: str) -> None:
    original, other = traces(span(1, **ORIGINAL)), traces(span(1, **ORIGINAL | DIFFERENT[what]))
    assert put(original) == (1, 0)
    assert put(other) == (1, 0)
    assert put(original, other, other) == (0, 3)
    assert len(storage.lookup.facts([SAGA])[SAGA].spans) == 2


def test_a_copy_of_another_process_or_scope_is_kept(storage: Storage, put: Put) -> None:
    one = span(1, **ORIGINAL)
    assert put(traces(one), traces(one, of=resource("wallet")), traces(one, scope="other")) == (3, 0)
    assert put(traces(one, scope="other"), traces(one, of=resource("wallet")), traces(one)) == (0, 3)


@pytest.mark.parametrize("is_remembered", [True, False])
def test_repeats_are_dropped_at_once_after_a_restart_and_after_other_traffic(
    path: Path, monkeypatch: pytest.MonkeyPatch, is_remembered: bool
) -> None:
    now = [NOON + HOUR]
    if not is_remembered:
        monkeypatch.setattr(repeats, "MIN_NUMBERS_IN_MEMORY", 20)
        monkeypatch.setattr(records, "RECENT_RECORDS", 5)
    storage = Storage(str(path), clock=lambda: now[0])
    requests = (traces(span(1, **ORIGINAL), span(2, end=0)), logs(log("a"), log("b", attributes=of_saga())))
    assert append(storage, *requests) == (4, 0)
    assert append(storage, *requests) == (0, 4)
    others(storage, 200)
    now[0] += HOUR
    assert append(storage, *requests) == (0, 4)
    storage.close()
    storage = Storage(str(path), clock=lambda: now[0])
    assert append(storage, *reversed(requests)) == (0, 4)
    others(storage, 200, 200_000)
    assert append(storage, *requests) == (0, 4)
    assert storage.records.counters == (420, 404, 0, 16)
    storage.close()


def test_a_record_of_a_clock_that_is_ahead_is_known_for_as_long_as_it_is_remembered(storage: Storage, put: Put) -> None:
    request = traces(span(1, start=NOON + 1000 * HOUR, end=NOON + 1001 * HOUR))
    assert put(request) == (1, 0)
    assert put(request) == (0, 1)


def test_a_log_record_without_a_time_counts_once_within_an_hour(path: Path) -> None:
    now = [NOON]
    storage = Storage(str(path), clock=lambda: now[0])
    request = logs(log("no time", at=0, attributes=of_saga()))
    assert append(storage, request, received=now[0]) == (1, 0)
    assert append(storage, request, request, received=now[0] + HOUR // 2) == (0, 2)
    storage.close()


def test_a_linked_span_that_repeats_is_linked_once(storage: Storage, put: Put) -> None:
    request = traces(span(1, links=[(9, 1, of_saga())]))
    assert put(request, request) == (1, 1)
    assert put(request) == (0, 1)
    assert len(storage.lookup.facts([SAGA])[SAGA].spans) == 1
    assert storage.database.rows("SELECT count(*) FROM linked_spans") == [(1,)]


def test_a_record_that_was_moved_with_its_long_running_saga_is_known(storage: Storage, put: Put) -> None:
    request = traces(span(1, **ORIGINAL)), logs(log("a", attributes=of_saga()))
    put(*request)
    for kind in ("spans", "logs"):
        table = "span_records" if kind == "spans" else "log_records"
        storage.database.rows(f"INSERT INTO long_running_{kind} FROM {table}")
        storage.database.rows(f"DELETE FROM {table}")
    assert put(*request) == (0, 2)


def test_in_every_view_a_repeat_counts_once(storage: Storage, put: Put) -> None:
    request = traces(span(1, **ORIGINAL)), logs(log("a", attributes=of_saga()))
    put(*request, *request)
    put(*request)
    assert storage.database.rows("SELECT count(*) FROM spans") == [(1,)]
    assert storage.database.rows("SELECT count(*) FROM logs") == [(1,)]


def _variants(number: int) -> Sequence[Request]:
    """Three copies that differ, of one span; and one of a log record."""
    said = of_saga(str(number % 3))
    return (
        traces(span(number, trace=number, attributes=said)),
        traces(span(number, trace=number, end=0, attributes=said)),
        traces(span(number, trace=number, attributes=said | {"x": number})),
        logs(log(f"log {number}", attributes=said)),
    )


KINDS = [(number, variant) for number in range(1, 7) for variant in range(4)]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(st.sampled_from(KINDS), min_size=1, max_size=8), max_size=8),
    restarts=st.sets(st.integers(0, 7)),
    busy=st.sets(st.integers(0, 7)),
)
def test_no_split_and_no_repeat_changes_what_is_stored(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[int, int]]], restarts: set[int], busy: set[int]
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(repeats, "MIN_NUMBERS_IN_MEMORY", 16)
        patched.setattr(records, "RECENT_RECORDS", 3)
        path = str(tmp_path_factory.mktemp("repeats") / "storage.duckdb") if restarts else ":memory:"
        storage, sent, extra = Storage(path, clock=lambda: NOON + HOUR), Counter[tuple[int, int]](), 0
        for number, batch in enumerate(batches):
            known = len(sent)
            sent.update(batch)
            stored = len(sent) - known
            assert append(storage, *(_variants(each)[variant] for each, variant in batch)) == (
                stored,
                len(batch) - stored,
            )
            if number in busy:
                others(storage, 20, 1_000 * (number + 1))
                extra += 20
            if number in restarts:
                storage.close()
                storage = Storage(path, clock=lambda: NOON + HOUR)
        facts = storage.lookup.facts([SagaId("", str(number)) for number in range(3)])
        assert sum(len(each.spans) + len(each.logs) for each in facts.values()) == len(sent)
        assert storage.records.counters == (sent.total() + extra, len(sent) + extra, 0, sent.total() - len(sent))
        storage.close()
