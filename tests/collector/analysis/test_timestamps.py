"""Implausible timestamps are marked, and no impossible time is shown."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from sagascope_collector.analysis import Context, diagnose, rebuild
from sagascope_collector.analysis.model import Saga
from sagascope_collector.records import Facts, Span
from support.storied_facts import STARTED, seen
from support.telemetry import SECOND, emit

STORY = """
shop-1    0..10  root plan="debit, record" outcome=completed
wallet-1  1..2   run debit
ledger-1  4..5   run record
"""
FACTS = seen(emit(STORY, {"id": "1", "name": "payment"})).facts("1")
NOW = STARTED + 60 * SECOND


def assembled(change: Callable[[Span], Span]) -> Saga:
    spans = tuple(change(span) for span in FACTS.spans)
    (saga,) = rebuild(Facts(FACTS.id, spans, FACTS.logs, FACTS.instances), NOW)
    (reversed_,) = rebuild(Facts(FACTS.id, spans[::-1], FACTS.logs, FACTS.instances), NOW)
    assert saga == reversed_
    return saga


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, 1_700_000),
        (1_700_000 * SECOND, 1_700_010 * SECOND),
        (STARTED * 2, STARTED * 2 + SECOND),
        (STARTED, STARTED * 3),
        (5, STARTED + 10 * SECOND),
    ],
)
def test_a_root_of_1970_or_of_the_far_future_ended_when_it_was_received(start: int, end: int) -> None:
    saga = assembled(lambda span: replace(span, start=start, end=end) if span.mark.role == "saga" else span)
    assert saga.ended_at == STARTED + 10 * SECOND
    assert {each.code for each in saga.anomalies} == {"clock_skew"}
    assert "1970" not in diagnose(saga, FACTS.instances, Context(NOW)).headline


def test_a_moment_that_can_be_is_left_as_it_is_however_wrong_the_clock() -> None:
    ahead = assembled(lambda span: replace(span, start=span.start + 3600 * SECOND, end=span.end + 3600 * SECOND))
    assert ahead.ended_at == STARTED + 3610 * SECOND
    assert not ahead.anomalies


@pytest.mark.parametrize(("back", "codes"), [(4, {"clock_skew"}), (0.0015, set())])
def test_a_span_that_ends_before_it_starts_has_no_duration(back: float, codes: set[str]) -> None:
    saga = assembled(lambda span: replace(span, end=span.start - round(back * SECOND)) if span.mark.step else span)
    attempts = [attempt for step in saga.steps for attempt in step.attempts]
    assert [attempt.started_at == attempt.ended_at for attempt in attempts] == [True, True]
    assert {each.code for each in saga.anomalies} == codes
