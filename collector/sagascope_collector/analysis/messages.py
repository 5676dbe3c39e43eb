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
from sagascope_collector.analysis.diagnosis import Action, Evidence
from sagascope_collector.analysis.model import Attempt, AttemptState
from sagascope_collector.analysis.spans import RECEIVING_KINDS
from sagascope_collector.analysis.wording import Text, clock, phrase, process_label
from sagascope_collector.attention_codes import AttentionCode
from sagascope_collector.durations import NANOSECONDS_PER_SECOND
from sagascope_collector.records import Span

REEVALUATION_DELAY_NS = 10 * NANOSECONDS_PER_SECOND
"""Minimum nanoseconds until a re-evaluation of whether other messages were received."""

DEAD_LETTER_NAME: Final = re.compile(r"(?<![a-z])dl[qtx](?![a-z])|dead[^a-z]?letter", re.IGNORECASE)
"""Names of queues, topics and exchanges for messages that a consumer gave up, as brokers and frameworks form them."""


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
        return values.text(self.span.attributes.get(semconv.MESSAGING_DESTINATION)) or self.span.name

    @property
    def system(self) -> str | None:
        """The messaging system."""
        return values.text(self.span.attributes.get(semconv.MESSAGING_SYSTEM))

    @property
    def is_dead_letter(self) -> bool:
        """Whether its destination is named as a dead-letter queue: no consumer continues the saga from there."""
        return DEAD_LETTER_NAME.search(self.destination) is not None


def queue_of(attempt: Attempt) -> str:
    """The queue of an attempt that no executor was seen to start; ``""`` if it was not reported."""
    destination = attempt.views[-1].attributes.get(semconv.MESSAGING_DESTINATION) if attempt.is_only_requested else None
    return values.text(destination) or ""


def unreceived_message(case: Case, finding: Finding) -> Message | None:
    """Returns the message that the saga waits for: the latest published message without a known consumer.

    In an orchestrated saga only a call in flight can wait for a message; in a choreography, the next step.
    """
    waiting = [each for each in _published(case) if _waits_for(case, finding, each)]
    taken = _received_spans(case) if waiting else set()
    left = [each for each in waiting if each.key not in taken]
    return max(left, key=lambda each: (each.at, each.span.span_id), default=None)


def _published(case: Case) -> Iterator[Message]:
    for span in case.saga.spans:
        if span.kind == "producer" and span.has_succeeded and span.mark.role != semconv.ROLE_STEP:
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


def _received_spans(case: Case) -> set[tuple[str, str]]:
    """The spans with a child span or a link to them."""
    above = {(span.trace_id, span.parent_id) for span in case.saga.spans if span.parent_id}
    return above | {(link.trace_id, link.span_id) for span in case.saga.spans for link in span.links}


def not_received(case: Case, finding: Finding) -> Text:
    """Returns the headline's part about a message without a known consumer and its possible cause.

    Empty without one.
    """
    message = unreceived_message(case, finding)
    if message is None:
        return Text()
    if message.is_dead_letter:
        text = "{} is in a dead-letter queue, by its name: it is not processed until it is delivered again"
        return phrase(text, _message(case, message))
    text = phrase("{} was not received by any consumer, as far as telemetry shows", _message(case, message))
    latest_success = _success_of_others(case, finding, message)
    if latest_success is not None:
        # a headline is stored, so it names no other saga, which may be erased
        at = clock(latest_success.at, case.clock.now)
        return phrase(
            "{}; {} received others (the latest at {}), so the cause is this message",
            text,
            process_label(latest_success.process),
            at,
        )
    case.clock.reevaluate_with_backoff(message.at, REEVALUATION_DELAY_NS)
    return phrase("{}{}", text, _without_other_messages(case, finding, message))


def _success_of_others(case: Case, finding: Finding, message: Message) -> StepSuccess | None:
    """Another saga's success after this message's step was due.

    An earlier success may be of work that its consumer received before this message, and stopped after.
    """
    return case.later_success(finding.step, message.at if finding.due is None else max(message.at, finding.due))


def _without_other_messages(case: Case, finding: Finding, message: Message) -> Text:
    """States that the consuming service received no other message.

    Empty if the service is unknown, or if a success since the publication may be of another message.
    """
    if not finding.service or case.later_success(finding.step, message.at) is not None:
        return Text()
    by = phrase(" by {}", clock(finding.due, case.clock.now)) if finding.due is not None else ""
    reported_at = case.reported_since(finding.service, message.at)
    silence = ", although it is reporting" if reported_at else ", and it is not reporting"
    return phrase("; {} received no other message{}{}, so the consumer may be the cause", finding.service, by, silence)


def _message(case: Case, message: Message) -> Text:
    at = clock(message.at, case.clock.now)
    return phrase(
        "the message that {} published to {} at {}", process_label(message.span.process), message.destination, at
    )


def actions(case: Case, finding: Finding) -> list[Action]:
    """Returns the actions for a message without a known consumer; none without such a message."""
    message = unreceived_message(case, finding)
    if message is None:
        return []
    saga = case.saga.label
    where = f"{message.destination}{f' ({message.system})' if message.system else ''}"
    if _success_of_others(case, finding, message) is None and not message.is_dead_letter:
        consumer = finding.service or f"the consumer that runs {finding.step}"
        text = "Check that {} runs and receives from {}. If the message still waits there, {} then continues by itself."
        return [Action.inspect(text, consumer, where, saga)]
    text = "Find out in {} what happened to the message: acknowledged and lost, dead-lettered, or expired."
    if message.is_dead_letter:
        text = "Find out in {} why the message was moved there, and remove the cause."
    return [
        Action.inspect(text, where),
        Action.verify(
            "Verify in {} whether {} took effect for {}: its telemetry may be missing.",
            finding.service or "its consumer",
            finding.step or "the step",
            saga,
        ),
        Action.repeat("Only if it did not take effect, have the message delivered again."),
    ]


def evidence(case: Case, finding: Finding) -> Iterator[Evidence]:
    """Returns the evidence of the publication."""
    message = unreceived_message(case, finding)
    if message is not None:
        text = phrase("{} published to {}", process_label(message.span.process), message.destination)
        span = message.span
        yield Evidence(text, message.at, span.process.service or None, span.trace_id, span.span_id)


def redelivery(case: Case, row: Sequence[StepAttempt]) -> Text:
    """Returns a sentence about failed attempts that all processed one message; empty if they did not."""
    messages = [_origin(case, each.attempt) for each in row]
    first = messages[0]
    if first is None or len(row) < 2 or any(each is None or each.key != first.key for each in messages):
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
    moments = clock(one.at, case.clock.now), clock(other.at, case.clock.now)
    text = "two messages requested it, published by {} to {} at {} and {}"
    return phrase(text, process_label(other.span.process), one.destination, *moments)


def _origin(case: Case, attempt: Attempt) -> Message | None:
    """The message that an attempt processed: the nearest producer's span above it.

    None if a receiving span is nearer.
    """
    for view in attempt.views[-1:]:
        for above in case.tree.above(view):
            if above.kind == "producer":
                return Message(above, case.at(above.process, above.start))
            if above.kind not in RECEIVING_KINDS:
                return None
    return None
