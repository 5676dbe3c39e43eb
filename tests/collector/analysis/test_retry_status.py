"""`retrying` holds only while the next attempt is not overdue and its process reports; none is in the past."""

from itertools import pairwise
from typing import Any

import pytest

from sagascope_collector.analysis import Context, diagnose, rebuild
from sagascope_collector.analysis.diagnosis import Diagnosis, Verdict
from sagascope_collector.analysis.wording import Time
from support.scenario import CASES, read
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, emit

SELF_RETRY = """
poller-1 0.1..1 run pay attempt=1 retry_in=2 error="503"
poller-1 3..4   run pay attempt=2 retry_in=2 error="503"
poller-1 6..7   run pay attempt=3 retry_in=2 error="503"
"""
ROOT = 'poller-1 0.. root plan="pay"\n'


def diagnosed(story: str, now: float) -> Diagnosis:
    facts = seen(emit(story, {"id": "8492", "name": "payment"})).facts("8492")
    moment = STARTED + round(now * SECOND)
    (saga,) = rebuild(facts, moment)
    return diagnose(saga, facts.instances, Context(moment))


def verdict(story: str, now: float) -> Verdict:
    answered = diagnosed(story, now).verdict
    assert answered is not None
    return answered


@pytest.mark.parametrize("root", [ROOT, ""], ids=["led", "without a root"])
def test_a_step_is_retrying_while_its_next_attempt_is_in_time(root: str) -> None:
    answered = verdict(f"{root}{SELF_RETRY}poller-1 0..8 beats every=1", 8)
    assert answered.reason == "retrying"
    assert answered.since == STARTED + SECOND
    assert "The next attempt is due at 11:06:49Z" in answered.headline


@pytest.mark.parametrize("root", [ROOT, ""], ids=["led", "without a root"])
def test_a_retry_that_is_overdue_in_a_process_that_is_lost_is_an_instance_lost(root: str) -> None:
    answered = verdict(f"{root}{SELF_RETRY}poller-1 0..8 beats every=1", 15)
    assert answered.reason == "instance_lost"
    assert answered.instance == "poller-1"
    assert answered.headline.startswith(
        "Stuck in pay: after 3 failed attempts, the latest at 11:06:47Z (503), poller-1, which retries it, "
        "has not reported since 11:06:48Z."
    )


@pytest.mark.parametrize("root", [ROOT, ""], ids=["led", "without a root"])
def test_a_retry_that_is_overdue_in_a_process_that_reports_is_a_missing_step(root: str) -> None:
    story = f"{root}{SELF_RETRY}poller-1 0..99 beats every=1"
    assert verdict(story, 20).reason == "retrying"
    answered = verdict(story, 60)
    assert (answered.reason, answered.step, answered.since) == ("next_step_missing", "pay", STARTED + 7 * SECOND)


def test_another_instance_may_retry_until_the_attempt_is_overdue() -> None:
    story = f"{SELF_RETRY}poller-1 0..8 beats every=1\npoller-2 9..99 beats every=1"
    assert verdict(story, 15).reason == "retrying"
    assert verdict(story, 60).reason == "instance_lost"


def test_waits_that_were_not_announced_are_diagnosed_by_those_before() -> None:
    slow = "".join(f'poller-1 {at}..{at + 1} run pay attempt={at} error="503"\n' for at in (1, 601, 1201))
    story = f"{slow}poller-1 0..9999 beats every=60"
    assert verdict(story, 2_300).reason == "retrying"
    assert verdict(story, 2_600).reason == "next_step_missing"


def test_a_retry_can_be_overdue_beside_a_step_in_progress() -> None:
    story = f"{ROOT}{SELF_RETRY}poller-1 0..99 beats every=1\nother-1 8.. run report timeout=500\nother-1 0..99 beats"
    answered = verdict(story, 60)
    assert (answered.reason, answered.step) == ("next_step_missing", "pay")


def test_an_attempt_in_flight_is_no_overdue_retry() -> None:
    story = f"{SELF_RETRY}poller-1 9.. run pay attempt=4 timeout=500\npoller-1 0..99 beats every=1"
    answered = verdict(story, 60)
    assert answered.reason == "retrying"
    assert "Attempt 4 is in progress." in answered.headline


def test_after_its_time_has_come_the_next_attempt_is_not_announced() -> None:
    story = f"{ROOT}{SELF_RETRY}poller-1 0..99 beats every=1"
    before = diagnosed(story, 8.5)
    assert before.due_at is not None
    assert before.due_at <= STARTED + 9 * SECOND
    assert "next attempt" not in diagnosed(story, 9).headline


@pytest.mark.parametrize("later", [0, 30, 600, 90_000])
def test_no_text_of_any_scenario_announces_what_is_in_the_past(later: float) -> None:
    for path in CASES:
        case = read(path)
        known, moment = seen(case.delivered(), case.now), STARTED + round((case.now + later) * SECOND)
        facts = known.facts(case.saga["id"])
        for saga in rebuild(facts, moment):
            answered = diagnose(saga, facts.instances, Context(moment))
            for text in (answered.headline, *(answered.verdict.actions if answered.verdict else ())):
                assert_coming(text.parts, moment)


def assert_coming(parts: Any, moment: int) -> None:
    for words, time in pairwise(parts):
        if isinstance(time, Time) and words.endswith(("next attempt is due at ", "the last attempt ends by ")):
            assert time.at > moment
