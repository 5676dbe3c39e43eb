"""Messages between services: not received, redelivered, or published twice.

A span of kind producer is a message; the span of its consumer is below that span, or is linked to it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sagascope import semconv
from sagascope_collector.analysis import values
from sagascope_collector.analysis.case import Case, Finding, StepAttempt
from sagascope_collector.analysis.context import StepSuccess
from sagascope_collector.analysis.failures import failure
from sagascope_collector.analysis.model import Attempt, AttemptState, Saga
from sagascope_collector.analysis.spans import SpanTree, keyed, process_key
from sagascope_collector.analysis.wording import Action, Evidence, Text, phrase, process_label, shortened
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.engines.engine import RECEIVING_KINDS
from sagascope_collector.records import Span

REEVALUATION_DELAY_NS = 10 * NANOSECONDS_PER_SECOND
"""Minimum nanoseconds until a re-evaluation of whether other messages were received."""

ORDER_MARGIN_NS = NANOSECONDS_PER_SECOND
"""Nanoseconds by which a message must be published after another to count as later: clocks may disagree until then, and
publishers and partitions keep no common order."""

DEAD_LETTER_NAME: Final = re.compile(
    r"(?<![a-z])dl[qtx](?![a-z])|(?-i:(?<=[a-z\d])D(L[QTX]|l[qtx])(?![a-z]))|dead[^a-z]?letter", re.IGNORECASE
)
"""Names of queues, topics and exchanges for messages that a consumer gave up, as brokers and frameworks form them:
``payments-dlt``, and ``PaymentsDLQ`` as on SQS.
"""


@dataclass(frozen=True, slots=True)
class Message:
    """A published message."""

    span: Span
    at: int
    """The time of publication, on the saga's clock."""

    @property
    def key(self) -> tuple[str, str]:
        """The identity of the message: the key of its producer's span."""
        return self.span.trace_id, self.span.span_id

    @property
    def destination(self) -> str:
        """The subject, topic or queue; the span's name if none was reported."""
        return _destination(self.span) or self.span.name

    @property
    def system(self) -> str | None:
        """The messaging system."""
        return values.text(self.span.attributes.get(semconv.MESSAGING_SYSTEM))

    @property
    def is_dead_letter(self) -> bool:
        """Whether its destination is named as a dead-letter queue: no consumer continues the saga from there."""
        return DEAD_LETTER_NAME.search(self.destination) is not None


def _destination(span: Span) -> str:
    """The subject, topic, queue or exchange of a message; ``""`` if it was not reported."""
    reported = (values.text(span.attributes.get(name)) for name in semconv.MESSAGING_DESTINATIONS)
    return shortened(next(filter(None, reported), ""))


def queue_of(attempt: Attempt) -> str:
    """The queue of an attempt that no executor was seen to start; ``""`` if it was not reported."""
    return _destination(attempt.views[-1]) if attempt.is_only_requested else ""


def unreceived_message(case: Case, finding: Finding) -> Message | None:
    """Returns the message that the saga waits for: the latest published message without a known consumer.

    In an orchestrated saga only a call in flight can wait for a message; in a choreography, the next step.
    """
    waiting = [each for each in _published(case) if _waits_for(case, finding, each)]
    taken = _received_spans(case) if waiting else set()
    left = [each for each in waiting if each.key not in taken]
    return max(left, key=lambda each: (each.at, each.span.span_id), default=None)


def _published(case: Case, *, succeeded: bool = True) -> Iterator[Message]:
    for span in case.saga.spans:
        if span.kind == "producer" and span.has_succeeded is succeeded and span.mark.role != semconv.ROLE_STEP:
            yield Message(span, case.at(span.process, span.start))


def _waits_for(case: Case, finding: Finding, message: Message) -> bool:
    subject = finding.subject
    if finding.reason is AttentionCode.NEXT_STEP_MISSING:
        return case.saga.root is None and (subject is None or _may_announce(message, subject.attempt))
    if finding.reason is not AttentionCode.HUNG or subject is None or not _is_only_called_for(case, subject.attempt):
        return False
    return any(case.tree.is_below(message.span, view) for view in subject.attempt.views)


def _may_announce(message: Message, done: Attempt) -> bool:
    """Whether the message may announce a success; after a failure the retry is missing instead."""
    return done.state is AttemptState.OK and message.at >= done.called_at


def _is_only_called_for(case: Case, attempt: Attempt) -> bool:
    """Whether no executor is known; an executor does not wait for the messages that it sent."""
    return not attempt.is_executor_known and _origin(case, attempt) is None


def _consumer(case: Case, finding: Finding) -> str | None:
    """The service that receives the message; None if only the service that called the step is known."""
    step = case.step(finding.step) if finding.step else None
    if step is None or finding.service != step.service:
        return finding.service
    return None if all(_is_only_called_for(case, each) for each in step.attempts) else finding.service


