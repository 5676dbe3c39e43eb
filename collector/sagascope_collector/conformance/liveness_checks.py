"""Checks of start records and heartbeats, which report work that has not ended."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple

from sagascope import semconv
from sagascope_collector.conformance.capture import Capture, CapturedLog, CapturedSpan
from sagascope_collector.conformance.record_checks import is_bool, is_seconds, with_type
from sagascope_collector.conformance.report import Finding, Section
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.otlp.spans import KINDS
from sagascope_collector.records import Process

SPAN_ID: Final = re.compile(r"[0-9a-f]{16}")

SPAN_KINDS: Final = KINDS[1:]

CLOCK_RESOLUTION_NS: Final = NANOSECONDS_PER_SECOND // 1000
"""The difference that two timestamps of one moment may have: some SDKs use milliseconds."""

START_EXPORT_SECONDS: Final = 0.2
END_EXPORT_SECONDS: Final = 1.0
"""The time within which a start record, and an ended span, leave the process."""

MAX_LISTED_SPANS: Final = 1_000
"""Span ids in one heartbeat record."""

START_RECORDS: Final = Section("Start records")
HEARTBEATS: Final = Section("Heartbeats")


@START_RECORDS.check("open.span", "A span that is sent while it is open has a start time.", "Set its start time.")
def _open_spans(capture: Capture) -> Iterator[Finding]:
    for span in capture.spans:
        if not span.end:
            yield Finding(span.where, "" if span.start else "it has no start time and no end time")


def _announced_span(capture: Capture, start: CapturedLog) -> CapturedSpan | None:
    """Returns the span that a start record announces; an open form from another process is not that span."""
    span = capture.by_id.get((start.trace_id, start.span_id))
    return span if span is not None and (span.end or span.origin.process == start.origin.process) else None


@START_RECORDS.check(
    "start.ids",
    "A start record has the trace id and the span id of its span.",
    "Set both on the log record itself, not as attributes.",
)
def _start_ids(capture: Capture) -> Iterator[Finding]:
    for start in capture.start_records:
        missing = [key for key in ("trace_id", "span_id") if not getattr(start, key)]
        yield Finding(start.where, f"the record has no {' and no '.join(missing)}" if missing else "")


@START_RECORDS.check(
    "start.attributes",
    "A start record has the saga.* attributes of its span.",
    "Copy all saga.* attributes that the span has at its start.",
)
def _start_attributes(capture: Capture) -> Iterator[Finding]:
    for start in capture.start_records:
        span = _announced_span(capture, start)
        wrong = [] if semconv.SAGA_ID in start.attributes else [semconv.SAGA_ID]
        if span is not None and semconv.SAGA_ID in span.attributes:
            same = (semconv.SAGA_ID, semconv.SAGA_NAME, semconv.SAGA_ROLE, semconv.STEP_NAME, semconv.STEP_ATTEMPT)
            wrong = [key for key in same if start.attributes.get(key) != span.attributes.get(key)]
        yield Finding(start.where, f"different from the span's: {', '.join(wrong)}" if wrong else "")


@START_RECORDS.check(
    "start.time",
    "A start record's timestamp is the start of its span; its observed timestamp is the time of sending.",
    "Set timestamp to the span's start, in nanoseconds.",
)
def _start_timestamps(capture: Capture) -> Iterator[Finding]:
    for start in capture.start_records:
        span = _announced_span(capture, start)
        started_at = span.start if span is not None else start.at
        violation = ""
        if not start.at:
            violation = "it has no timestamp"
        elif abs(start.at - started_at) > CLOCK_RESOLUTION_NS:
            violation = "its timestamp is not the start of the span"
        elif start.observed_at and start.observed_at + CLOCK_RESOLUTION_NS < start.at:
            violation = "its observed timestamp is before its timestamp"
        yield Finding(start.where, violation)


def _start_field(
    key: str, predicate: Callable[[Any], bool], of_span: Callable[[CapturedSpan], str]
) -> Callable[[Capture], Iterator[Finding]]:
    def find(capture: Capture) -> Iterator[Finding]:
        for start in capture.start_records:
            value, span = start.attributes.get(key), _announced_span(capture, start)
            violation = "" if predicate(value) else f"{key} is {value!r}"
            if not violation and span is not None and of_span(span) != value:
                violation = f"{key} is {value!r}, and the span has {of_span(span)!r}"
            yield Finding(start.where, violation)

    return find


for _key, _requirement, _fix, _predicate, _of_span in (
    (
        semconv.SPAN_NAME,
        "A start record has the name of its span.",
        f"Set {semconv.SPAN_NAME} to the span's name.",
        lambda it: isinstance(it, str) and it != "",
        lambda span: span.name,
    ),
    (
        semconv.SPAN_KIND,
        f"A start record has its span's kind: {', '.join(SPAN_KINDS)}.",
        f"Set {semconv.SPAN_KIND}, in lower case.",
        lambda it: it in SPAN_KINDS,
        lambda span: span.kind,
    ),
    (
        semconv.SPAN_PARENT_ID,
        'A start record has its span\'s parent: 16 hex digits, or "".',
        f'Set {semconv.SPAN_PARENT_ID}, "" for a span without a parent.',
        lambda it: it == "" or (isinstance(it, str) and SPAN_ID.fullmatch(it) is not None),
        lambda span: span.parent_id,
    ),
):
    START_RECORDS.check(_key, _requirement, _fix)(_start_field(_key, _predicate, _of_span))


@START_RECORDS.check(
    "start.delay",
    f"A start record leaves the process within {START_EXPORT_SECONDS} s of its observed timestamp.",
    "Send start records at once, without the batch processor.",
)
def _start_delay(capture: Capture) -> Iterator[Finding]:
    for start in capture.start_records:
        if start.observed_at:
            yield _delay(capture, start.where, start.observed_at, start.received_at, START_EXPORT_SECONDS)


@START_RECORDS.check(
    "end.delay",
    f"Where heartbeats are sent, ended spans leave the process within {END_EXPORT_SECONDS:.0f} s.",
    "Set the batch processor's delay (OTEL_BSP_SCHEDULE_DELAY) to less than one second.",
)
def _end_delay(capture: Capture) -> Iterator[Finding]:
    """Checks processes that send heartbeats; the contract sets no deadline for other processes."""
    reporting = {each.origin.process for each in capture.heartbeats}
    for span in capture.spans:
        if span.end and span.origin.process in reporting and semconv.SAGA_ID in span.attributes:
            yield _delay(capture, span.where, span.end, span.received_at, END_EXPORT_SECONDS)


def _delay(capture: Capture, where: str, at: int, received_at: int, allowed_seconds: float) -> Finding:
    seconds = (received_at - at) / NANOSECONDS_PER_SECOND
    is_late = seconds > allowed_seconds + capture.grace_seconds
    return Finding(where, f"it was received {seconds:.1f} s later" if is_late else "")


class Heartbeat(NamedTuple):
    """A heartbeat of one process: the records with one sequence number, ordered by part."""

    sequence: int
    parts: tuple[CapturedLog, ...]

    @property
    def first(self) -> CapturedLog:
        """The first part, whose attributes are used as those of the heartbeat."""
        return self.parts[0]

    @property
    def where(self) -> str:
        """Identifies the heartbeat for a reader."""
        return self.first.where

    @property
    def open_spans(self) -> list[str]:
        """The span ids that all parts list."""
        return [each for part in self.parts for each in _listed(part)]

    @property
    def is_complete(self) -> bool:
        """Whether every part was received."""
        count = self.first.attributes.get(semconv.HEARTBEAT_PARTS, 1)
        return {_part_number(each) for each in self.parts} == set(range(1, count + 1))

    @property
    def is_final(self) -> bool:
        """Whether it reports the shutdown of its process."""
        return self.first.attributes.get(semconv.HEARTBEAT_FINAL) is True


def _heartbeats_by_process(capture: Capture) -> dict[Process, list[Heartbeat]]:
    """Returns each process's heartbeats by sequence number; malformed records are left out."""
    grouped: dict[Process, dict[int, list[CapturedLog]]] = defaultdict(lambda: defaultdict(list))
    for each in capture.heartbeats:
        sequence: Any = each.attributes.get(semconv.HEARTBEAT_SEQUENCE)
        numbers = (each.attributes.get(key, 1) for key in (semconv.HEARTBEAT_PART, semconv.HEARTBEAT_PARTS))
        if _is_count(sequence) and all(map(_is_part, numbers)):
            grouped[each.origin.process][sequence].append(each)
    return {
        process: [Heartbeat(number, tuple(sorted(by_number[number], key=_part_number))) for number in sorted(by_number)]
        for process, by_number in grouped.items()
    }


