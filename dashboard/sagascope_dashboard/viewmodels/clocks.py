"""Clocks that contradict each other: what they told, set right by what the collector found out. Pure."""

from collections.abc import Mapping
from datetime import timedelta

from sagascope_collector.client import schemas
from sagascope_dashboard.format import duration, line

Where = tuple[str | None, str | None]
"""A process: its service and its name."""

Offsets = Mapping[Where, timedelta]


def offsets(saga: schemas.Saga) -> dict[Where, timedelta]:
    """What is to be added to the clock of each process; those that are right are left out."""
    return {(clock.service, clock.instance): timedelta(seconds=clock.seconds) for clock in saga.clocks}


def adjusted(saga: schemas.Saga, by: Offsets) -> schemas.Saga:
    """Everything on the saga's own clock."""
    if not by:
        return saga
    spans = [_span(span, by.get((span.service, span.instance))) for span in saga.spans]
    logs = [_log(log, by.get((log.service, log.instance))) for log in saga.logs]
    steps = [
        step.model_copy(update={"attempts": [_attempt(each, by) for each in step.attempts]}) for step in saga.steps
    ]
    return saga.model_copy(update={"spans": spans, "logs": logs, "steps": steps})


def describe(by: Offsets) -> str:
    """Which clocks are off, and by how much; empty where all agree."""
    return "; ".join(_describe(where, offset) for where, offset in by.items())


def _describe(where: Where, offset: timedelta) -> str:
    service, instance = where
    way = "behind" if offset > timedelta(0) else "ahead"
    return f"the clock of {line(instance or service, 60)} is {duration(abs(offset.total_seconds()))} {way}"


def _span(span: schemas.Span, by: timedelta | None) -> schemas.Span:
    if by is None:
        return span
    events = [event.model_copy(update={"at": event.at + by}) for event in span.events]
    ended = span.ended_at and span.ended_at + by
    return span.model_copy(update={"started_at": span.started_at + by, "ended_at": ended, "events": events})


def _log(log: schemas.Log, by: timedelta | None) -> schemas.Log:
    return log if by is None else log.model_copy(update={"at": log.at + by})


def _attempt(attempt: schemas.Attempt, by: Offsets) -> schemas.Attempt:
    offset = by.get((attempt.service, attempt.instance))
    if offset is None:
        return attempt
    ended = attempt.ended_at and attempt.ended_at + offset
    return attempt.model_copy(update={"started_at": attempt.started_at + offset, "ended_at": ended})
