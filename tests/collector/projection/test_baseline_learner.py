"""What finished sagas taught, through the projection over a real store."""

from collections.abc import Iterator, Sequence

import pytest

from sagascope_collector.analysis import Context, SagaSample, load_sample
from sagascope_collector.analysis.baseline import MAX_SAMPLES, StepSample
from sagascope_collector.api import present
from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.projection import BaselineLearner, Projection, baseline_learner, thread
from sagascope_collector.projection.baseline_learner import MAX_EXTRA_SAMPLES, PAUSE_SECONDS
from sagascope_collector.records import SagaKey
from sagascope_collector.saga_filters import SagaFilters
from sagascope_collector.storage import BaselineRow, SagaRow, Storage
from sagascope_collector.storage.statistics import MAX_SHARE
from support.otlp import NOON, SECOND
from support.payments import DONE, STUCK, saga

from .test_projection import put, settle

NAME = ("", "payment")
UNPLANNED = {"saga.plan": None}


class Hands:
    """Clocks that are moved by hand."""

    def __init__(self) -> None:
        self.now, self.seconds = NOON, 0.0

    def go_on(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)
        self.seconds += seconds


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def store(hands: Hands) -> Iterator[Storage]:
    opened = Storage(clock=lambda: hands.now)
    yield opened
    opened.close()


def projected(store: Storage, hands: Hands) -> tuple[Projection, BaselineLearner]:
    learner = BaselineLearner(store, lambda: hands.seconds)
    projection = Projection(
        store,
        summarise=present.summary,
        context=lambda now: Context(now, baselines=learner.baselines),
        learner=learner,
        clock=lambda: hands.now,
    )
    return projection, learner


def attention_of(store: Storage, saga_id: str) -> tuple[str | None, str | None]:
    (row,) = (row for row in store.listing.page(SagaFilters(), limit=500).rows if row.key.id == saga_id)
    return row.attention, row.step


def test_one_finished_saga_shows_what_is_missing_in_another(store: Storage, hands: Hands) -> None:
    projection, learner = projected(store, hands)
    put(store, *saga("stuck", DONE[:1], now=NOON, ended=False, root=UNPLANNED))
    settle(projection)
    assert attention_of(store, "stuck") == (None, None)
    put(store, *saga("1", DONE, now=NOON, root=UNPLANNED))
    settle(projection)
    assert learner.baselines[NAME].plan("") is not None
    assert attention_of(store, "stuck") == ("next_step_missing", "ledger.record")


