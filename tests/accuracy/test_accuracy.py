"""A small seeded run of the simulator whose truth is known; `make accuracy` plays as many sagas as asked for."""

from functools import cache

import pytest

from accuracy.grade import Grader, grade, played
from accuracy.report import Report
from accuracy.two_runs import problems
from sagascope_collector.analysis import Saga, rebuild
from sagascope_collector.records import Facts

SAGAS = 400
SEED = 8492


@cache
def report() -> Report:
    found = Report()
    found.add(grade(SEED, number) for number in range(SAGAS))
    return found


@pytest.mark.parametrize("kind", ["harmful", "customer", "split"])
def test_no_advice_does_harm_whatever_telemetry_is_lost(kind: str) -> None:
    assert report().count(kind) == 0, report().text()


@pytest.mark.parametrize(
    "kind", ["false_alarm", "missed", "wrong_code", "wrong_step", "ledger", "overconfident", "not_reminded"]
)
def test_with_complete_telemetry_the_code_the_step_and_the_ledger_are_right(kind: str) -> None:
    assert report().count(kind, "complete", "plain") == 0, report().text()


def test_every_kind_of_telemetry_is_played() -> None:
    assert all(report().sagas[label] > 20 for label in ("complete", "plain", "skewed", "damaged"))
    assert all(report().faulty[label] > 5 for label in ("complete", "plain", "skewed", "damaged"))


class _Rebuilding(Grader):
    """Rebuilds each saga beside the one that is shared between evaluations."""

    def saga_of(self, facts: Facts, records: int, now: int) -> Saga | None:
        shared = super().saga_of(facts, records, now)
        assert rebuild(facts, now, self.baselines) == ([shared] if shared else [])
        return shared


def test_a_saga_that_is_shared_between_evaluations_is_the_one_that_is_rebuilt() -> None:
    for number in range(120):
        _Rebuilding(SEED, played(SEED, number)).grade()


def test_no_action_takes_back_what_another_run_relies_on() -> None:
    assert [problem for number in range(400) for problem in problems(SEED, number)] == []
