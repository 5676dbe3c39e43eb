"""Messages that a broker gave up, as the reader of a dead-letter queue, or of a broker's advisories, reports them.

The record stands at the span that injected the message's headers. It blocks the saga unless a later record with an
empty body withdraws it, an attempt took the message over, its work is being compensated, or other work goes on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sagascope import semconv
from sagascope_collector.analysis import failures, values
from sagascope_collector.analysis.model import DEAD_LETTER, Attempt, AttemptState, BlockReport, Phase, Step
from sagascope_collector.analysis.spans import ProcessKey, SpanTree, keyed, process_key
from sagascope_collector.analysis.wording import shortened
from sagascope_collector.records import Log, Span

_StepAttempt = tuple[Step, Attempt]


def dead_letters(
    spans: Sequence[Span], logs: Iterable[Log], steps: Sequence[Step], offsets: Mapping[ProcessKey, int], is_led: bool
) -> Iterator[BlockReport]:
    """Yields the report on each message that blocks the saga.

    In a saga with an orchestrator (`is_led`), only a message of a call in flight does.
    """
    latest = {
        (log.trace_id, log.span_id): log
        for log in logs
        if log.event_name == semconv.EVENT_WAITING
        and (not log.body or log.attributes.get(semconv.BLOCKED_CAUSE) == DEAD_LETTER)
    }
    if not any(log.body for log in latest.values()):
        return
    tree = SpanTree(keyed(spans))
    attempts = [(step, attempt) for step in steps for attempt in step.attempts]
    for span in spans:
        log = latest.get((span.trace_id, span.span_id))
        if log is None or not log.body:
            continue
        at = log.at + offsets.get(process_key(log.process), 0)
        received = [(step, each) for step, each in attempts if _is_from(each, span, tree)]
        callers = [(step, each) for step, each in attempts if any(_is_within(span, view, tree) for view in each.views)]
        calling = [(step, each) for step, each in callers if each.state is AttemptState.IN_FLIGHT]
        others = [each for _, each in attempts if all(each is not caller for _, caller in callers)]
        if (is_led and not calling) or any(_goes_on(each, at) for each in others):
            continue
        if any(each.state is AttemptState.OK for _, each in received) or _is_compensated(received, attempts):
            continue
        # without an orchestrator, the step that sent a message does not wait for it
        step = next((step.name for step, _ in reversed(received or (calling if is_led else []))), None)
        queue = shortened(values.text(log.attributes.get(semconv.DEAD_LETTER_QUEUE)) or "")
        yield BlockReport(
            cause=DEAD_LETTER,
            text=str(log.body),
            since=at,
            process=log.process,
            step=step,
            trace_id=span.trace_id,
            span_id=span.span_id,
            error=failures.exception_of(log),
            queue=queue,
        )


def _is_from(attempt: Attempt, span: Span, tree: SpanTree) -> bool:
    """Whether an attempt processed the message that the span sent."""
    ids = span.trace_id, span.span_id
    return any(
        tree.is_below(view, span) or any((link.trace_id, link.span_id) == ids for link in view.links)
        for view in attempt.views
    )


def _is_compensated(received: Sequence[_StepAttempt], attempts: Iterable[_StepAttempt]) -> bool:
    """Whether a message of forward work is no longer wanted: a compensation was called after the work had started."""
    if not received or any(step.phase is Phase.COMPENSATION for step, _ in received):
        return False
    started_at = min(each.called_at for _, each in received)
    return any(step.phase is Phase.COMPENSATION and each.called_at > started_at for step, each in attempts)


def _is_within(span: Span, view: Span, tree: SpanTree) -> bool:
    return span is view or tree.is_below(span, view)


def _goes_on(attempt: Attempt, at: int) -> bool:
    """Whether an attempt is in flight, or was called after the message was given up."""
    return attempt.called_at > at or (attempt.state is AttemptState.IN_FLIGHT and not attempt.is_only_requested)
