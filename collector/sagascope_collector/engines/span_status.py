"""Derives a span's status from its exception events. Pure.

OpenTelemetry leaves the status unset unless the application sets it. An exception event at the end of such a span means
that the span failed. Conversely, some engines end a span with an exception that only carries control flow:
continue-as-new, work that is handed over to another process, a suspension.
"""

import re
from dataclasses import replace
from typing import Final

from sagascope import semconv
from sagascope_collector.records import Event, Span
from sagascope_collector.values import word

EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_ESCAPED: Final = "exception.escaped"

MAX_EXCEPTION_TO_END_NS: Final = 1_000_000
"""An exception event at most this far from a span's end ended the span."""

CONTINUE_AS_NEW: Final = re.compile(r"continue_?-?as_?-?new", re.IGNORECASE)
"""Matches the type of the exception by which a run ends and continues as a new run."""

CONTROL_FLOW: Final = re.compile(
    r"continue_?-?as_?-?new|completeasyncerror|errresultpending|activitypausederror|suspen(d|sion|ded)"
    r"|orchestratorblocked|taskblocked|(^|[.:*])(ignore|hibernat\w+|detached)(error|exception)?$",
    re.IGNORECASE,
)
"""Matches the types of exceptions that end a span without a failure."""


def with_derived_status(span: Span) -> Span:
    """Returns the span with the status that its exception events imply."""
    if span.status == "ok" or not span.end:
        return span
    exception = _ending_exception(span)
    if exception is None:
        return span
    if is_control_flow(exception):
        return replace(span, status="unset", status_message="") if span.status == "error" else span
    return span if span.status == "error" else replace(span, status="error")


def continues_as_new(span: Span) -> bool:
    """Returns whether the span ended because its work continues as a new run."""
    exception = _ending_exception(span)
    return exception is not None and CONTINUE_AS_NEW.search(word(exception.attributes.get(EXCEPTION_TYPE))) is not None


def is_control_flow(event: Event) -> bool:
    """Returns whether an exception event carries control flow instead of a failure."""
    return CONTROL_FLOW.search(word(event.attributes.get(EXCEPTION_TYPE))) is not None


def is_from_sagascope(span: Span) -> bool:
    """Returns whether Sagascope's instrumentation created the span."""
    return span.scope.schema_url == semconv.SCHEMA_URL


def _ending_exception(span: Span) -> Event | None:
    """Returns the last exception event that is at the span's end or marked as escaped."""
    for event in reversed(span.events):
        if event.name == EXCEPTION and (abs(event.at - span.end) <= MAX_EXCEPTION_TO_END_NS or _has_escaped(event)):
            return event
    return None


def _has_escaped(event: Event) -> bool:
    escaped = event.attributes.get(EXCEPTION_ESCAPED)
    return escaped is True or (isinstance(escaped, str) and escaped.lower() == "true")
