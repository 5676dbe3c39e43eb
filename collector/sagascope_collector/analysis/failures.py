"""Failed spans: the error of each, whether it leaves the outcome unknown, and causes reported below the span."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sagascope import semconv
from sagascope_collector.analysis import values
from sagascope_collector.analysis.model import Failure
from sagascope_collector.analysis.spans import SpanKey
from sagascope_collector.engines.engine import EXCEPTION, EXCEPTION_TYPE, GRPC_STATUS, HTTP_STATUS
from sagascope_collector.records import Log, Span

EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
ERROR_TYPE: Final = "error.type"

NEVER_SENT: Final = re.compile(
    r"connect(ion)?_?timeout|connecterror|connection_?refused|connect call failed|refused|pool_?timeout"
    r"|gaierror|name or service not known|nodename nor servname|circuit|unreachable"
    r"|schedule_?-?to_?-?start( timeout)?|connection to \S+ timed out\. \(connect timeout",
    re.IGNORECASE,
)
"""The request was not sent, or its engine reports that no worker started it: nothing was executed."""

NO_ANSWER: Final = re.compile(
    r"time-?_?d?[ -]?out|deadline[ _]?exceeded|cancell?ed|connection_?(reset|aborted)|broken_?pipe|disconnect"
    r"|connection (was |is )?(lost|reset|aborted|closed|broken)|(read|write|remoteprotocol)error|incomplete_?read"
    r"|socket hang up|econnreset|econnaborted|etimedout|epipe|unexpected eof|eoferror|no response|lost connection"
    r"|(operation|request|stream|call) (was )?(aborted|reset|closed)|aborterror|fetch failed|goaway",
    re.IGNORECASE,
)
"""The request was sent and no answer was received: it may have been executed."""

ANY_TIMEOUT: Final = re.compile(r"(^|[.:$])timeout(error|exception)?$", re.IGNORECASE)
"""Type of an error that may be a timeout of a connection as well as one of an answer."""

INTERRUPTED: Final = re.compile(
    r"(^|[.\\:*$/ ])(_?(asyncio|futures?|trio|anyio)?\.?(task|operation|job)?_?cancel(l)?ed(error|exception)?"
    r"|(job)?cancellationexception|generatorexit|keyboardinterrupt|systemexit|greenletexit|taskkilled"
    r"|(soft)?timelimitexceeded(exception)?|jobtimeoutexception|horsemonitortimeoutexception"
    r"|workerlosterror|workershutdown|workerterminate|terminated"
    r"|(thread)?interruptedexception|threadabortexception|threaddeath|workershutdownexception)$"
    r"|context canceled",
    re.IGNORECASE,
)
"""Type (or, in Go, message) of an error that interrupts work from outside, at any point:
cancellation, an exit of the process, a generator that is closed, a soft time limit, a killed thread."""

WRAPPED: Final = re.compile(
    r"(^|[.$])(activity|childworkflow)(error|failure)$"
    r"|^(activity task|child workflow execution) failed\b|^activity error \(",
    re.IGNORECASE,
)
"""Type, or message, of an engine's error that only reports that a step failed; the step's own error has the cause."""

# tuples: an attribute may have any value, also one without a hash
UNKNOWN_OUTCOME_HTTP: Final = (408, 499, 502, 504)
UNKNOWN_OUTCOME_GRPC: Final = (1, 4, 14, "CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE")


def failure(span: Span) -> Failure | None:
    """Returns the error of a failed span: from its last exception, else from its attributes and status."""
    if span.status != "error":
        return None
    if recorded := recorded_exception(span):
        return recorded
    kind = values.text(span.attributes.get(ERROR_TYPE)) or values.text(span.attributes.get(EXCEPTION_TYPE))
    return Failure(kind, span.status_message or values.text(span.attributes.get(EXCEPTION_MESSAGE)))


def recorded_exception(span: Span) -> Failure | None:
    """The last exception that a span recorded, whether or not it failed."""
    for event in reversed(span.events):
        if event.name == EXCEPTION:
            return _exception(event.attributes, span.status_message)
    return None


def exception_of(log: Log) -> Failure | None:
    """The exception that a log record carries."""
    return _exception(log.attributes) if EXCEPTION_MESSAGE in log.attributes else None


def _exception(attributes: Mapping[str, object], status_message: str = "") -> Failure:
    return Failure(
        values.text(attributes.get(EXCEPTION_TYPE)),
        values.text(attributes.get(EXCEPTION_MESSAGE)) or status_message or None,
        values.text(attributes.get(EXCEPTION_STACKTRACE)),
    )


def leaves_outcome_unknown(span: Span, failure: Failure | None) -> bool:
    """Whether the error leaves unknown if the work was executed, because the caller received no answer."""
    if has_status_of_unknown_outcome(span):
        return True
    return failure is not None and _has_no_answer(failure.type or "", failure.message or "")


def has_status_of_unknown_outcome(span: Span) -> bool:
    """Whether the response's status leaves unknown if the work was executed; a gateway's does for its receiver, too."""
    attributes = span.attributes
    return any(attributes.get(name) in UNKNOWN_OUTCOME_HTTP for name in HTTP_STATUS) or any(
        attributes.get(name) in UNKNOWN_OUTCOME_GRPC for name in GRPC_STATUS
    )


def _has_no_answer(kind: str, message: str) -> bool:
    """Whether an error reports that no answer came, and does not exclude that the request was sent.

    The type is more specific than the message, unless it may be any timeout. A message may report several errors.
    """
    if NEVER_SENT.search(kind):
        return False
    has_no_answer = NO_ANSWER.search(kind) is not None
    if has_no_answer and not ANY_TIMEOUT.search(kind):
        return True
    if NO_ANSWER.search(NEVER_SENT.sub(" ", message)):
        return True
    return has_no_answer and not NEVER_SENT.search(message)


def is_wrapped(failure: Failure) -> bool:
    """Returns whether an error only reports that a step failed."""
    return any(WRAPPED.search(text) for text in (failure.type, failure.message) if text)


def was_interrupted(failure: Failure | None) -> bool:
    """Whether the work was interrupted from outside, so that even its executor does not know what took effect."""
    if failure is None:
        return False
    if failure.type:
        return INTERRUPTED.search(failure.type) is not None or "context canceled" in (failure.message or "").lower()
    first = (failure.message or "").partition(":")[0]
    return INTERRUPTED.search(first) is not None


def refused(span: Span) -> bool:
    """Whether a server's span answered that the work was not done; its status may not be an error."""
    return any(isinstance(code := span.attributes.get(name), int) and code >= 400 for name in HTTP_STATUS)


