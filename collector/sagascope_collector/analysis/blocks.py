"""What an engine or a sender itself says a saga cannot get past."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sagascope import semconv
from sagascope_collector.analysis import values
from sagascope_collector.analysis.model import BlockReport, Step
from sagascope_collector.analysis.spans import ProcessKey, process_key
from sagascope_collector.records import Log, Span


def reported(
    spans: Sequence[Span], logs: Iterable[Log], steps: Sequence[Step], offsets: Mapping[ProcessKey, int]
) -> tuple[BlockReport, ...]:
    """The reports that were not withdrawn, about spans that have not ended, the earliest first.

    Of each span the latest word holds; another cause begins anew. Work that was retried since is not blocked any more.
    """
    latest: dict[str, list[Log]] = {}
    for log in logs:
        if log.event_name == semconv.EVENT_WAITING and log.span_id:
            row = latest.setdefault(log.span_id, [])
            if row and _cause(row[0]) != _cause(log):
                row.clear()
            row.append(log)
    blocked = {span_id: row for span_id, row in latest.items() if _cause(row[-1])}
    if not blocked:
        return ()
    found = [_report(span, blocked[span.span_id], offsets) for span in _open(spans, steps) if span.span_id in blocked]
    return tuple(sorted(found, key=lambda each: (each.since, each.span_id)))


def _open(spans: Sequence[Span], steps: Sequence[Step]) -> Iterator[Span]:
    """The spans that are open, of each step those of its latest attempt."""
    left = {view.span_id for step in steps for attempt in step.attempts[:-1] for view in attempt.views}
    left -= {view.span_id for step in steps for attempt in step.attempts[-1:] for view in attempt.views}
    return (span for span in spans if not span.end and span.span_id not in left)


def _cause(log: Log) -> str:
    """Why the span cannot proceed; ``""`` where the record withdraws that, or tells of a wait that is meant."""
    said = log.attributes.get(semconv.BLOCKED_CAUSE) if log.body else None
    return values.text(said) or ""


def _report(span: Span, row: Sequence[Log], offsets: Mapping[ProcessKey, int]) -> BlockReport:
    first, last = row[0], row[-1]
    return BlockReport(
        cause=_cause(last),
        text=str(last.body),
        since=first.at + offsets.get(process_key(first.process), 0),
        process=last.process,
        step=span.mark.step or None if span.mark.role != semconv.ROLE_SAGA else None,
        trace_id=span.trace_id,
        span_id=span.span_id,
    )
