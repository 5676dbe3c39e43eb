"""Messages between services: published and not taken, delivered again, published twice.

A span of kind producer is a message; whoever takes it stands below that span, or is linked to it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sagascope import semconv
from sagascope_collector.records import Span
from sagascope_collector.sagas import values
from sagascope_collector.sagas.case import Case, Finding, Try
from sagascope_collector.sagas.context import Passed
from sagascope_collector.sagas.lineage import RECEIVING
from sagascope_collector.sagas.model import Attempt, AttemptState, Evidence, Reason
from sagascope_collector.sagas.values import SECOND
from sagascope_collector.sagas.words import clock, who

LOOK_AGAIN = 10 * SECOND
"""After which it is seen anew, at the soonest, whether others were taken meanwhile."""


@dataclass(frozen=True, slots=True)
class Message:
    """One that was published."""

    span: Span
    at: int
    """When, on the saga's clock."""

    @property
    def key(self) -> tuple[str, str]:
        """Tells it from every other."""
        return self.span.trace_id, self.span.span_id

    @property
    def destination(self) -> str:
        """The subject, topic or queue; the span's name where that was not said."""
        return values.text(self.span.attributes.get(semconv.MESSAGING_DESTINATION)) or self.span.name

    @property
    def system(self) -> str | None:
        """The broker."""
        return values.text(self.span.attributes.get(semconv.MESSAGING_SYSTEM))


def is_untaken(attempt: Attempt) -> bool:
    """Whether it was only called for, by somebody who waits for no answer: nobody was heard to take it."""
    return bool(attempt.views) and attempt.views[-1].kind == "producer"


def queue_of(attempt: Attempt) -> str:
    """Where an attempt waits that nobody was heard to take; ``""`` where that was not said."""
    said = attempt.views[-1].attributes.get(semconv.MESSAGING_DESTINATION) if is_untaken(attempt) else None
    return values.text(said) or ""


def untaken(case: Case, finding: Finding) -> Message | None:
    """The message on which the saga waits: the latest that was published there and that nobody was heard to take.

    Where somebody leads the saga, only a call that is under way can wait for one; else the step that should come.
    """
    waiting = [each for each in _published(case) if _waits_for(case, finding, each)]
    taken = _taken(case) if waiting else set()
    left = [each for each in waiting if each.key not in taken]
    return max(left, key=lambda each: (each.at, each.span.span_id), default=None)


def _published(case: Case) -> Iterator[Message]:
    for span in case.saga.spans:
        if span.kind == "producer" and span.end and span.status != "error" and span.mark.role != semconv.ROLE_STEP:
            yield Message(span, case.at(span.process, span.start))


def _waits_for(case: Case, finding: Finding, message: Message) -> bool:
    subject = finding.subject
    if finding.reason is Reason.NEXT_STEP_MISSING:
        return case.saga.root is None and (subject is None or _came_of(message, subject.attempt))
    if finding.reason is not Reason.HUNG or subject is None or not _is_only_called_for(case, subject.attempt):
        return False
    return any(case.lineage.is_below(message.span, view) for view in subject.attempt.views)


def _came_of(message: Message, done: Attempt) -> bool:
    """Whether it may tell of what was done well; after a failure the retry is missing, whatever was published."""
    return done.state is AttemptState.OK and message.at >= done.began


def _is_only_called_for(case: Case, attempt: Attempt) -> bool:
    """Whether nobody is known to work on it; who works on it himself waits for none of the messages that he sent."""
    return not attempt.is_executor_known and _origin(case, attempt) is None


def _taken(case: Case) -> set[tuple[str, str]]:
    """Spans below which another came, or to which another is linked."""
    above = {(span.trace_id, span.parent_id) for span in case.saga.spans if span.parent_id}
    return above | {(link.trace_id, link.span_id) for span in case.saga.spans for link in span.links}


