"""A saga whose name was not received is diagnosed by the finished sagas of its environment."""

import random
from collections.abc import Mapping
from dataclasses import replace

from sagascope_collector.analysis import (
    Baseline,
    Context,
    Diagnosis,
    Saga,
    diagnose,
    learn_baseline,
    rebuild,
    take_sample,
)
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, emit

HOUR = 3600

INGEST = """
shop-1 0..16  root
shop-1 1..3   run capture
shop-1 6..8   run setup_done
shop-1 11..13 run ingest
"""
EXPORT = """
shop-1 0..400   root
shop-1 1..3     run capture
shop-1 5..6     run render
mail-1 390..391 run send
"""


def taught(name: str, story: str) -> Baseline:
    samples = []
    for number in range(20):
        facts = seen(emit(story, {"id": f"{name}-{number}", "name": name})).facts(f"{name}-{number}")
        samples += [each for saga in rebuild(facts) if (each := take_sample(saga))]
    return learn_baseline(samples)


KNOWN: Mapping[tuple[str, str], Baseline] = {
    ("", "ingest_flow"): taught("ingest_flow", INGEST),
    ("", "export_flow"): taught("export_flow", EXPORT),
}


def diagnosed(story: str, after: float, known: Mapping[tuple[str, str], Baseline] = KNOWN) -> tuple[Saga, Diagnosis]:
    facts = seen(emit(story, {"id": "stuck"})).facts("stuck")
    now = STARTED + round(after * SECOND)
    (saga,) = rebuild(facts, now, known)
    shuffled = replace(facts, spans=tuple(random.Random(1).sample(facts.spans, len(facts.spans))))
    assert rebuild(shuffled, now, known) == [saga]
    return saga, diagnose(saga, facts.instances, Context(now, baselines=known))


def test_its_type_is_inferred_where_its_steps_allow_only_one() -> None:
    saga, answer = diagnosed("shop-1 1..3 run capture\nshop-1 6..8 run setup_done", 2 * HOUR)
    assert (saga.key.name, saga.inferred_name) == ("unknown", "ingest_flow")
    assert answer.verdict is not None
    assert (answer.verdict.reason, answer.verdict.step) == ("next_step_missing", "ingest")


def test_it_is_in_time_as_long_as_one_of_the_type_would_be() -> None:
    _, answer = diagnosed("shop-1 1..3 run capture\nshop-1 6..8 run setup_done", 10)
    assert answer.verdict is None


def test_another_service_that_runs_a_step_of_the_same_name_is_another_type() -> None:
    saga, _ = diagnosed("warehouse-1 1..3 run setup_done", 10)
    assert saga.inferred_name is None


def test_with_several_candidate_types_the_longest_pause_counts() -> None:
    saga, answer = diagnosed("shop-1 1..3 run capture", 599)
    assert saga.inferred_name is None
    assert saga.longest_pause == 385
    assert answer.verdict is None
    _, answer = diagnosed("shop-1 1..3 run capture", 700)
    assert answer.verdict is not None
    assert (answer.verdict.reason, answer.verdict.confidence) == ("next_step_missing", "possible")


def test_steps_that_no_type_has_are_given_the_longest_pause_of_all() -> None:
    saga, answer = diagnosed("shop-1 1..3 run something.else", 2 * HOUR)
    assert saga.longest_pause == 385
    assert answer.verdict is not None
    assert answer.verdict.confidence == "possible"


def test_without_baselines_or_steps_nothing_is_inferred() -> None:
    for story, known in [("shop-1 1..3 run capture", {}), ("shop-1 1..3 span something", KNOWN)]:
        saga, answer = diagnosed(story, 2 * HOUR, known)
        assert (saga.inferred_name, saga.longest_pause, answer.verdict) == (None, None, None)


def test_samples_of_another_environment_have_no_effect() -> None:
    elsewhere = {("staging", name): each for (_, name), each in KNOWN.items()}
    saga, answer = diagnosed("shop-1 1..3 run capture", 2 * HOUR, elsewhere)
    assert (saga.inferred_name, saga.longest_pause, answer.verdict) == (None, None, None)
