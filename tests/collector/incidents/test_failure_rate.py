"""When a share of failed sagas has left its baseline, and when it has returned to it."""

from collections.abc import Sequence
from random import Random

import pytest

from sagascope_collector.incident_records import OutcomePeriod
from sagascope_collector.incidents.failure_rate import (
    Departure,
    FailureBaseline,
    History,
    departure,
    first_minute,
    learn_baseline,
    probability_of_more,
)

NOW = 1_800_000_000
MINUTE = 60
HOUR = 3_600
NEW = History()


def week(ended: int, failed: int) -> list[OutcomePeriod]:
    """Hours of the last six days, each with these outcomes."""
    first = first_minute(NOW) - 6 * 24 * HOUR
    return [OutcomePeriod(first + hour * HOUR, ended, failed) for hour in range(6 * 24)]


def minutes(*outcomes: tuple[int, int]) -> list[OutcomePeriod]:
    """The last minutes, each with (ended, failed), the latest last."""
    first = NOW // MINUTE * MINUTE - (len(outcomes) - 1) * MINUTE
    return [OutcomePeriod(first + minute * MINUTE, *each) for minute, each in enumerate(outcomes)]


def after(periods: Sequence[OutcomePeriod], history: History = NEW, now: int = NOW) -> Departure | None:
    return departure(sorted(periods), now, history, minutes_from=first_minute(NOW))


def test_sixty_of_sixty_that_failed_are_a_departure_with_their_counts() -> None:
    found = after([*week(100, 1), *minutes((30, 30), (30, 30))])
    assert found
    assert (found.rate.failed, found.rate.ended, found.rate.is_total) == (60, 60, True)
    assert found.rate.baseline == pytest.approx(0.01, abs=0.001)
    assert found.since == NOW // MINUTE * MINUTE - MINUTE


@pytest.mark.parametrize(
    "periods",
    [
        [*week(10, 0), *minutes((3, 2))],
        [*week(10, 3), *minutes((60, 20))],
        [*week(100, 30), *minutes(*[(100, 36)] * 60)],
        [*week(1_000, 10), *minutes((1_000, 15))],
        minutes((4, 4)),
        minutes((60, 18)),
        [*week(10, 10), *minutes((60, 60))],
        week(100, 1),
        [],
    ],
    ids=[
        "two of three",
        "30 % as always, a few more",
        "30 % became 36 %",
        "1.0 % became 1.5 %",
        "four of four of a new type",
        "30 % of a new type",
        "a type that always fails",
        "no traffic",
        "nothing",
    ],
)
def test_what_is_no_departure(periods: list[OutcomePeriod]) -> None:
    assert after(periods) is None


@pytest.mark.parametrize(
    "periods",
    [
        minutes((60, 60)),
        [*week(10, 3), *minutes(*[(20, 10)] * 30)],
        [*week(1_000, 10), *minutes((1_000, 40))],
        [*week(1, 0), *minutes(*[(1, 1), *[(0, 0)] * 50] * 5)],
    ],
    ids=["all of a new type", "30 % became 50 %", "1 % became 4 %", "one an hour, each fails"],
)
def test_what_is_a_departure(periods: list[OutcomePeriod]) -> None:
    assert after(periods)


def test_a_new_type_has_no_baseline() -> None:
    found = after(minutes((60, 60)))
    assert found
    assert found.rate.baseline is None


def test_sagas_that_still_run_count_as_good_ones_because_failures_end_first() -> None:
    starting = OutcomePeriod(NOW - MINUTE, 20, 20, running=980)
    assert after([*week(1_000, 20), starting]) is None
    assert after([*week(1_000, 20), starting._replace(running=20)])


def test_what_was_known_late_and_is_over_opens_nothing() -> None:
    assert after([*week(100, 1), *minutes((60, 60), (0, 0), (20, 0), (20, 0))]) is None