def test_all_open_sagas_of_a_changed_type_are_evaluated_again_in_pages(
    store: Storage, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    projection, _ = projected(store, hands)
    stuck = [f"stuck {number}" for number in range(5)]
    for each in stuck:
        put(store, *saga(each, DONE[:1], now=NOON, ended=False, root=UNPLANNED))
    settle(projection)
    monkeypatch.setattr(thread, "BATCH_SAGAS", 2)
    put(store, *saga("1", DONE, now=NOON, root=UNPLANNED))
    settle(projection)
    assert {attention_of(store, each) for each in stuck} == {("next_step_missing", "ledger.record")}


def test_what_was_learned_outlives_the_process(store: Storage, hands: Hands) -> None:
    projection, learner = projected(store, hands)
    put(store, *saga("1", DONE, now=NOON, root=UNPLANNED))
    settle(projection)
    assert BaselineLearner(store).baselines == learner.baselines


def test_one_name_is_not_learned_all_the_time(store: Storage, hands: Hands) -> None:
    learner = BaselineLearner(store, lambda: hands.seconds)
    learner.add_samples([sample(1)])
    assert [each.name for each in learner.update_baselines()] == [NAME]
    learner.add_samples([sample(2, "a", "b", "c")])
    assert learner.update_baselines() == []
    hands.go_on(PAUSE_SECONDS)
    assert [each.name for each in learner.update_baselines()] == [NAME]
    hands.go_on(PAUSE_SECONDS)
    learner.add_samples([sample(2, "a", "b", "c")])
    assert learner.update_baselines() == [], "the same again is no news"


def test_of_a_flood_the_latest_count_in_whatever_parts_they_come(store: Storage, hands: Hands) -> None:
    learner = BaselineLearner(store, lambda: hands.seconds)
    for first in range(0, MAX_SAMPLES + 2 * MAX_EXTRA_SAMPLES, 50):
        learner.add_samples([sample(first + number) for number in range(50)])
    kept = sorted(load_sample(each).ended_at for each in store.baselines.all())
    assert kept[-MAX_SAMPLES:] == [
        NOON + number for number in range(2 * MAX_EXTRA_SAMPLES, MAX_SAMPLES + 2 * MAX_EXTRA_SAMPLES)
    ]
    assert len(kept) <= MAX_SAMPLES * MAX_SHARE
    learner.add_samples([sample(10_000 + number, name="unknown") for number in range(3)])
    assert NAME in learner.baselines or [each.name for each in learner.update_baselines()] == [NAME]
    assert ("", "unknown") not in learner.baselines


def test_nothing_is_kept_of_a_saga_that_was_erased_before_its_sample_was_taken(store: Storage, hands: Hands) -> None:
    learner = BaselineLearner(store, lambda: hands.seconds)
    put(store, *saga("1", now=NOON))
    ids = store.changes.claim(10)
    store.erasure.erase(ids, [])
    learner.add_samples([sample(1)], ids)
    assert store.baselines.all() == []
    assert learner.update_baselines() == []
    put(store, *saga("1", now=NOON))
    learner.add_samples([sample(1)], store.changes.claim(10))
    assert len(store.baselines.all()) == 1


def test_types_have_their_turn_in_which_candidates_are_learned_from(store: Storage) -> None:
    learner = BaselineLearner(store)
    learner.add_candidates(completed(f"type {number}", each) for number in range(5) for each in range(10))
    turns = [[key.name for key in learner.candidates(2)] for _ in range(3)]
    assert turns == [["type 0", "type 1"], ["type 2", "type 3"], ["type 4", "type 0"]]
    assert [key.id for key in learner.candidates(20) if key.name == "type 3"] == ["9", "8", "7", "6"]


def test_candidates_of_few_types_are_held(store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline_learner, "MAX_TYPES", 3)
    learner = BaselineLearner(store)
    learner.add_samples([sample(1)])
    learner.add_candidates(completed(f"type {number}", 1) for number in range(5))
    assert [key.name for key in learner.candidates(10)] == ["type 0", "type 1"]
    learner.add_samples([sample(1, name="type 1"), sample(1, name="type 2")])
    assert len(store.baselines.all()) == 2


def test_candidates_are_learned_from_while_few_sagas_change(store: Storage, hands: Hands) -> None:
    projection, _ = projected(store, hands)
    put(store, *(each for number in range(100) for each in saga(str(number), now=NOON)))
    for number in range(4):
        projection.advance()
        put(store, *saga(f"later {number}", now=NOON))
    assert len(store.baselines.all()) == 103


def test_what_is_due_is_diagnosed_although_nothing_can_be_learned(
    store: Storage, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    projection, _ = projected(store, hands)
    put(store, *saga("stuck", STUCK, now=NOON, ago=0.5))
    settle(projection)
    assert attention_of(store, "stuck") == (None, "ledger.record")
    put(store, *(each for number in range(100) for each in saga(str(number), now=NOON)))
    projection.advance()

    def full(rows: Sequence[BaselineRow], keep: int, stale: Sequence[SagaKey]) -> None:
        if rows:
            raise StorageUnavailable("No space.")

    monkeypatch.setattr(store.baselines, "put", full)
    hands.go_on(60)
    with pytest.raises(StorageUnavailable):
        projection.advance()
    assert attention_of(store, "stuck") == ("hung", "ledger.record")


def completed(name: str, number: int) -> SagaRow:
    key, ended_at = SagaKey("", name, str(number), ""), NOON + number
    return SagaRow(key, "completed", None, None, None, (), (), NOON, ended_at, ended_at, None, {}, "{}")


def sample(number: int, *steps: str, name: str = "payment") -> SagaSample:
    passages = tuple(
        StepSample(step, "action", at * SECOND, (at + 1) * SECOND, (SECOND,), "a", "")
        for at, step in enumerate(steps or ("a", "b"))
    )
    return SagaSample(SagaKey("", name, str(number), ""), True, NOON + number, "", passages)
