"""Which spans failed, with what error, and whether that leaves the outcome unknown."""

import re
from typing import Final

from sagascope_collector.analysis import values
from sagascope_collector.analysis.model import Failure
from sagascope_collector.records import Span

EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
ERROR_TYPE: Final = "error.type"
HTTP_STATUS: Final = ("http.response.status_code", "http.status_code")
GRPC_STATUS: Final = ("rpc.response.status_code", "rpc.grpc.status_code")

NEVER_SENT: Final = re.compile(
    r"connect(ion)?_?timeout|connecterror|connection_?refused|connect call failed|refused|pool_?timeout"
    r"|gaierror|name or service not known|nodename nor servname|circuit|unreachable|schedule_?-?to_?-?start",
    re.IGNORECASE,
)
"""The request did not leave, or its engine says that no worker started it: nothing was done."""

LEFT_OPEN: Final = re.compile(
    r"time-?_?d?[ -]?out|deadline[ _]?exceeded|cancell?ed|connection_?(reset|aborted)|broken_?pipe|disconnect"
    r"|connection (was |is )?(lost|reset|aborted|closed|broken)|(read|write|remoteprotocol)error|incomplete_?read"
    r"|socket hang up|econnreset|econnaborted|etimedout|epipe|unexpected eof|eoferror|no response|lost connection"
    r"|(operation|request|stream|call) (was )?(aborted|reset|closed)|aborterror|fetch failed|goaway",
    re.IGNORECASE,
)
"""The request left and no answer came: it may have been done."""

INTERRUPTED: Final = re.compile(
    r"(^|[.\\:*$/ ])(_?(asyncio|futures?|trio|anyio)?\.?(task|operation|job)?_?cancel(l)?ed(error|exception)?"
    r"|(job)?cancellationexception|generatorexit|keyboardinterrupt|systemexit|greenletexit|taskkilled"
    r"|(soft)?timelimitexceeded(exception)?|jobtimeoutexception|horsemonitortimeoutexception"
    r"|workerlosterror|workershutdown|workerterminate|terminated"
    r"|(thread)?interruptedexception|threadabortexception|threaddeath|workershutdownexception)$"
    r"|context canceled",
    re.IGNORECASE,
)
"""Type (or, in Go, message) of an error with which work is interrupted from outside, wherever it was at that moment:
cancellation, an exit of the process, a generator that is closed, a soft time limit, a killed thread."""

OPEN_HTTP: Final = frozenset({408, 499, 502, 504})
OPEN_GRPC: Final = frozenset({1, 4, 14, "CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE"})


def failure(span: Span) -> Failure | None:
    """The error of a span that failed: of its last exception, else of its attributes and status."""
    if span.status != "error":
        return None
    if told_by_event := told(span):
        return told_by_event
    kind = values.text(span.attributes.get(ERROR_TYPE)) or values.text(span.attributes.get(EXCEPTION_TYPE))
    return Failure(kind, span.status_message or values.text(span.attributes.get(EXCEPTION_MESSAGE)))


def told(span: Span) -> Failure | None:
    """The last exception that a span recorded, whether or not it failed."""
    for event in reversed(span.events):
        if event.name == "exception":
            said = event.attributes
            return Failure(
                values.text(said.get(EXCEPTION_TYPE)),
                values.text(said.get(EXCEPTION_MESSAGE)) or span.status_message or None,
                values.text(said.get(EXCEPTION_STACKTRACE)),
            )
    return None


def leaves_open(span: Span, failure: Failure | None) -> bool:
    """Whether the caller of something cannot know from this error if it was done: no answer came."""
    attributes = span.attributes
    if any(attributes.get(name) in OPEN_HTTP for name in HTTP_STATUS):
        return True
    if any(attributes.get(name) in OPEN_GRPC for name in GRPC_STATUS):
        return True
    said = f"{failure.type or ''} {failure.message or ''}" if failure else ""
    return not NEVER_SENT.search(said) and LEFT_OPEN.search(said) is not None


def was_interrupted(failure: Failure | None) -> bool:
    """Whether the work itself was interrupted from outside: then not even its executor knows what took effect."""
    if failure is None:
        return False
    if failure.type:
        return INTERRUPTED.search(failure.type) is not None or "context canceled" in (failure.message or "").lower()
    first = (failure.message or "").partition(":")[0]
    return INTERRUPTED.search(first) is not None


def refused(span: Span) -> bool:
    """Whether a server's span, which need not be an error, answered that it did not do it."""
    return any(isinstance(code := span.attributes.get(name), int) and code >= 400 for name in HTTP_STATUS)