def _received_spans(case: Case) -> set[tuple[str, str]]:
    """The spans with a child span or a link to them, other than of a reader of a dead-letter queue."""
    spans = [span for span in case.saga.spans if not _is_dead_letter_read(span)]
    above = {(span.trace_id, span.parent_id) for span in spans if span.parent_id}
    return above | {(link.trace_id, link.span_id) for span in spans for link in span.links}


def _is_dead_letter_read(span: Span) -> bool:
    return span.kind == "consumer" and DEAD_LETTER_NAME.search(_destination(span)) is not None


def not_received(case: Case, finding: Finding) -> Text:
    """Returns the headline's part about a message without a known consumer and its possible cause.

    Empty without one.
    """
    message = unreceived_message(case, finding)
    if message is None:
        return _not_published(case, finding)
    if queue := _dead_letter_queue(case, message):
        text = "{} is in the dead-letter queue {}, by its name: it is not processed until it is delivered again"
        return phrase(text, _message(case, message), queue)
    text = phrase("{} was not received by any consumer, as far as telemetry shows", _message(case, message))
    latest = _success_of_others(case, finding, message)
    if latest is None:
        case.clock.reevaluate_with_backoff(message.at, REEVALUATION_DELAY_NS)
        return phrase("{}{}", text, _without_other_messages(case, finding, message))
    # a headline is stored, so it names no other saga, which may be erased
    consumer, at = process_label(latest.process), case.time_text(latest.at)
    if latest.published_at is not None and latest.published_at < message.at + ORDER_MARGIN_NS:
        case.clock.reevaluate_with_backoff(message.at, REEVALUATION_DELAY_NS)
        before = case.time_text(latest.published_at)
        behind = "{}; at {} {} received one that was published at {}, so the consumer may be behind"
        return phrase(behind, text, at, consumer, before)
    return phrase("{}; {} received others (the latest at {}), so the cause is this message", text, consumer, at)


def _dead_letter_queue(case: Case, message: Message) -> str:
    """The dead-letter queue, by its name, that a message was published to or read from; ``""`` if there is none."""
    if message.is_dead_letter:
        return message.destination
    found = (span for span in case.saga.spans if (span.trace_id, span.parent_id) == message.key)
    return next((_destination(span) for span in found if _is_dead_letter_read(span)), "")


def _not_published(case: Case, finding: Finding) -> Text:
    """States that the message which should have led to the next step could not be published; empty if none failed."""
    failed = failed_publication(case, finding)
    if failed is None:
        return Text()
    at = case.time_text(failed.at)
    text = "{} could not publish the message to {} at {}{}"
    return phrase(text, process_label(failed.span.process), failed.destination, at, _error(failed))


def _error(failed: Message) -> str:
    error = failure(failed.span)
    text = error and (error.message or error.type)
    return f" ({shortened(text)})" if text else ""


def failed_publication(case: Case, finding: Finding) -> Message | None:
    """Returns the latest message that could not be published and that might announce the last success."""
    failed = [each for each in _published(case, succeeded=False) if each.span.end and _waits_for(case, finding, each)]
    latest = max(failed, key=lambda each: (each.at, each.span.span_id), default=None)
    if latest is None:
        return None
    repeated = any(each.at > latest.at and each.destination == latest.destination for each in _published(case))
    return None if repeated else latest


def _success_of_others(case: Case, finding: Finding, message: Message) -> StepSuccess | None:
    """Another saga's success that started after this message's step was due.

    An earlier success may be of work that its consumer received before this message, and stopped after.
    """
    return case.later_success(finding.step, message.at if finding.due is None else max(message.at, finding.due))


def _is_lost(case: Case, finding: Finding, message: Message) -> bool:
    """Whether the consumer processed a message that was published after this one, or one of unknown publication."""
    latest = _success_of_others(case, finding, message)
    if latest is None:
        return False
    return latest.published_at is None or latest.published_at >= message.at + ORDER_MARGIN_NS


def _without_other_messages(case: Case, finding: Finding, message: Message) -> Text:
    """States that the consuming service received no other message.

    Empty if the service is unknown, or if a success since the publication may be of another message.
    """
    consumer = _consumer(case, finding)
    if not consumer or case.later_success(finding.step, message.at) is not None:
        return Text()
    by = phrase(" by {}", case.time_text(finding.due)) if finding.due is not None else ""
    reported_at = case.reported_since(consumer, message.at)
    reports = ", although it is reporting" if reported_at else ", and it is not reporting"
    return phrase("; {} received no other message{}{}, so the consumer may be the cause", consumer, by, reports)


def _message(case: Case, message: Message) -> Text:
    at = case.time_text(message.at)
    return phrase(
        "the message that {} published to {} at {}", process_label(message.span.process), message.destination, at
    )


