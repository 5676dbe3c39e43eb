"""Properties that hold for any input."""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from hypothesis import given, settings, strategies as st

from sagascope_collector.analysis import Context, diagnose, learn_baseline, rebuild, take_sample
from sagascope_collector.analysis.anomalies import RULES
from sagascope_collector.analysis.model import Status
from sagascope_collector.api.present import full, summary
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.records import Facts
from support.random_facts import START, facts
from support.telemetry import SECOND

T = TypeVar("T")
moments = st.integers(0, 200).map(lambda seconds: START + seconds * SECOND)


def mixed(random: Random, facts: Facts) -> Facts:
    """The same facts in another order, some of them more than once."""

    def again(each: Sequence[T]) -> tuple[T, ...]:
        repeated = [*each, *random.choices(each, k=3)] if each else []
        return tuple(random.sample(repeated, len(repeated)))

    return Facts(facts.id, again(facts.spans), again(facts.logs), again(facts.instances))


@settings(max_examples=300)
@given(facts(), moments, st.integers(0, 1000))
def test_order_and_repeats_of_facts_have_no_effect(known: Facts, now: int, seed: int) -> None:
    other = mixed(Random(seed), known)
    assert rebuild(other, now) == rebuild(known, now)
    context = Context(now)
    assert [diagnose(saga, other.instances, context) for saga in rebuild(other, now)] == [
        diagnose(saga, known.instances, context) for saga in rebuild(known, now)
    ]


@given(facts(), moments)
def test_every_fact_belongs_to_one_saga(known: Facts, now: int) -> None:
    sagas = rebuild(known, now)
    keys = [saga.key for saga in sagas]
    assert len(set(keys)) == len(keys)
    final = {(span.trace_id, span.span_id) for span in known.spans if span.end}
    assembled = [(span.trace_id, span.span_id) for saga in sagas for span in saga.spans]
    assert final <= set(assembled)
    assert sum(len(saga.logs) for saga in sagas) == len({repr(log) for log in known.logs})


@given(facts(), moments)
def test_a_completed_saga_needs_attention_only_for_steps_applied_twice_or_decided_differently(
    known: Facts, now: int
) -> None:
    for saga in rebuild(known, now):
        verdict = diagnose(saga, known.instances, Context(now)).verdict
        if saga.status is Status.COMPLETED and verdict is not None:
            assert verdict.reason in (AttentionCode.APPLIED_TWICE, AttentionCode.MIXED_OUTCOME)


@given(facts(), moments)
def test_a_diagnosis_is_unchanged_until_it_is_due(known: Facts, now: int) -> None:
    for saga in rebuild(known, now):
        answer = diagnose(saga, known.instances, Context(now))
        assert answer.due_at is None or answer.due_at > now
        later = answer.due_at - 1 if answer.due_at else now + 86_400 * SECOND
        again = diagnose(saga, known.instances, Context(later))
        assert (again.verdict, again.headline, again.due_at) == (answer.verdict, answer.headline, answer.due_at)


@given(facts(), moments)
def test_every_answer_can_be_serialised(known: Facts, now: int) -> None:
    for saga in rebuild(known, now):
        answer = diagnose(saga, known.instances, Context(now))
        assert full(saga, answer, [saga.key.run]).model_dump_json()
        assert summary(saga, answer).headline.endswith((".", "?", "!"))
        assert {each.code for each in saga.anomalies} <= set(RULES)


@given(facts(), moments)
def test_what_rests_on_absence_is_never_certain(known: Facts, now: int) -> None:
    absent = {
        AttentionCode.UNCOMPENSATED,
        AttentionCode.IN_DOUBT,
        AttentionCode.NEXT_STEP_MISSING,
        AttentionCode.NEVER_CLOSED,
    }
    for saga in rebuild(known, now):
        verdict = diagnose(saga, known.instances, Context(now)).verdict
        if verdict is not None and verdict.reason in absent:
            assert verdict.confidence != "certain"


@given(facts(), moments, st.integers(0, 1000))
def test_what_is_learned_depends_on_no_order_and_no_repeat(known: Facts, now: int, seed: int) -> None:
    taught = [assembled for saga in rebuild(known, now) if (assembled := take_sample(saga))]
    shuffled = Random(seed).sample(taught * 2, len(taught) * 2)
    baseline = {("", "payment"): learn_baseline(taught)}
    assert learn_baseline(shuffled) == baseline["", "payment"]
    other = mixed(Random(seed), known)
    context = Context(now, baselines=baseline)
    once, again = (
        [(saga, diagnose(saga, assembled.instances, context)) for saga in rebuild(assembled, now, baseline)]
        for assembled in (known, other)
    )
    assert once == again


@given(facts(), moments)
def test_a_learned_plan_raises_no_anomaly_that_only_a_declared_one_can(known: Facts, now: int) -> None:
    baseline = {
        ("", "payment"): learn_baseline([assembled for saga in rebuild(known, now) if (assembled := take_sample(saga))])
    }
    declared_only = {"unexpected_step", "skipped_step", "out_of_order"}
    for saga in rebuild(known, now, baseline):
        if saga.plan.source == "learned":
            assert not declared_only & {each.code for each in saga.anomalies}
