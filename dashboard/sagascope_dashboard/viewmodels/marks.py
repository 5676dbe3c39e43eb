"""Log lines and events of spans as marks on their bars."""

from collections.abc import Sequence

from sagascope_collector.client import schemas
from sagascope_dashboard.format import line, milliseconds
from sagascope_dashboard.viewmodels.bars import Bar, Mark

_LEVELS = {"ERROR": "error", "FATAL": "error", "CRITICAL": "error", "WARN": "warning", "WARNING": "warning"}


def attach(saga: schemas.Saga, bars: Sequence[Bar]) -> None:
    """Put log lines, and events of spans, on the bar of their span."""
    by_id = {bar.id: bar for bar in bars}
    for log in saga.logs:
        bar = by_id.get(log.span_id or "")
        if bar is not None and not (log.event_name or "").startswith("sagascope."):
            level = _LEVELS.get((log.severity or "").upper().rstrip("0123456789"), "note")
            bar.marks.append(Mark(milliseconds(log.at), level, line(log.body or log.event_name, 300)))
    for span in saga.spans:
        bar = by_id.get(span.span_id)
        for event in span.events if bar else ():
            level = "error" if event.name == "exception" else "note"
            bar.marks.append(Mark(milliseconds(event.at), level, _event(event)))  # type: ignore[union-attr]


def _event(event: schemas.SpanEvent) -> str:
    message = event.attributes.get("exception.message")
    return line(f"{event.name}: {message}" if message else event.name, 300)