def test_an_archive_imported_into_an_empty_database_opens_nothing() -> None:
    failed = [OutcomePeriod(NOW // HOUR * HOUR - 3 * HOUR, 60, 60)]
    assert after(failed) is None
    assert after([each._replace(start=NOW // MINUTE * MINUTE - 5 * MINUTE) for each in failed])


def ongoing(*latest: tuple[int, int]) -> Departure | None:
    failing = [OutcomePeriod(NOW - (9 - minute) * MINUTE - 30 * MINUTE, 10, 10) for minute in range(10)]
    return after([*week(100, 1), *failing, *minutes(*latest)], History(open_since=failing[0].start))


def test_an_incident_goes_on_until_the_latest_sagas_fit_the_baseline() -> None:
    assert ongoing()
    assert ongoing((4, 0))
    assert ongoing((10, 5))
    assert ongoing((10, 0), (10, 9))
    assert ongoing((6, 0)) is None
    assert ongoing((10, 9), (10, 0)) is None


def test_without_traffic_an_incident_goes_on_for_a_day() -> None:
    failing = [OutcomePeriod(first_minute(NOW), 60, 60)]
    history = History(open_since=first_minute(NOW))
    assert after([*week(100, 1), *failing], history, NOW + 10 * HOUR)
    assert after([*week(100, 1), *failing], history, NOW + 30 * HOUR) is None


def test_a_share_that_rose_a_little_ends_only_when_enough_sagas_show_it() -> None:
    failing = [OutcomePeriod(NOW - HOUR - minute * MINUTE, 20, 10) for minute in range(30)]
    history = History(open_since=NOW - HOUR - 30 * MINUTE)
    before = [*week(10, 3), *failing]
    assert after([*before, *minutes((10, 3))], history)
    assert after([*before, *minutes((200, 60))], history) is None


def test_earlier_incidents_are_no_part_of_the_baseline() -> None:
    outage = [OutcomePeriod(first_minute(NOW) - hour * HOUR, 100, 100) for hour in range(1, 25)]
    quiet = week(10, 0)[:96]
    excluded = History(excluded=[(outage[-1].start, outage[0].start + HOUR - 1)])
    assert learn_baseline(sorted([*quiet, *outage]), NOW, NOW, NEW, first_minute(NOW)).share > 0.6
    assert learn_baseline(sorted([*quiet, *outage]), NOW, NOW, excluded, first_minute(NOW)).share < 0.01


def test_a_share_that_a_person_accepted_is_the_baseline() -> None:
    accepted = minutes(*[(20, 10)] * 30)
    known = sorted([*week(100, 1), *accepted])
    history = History(resolved_at=NOW - 5 * MINUTE, baseline_from=accepted[0].start)
    assert after(known, NEW)
    assert after(known, history) is None
    worse = [OutcomePeriod(NOW + minute * MINUTE, 60, 60) for minute in (1, 2, 3)]
    assert after([*known, *worse], history, NOW + 3 * MINUTE)


def test_an_incident_of_a_type_that_fails_from_its_first_saga_ends_after_a_day_and_opens_no_other() -> None:
    begun = first_minute(NOW) - 30 * HOUR
    periods = [OutcomePeriod(begun + hour * HOUR, 20, 19) for hour in range(30)]
    assert after([*periods[-20:], *minutes((20, 19))], History(open_since=periods[-20].start))
    assert after([*periods, *minutes((20, 19))], History(open_since=begun)) is None
    resolved = History(resolved_at=NOW - 30 * MINUTE, excluded=[(begun, NOW - 30 * MINUTE)])
    assert after([*periods, *minutes(*[(20, 19)] * 25)], resolved) is None


def test_shares_that_differ_from_hour_to_hour_make_counts_worth_less() -> None:
    steady = learn_baseline(week(100, 10), NOW, NOW, NEW, first_minute(NOW))
    uneven = learn_baseline(
        [each._replace(failed=20 * (n % 2)) for n, each in enumerate(week(100, 0))], NOW, NOW, NEW, first_minute(NOW)
    )
    assert steady.dispersion == 1.0
    assert uneven.dispersion > 3
    assert probability_of_more(60, 100, uneven) > probability_of_more(60, 100, steady)


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3])
def test_of_many_weeks_in_which_nothing_changes_none_departs(share: float) -> None:
    chance = Random(7)

    def failed(ended: int) -> int:
        return sum(chance.random() < share for _ in range(ended))

    for _ in range(200):
        known = [each._replace(failed=failed(50)) for each in week(50, 0)[-40:]]
        assert after([*known, *minutes(*((n, failed(n)) for n in (20, 20, 20, 20, 20)))]) is None


def test_the_tail_is_the_sum_of_the_beta_binomial() -> None:
    uniform = FailureBaseline(1.0, 1.0)  # every number of failures is equally probable
    assert probability_of_more(8, 9, uniform) == pytest.approx(0.2)
    assert probability_of_more(9, 9, uniform) == pytest.approx(0.1)
    assert probability_of_more(900_000, 1_000_000, FailureBaseline(5.0, 995.0)) < 1e-30
    assert probability_of_more(0, 10, uniform) == 1.0


def test_an_incident_of_yesterday_keeps_its_counts() -> None:
    began = first_minute(NOW) - 20 * HOUR + 25 * MINUTE
    failing = [OutcomePeriod(began + minute * MINUTE, 6, 6) for minute in range(10)]
    minutes_from = first_minute(NOW, [began])
    found = departure(failing, NOW, History(open_since=began), minutes_from=minutes_from)
    assert found
    assert found.rate.failed == 60
    in_hours = [OutcomePeriod(began // HOUR * HOUR, 60, 60)]
    found = departure(in_hours, NOW, History(open_since=began), minutes_from=first_minute(NOW))
    assert found
    assert found.rate.failed == 60
