"""DBOS's log records of failed attempts: the step that they report until its span comes."""

import random
from dataclasses import replace
from itertools import pairwise

from sagascope_collector import engines
from sagascope_collector.analysis.spans import join_records
from sagascope_collector.records import Log, Mark, Process, Span

STACK = """Traceback (most recent call last):
  File "/srv/dbos/_outcome.py", line 184, in _retry
    return func()
           ^^^^^^
  File "/srv/shop.py", line 5, in charge
    call_the_bank()
  File "/srv/shop.py", line 9, in call_the_bank
    raise ConnectionError("no route to bank")
ConnectionError: no route to bank
"""
PROCESS = Process(service="shop", identity="shop-1")


def failed(number: int) -> Log:
    return Log(
        at=number * 10,
        observed_at=number * 10,
        severity=13,
        severity_text="WARN",
        body=f"Step being automatically retried (attempt {number} of 100)",
        event_name="",
        trace_id="a" * 32,
        span_id="b" * 16,
        mark=Mark(id="order-1"),
        process=PROCESS,
        attributes={"exception.message": "no route to bank", "exception.stacktrace": STACK},
    )


def ended() -> Span:
    step = engines.step_of_log(failed(1))
    assert step is not None
    return replace(step, start=1, end=99, attributes={"operationType": "step"}, events=())


def test_each_record_is_a_failed_attempt_of_the_step_in_any_order_and_number() -> None:
    logs = [failed(number) for number in (1, 2, 3)]
    known = join_records([], logs)
    for seed in range(3):
        assert join_records([], random.Random(seed).sample(logs * 2, 6)) == known
    attempts = [known.spans["a" * 32, "b" * 16], *engines.normalize(known.spans).further_attempts]
    found = [span for span in attempts if span.mark.role == "step"]
    assert [(span.name, span.mark.attempt, span.end, span.status_message) for span in found] == [
        ("charge", 1, 10, "no route to bank"),
        ("charge", 2, 20, "no route to bank"),
        ("charge", 3, 30, "no route to bank"),
    ]
    assert all(one.end <= other.end for one, other in pairwise(found))


def test_the_steps_own_span_takes_their_place() -> None:
    for logs in ([failed(1)], [failed(2), failed(1)]):
        assert join_records([ended()], logs).spans == {("a" * 32, "b" * 16): ended()}


def test_other_records_report_no_step() -> None:
    for log in (
        replace(failed(1), body="Step failed"),
        replace(failed(1), body="Step being automatically retried (attempt one)"),
        replace(failed(1), attributes={}),
        replace(failed(1), span_id=""),
        replace(failed(1), mark=Mark()),
    ):
        assert engines.step_of_log(log) is None