ERROR_SEVERITY_NUMBER: Final = 17
"""Minimum severity number of an error log record in OpenTelemetry."""

MAX_SPANS_BELOW: Final = 1_000
"""Maximum number of spans below one attempt that are searched."""


class Causes:
    """Finds errors below the spans of one saga."""

    def __init__(self, spans: Mapping[SpanKey, Span], logs: Sequence[Log]) -> None:
        self._spans, self._logs = spans, logs
        self._children: dict[SpanKey, list[Span]] | None = None
        self._reported: dict[SpanKey, Failure] = {}

    def below(self, executor: Span) -> Failure | None:
        """Returns the error of the latest failed span below.

        If none failed with a message, returns the latest exception that was recorded below, although it may have been
        handled; else the latest error in those spans' log records.
        """
        inside = list(self._inside(executor))
        failed = [(span.end, depth, error) for depth, span in inside if (error := failure(span)) and error.message]
        recorded = [(span.end, depth, error) for depth, span in inside if (error := recorded_exception(span))]
        if found := failed or recorded:
            return max(found, key=lambda each: each[:2])[2]
        keys = [(executor.trace_id, executor.span_id), *((span.trace_id, span.span_id) for _, span in inside)]
        return next((self._reported[key] for key in reversed(keys) if key in self._reported), None)

    def _inside(self, executor: Span) -> Iterator[tuple[int, Span]]:
        """The spans below an attempt that belong to no other attempt, with their depth."""
        waiting = [(1, each) for each in self._below(executor)]
        for index, (depth, span) in enumerate(waiting):
            if index >= MAX_SPANS_BELOW:
                return
            yield depth, span
            waiting += [(depth + 1, each) for each in self._below(span)]

    def _below(self, span: Span) -> list[Span]:
        if self._children is None:
            self._children = self._index()
        return self._children.get((span.trace_id, span.span_id), [])

    def _index(self) -> dict[SpanKey, list[Span]]:
        children: dict[SpanKey, list[Span]] = {}
        for span in sorted(self._spans.values(), key=lambda each: (each.start, each.span_id)):
            own = (semconv.ROLE_SAGA, semconv.ROLE_STEP)
            if span.parent_id and span.parent_id != span.span_id and span.mark.role not in own:
                children.setdefault((span.trace_id, span.parent_id), []).append(span)
        for log in self._logs:
            if log.span_id and (error := _logged_error(log)):
                self._reported[log.trace_id, log.span_id] = error
        return children


def _logged_error(log: Log) -> Failure | None:
    attributes = log.attributes
    kind = values.text(attributes.get(EXCEPTION_TYPE))
    message = values.text(attributes.get(EXCEPTION_MESSAGE))
    if kind or message:
        return Failure(kind, message, values.text(attributes.get(EXCEPTION_STACKTRACE)))
    body = values.text(log.body)
    return Failure(None, body) if body and log.severity >= ERROR_SEVERITY_NUMBER else None