def actions(case: Case, finding: Finding) -> list[Action]:
    """Returns the actions for a message without a known consumer; none without such a message."""
    message = unreceived_message(case, finding)
    if message is None:
        failed = failed_publication(case, finding)
        return _publish_again(case, finding, failed) if failed is not None else []
    where = f"{message.destination}{f' ({message.system})' if message.system else ''}"
    if queue := _dead_letter_queue(case, message):
        text = "Find out in {} why the message was moved there, and remove the cause."
        return [Action.inspect(text, queue), *deliver_again(case, finding)]
    if not _is_lost(case, finding, message):
        consumer = _consumer(case, finding) or f"the consumer that runs {finding.step}"
        text = "Check that {} runs and receives from {}. If the message still waits there, {} then continues by itself."
        return [Action.inspect(text, consumer, where, case.saga.label)]
    text = "Find out in {} what happened to the message: acknowledged and lost, dead-lettered, or expired."
    return [Action.inspect(text, where), *deliver_again(case, finding)]


def deliver_again(case: Case, finding: Finding, where: str = "") -> list[Action]:
    """Verifies that the step of a message did not take effect, and has the message delivered again.

    Forward work must not be repeated while the saga compensates; which work a message asks for may not be known.
    """
    consumer, step = _consumer(case, finding) or "its consumer", finding.step or "its step"
    wanted = " and is part of the compensation" if case.is_compensating else ""
    return [
        Action.verify(
            "Verify in {} whether {} took effect for {}: its telemetry may be missing.", consumer, step, case.saga.label
        ),
        Action.repeat("Only if it did not take effect{}, have the message delivered again{}.", wanted, where),
    ]


def _publish_again(case: Case, finding: Finding, failed: Message) -> list[Action]:
    """Removes what prevented the publication, and publishes the message unless it was published in spite of it."""
    publisher, step = process_label(failed.span.process), finding.step or "the next step"
    return [
        Action.inspect("Find out why {} could not publish to {}{}.", publisher, failed.destination, _error(failed)),
        Action.verify(
            "Verify in {} that {} did not start for {}: the message may have been published in spite of the error.",
            _consumer(case, finding) or "its consumer",
            step,
            case.saga.label,
        ),
        Action.repeat("Only if it did not start, publish the message again."),
    ]


def evidence(case: Case, finding: Finding) -> Iterator[Evidence]:
    """Returns the evidence of the publication, and of a message that was processed again."""
    yield from _of_redelivery(case, finding)
    message = unreceived_message(case, finding)
    if message is not None:
        text = phrase("{} published to {}", process_label(message.span.process), message.destination)
        span = message.span
        yield Evidence(text, message.at, span.process.service or None, span.trace_id, span.span_id)


def _of_redelivery(case: Case, finding: Finding) -> Iterator[Evidence]:
    """States that an attempt after the first processed a message: the broker, or its consumer, delivered it again."""
    if finding.subject is None or finding.subject.attempt.number < 2:
        return
    step, attempt = finding.subject
    message = _origin(case, attempt)
    if message is not None:
        text = "Attempt {} of {} processed again the message that {} published to {}"
        text = phrase(text, attempt.number, step.name, process_label(message.span.process), message.destination)
        process = attempt.process
        yield Evidence(text, attempt.executor_started_at, process.service or None, attempt.trace_id, attempt.span_id)


def redelivery(case: Case, failures: Sequence[StepAttempt]) -> Text:
    """Returns a sentence about failed attempts that all processed one message; empty if they did not."""
    messages = [_origin(case, each.attempt) for each in failures]
    first = messages[0]
    if first is None or len(failures) < 2 or any(each is None or each.key != first.key for each in messages):
        return Text()
    return phrase("{} is redelivered after each failure", _message(case, first))


def duplicate_cause(case: Case, first: Attempt, second: Attempt) -> Text:
    """States whether a step was executed twice for one message or for two; empty if no message led to it."""
    one, other = _origin(case, first), _origin(case, second)
    if one is None or other is None:
        return Text()
    if one.key == other.key:
        return phrase("{} was delivered twice", _message(case, one))
    if one.destination != other.destination:
        return Text()
    moments = case.time_text(one.at), case.time_text(other.at)
    text = "two messages requested it, published by {} to {} at {} and {}"
    return phrase(text, process_label(other.span.process), one.destination, *moments)


def _origin(case: Case, attempt: Attempt) -> Message | None:
    """The message that an attempt processed; None if none is known."""
    for view in attempt.views[-1:]:
        if (span := origin(view, case.tree)) is not None:
            return Message(span, case.at(span.process, span.start))
    return None


def published_at(saga: Saga, attempt: Attempt) -> int | None:
    """Returns when the message that an attempt processed was published, on the saga's clock; None if none is known."""
    # most sagas publish nothing, and a tree of their spans takes time
    if not attempt.views or all(span.kind != "producer" for span in saga.spans):
        return None
    span = origin(attempt.views[-1], SpanTree(keyed(saga.spans)))
    return span.start + saga.offsets.get(process_key(span.process), 0) if span is not None else None


def origin(view: Span, tree: SpanTree) -> Span | None:
    """Returns the span that published the message which a span processed: the nearest producer's span above it.

    None if a span is nearer that is not a receipt of a message.
    """
    for above in tree.above(view):
        if above.kind == "producer":
            return above
        if above.kind not in RECEIVING_KINDS:
            return None
    return None