def _heartbeats(capture: Capture) -> Iterator[Heartbeat]:
    return (each for heartbeats in _heartbeats_by_process(capture).values() for each in heartbeats)


def _part_number(record: CapturedLog) -> int:
    return int(record.attributes.get(semconv.HEARTBEAT_PART, 1))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_part(value: Any) -> bool:
    return _is_count(value) and 1 <= value <= MAX_LISTED_SPANS * 10


def _listed(record: CapturedLog) -> list[str]:
    span_ids = record.attributes.get(semconv.HEARTBEAT_OPEN_SPANS)
    return [each for each in span_ids if isinstance(each, str)] if isinstance(span_ids, list) else []


def _heartbeat_field(
    key: str, predicate: Callable[[Any], bool], is_required: bool
) -> Callable[[Capture], Iterator[Finding]]:
    def find(capture: Capture) -> Iterator[Finding]:
        for each in capture.heartbeats:
            if is_required or key in each.attributes:
                value = each.attributes.get(key)
                yield Finding(each.where, "" if predicate(value) else f"it is {with_type(value)}")

    return find


def _is_span_list(value: Any) -> bool:
    if not isinstance(value, list) or len(value) > MAX_LISTED_SPANS:
        return False
    return all(isinstance(each, str) and SPAN_ID.fullmatch(each) for each in value)


