"""Steps are counted once, and percentiles of them are right, wherever their records lie."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from sagascope_collector.records import SagaId
from sagascope_collector.store import DuckDBStore, Store
from sagascope_collector.store.contract import HAND_OVER, SagaRow, StepStatistics, between, whole_period
from sagascope_collector.store.statistics import FRESH, KEPT, MOST_STEPS, YOUNG
from support.otlp import NOON, SECOND, log, logs, of_saga, resource, span, traces

from .conftest import RECEIVED, Put, append

ORCHESTRATOR, WALLET = resource("orchestrator", service_instance_id="o"), resource("wallet", service_instance_id="w")


def steps(store: Store, since: int = 0, environment: str | None = None) -> dict[tuple[str, str], StepStatistics]:
    told = store.steps("payment", environment, since, 3600)
    return {(each.step, each.type): each for each in told if each.type != HAND_OVER}


def hand_overs(store: Store) -> dict[tuple[str, str], StepStatistics]:
    told = store.steps("payment", None, 0, 3600)
    return {between(each.step): each for each in told if each.type == HAND_OVER}


def tried(number: int, step: str, begin: float = 0.0, lasts: float = 1.0, saga: str = "8492", **said: Any) -> Any:
    """An attempt that has ended; `said` are its further attributes, and what `span` takes."""
    error = said.pop("error", None)
    kind = said.pop("kind", 1)
    start = NOON + round(begin * SECOND)
    marked = of_saga(saga, role="step", step_name=step) | {f"saga.step.{name}": value for name, value in said.items()}
    return span(number, start=start, end=start + round(lasts * SECOND), attributes=marked, error=error, kind=kind)


def test_an_attempt_that_two_services_tell_of_is_one_and_the_executor_s(store: Store, put: Put) -> None:
    put(
        traces(tried(1, "wallet.debit", lasts=9.0, attempt=1, error="no answer", kind=3), of=ORCHESTRATOR),
        traces(tried(2, "wallet.debit", begin=0.5, lasts=1.0, attempt=1, kind=2), of=WALLET),
    )
    (counted,) = steps(store).values()
    assert counted[:6] == ("wallet.debit", "action", 1, 0, 0, 0)
    assert counted.percentiles == pytest.approx((1.0, 1.0, 1.0), rel=0.045)


def test_failures_retries_and_undos_are_counted(store: Store, put: Put) -> None:
    put(
        traces(
            tried(1, "wallet.debit", attempt=1, error="refused"),
            tried(2, "wallet.debit", 2, attempt=2, error="refused"),
            tried(3, "wallet.debit", 4, attempt=3),
            tried(4, "wallet.refund", 6, attempt=1, type="compensation", compensates="wallet.debit"),
            tried(5, "wallet.refund", 6, attempt=2, type="compensation", compensates="wallet.debit", error="x"),
        ),
        logs(log("only a log", attributes=of_saga())),
    )
    assert {key: each[2:6] for key, each in steps(store).items()} == {
        ("wallet.debit", "action"): (1, 2, 2, 1),
        ("wallet.refund", "compensation"): (1, 1, 1, 0),
    }


def test_an_undo_that_two_services_tell_of_is_one(store: Store, put: Put) -> None:
    undo = {"attempt": 1, "type": "compensation", "compensates": "wallet.debit"}
    put(
        traces(tried(1, "wallet.debit", attempt=1), tried(2, "wallet.refund", 5, kind=3, **undo), of=ORCHESTRATOR),
        traces(tried(3, "wallet.refund", 5.1, kind=2, **undo), of=WALLET),
    )
    assert steps(store)["wallet.debit", "action"].undone == 1


def test_a_step_at_which_all_stand_is_told_although_it_never_ended(store: Store, put: Put) -> None:
    put(traces(tried(1, "a")))
    row = SagaRow(
        key=("", "payment", "7", ""), status="running", attention=None, step="b", service="wallet", steps=("a", "b"),
        services=(), started_at=NOON, updated_at=NOON, ended_at=None, due_at=None, keys={}, document="{}",
    )  # fmt: skip
    store.put_summaries([SagaId("", "7")], [row])
    assert steps(store)["b", "action"][2:7] == (0, 0, 0, 0, 1)


def test_steps_come_in_their_usual_order(store: Store, put: Put) -> None:
    for number in range(5):
        put(
            *(
                traces(tried(10 * number + place, step, begin=place, saga=str(number)))
                for place, step in ((2, "b"), (1, "c"), (3, "a"))
            )
        )
    assert [step for step, _ in steps(store)] == ["c", "b", "a"]


def test_a_step_that_is_tried_for_ever_keeps_its_place(store: Store, put: Put) -> None:
    again = (tried(number, "a", begin=100 * number, attempt=number, error="refused") for number in range(2, 9))
    put(traces(tried(1, "a", attempt=1, error="refused"), *again, tried(20, "b", begin=5)))
    assert [step for step, _ in steps(store)] == ["a", "b"]


def test_the_time_between_steps_is_told(store: Store, put: Put) -> None:
    put(
        traces(
            tried(1, "a", 0, lasts=1, attempt=1, error="refused"),
            tried(2, "a", 3, lasts=1, attempt=2),
            tried(3, "b", 6, lasts=1),
            tried(4, "beside", 6.5, lasts=9),
            tried(5, "c", 7, lasts=1, saga="7"),
        )
    )
    (told,) = hand_overs(store).items()
    assert told[0] == ("a", "b")
    assert told[1].succeeded == 1
    assert told[1].percentiles == pytest.approx((2.0, 2.0, 2.0), rel=0.045)


def test_a_window_begins_where_it_says(store: Store, put: Put) -> None:
    put(traces(tried(1, "early"), tried(2, "late", begin=3600)))
    assert set(steps(store, NOON + 1800 * SECOND)) == {("late", "action")}
    assert set(steps(store, environment="elsewhere")) == set()
    assert set(steps(store, environment="")) == {("early", "action"), ("late", "action")}


@pytest.mark.parametrize(("period", "apart"), [(1, 300), (300, 300), (301, 600), (3600, 3600), (3601, 7200)])
def test_a_window_is_told_in_parts(store: Store, put: Put, period: int, apart: int) -> None:
    begin = NOON - NOON % (7200 * SECOND)
    since_noon = (begin - NOON) / SECOND
    put(
        traces(
            tried(1, "a", since_noon, lasts=1.0, attempt=1, error="refused"),
            tried(2, "a", since_noon + apart - 1, lasts=2.0, attempt=2),
            tried(3, "a", since_noon + apart, lasts=4.0, saga="7"),
            tried(4, "b", since_noon + 2 * apart, lasts=4.0, saga="7"),
        )
    )
    told = {each.step: each for each in store.steps("payment", None, 0, whole_period(period))}
    assert [each[:3] for each in told["a"].periods] == [(begin, 1, 1), (begin + apart * SECOND, 1, 0)]
    assert [each.percentiles for each in told["a"].periods] == [
        pytest.approx((lasted, lasted, lasted), rel=0.045) for lasted in (2.0, 4.0)
    ]
    assert [each.at for each in told["b"].periods] == [begin + 2 * apart * SECOND]
    assert (told["a"].succeeded, told["a"].failed) == (2, 1)


def test_percentiles_are_those_of_all_attempts(store: Store) -> None:
    chance = Random(7)
    lasted = [chance.lognormvariate(0, 1.5) for _ in range(2_000)]
    append(store, *(traces(tried(n + 1, "a", lasts=each, saga=str(n))) for n, each in enumerate(lasted)))
    (counted,) = steps(store).values()
    exact = sorted(lasted)
    assert counted.percentiles == pytest.approx((exact[999], exact[1899], exact[1979]), rel=0.045)


def test_what_stands_at_a_step_is_in_flight(store: Store, put: Put) -> None:
    put(traces(tried(1, "a")))
    row = SagaRow(
        key=("", "payment", "7", ""), status="running", attention=None, step="a", service="wallet", steps=("a",),
        services=(), started_at=NOON, updated_at=NOON, ended_at=None, due_at=None, keys={}, document="{}",
    )  # fmt: skip
    store.put_summaries([SagaId("", "7")], [row])
    assert steps(store)["a", "action"].in_flight == 1


def test_times_that_cannot_be_meant_do_no_harm(store: Store, put: Put) -> None:
    marked = of_saga(role="step", step_name="a")
    put(
        traces(
            span(1, start=2**64 - 1, end=2**64 - 1, attributes=marked | {"saga.step.attempt": 1}),
            span(2, start=NOON, end=1, attributes=marked | {"saga.step.attempt": 2}),
            span(3, start=0, end=2**64 - 1, attributes=marked | {"saga.step.attempt": 3}),
            span(4, start=NOON, end=0, attributes=marked | {"saga.step.attempt": 4}),
            span(5, start=1, end=NOON, attributes=marked | {"saga.step.type": "no such", "saga.step.attempt": -1}),
        )
    )
    assert steps(store)["a", "action"].succeeded == 3


def test_names_without_end_are_cut_off(store: Store) -> None:
    append(
        store,
        *(traces(tried(n + 1, f"step {n}", saga=str(n))) for n in range(MOST_STEPS + 50)),
        *(traces(tried(9_000 + n, "usual", saga=f"u{n}")) for n in range(2)),
    )
    counted = steps(store)
    assert len(counted) == MOST_STEPS
    assert counted["usual", "action"].succeeded == 2


def test_what_was_sealed_is_counted_once_by_whoever_opens_it(tmp_path: Path) -> None:
    path = str(tmp_path / "x.duckdb")
    for turn in range(3):
        store = DuckDBStore(path, clock=lambda: RECEIVED)
        append(store, traces(tried(1, "a")), traces(tried(10 + turn, "a", saga=f"n{turn}")))
        if turn:
            store.seal()
        store.close()
    store = DuckDBStore(path, clock=lambda: RECEIVED)
    assert steps(store)["a", "action"].succeeded == 4
    store.close()


def test_old_counts_become_hours_and_then_nothing(tmp_path: Path) -> None:
    store = DuckDBStore(str(tmp_path / "x.duckdb"), clock=lambda: RECEIVED)
    append(store, *(traces(tried(n + 1, "a", begin=n * 400, saga=str(n))) for n in range(9)))
    store.seal()
    before, now = steps(store), NOON // SECOND
    for later in (now + YOUNG + 7_200, now + YOUNG + 7_200):
        with store._database.transaction():
            store._statistics.age(later)
    assert steps(store) == before
    within = [now + n * 400 for n in range(9) if (now + n * 400) // 3600 > now // 3600]
    assert steps(store, NOON + SECOND * 600)["a", "action"].succeeded == len(within) == 2
    with store._database.transaction():
        store._statistics.age(now + KEPT + 3_600)
    assert steps(store) == {}
    store.close()


def test_what_is_not_sealed_is_looked_at_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 1000.0
    monkeypatch.setattr("sagascope_collector.store.statistics.time.monotonic", lambda: moment)
    store = DuckDBStore(str(tmp_path / "x.duckdb"), clock=lambda: RECEIVED)
    append(store, traces(tried(1, "a")))
    assert steps(store)["a", "action"].succeeded == 1
    append(store, traces(tried(2, "a", saga="other")))
    moment += FRESH + 1
    assert steps(store)["a", "action"].succeeded == 2
    store.close()
