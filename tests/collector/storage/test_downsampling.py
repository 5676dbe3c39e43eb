"""Downsampling: of what completed long ago the summaries stay, and no other saga loses anything."""

from pathlib import Path

import pytest

from sagascope_collector.records import SagaId
from sagascope_collector.saga_filters import SagaFilters
from sagascope_collector.storage import RetentionPolicy, Storage, maintenance
from support.otlp import SECOND, of_saga, span, traces

from .conftest import append, maintain
from .histories import DAY, NOW, facts_of, fill, goes, id_of, listed

pytestmark = pytest.mark.usefixtures("eager")

SUMMARY_ONLY = RetentionPolicy(summary_seconds=4 * DAY)
BEFORE = NOW - 4 * DAY * SECOND


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "storage.duckdb"


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "MAX_DELETED_SAGAS", 7)


def opened(path: Path, keep: RetentionPolicy) -> Storage:
    return Storage(str(path), clock=lambda: NOW, keep=keep)


def downsampled(storage: Storage) -> set[SagaId]:
    return {id_of(row.key) for id_ in {key.id for key in listed(storage)} for row in storage.listing.downsampled(id_)}


@pytest.mark.parametrize("seed", range(3))
def test_of_what_completed_long_ago_the_summary_stays_and_the_records_go(path: Path, seed: int) -> None:
    storage = opened(path, SUMMARY_ONLY)
    drawn = fill(storage, seed)
    failed = {id_of(key) for key, each in drawn.items() if each.row.status != "completed"}
    chosen = goes(drawn, BEFORE) - failed
    assert 3 < len(chosen) < len(drawn)
    before, rows = facts_of(storage, drawn), storage.listing.page(SagaFilters(), limit=1_000).rows
    maintain(storage)
    for _ in range(2):
        assert facts_of(storage, drawn) == {id_: facts for id_, facts in before.items() if id_ not in chosen}
        assert storage.listing.page(SagaFilters(), limit=1_000).rows == rows
        assert downsampled(storage) == chosen
        storage.close()
        storage = opened(path, RetentionPolicy())
    storage.close()


def test_later_records_do_not_change_a_downsampled_saga(path: Path) -> None:
    storage = opened(path, SUMMARY_ONLY)
    drawn = fill(storage)
    maintain(storage)
    late = min(each for each in downsampled(storage) if not each.environment)
    kept = storage.listing.downsampled(late.id)
    assert storage.lookup.facts([late]) == {}
    append(storage, traces(span(88_888, trace=88_888, start=NOW, end=NOW + 1, attributes=of_saga(late.id))))
    assert late in storage.changes.claim(10)
    storage.sagas.put([late], [kept[0]._replace(status="running", ended_at=None, updated_at=NOW)])
    assert storage.listing.downsampled(late.id) == kept
    assert late not in storage.changes.claim(10)
    assert storage.lookup.facts([late]) == {}
    storage.close()
    storage = opened(path, RetentionPolicy(seconds=4 * DAY, summary_seconds=4 * DAY))
    maintain(storage)
    assert late not in {id_of(key) for key in listed(storage)}
    assert storage.retention.has_expired(late.id)
    assert drawn
    storage.close()


def test_nothing_is_downsampled_unless_asked(path: Path) -> None:
    storage = opened(path, RetentionPolicy())
    drawn = fill(storage)
    before = facts_of(storage, drawn)
    maintain(storage)
    assert facts_of(storage, drawn) == before
    assert downsampled(storage) == set()
    storage.close()
