"""Steps that only log records tell of: a service that sends no spans, or whose span has not ended yet."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from sagascope import semconv
from sagascope_collector.analysis.spans import from_start_record
from sagascope_collector.records import Log, Span

StepRecord = tuple[str, str]
"""(step, key)."""

DESCRIBING = ("saga.step.", "saga.amount", "saga.currency", "saga.wait.")
"""Beginnings of the attributes that describe an attempt."""

OURS = (semconv.EVENT_SPAN_START, semconv.EVENT_HEARTBEAT, semconv.EVENT_WAITING)
"""Event names that tell of spans, not of work in a step."""


class LoggedStep(NamedTuple):
    """A step of which no span came."""

    span: Span
    """An open span that stands for it, from its first log record on."""
    last_at: int
    """Its latest log record."""
    is_over: bool
    """Whether a record of another step, or the end of the saga, followed: then its outcome is unknown."""


def steps(logs: Iterable[Log], spans: Iterable[Span], ended_at: int | None) -> list[LoggedStep]:
    """The steps that log records name and no span does, in the order of their first record; logs are in time order."""
    records: dict[StepRecord, list[Log]] = {}
    for log in logs:
        if log.mark.step and log.event_name not in OURS:
            records.setdefault((log.mark.step, log.mark.key), []).append(log)
    if not records:
        return []
    spans = list(spans)
    seen = {(span.mark.step, span.mark.key) for span in spans if span.mark.role == semconv.ROLE_STEP}
    named = {key: told for key, told in records.items() if key not in seen}
    latest = _latest_of_each(records, spans)
    return [_logged(key, told, latest, ended_at) for key, told in named.items()]


def _latest_of_each(records: Mapping[StepRecord, list[Log]], spans: Iterable[Span]) -> dict[StepRecord, int]:
    """When each step was last told of."""
    latest = {key: told[-1].at for key, told in records.items()}
    for span in spans:
        if span.mark.role == semconv.ROLE_STEP:
            key = span.mark.step, span.mark.key
            latest[key] = max(latest.get(key, 0), span.end or span.start)
    return latest


def _logged(key: StepRecord, told: list[Log], latest: Mapping[StepRecord, int], ended_at: int | None) -> LoggedStep:
    first, last = told[0], told[-1]
    begun = from_start_record(first)
    attributes = {name: value for name, value in first.attributes.items() if name.startswith(DESCRIBING)}
    mark = replace(first.mark, role=semconv.ROLE_STEP)
    span = replace(begun, name=first.mark.step, kind="internal", mark=mark, attributes=attributes)
    followed = any(at > last.at for other, at in latest.items() if other != key)
    return LoggedStep(span, last.at, followed or ended_at is not None)
