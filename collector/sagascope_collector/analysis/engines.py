"""What an engine reports about why a saga waits: half a sentence that it alone knows."""

from collections.abc import Iterable

from sagascope import semconv
from sagascope_collector.analysis.case import Case, Try
from sagascope_collector.analysis.wording import Text
from sagascope_collector.analysis.words import shortened


def reported(case: Case, subject: Try | None) -> Text:
    """What a headline adds of it, for this step and for the saga; empty where the engine reports no obstacle."""
    attempts = subject.step.attempts if subject is not None else ()
    views = (span for attempt in attempts for span in attempt.views)
    whole = (span for span in case.saga.spans if span.mark.role == semconv.ROLE_SAGA)
    held = _held(case, [*(span.span_id for span in whole), *(span.span_id for span in views)])
    return Text(f"Its engine reports: {'; '.join(shortened(each) for each in held)}") if held else Text()


def _held(case: Case, spans: Iterable[str]) -> list[str]:
    """The latest report on each of these spans, where it was not withdrawn."""
    latest = dict.fromkeys(spans, "")
    for log in case.saga.logs:
        if log.event_name == semconv.EVENT_WAITING and log.span_id in latest:
            latest[log.span_id] = str(log.body or "")
    return [each for each in dict.fromkeys(latest.values()) if each]
