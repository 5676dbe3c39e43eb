"""Every case of the corpus: diagnosed as it was told, doubled, and in any order."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sagascope_collector.analysis import Context, Diagnosis, Saga, diagnose, rebuild
from sagascope_collector.api.present import full
from support.scenario import CASES, Scenario, differences, read
from support.storied_facts import STARTED, Seen, seen
from support.telemetry import SECOND


def context(case: Scenario, now: int) -> Context:
    outages = tuple(
        (STARTED + round(start * SECOND), STARTED + round(end * SECOND)) for start, end in case.ingest_outages
    )
    return Context(now, ingest_outages=outages, step_timeouts=case.step_timeouts)


def diagnosed(case: Scenario, known: Seen, now: float) -> list[tuple[Saga, Diagnosis]]:
    facts = known.facts(case.saga["id"])
    moment = STARTED + round(now * SECOND)
    about = context(case, moment)
    return [(saga, diagnose(saga, facts.instances, about)) for saga in rebuild(facts, moment)]


def answered(case: Scenario, known: Seen, now: float) -> list[dict[str, Any]]:
    answers = []
    for saga, diagnosis in diagnosed(case, known, now):
        answer = full(saga, diagnosis, []).model_dump(mode="json")
        if diagnosis.verdict:
            answer["since"] = round((diagnosis.verdict.since - STARTED) / SECOND, 3)
        answers.append(answer)
    return answers


@pytest.fixture(params=CASES, ids=lambda path: path.stem)
def case(request: pytest.FixtureRequest) -> Scenario:
    path: Path = request.param
    return read(path)


def test_the_answer_is_as_expected(case: Scenario) -> None:
    answers = answered(case, seen(case.delivered(), case.now), case.now)
    assert len(answers) == len(case.expect), [answer["name"] for answer in answers]
    for expected, answer in zip(case.expect, answers, strict=True):
        assert not differences(expected, answer), answer["headline"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_order_and_repeats_of_delivery_have_no_effect(case: Scenario, seed: int) -> None:
    known = seen(case.delivered(), case.now)
    shuffled = random.Random(seed)
    spans, logs, instances = (
        shuffled.sample(each, len(each)) for each in ([*known.spans] * 2, [*known.logs] * 2, [*known.instances])
    )
    again = replace(known, spans=tuple(spans), logs=tuple(logs), instances=tuple(instances))
    assert diagnosed(case, again, case.now) == diagnosed(case, known, case.now)


def test_open_and_earlier_copies_of_its_spans_have_no_effect(case: Scenario) -> None:
    known = seen(case.delivered(), case.now)
    ended = [span for span in known.spans if span.end > span.start]
    opened = [replace(span, end=0, status="unset", events=()) for span in ended]
    evicted = [replace(span, end=(span.start + span.end) // 2, status="unset", events=()) for span in ended]
    once = diagnosed(case, known, case.now)
    for copies in ([*known.spans, *opened], [*opened, *known.spans], [*evicted, *known.spans, *opened]):
        assert diagnosed(case, replace(known, spans=tuple(copies)), case.now) == once


def test_no_answer_changes_without_a_new_fact_before_it_is_due(case: Scenario) -> None:
    known = seen(case.delivered(), case.now)
    for saga, diagnosis in diagnosed(case, known, case.now):
        later = diagnosis.due_at - 1 if diagnosis.due_at else STARTED + round((case.now + 3600) * SECOND)
        again = diagnose(saga, known.instances, context(case, later))
        assert again.verdict == diagnosis.verdict
        assert again.headline == diagnosis.headline
        assert again.due_at == diagnosis.due_at


def test_clocks_are_set_only_where_one_is_wrong(case: Scenario) -> None:
    wrong = {name: process["skew"] for name, process in case.processes.items() if "skew" in process}
    for answer in answered(case, seen(case.delivered(), case.now), case.now):
        for clock in answer["clocks"]:
            assert wrong
            if len(wrong) == 1 and clock["instance"] in wrong:
                assert clock["seconds"] == pytest.approx(-wrong[clock["instance"]], abs=2)


def test_the_clock_that_is_wrong_is_named() -> None:
    case = read(next(path for path in CASES if path.stem == "anomaly_clock_of_the_ledger_is_ahead"))
    (answer,) = answered(case, seen(case.delivered(), case.now), case.now)
    ((service, instance, seconds),) = [tuple(each.values()) for each in answer["clocks"]]
    assert (service, instance) == ("ledger", "ledger-1")
    assert seconds == pytest.approx(-30, abs=2)
