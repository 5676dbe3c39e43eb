"""A general slowdown is one notice and raises the limits; one slow step does neither."""

from sagascope_collector.analysis import SagaSample, SlowdownDetector, learn_baseline
from sagascope_collector.analysis.baseline import MIN_LIMIT_SECONDS, StepSample
from sagascope_collector.records import SagaKey

MILLISECOND = 1_000_000
STEPS = ("fraud.check", "wallet.debit", "ledger.record", "shipping.book")


def taught(takes: dict[str, int] | int, count: int = 60) -> list[SagaSample]:
    """Lessons of sagas whose steps take so many milliseconds."""
    known = takes if isinstance(takes, dict) else dict.fromkeys(STEPS, takes)

    def passage(step: str) -> StepSample:
        return StepSample(step, "action", 0, known[step] * MILLISECOND, (known[step] * MILLISECOND,), "", "")

    return [
        SagaSample(SagaKey("", "payment", str(number), ""), True, number, "", tuple(map(passage, STEPS)))
        for number in range(count)
    ]


def test_everything_slow_at_once_is_noticed_and_over_with_it() -> None:
    pace = SlowdownDetector()
    assert [pace.slowdown(taught(20), at) for at in (0, 1, 2)] == [1, 1, 1]
    assert round(pace.slowdown(taught(100), 3), 2) == 5
    assert pace.slowdown(taught(20), 4) == 1


def test_one_slow_step_is_not_everything() -> None:
    pace = SlowdownDetector()
    pace.slowdown(taught(20), 0)
    assert pace.slowdown(taught({**dict.fromkeys(STEPS, 20), "ledger.record": 4_000}), 1) == 1


def test_few_sagas_have_no_effect() -> None:
    pace = SlowdownDetector()
    assert pace.slowdown(taught(20, count=19), 0) == 1
    assert pace.slowdown(taught(100, count=19), 1) == 1


def test_what_stays_slow_becomes_usual() -> None:
    pace = SlowdownDetector()
    pace.slowdown(taught(20), 0)
    hourly = [pace.slowdown(taught(100), hour * 3_600) for hour in range(6)]
    assert hourly[1] > 4
    assert hourly[-1] == 1


def test_patience_has_a_bound() -> None:
    pace = SlowdownDetector()
    pace.slowdown(taught(1), 0)
    assert pace.slowdown(taught(60_000), 1) == 10


def test_while_all_is_slow_a_fast_step_has_as_much_more_time() -> None:
    assert learn_baseline(taught(20)).duration_limits["ledger.record"] == MIN_LIMIT_SECONDS
    assert learn_baseline(taught(100), 5.0).duration_limits["ledger.record"] == 5 * MIN_LIMIT_SECONDS
    assert learn_baseline(taught(20_000), 5.0).duration_limits["ledger.record"] == 60
