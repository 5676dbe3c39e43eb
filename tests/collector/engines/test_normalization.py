"""Normalization of engine spans does not depend on the order of the spans."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from sagascope import semconv
from sagascope_collector.engines import BUILT_IN, RecordFields, normalize
from sagascope_collector.engines.registry import ENGINES
from sagascope_collector.records import Event, Mark, Process, Span

NAMES = {
    "temporal": ("StartWorkflow:X", "RunWorkflow:X", "StartActivity:a", "RunActivity:a", "CompleteWorkflow:X"),
    "dbos": ("checkout", "reserve", "charge"),
    "restate": ("invocation-attempt S/h", "invocation-end S/h", "run"),
    "dapr": ("create_orchestration||X", "orchestration||X", "activity||a"),
    "masstransit": ("orders process", "orders send"),
    "nservicebus": ("handler",),
    "sagaz": ("saga.execute.x", "saga.step.action.a", "saga.step.compensation.a"),
    "celery": ("run/t", "apply_async/t"),
}
WORDS = st.sampled_from(["", "1", "2", "step", "workflow", "a", "RETRY", "SUCCESS", "completed", "Final"])


@st.composite
def spans(draw: st.DrawFn) -> list[Span]:
    """Spans of one engine, with any of the attributes that it reads, in one or two traces."""
    engine = draw(st.sampled_from(ENGINES))
    number = draw(st.integers(1, 12))
    return [_span(draw, place, engine.keys, NAMES[engine.name]) for place in range(number)]


def _span(draw: st.DrawFn, place: int, keys: Sequence[str], names: Sequence[str]) -> Span:
    attributes = {key: draw(WORDS) for key in keys} | {keys[0]: "id-1"}
    name, start = draw(st.sampled_from(names)), draw(st.integers(1, 5))
    events = [Event("Step attempt 0 failed", start, {})] if draw(st.booleans()) else []
    return Span(
        trace_id=draw(st.sampled_from("ab")) * 32,
        span_id=f"{place + 1:016x}",
        parent_id=f"{draw(st.integers(0, 12)):016x}",
        name=name,
        kind="internal",
        start=start,
        end=draw(st.sampled_from([0, start, start + 1, start + 3])),
        status=draw(st.sampled_from(["unset", "error"])),
        status_message="",
        mark=BUILT_IN.mark(RecordFields(name, "MassTransit", "worker", attributes), Mark()),
        process=Process(service="worker", identity="w"),
        attributes=attributes,
        events=tuple(events),
    )


@given(given_spans=spans(), seed=st.integers())
def test_the_order_of_spans_does_not_change_the_result(given_spans: list[Span], seed: int) -> None:
    shuffled = random.Random(seed).sample(given_spans, len(given_spans))
    one, other = (normalize({(span.trace_id, span.span_id): span for span in each}) for each in (given_spans, shuffled))
    assert dict(one.spans) == dict(other.spans)
    assert sorted(map(repr, one.further_attempts)) == sorted(map(repr, other.further_attempts))
    assert one.lost == other.lost


@given(given_spans=spans())
def test_every_span_is_kept_and_has_a_role_of_the_contract(given_spans: list[Span]) -> None:
    by_key = {(span.trace_id, span.span_id): span for span in given_spans}
    normalized = normalize(by_key)
    assert normalized.spans.keys() == by_key.keys()
    assert {span.mark.role for span in [*normalized.spans.values(), *normalized.further_attempts]} <= {
        "",
        "saga",
        "step",
    }
    assert all(span.mark.step and span.mark.attempt for span in normalized.further_attempts)


@given(given_spans=spans())
def test_no_two_spans_are_the_same_attempt(given_spans: list[Span]) -> None:
    normalized = normalize({(span.trace_id, span.span_id): span for span in given_spans})
    attempts = [
        span.mark for span in [*normalized.spans.values(), *normalized.further_attempts] if span.mark.role == "step"
    ]
    assert len({(mark.step, mark.type, mark.key, mark.attempt) for mark in attempts}) == len(attempts)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
def test_the_prefilter_finds_every_record_that_an_engine_recognizes(engine: object) -> None:
    for key in engine.keys[:1]:  # type: ignore[attr-defined]
        records = [RecordFields(name, "", "", {key: "x"}) for name in NAMES[engine.name]]  # type: ignore[attr-defined]
        for each in records:
            if engine.mark(each) is not None:  # type: ignore[attr-defined]
                given_spans = f"{each.name} {key}"
                assert any(term in given_spans for term in engine.prefilter_terms)  # type: ignore[attr-defined]


def test_spans_of_temporals_interceptor_add_no_attempts_beside_those_of_the_plugin() -> None:
    interceptor_span = Span(
        trace_id="a" * 32,
        span_id="1" * 16,
        parent_id="",
        name="RunActivity:charge",
        kind="server",
        start=1,
        end=2,
        status="ok",
        status_message="",
        mark=Mark(id="8492", run="r", role="temporal", step="charge"),
        process=Process(service="worker", identity="w"),
        attributes={"temporalWorkflowID": "8492", "temporalActivityID": "1"},
    )
    mark = Mark(id="8492", run="r", role=semconv.ROLE_STEP, step="charge", attempt=1)
    plugin_span = replace(interceptor_span, span_id="2" * 16, mark=mark, attributes={semconv.TEMPORAL_ACTIVITY_ID: "1"})
    spans = {(span.trace_id, span.span_id): span for span in (interceptor_span, plugin_span)}
    roles = {span.span_id: span.mark.role for span in normalize(spans).spans.values()}
    assert roles == {"1" * 16: "", "2" * 16: semconv.ROLE_STEP}
    alone = normalize({("a" * 32, "1" * 16): interceptor_span}).spans
    assert [span.mark.role for span in alone.values()] == [semconv.ROLE_STEP]