@HEARTBEATS.check(
    "heartbeat.process",
    "A heartbeat's resource identifies its process.",
    "Send it with the resource of the spans, including service.instance.id.",
)
def _heartbeat_process(capture: Capture) -> Iterator[Finding]:
    for each in capture.heartbeats:
        is_identified = each.origin.process.identity
        yield Finding(each.where, "" if is_identified else "its resource does not identify the process")


for _key, _requirement, _how, _predicate, _is_required in (
    (
        semconv.HEARTBEAT_INTERVAL,
        "A heartbeat has the seconds until the next one, a double above 0.",
        "",
        lambda it: is_seconds(it) and it > 0,
        True,
    ),
    (
        semconv.HEARTBEAT_SEQUENCE,
        "A heartbeat has a sequence number, an int.",
        ", counting within the process",
        _is_count,
        True,
    ),
    (
        semconv.HEARTBEAT_OPEN_SPANS,
        f"A heartbeat lists the announced spans that are open: 16 hex digits each, at most {MAX_LISTED_SPANS:,}.",
        ", an empty list if no span is open; split longer lists into parts",
        _is_span_list,
        True,
    ),
    (semconv.HEARTBEAT_OPEN_COUNT, "The number of open spans is an int.", "", _is_count, True),
    (
        semconv.HEARTBEAT_DROPPED,
        "The number of dropped records is an int.",
        ", 0 if no record was dropped",
        _is_count,
        True,
    ),
    (semconv.HEARTBEAT_FINAL, "The marker of the final heartbeat is a bool.", "", is_bool, False),
    (semconv.HEARTBEAT_PART, "The number of a part is an int from 1.", ", or leave it out", _is_part, False),
    (semconv.HEARTBEAT_PARTS, "The number of parts is an int from 1.", ", or leave it out", _is_part, False),
):
    HEARTBEATS.check(_key, _requirement, f"Set {_key}{_how}.")(_heartbeat_field(_key, _predicate, _is_required))


@HEARTBEATS.check(
    "heartbeat.sequence",
    "Each heartbeat of a process has the next sequence number; it may skip those of heartbeats that were not sent.",
    "Increase it by one for each heartbeat; all parts of a heartbeat share it. A forked child is another process.",
)
def _sequence(capture: Capture) -> Iterator[Finding]:
    for heartbeats in _heartbeats_by_process(capture).values():
        for one, following in pairwise(heartbeats):
            wrong = f"{following.sequence} follows {one.sequence}" if _is_counted_too_fast(one, following) else ""
            yield Finding(following.where, wrong)
        for each in heartbeats:
            is_repeated = len(set(map(_part_number, each.parts))) < len(each.parts)
            yield Finding(each.where, f"{each.sequence} was received twice" if is_repeated else "")