def others(case: Case, finding: Finding, message: Message) -> Passed | None:
    """Another saga that did, after this message was published, what should come of it."""
    passed = case.context.passed.get((*case.saga.key[:2], finding.step or ""))
    return passed if passed and passed.key != case.saga.key and passed.at > message.at else None


def told(case: Case, finding: Finding) -> str:
    """What a headline adds of a message that was not taken, and whom that speaks against; ``""`` without one."""
    message = untaken(case, finding)
    if message is None:
        return ""
    said = f"; {_what(case, message)} was taken by nobody, as far as was heard"
    passed = others(case, finding, message)
    if passed is not None:
        other = f"{passed.key.name} {passed.key.id} at {clock(passed.at, case.watch.now)}"
        return f"{said}; {who(passed.process)} takes others ({other}), so it is this message"
    case.watch.remind(case.watch.now + max(LOOK_AGAIN, case.watch.now - message.at))
    return f"{said}{_idle(case, finding, message)}"


def _idle(case: Case, finding: Finding, message: Message) -> str:
    """That the service which should take it took no other; ``""`` where it is not known which should."""
    if not finding.service:
        return ""
    by = f" by {clock(finding.due, case.watch.now)}" if finding.due is not None else ""
    heard = case.heard_since(finding.service, message.at)
    silence = ", though it is heard of" if heard else ", nor was it heard of"
    return f", and {finding.service} took no other{by}{silence}, so it may be the consumer"


def _what(case: Case, message: Message) -> str:
    at = clock(message.at, case.watch.now)
    return f"the message that {who(message.span.process)} published to {message.destination} at {at}"


def actions(case: Case, finding: Finding) -> list[str]:
    """What to do about a message that was not taken; nothing where there is none."""
    message = untaken(case, finding)
    if message is None:
        return []
    business = f"{case.saga.key.name} {case.saga.key.id}"
    where = f"{message.destination}{f' ({message.system})' if message.system else ''}"
    if others(case, finding, message) is None:
        consumer = finding.service or f"whoever should do {finding.step}"
        return [
            f"See whether {consumer} runs and takes from {where}: a message that waits there lets {business} go on."
        ]
    return [
        f"Look on {where} what became of the message: acknowledged and lost, set aside, or expired.",
        f"Verify first in {finding.service or 'its consumer'} that {finding.step} was not done for {business}; "
        "then have the message delivered once more.",
    ]


def evidence(case: Case, finding: Finding) -> Iterator[Evidence]:
    """That the message was published."""
    message = untaken(case, finding)
    if message is not None:
        text = f"{who(message.span.process)} published to {message.destination}"
        span = message.span
        yield Evidence(text, message.at, span.process.service or None, span.trace_id, span.span_id)


def delivered_again(case: Case, row: Sequence[Try]) -> str:
    """What is added of failed attempts that all worked on one message; ``""`` where they did not."""
    messages = [_origin(case, each.attempt) for each in row]
    first = messages[0]
    if first is None or len(row) < 2 or any(each is None or each.key != first.key for each in messages):
        return ""
    return f"; {_what(case, first)} is delivered again and again"


def came_twice(case: Case, first: Attempt, second: Attempt) -> str:
    """Whether a step was done twice for one message, or for two; ``""`` where no message led to it."""
    one, other = _origin(case, first), _origin(case, second)
    if one is None or other is None:
        return ""
    if one.key == other.key:
        return f", because {_what(case, one)} was delivered twice"
    if one.destination != other.destination:
        return ""
    whom = who(other.span.process)
    moments = f"{clock(one.at, case.watch.now)} and {clock(other.at, case.watch.now)}"
    return f", because two messages asked for it, published by {whom} to {one.destination} at {moments}"


def _origin(case: Case, attempt: Attempt) -> Message | None:
    """The message that an attempt worked on: the nearest producer's span above, before it was taken over."""
    for view in attempt.views[-1:]:
        for above in case.lineage.above(view):
            if above.kind == "producer":
                return Message(above, case.at(above.process, above.start))
            if above.kind not in RECEIVING:
                return None
    return None
