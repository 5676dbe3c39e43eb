"""Everything slow at once is one notice and more patience; one slow step is a matter of its own."""

from sagascope_collector.analysis import Lesson, Pace, learn
from sagascope_collector.analysis.experience import SHORTEST
from sagascope_collector.analysis.lessons import Passage
from sagascope_collector.records import SagaKey

MILLISECOND = 1_000_000
STEPS = ("fraud.check", "wallet.debit", "ledger.record", "shipping.book")


def taught(takes: dict[str, int] | int, count: int = 60) -> list[Lesson]:
    """Lessons of sagas whose steps take so many milliseconds."""
    known = takes if isinstance(takes, dict) else dict.fromkeys(STEPS, takes)

    def passage(step: str) -> Passage:
        return Passage(step, "action", 0, known[step] * MILLISECOND, (known[step] * MILLISECOND,), "", "")

    return [
        Lesson(SagaKey("", "payment", str(number), ""), True, number, "", tuple(map(passage, STEPS)))
        for number in range(count)
    ]


def test_everything_slow_at_once_is_noticed_and_over_with_it() -> None:
    pace = Pace()
    assert [pace.slower(taught(20), at) for at in (0, 1, 2)] == [1, 1, 1]
    assert round(pace.slower(taught(100), 3), 2) == 5
    assert pace.slower(taught(20), 4) == 1


def test_one_slow_step_is_not_everything() -> None:
    pace = Pace()
    pace.slower(taught(20), 0)
    assert pace.slower(taught({**dict.fromkeys(STEPS, 20), "ledger.record": 4_000}), 1) == 1


def test_few_sagas_tell_nothing() -> None:
    pace = Pace()
    assert pace.slower(taught(20, count=19), 0) == 1
    assert pace.slower(taught(100, count=19), 1) == 1


def test_what_stays_slow_becomes_usual() -> None:
    pace = Pace()
    pace.slower(taught(20), 0)
    hourly = [pace.slower(taught(100), hour * 3_600) for hour in range(6)]
    assert hourly[1] > 4
    assert hourly[-1] == 1


def test_patience_has_a_bound() -> None:
    pace = Pace()
    pace.slower(taught(1), 0)
    assert pace.slower(taught(60_000), 1) == 10


def test_while_all_is_slow_a_fast_step_has_as_much_more_time() -> None:
    assert learn(taught(20)).allowed["ledger.record"] == SHORTEST
    assert learn(taught(100), 5.0).allowed["ledger.record"] == 5 * SHORTEST
    assert learn(taught(20_000), 5.0).allowed["ledger.record"] == 60