def _is_counted_too_fast(one: Heartbeat, following: Heartbeat) -> bool:
    """Whether more heartbeats are counted between these two than there was time for.

    An emitter may leave out a heartbeat that a newer one replaced before it was sent.
    """
    left_out = following.sequence - one.sequence - 1
    interval: Any = following.first.attributes.get(semconv.HEARTBEAT_INTERVAL)
    seconds = (following.first.at - one.first.at) / NANOSECONDS_PER_SECOND
    return left_out > 0 and not (is_seconds(interval) and seconds >= left_out * interval)


@HEARTBEATS.check(
    "heartbeat.parts",
    "All parts of a list are received, and its length is the count of open spans.",
    "Send every part, and count the announced spans that are open.",
)
def _parts(capture: Capture) -> Iterator[Finding]:
    for each in _heartbeats(capture):
        violation = "" if each.is_complete else f"parts of heartbeat {each.sequence} are missing"
        count = each.first.attributes.get(semconv.HEARTBEAT_OPEN_COUNT)
        if not violation and count is not None and count != len(each.open_spans):
            violation = f"its count is {count}, and it lists {len(each.open_spans)}"
        yield Finding(each.where, violation)


@HEARTBEATS.check(
    "heartbeat.interval",
    "The next heartbeat is received within the interval that the previous one announced.",
    "Send heartbeats from a dedicated timer, or announce a longer interval.",
)
def _intervals(capture: Capture) -> Iterator[Finding]:
    for heartbeats in _heartbeats_by_process(capture).values():
        for one, following in pairwise(heartbeats):
            announced: Any = one.first.attributes.get(semconv.HEARTBEAT_INTERVAL)
            if is_seconds(announced):
                seconds = (following.first.received_at - one.first.received_at) / NANOSECONDS_PER_SECOND
                is_late = seconds > float(announced) + capture.grace_seconds
                text = f"it was received {seconds:.1f} s after one that announced {announced} s"
                yield Finding(following.where, text if is_late else "")


@HEARTBEATS.check(
    "heartbeat.final",
    "A process starts no work after its final heartbeat.",
    "Send it last, when the process shuts down.",
)
def _final(capture: Capture) -> Iterator[Finding]:
    for process, heartbeats in _heartbeats_by_process(capture).items():
        final = next((each for each in heartbeats if each.is_final), None)
        if final is not None:
            has_later = heartbeats[-1].sequence > final.sequence or any(
                span.origin.process == process and span.start > final.first.at for span in capture.spans
            )
            yield Finding(final.where, "the process reported work that started later" if has_later else "")


@HEARTBEATS.check(
    "heartbeat.announced",
    "Every span that a heartbeat lists was announced with a start record.",
    "List only spans for which a start record was sent.",
)
def _announced(capture: Capture) -> Iterator[Finding]:
    """Checks processes whose first heartbeat was received; of others, start records may be missing."""
    announced = {each.span_id for each in capture.start_records} | {each.span_id for each in capture.spans}
    for heartbeats in _heartbeats_by_process(capture).values():
        for each in heartbeats if heartbeats[0].sequence <= 1 else ():
            if each.open_spans:
                unknown = [span_id for span_id in each.open_spans if span_id not in announced]
                yield Finding(each.where, f"it lists {unknown[0]}, which was not announced" if unknown else "")


@HEARTBEATS.check(
    "heartbeat.accounted",
    "An announced span ends, or every later heartbeat lists it.",
    "Send the final span of every announced span, and list the open ones.",
)
def _accounted(capture: Capture) -> Iterator[Finding]:
    by_process = _heartbeats_by_process(capture)
    for start in capture.start_records:
        later = [each for each in by_process.get(start.origin.process, ()) if each.first.at >= start.observed_at]
        complete = [each for each in later if each.is_complete]
        if start.span_id in capture.ended_ids:
            yield Finding(start.where)
        elif complete:
            is_listed = start.span_id in complete[-1].open_spans
            yield Finding(start.where, "" if is_listed else "it did not end, and the latest heartbeat does not list it")


@HEARTBEATS.check("heartbeat.order", "Open spans are listed oldest first.", "List spans by start time.")
def _oldest_first(capture: Capture) -> Iterator[Finding]:
    started_at = {each.span_id: each.at for each in capture.start_records}
    for each in _heartbeats(capture):
        times = [started_at[span_id] for span_id in each.open_spans if span_id in started_at]
        if len(times) > 1:
            yield Finding(each.where, "" if times == sorted(times) else "it lists a later span before an earlier one")
