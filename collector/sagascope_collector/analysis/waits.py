"""Waits that are meant: until a moment, or for an event without a deadline."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sagascope import semconv
from sagascope_collector.analysis import values
from sagascope_collector.analysis.model import AwaitedEvent, Step, Wait
from sagascope_collector.analysis.spans import ProcessKey, process_key
from sagascope_collector.records import Log, Span


def until(spans: Sequence[Span], logs: Sequence[Log], roots: Iterable[Span]) -> Iterator[Wait]:
    """Every wait until a moment, in no particular order."""
    of_the_saga = {id(root) for root in roots}
    records: list[Span | Log] = [*spans, *logs]
    for record in records:
        if semconv.WAIT_UNTIL in record.attributes:
            moment = values.moment(record.attributes[semconv.WAIT_UNTIL])
            if moment is not None:
                reason = values.text(record.attributes.get(semconv.WAIT_REASON))
                yield Wait(_at(record), moment, reason, whole=id(record) in of_the_saga)


def awaited_event(
    spans: Sequence[Span], logs: Sequence[Log], steps: Sequence[Step], offsets: Mapping[ProcessKey, int]
) -> AwaitedEvent | None:
    """The event that the saga waits for: the one declared last, unless an attempt started after that.

    A span says when it began, and may have been told of the wait later: a log record about the same wait of the same
    span goes before it.
    """
    told = [*_events(logs, offsets)]
    by_log = {(each.name, each.trace_id, each.span_id) for each in told}
    told += [each for each in _events(spans, offsets) if (each.name, each.trace_id, each.span_id) not in by_log]
    if not told:
        return None
    latest = max(told, key=lambda each: (each.declared_at, each.name, each.trace_id, each.span_id))
    began = max((attempt.began for step in steps for attempt in step.attempts), default=0)
    return latest if began <= latest.declared_at else None


def _events(records: Iterable[Span | Log], offsets: Mapping[ProcessKey, int]) -> Iterator[AwaitedEvent]:
    for record in records:
        name = values.text(record.attributes.get(semconv.WAIT_FOR))
        if name:
            yield AwaitedEvent(
                name,
                _at(record) + offsets.get(process_key(record.process), 0),
                values.text(record.attributes.get(semconv.WAIT_REASON)),
                record.process,
                record.trace_id,
                record.span_id,
            )


def _at(record: Span | Log) -> int:
    return record.start if isinstance(record, Span) else record.at
