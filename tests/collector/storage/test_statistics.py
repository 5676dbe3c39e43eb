"""Steps are counted once, and percentiles of them are right, wherever their records lie."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.storage import SagaRow, Storage, statistics
from sagascope_collector.storage.statistics import (
    COUNTS_RETENTION_SECONDS,
    HOURLY_AFTER_SECONDS,
    MAX_STEPS,
    RECENT_COUNTS_SECONDS,
    TRANSITION,
    StepStatistics,
    steps_of,
    whole_period,
)
from support.otlp import NOON, SECOND, log, logs, of_saga, resource, span, span_id, traces

from .conftest import RECEIVED, Put, append

ORCHESTRATOR, WALLET = resource("orchestrator", service_instance_id="o"), resource("wallet", service_instance_id="w")


def current(step: str, *steps: str) -> SagaRow:
    """An open saga whose current step it is."""
    key = SagaKey("", "payment", "7", "")
    return SagaRow(key, "running", None, step, "wallet", steps, (), NOON, NOON, None, None, {}, "{}")


def steps(storage: Storage, since: int = 0, environment: str | None = None) -> dict[tuple[str, str], StepStatistics]:
    found = storage.statistics.steps("payment", environment, since, 3600)
    return {(each.step, each.type): each for each in found if each.type != TRANSITION}


def transitions(storage: Storage) -> dict[tuple[str, str], StepStatistics]:
    found = storage.statistics.steps("payment", None, 0, 3600)
    return {steps_of(each.step): each for each in found if each.type == TRANSITION}


def attempt(number: int, step: str, begin: float = 0.0, lasts: float = 1.0, saga: str = "8492", **said: Any) -> Any:
    """An attempt that has ended; `said` are its further attributes, and what `span` takes."""
    error = said.pop("error", None)
    kind = said.pop("kind", 1)
    start = NOON + round(begin * SECOND)
    marked = of_saga(saga, role="step", step_name=step) | {f"saga.step.{name}": value for name, value in said.items()}
    return span(number, start=start, end=start + round(lasts * SECOND), attributes=marked, error=error, kind=kind)


def test_an_attempt_that_two_services_report_is_one_and_the_executor_s(storage: Storage, put: Put) -> None:
    put(
        traces(attempt(1, "wallet.debit", lasts=9.0, attempt=1, error="no answer", kind=3), of=ORCHESTRATOR),
        traces(attempt(2, "wallet.debit", begin=0.5, lasts=1.0, attempt=1, kind=2), of=WALLET),
    )
    (counted,) = steps(storage).values()
    assert counted[:6] == ("wallet.debit", "action", 1, 0, 0, 0)
    assert counted.percentiles == pytest.approx((1.0, 1.0, 1.0), rel=0.045)


def test_failures_retries_and_compensations_are_counted(storage: Storage, put: Put) -> None:
    put(
        traces(
            attempt(1, "wallet.debit", attempt=1, error="refused"),
            attempt(2, "wallet.debit", 2, attempt=2, error="refused"),
            attempt(3, "wallet.debit", 4, attempt=3),
            attempt(4, "wallet.refund", 6, attempt=1, type="compensation", compensates="wallet.debit"),
            attempt(5, "wallet.refund", 6, attempt=2, type="compensation", compensates="wallet.debit", error="x"),
        ),
        logs(log("only a log", attributes=of_saga())),
    )
    assert {key: each[2:6] for key, each in steps(storage).items()} == {
        ("wallet.debit", "action"): (1, 2, 2, 1),
        ("wallet.refund", "compensation"): (1, 1, 1, 0),
    }


def test_a_compensation_that_two_services_report_is_one(storage: Storage, put: Put) -> None:
    compensation = {"attempt": 1, "type": "compensation", "compensates": "wallet.debit"}
    put(
        traces(
            attempt(1, "wallet.debit", attempt=1),
            attempt(2, "wallet.refund", 5, kind=3, **compensation),
            of=ORCHESTRATOR,
        ),
        traces(attempt(3, "wallet.refund", 5.1, kind=2, **compensation), of=WALLET),
    )
    assert steps(storage)["wallet.debit", "action"].compensated == 1


def test_a_step_that_all_are_stuck_in_is_returned_although_it_never_ended(storage: Storage, put: Put) -> None:
    put(traces(attempt(1, "a")))
    row = current("b", "a", "b")
    storage.sagas.put([SagaId("", "7")], [row])
    assert steps(storage)["b", "action"][2:7] == (0, 0, 0, 0, 1)


def test_steps_come_in_their_usual_order(storage: Storage, put: Put) -> None:
    for number in range(5):
        put(
            *(
                traces(attempt(10 * number + place, step, begin=place, saga=str(number)))
                for place, step in ((2, "b"), (1, "c"), (3, "a"))
            )
        )
    assert [step for step, _ in steps(storage)] == ["c", "b", "a"]


def test_a_step_that_is_retried_for_ever_keeps_its_place(storage: Storage, put: Put) -> None:
    again = (attempt(number, "a", begin=100 * number, attempt=number, error="refused") for number in range(2, 9))
    put(traces(attempt(1, "a", attempt=1, error="refused"), *again, attempt(20, "b", begin=5)))
    assert [step for step, _ in steps(storage)] == ["a", "b"]


def test_the_time_between_steps_is_a_transition(storage: Storage, put: Put) -> None:
    put(
        traces(
            attempt(1, "a", 0, lasts=1, attempt=1, error="refused"),
            attempt(2, "a", 3, lasts=1, attempt=2),
            attempt(3, "b", 6, lasts=1),
            attempt(4, "beside", 6.5, lasts=9),
            attempt(5, "c", 7, lasts=1, saga="7"),
        )
    )
    (found,) = transitions(storage).items()
    assert found[0] == ("a", "b")
    assert found[1].succeeded == 1
    assert found[1].percentiles == pytest.approx((2.0, 2.0, 2.0), rel=0.045)


def test_a_window_begins_at_its_start(storage: Storage, put: Put) -> None:
    put(traces(attempt(1, "early"), attempt(2, "late", begin=3600)))
    assert set(steps(storage, NOON + 1800 * SECOND)) == {("late", "action")}
    assert set(steps(storage, environment="elsewhere")) == set()
    assert set(steps(storage, environment="")) == {("early", "action"), ("late", "action")}


@pytest.mark.parametrize(("period", "apart"), [(1, 300), (300, 300), (301, 600), (3600, 3600), (3601, 7200)])
def test_a_window_is_returned_in_periods(storage: Storage, put: Put, period: int, apart: int) -> None:
    begin = NOON - NOON % (7200 * SECOND)
    since_noon = (begin - NOON) / SECOND
    put(
        traces(
            attempt(1, "a", since_noon, lasts=1.0, attempt=1, error="refused"),
            attempt(2, "a", since_noon + apart - 1, lasts=2.0, attempt=2),
            attempt(3, "a", since_noon + apart, lasts=4.0, saga="7"),
            attempt(4, "b", since_noon + 2 * apart, lasts=4.0, saga="7"),
        )
    )
    found = {each.step: each for each in storage.statistics.steps("payment", None, 0, whole_period(period))}
    assert [each[:3] for each in found["a"].periods] == [(begin, 1, 1), (begin + apart * SECOND, 1, 0)]
    assert [each.percentiles for each in found["a"].periods] == [
        pytest.approx((lasted, lasted, lasted), rel=0.045) for lasted in (2.0, 4.0)
    ]
    assert [each.at for each in found["b"].periods] == [begin + 2 * apart * SECOND]
    assert (found["a"].succeeded, found["a"].failed) == (2, 1)


def test_percentiles_are_those_of_all_attempts(storage: Storage) -> None:
    chance = Random(7)
    lasted = [chance.lognormvariate(0, 1.5) for _ in range(2_000)]
    append(storage, *(traces(attempt(n + 1, "a", lasts=each, saga=str(n))) for n, each in enumerate(lasted)))
    (counted,) = steps(storage).values()
    exact = sorted(lasted)
    assert counted.percentiles == pytest.approx((exact[999], exact[1899], exact[1979]), rel=0.045)


def test_an_open_saga_is_in_flight_at_its_current_step(storage: Storage, put: Put) -> None:
    put(traces(attempt(1, "a")))
    row = current("a", "a")
    storage.sagas.put([SagaId("", "7")], [row])
    assert steps(storage)["a", "action"].in_flight == 1


def test_times_that_cannot_be_meant_do_no_harm(storage: Storage, put: Put) -> None:
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
    assert steps(storage)["a", "action"].succeeded == 3


def test_names_without_end_are_cut_off(storage: Storage) -> None:
    append(
        storage,
        *(traces(attempt(n + 1, f"step {n}", saga=str(n))) for n in range(MAX_STEPS + 50)),
        *(traces(attempt(9_000 + n, "usual", saga=f"u{n}")) for n in range(2)),
    )
    counted = steps(storage)
    assert len(counted) == MAX_STEPS
    assert counted["usual", "action"].succeeded == 2


def test_a_span_is_counted_once_whether_before_or_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "x.duckdb")
    for turn in range(3):
        storage = Storage(path, clock=lambda: RECEIVED)
        append(storage, traces(attempt(1, "a")), traces(attempt(10 + turn, "a", saga=f"n{turn}")))
        if turn:
            count(storage, monkeypatch)
        storage.close()
    storage = Storage(path, clock=lambda: RECEIVED)
    assert steps(storage)["a", "action"].succeeded == 4
    storage.close()


def count(storage: Storage, monkeypatch: pytest.MonkeyPatch, now: int = RECEIVED) -> None:
    """Has maintenance count every span."""
    monkeypatch.setattr(statistics, "COUNT_ROWS", 1)
    while storage.statistics.count(now):
        pass
    assert storage.statistics.counted_seq == storage.records.seq


def test_old_counts_become_hours_and_then_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(str(tmp_path / "x.duckdb"), clock=lambda: RECEIVED)
    append(storage, *(traces(attempt(n + 1, "a", begin=n * 400, saga=str(n))) for n in range(9)))
    count(storage, monkeypatch)
    before, now = steps(storage), NOON // SECOND
    for later in (now + HOURLY_AFTER_SECONDS + 7_200, now + HOURLY_AFTER_SECONDS + 7_200):
        with storage.database.transaction():
            storage.statistics._age(later)
    assert steps(storage) == before
    within = [now + n * 400 for n in range(9) if (now + n * 400) // 3600 > now // 3600]
    assert steps(storage, NOON + SECOND * 600)["a", "action"].succeeded == len(within) == 2
    with storage.database.transaction():
        storage.statistics._age(now + COUNTS_RETENTION_SECONDS + 3_600)
    assert steps(storage) == {}
    storage.close()


def test_spans_that_maintenance_has_not_counted_yet_are_counted_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = 1000.0
    monkeypatch.setattr("sagascope_collector.storage.statistics.time.monotonic", lambda: moment)
    storage = Storage(str(tmp_path / "x.duckdb"), clock=lambda: RECEIVED)
    append(storage, traces(attempt(1, "a")))
    assert steps(storage)["a", "action"].succeeded == 1
    append(storage, traces(attempt(2, "a", saga="other")))
    moment += RECENT_COUNTS_SECONDS + 1
    assert steps(storage)["a", "action"].succeeded == 2
    storage.close()


def test_calls_between_services_are_counted_with_their_failures(storage: Storage, put: Put) -> None:
    put(
        traces(span(1, trace=7), span(4, trace=8), of=ORCHESTRATOR),
        traces(
            span(2, trace=7, parent_span_id=span_id(1)),
            span(3, trace=7, parent_span_id=span_id(2), error="within the service"),
            span(5, trace=8, parent_span_id=span_id(4), error="refused"),
            span(6, trace=9, parent_span_id=span_id(1)),
            of=WALLET,
        ),
    )
    (call,) = storage.statistics.calls(0, None, 100)
    assert call == ("orchestrator", "wallet", 2, 1, 1.0, 1)
    assert storage.statistics.calls(0, "production", 100) == []
    assert storage.statistics.calls(NOON + SECOND, None, 100) == []


def test_of_many_spans_whole_traces_are_sampled(storage: Storage, put: Put) -> None:
    numbers = range(1, 401)
    put(traces(*(span(each, trace=each) for each in numbers), of=ORCHESTRATOR))
    put(traces(*(span(1000 + each, trace=each, parent_span_id=span_id(each)) for each in numbers), of=WALLET))
    (call,) = storage.statistics.calls(0, None, 200)
    assert call.sampled == 5
    assert call.calls % 5 == 0
    assert 200 < call.calls < 700
