"""Whatever fails while maintenance is done, all answers are as they were, and the next attempt succeeds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.records import Facts, SagaId, SagaKey
from sagascope_collector.saga_filters import SagaFilters
from sagascope_collector.storage import RetentionPolicy, SagaRow, Storage, changes, maintenance, records, statistics
from sagascope_collector.storage.database import Database
from support.otlp import NOON, SECOND, heartbeat, logs, of_saga, resource, span, traces

from .conftest import append
from .histories import DAY, NOW, Drawn, facts_of, fill, id_of

KEEP = RetentionPolicy(seconds=6 * DAY, summary_seconds=3 * DAY)


@pytest.fixture(autouse=True)
def soon(eager: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets each piece of maintenance find something to do at once."""
    monkeypatch.setattr(records, "SNAPSHOT_COMMITS", 1)
    monkeypatch.setattr(statistics, "COUNT_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(changes, "MERGE_GAP", 30)
    monkeypatch.setattr(maintenance, "SCATTERED_INTERVALS", 3)
    monkeypatch.setattr(maintenance, "LONG_RUNNING_INTERVAL_SECONDS", 0.0)


def filled(path: Path | str) -> tuple[Storage, dict[SagaKey, Drawn]]:
    """A storage with something to do for each piece of maintenance."""
    storage = Storage(str(path), clock=lambda: NOW, keep=KEEP)
    drawn = fill(storage, sagas=8)
    for number in range(1, 5):
        append(storage, traces(span(5_000 + number, trace=5_000 + number, attributes=of_saga("long"))))
        append(storage, traces(*(span(6_000 + 50 * number + each, trace=6_000) for each in range(40))))
        storage.changes.claim(1_000)
        row = next(iter(drawn.values())).row._replace(ended_at=None, status="running")
        storage.sagas.put(
            [SagaId("", "long")], [row._replace(key=row.key._replace(environment="", id="long"), updated_at=NOW)]
        )
    append(storage, logs(heartbeat(1, 7, at=NOW - SECOND), of=resource("wallet", service_instance_id="w1")))
    return storage, drawn


Answers = tuple[dict[SagaId, Facts], list[SagaRow], list[object]]


def answers(storage: Storage, drawn: dict[SagaKey, Drawn]) -> Answers:
    """Facts and summaries of all sagas, and what does not depend on how far retention has come."""
    (long,) = storage.lookup.facts([SagaId("", "long")]).values()
    others = [{each.span_id for each in long.spans}, storage.instances.all(), storage.records.counters]
    return facts_of(storage, drawn), storage.listing.page(SagaFilters(), limit=500).rows, others


def test_a_step_of_maintenance_that_fails_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each statement, and each end of a transaction, is refused once after each course; then the step is made again."""
    storage, drawn = filled(":memory:")
    courses, failures, goes_on = set[tuple[str, ...]](), 0, True

    def is_new(made: tuple[str, ...]) -> bool:
        """Whether nothing was refused after these statements before."""
        if made in courses:
            return False
        courses.add(made)
        return True

    while goes_on:
        before, refused = answers(storage, drawn), ["the first time"]
        while refused:
            with _refusing(monkeypatch, is_new) as refused:
                try:
                    goes_on = storage.maintain()
                except StorageUnavailable:
                    assert refused
            if refused:
                failures += 1
                after = answers(storage, drawn)
                if _is_later_piece(before, after):
                    before = after  # a piece before the one that failed was done
                assert after == before
    assert failures > 40
    assert storage.database.rows("SELECT count(*) FROM long_running_spans") == [(4,)]
    storage.close()


def test_instances_are_the_same_after_a_restart_although_a_snapshot_failed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(str(path), clock=lambda: NOW)
    append(storage, logs(heartbeat(1, 7, at=NOW - SECOND), of=resource("wallet", service_instance_id="w1")))
    before = storage.instances.all()
    for number in range(1, 12):
        with _refusing(monkeypatch, number) as refused:
            try:
                storage.records.snapshot()
            except StorageUnavailable:
                assert refused
        if not refused:
            break
    assert number > 4
    storage.close()
    storage = Storage(str(path), clock=lambda: NOW)
    assert storage.instances.all() == before
    storage.close()


def _is_later_piece(before: Answers, after: Answers) -> bool:
    """Whether retention deleted whole sagas, or their records: of those, no other answer is left."""
    gone = before[0].keys() - after[0].keys()
    return (
        bool(gone)
        and after[0] == {id_: each for id_, each in before[0].items() if id_ not in gone}
        and [each for each in before[1] if id_of(each.key) not in gone]
        == [each for each in after[1] if id_of(each.key) not in gone]
        and before[2] == after[2]
    )


@contextmanager
def _refusing(monkeypatch: pytest.MonkeyPatch, refuses: int | Callable[[tuple[str, ...]], bool]) -> Iterator[list[str]]:
    """Refuses the n-th statement or commit within the block; returns a list that has an item once it did.

    Or the first for which `refuses` is true: it is called with what was made so far, and the next.
    """
    refused, made = list[str](), list[str]()
    rows, arrow, insert, transaction = Database.rows, Database.arrow, Database.insert, Database.transaction

    def count(what: str) -> None:
        made.append(what)
        if not refused and (len(made) == refuses if isinstance(refuses, int) else refuses(tuple(made))):
            refused.append(what)
            raise StorageUnavailable("The disk is full.")

    def counted_rows(self: Database, statement: str, *given: Any, **tables: Any) -> Any:
        count(statement)
        return rows(self, statement, *given, **tables)

    def counted_arrow(self: Database, statement: str, *given: Any, **tables: Any) -> Any:
        count(statement)
        return arrow(self, statement, *given, **tables)

    def counted_insert(self: Database, table: str, *given: Any) -> Any:
        count(table)
        return insert(self, table, *given)

    @contextmanager
    def counted_transaction(self: Database) -> Iterator[None]:
        with transaction(self):
            yield
            count("commit")

    with monkeypatch.context() as patched:
        patched.setattr(Database, "rows", counted_rows)
        patched.setattr(Database, "arrow", counted_arrow)
        patched.setattr(Database, "insert", counted_insert)
        patched.setattr(Database, "transaction", counted_transaction)
        yield refused


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "storage.duckdb"


def test_a_batch_that_could_not_be_appended_is_not_there_and_may_come_again(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = traces(span(1, start=NOON, attributes=of_saga(), links=[(1, 1, of_saga("9"))]))
    for number in range(1, 20):
        with _refusing(monkeypatch, number) as refused:
            try:
                assert append(storage, request) == (1, 0)
            except StorageUnavailable:
                assert refused
        if not refused:
            break
        assert storage.lookup.facts([SagaId("", "8492"), SagaId("", "9")]) == {}
        assert storage.records.counters == (0, 0, 0, 0)
        assert storage.changes.backlog().sagas == 0
    assert number > 4
    assert len(storage.lookup.facts([SagaId("", "8492"), SagaId("", "9")])) == 2
    assert storage.records.counters == (1, 1, 0, 0)


def test_summaries_that_could_not_be_written_leave_those_from_before(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = fill(storage, sagas=12)
    before = storage.listing.page(SagaFilters(), limit=100).rows, facts_of(storage, drawn), storage.sagas.flow_counts()
    append(storage, traces(span(88, trace=88, attributes=of_saga("s1"))))
    claimed = storage.changes.claim(10)
    rows = [each.row._replace(status="failed", ended_at=NOW) for key, each in drawn.items() if key.id == "s1"]
    for number in range(1, 40):
        with _refusing(monkeypatch, number) as refused:
            try:
                storage.sagas.put(claimed, [each for each in rows if each.key.environment == ""])
            except StorageUnavailable:
                assert refused
        if not refused:
            break
        if "commit" in refused and storage.listing.page(SagaFilters(), limit=100).rows != before[0]:
            break  # it was written, and only what follows failed
        assert storage.listing.page(SagaFilters(), limit=100).rows == before[0]
        assert storage.sagas.flow_counts() == before[2]
        assert storage.changes.claim(10) == claimed
    assert number >= 3
