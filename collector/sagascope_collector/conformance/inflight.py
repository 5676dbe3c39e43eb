"""Start records, and how soon things leave the process."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from sagascope import semconv
from sagascope_collector.conformance.heard import SECOND, Heard, HeardLog, HeardSpan
from sagascope_collector.conformance.report import Finding
from sagascope_collector.conformance.rule import Rule

SECTION = "Work that has not ended"

SPAN_ID = re.compile(r"[0-9a-f]{16}")

KINDS = ("internal", "server", "client", "producer", "consumer")

ROUNDING = SECOND // 1000
"""Nanoseconds by which two sayings of one time may differ: some SDKs count in milliseconds."""

START_WITHIN = 0.2
END_WITHIN = 1.0
"""Seconds within which a start record, an ended span leave the process."""


def _final(heard: Heard, start: HeardLog) -> HeardSpan | None:
    """The span that a start record announces; what another tells of it while it is open is not what was announced."""
    span = heard.by_id.get((start.trace_id, start.span_id))
    return span if span is not None and (span.end or span.origin.process == start.origin.process) else None


def _places(heard: Heard) -> Iterator[Finding]:
    for start in heard.starts:
        lacking = [key for key in ("trace_id", "span_id") if not getattr(start, key)]
        yield Finding(start.where, f"the record has no {' and no '.join(lacking)}" if lacking else "")


def _marked(heard: Heard) -> Iterator[Finding]:
    for start in heard.starts:
        final = _final(heard, start)
        lacking = [] if semconv.SAGA_ID in start.attributes else [semconv.SAGA_ID]
        if final is not None and semconv.SAGA_ID in final.attributes:
            same = (semconv.SAGA_ID, semconv.SAGA_NAME, semconv.SAGA_ROLE, semconv.STEP_NAME, semconv.STEP_ATTEMPT)
            lacking = [key for key in same if start.attributes.get(key) != final.attributes.get(key)]
        yield Finding(start.where, f"{', '.join(lacking)} is not that of its span" if lacking else "")


def _timed(heard: Heard) -> Iterator[Finding]:
    for start in heard.starts:
        final = _final(heard, start)
        begun = final.start if final is not None else start.at
        wrong = "its timestamp is not its span's start" if abs(start.at - begun) > ROUNDING else ""
        wrong = "it has no timestamp" if not start.at else wrong
        late = start.observed_at and start.observed_at + ROUNDING < start.at
        yield Finding(start.where, wrong or ("its observed timestamp lies before its timestamp" if late else ""))


def _described(key: str, check: Callable[[Any], bool], of: Callable[[HeardSpan], str]) -> object:
    def look(heard: Heard) -> Iterator[Finding]:
        for start in heard.starts:
            said, final = start.attributes.get(key), _final(heard, start)
            wrong = "" if check(said) else f"{key} is {said!r}"
            if not wrong and final is not None and of(final) != said:
                wrong = f"{key} is {said!r}, and its span says {of(final)!r}"
            yield Finding(start.where, wrong)

    return look


def _announced_late(heard: Heard) -> Iterator[Finding]:
    for start in heard.starts:
        if start.observed_at:
            yield _within(heard, start.where, start.observed_at, start.received_at, START_WITHIN)


def _ended_late(heard: Heard) -> Iterator[Finding]:
    """Judged of processes that send heartbeats: the others promise nothing."""
    speaking = {each.origin.process for each in heard.beats}
    for span in heard.spans:
        if span.end and span.origin.process in speaking and semconv.SAGA_ID in span.attributes:
            yield _within(heard, span.where, span.end, span.received_at, END_WITHIN)


def _within(heard: Heard, where: str, at: int, received_at: int, seconds: float) -> Finding:
    took = (received_at - at) / SECOND
    return Finding(where, f"it came {took:.1f} s later" if took > seconds + heard.grace else "")


def _open_spans(heard: Heard) -> Iterator[Finding]:
    for span in heard.spans:
        if not span.end:
            yield Finding(span.where, "" if span.start else "it has neither a start nor an end")


def _rule(point: str, requirement: str, fix: str, look: Any) -> Rule:
    return Rule(SECTION, point, requirement, fix, look)


RULES = (
    _rule("open.span", "A span that is sent while it is open has a start.", "Set its start time.", _open_spans),
    _rule(
        "start.ids",
        "A start record has the trace id and the span id of its span.",
        "Set both on the log record itself, not as attributes.",
        _places,
    ),
    _rule(
        "start.marks",
        "A start record has the saga.* attributes of its span.",
        "Copy all saga.* attributes that the span has then.",
        _marked,
    ),
    _rule(
        "start.time",
        "A start record's timestamp is the start of its span, its observed timestamp when it was sent.",
        "Set timestamp to the span's start, in nanoseconds.",
        _timed,
    ),
    _rule(
        semconv.SPAN_NAME,
        "A start record names its span.",
        f"Set {semconv.SPAN_NAME} to the span's name.",
        _described(semconv.SPAN_NAME, lambda said: isinstance(said, str) and said != "", lambda span: span.name),
    ),
    _rule(
        semconv.SPAN_KIND,
        f"A start record says its span's kind: {', '.join(KINDS)}.",
        f"Set {semconv.SPAN_KIND}, in lower case.",
        _described(semconv.SPAN_KIND, lambda said: said in KINDS, lambda span: span.kind),
    ),
    _rule(
        semconv.SPAN_PARENT_ID,
        'A start record names its span\'s parent: 16 hex digits, or "".',
        f'Set {semconv.SPAN_PARENT_ID}, "" where there is none.',
        _described(
            semconv.SPAN_PARENT_ID,
            lambda said: said == "" or (isinstance(said, str) and SPAN_ID.fullmatch(said) is not None),
            lambda span: span.parent_id,
        ),
    ),
    _rule(
        "start.soon",
        f"A start record leaves the process within {START_WITHIN} s of when it was observed.",
        "Send start records past the batch processor, at once.",
        _announced_late,
    ),
    _rule(
        "end.soon",
        f"Where heartbeats are sent, ended spans leave the process within {END_WITHIN:.0f} s.",
        "Shorten the batch processor's delay (OTEL_BSP_SCHEDULE_DELAY) to less than a second.",
        _ended_late,
    ),
)
