"""Which spans failed although their status is unset, and which did not although an exception ended them. Pure.

OpenTelemetry leaves the status unset unless someone sets it; an exception event at the span's end tells of the failure
then. And some engines end a span with an exception that only carries control flow: continue-as-new, work that is
handed to another process, a suspension.
"""

import re
from dataclasses import replace
from typing import Final

from sagascope import semconv
from sagascope_collector.records import Event, Span
from sagascope_collector.values import word

EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
ESCAPED: Final = "exception.escaped"

AT_THE_END_NS: Final = 1_000_000
"""Nanoseconds from a span's end within which an exception event is what ended it."""

CONTINUE_AS_NEW: Final = re.compile(r"continue_?-?as_?-?new", re.IGNORECASE)
"""Type of the exception with which a run ends to continue as a new one."""

CONTROL_FLOW: Final = re.compile(
    r"continue_?-?as_?-?new|completeasyncerror|errresultpending|activitypausederror|suspen(d|sion|ded)"
    r"|orchestratorblocked|taskblocked|(^|[.:*])(ignore|hibernat\w+|detached)(error|exception)?$",
    re.IGNORECASE,
)
"""Types of exceptions that end a span without a failure."""


def settled(span: Span) -> Span:
    """The span with the status that its events tell: failed, or not."""
    if span.status == "ok" or not span.end:
        return span
    ended_by = _ended_by(span)
    if ended_by is None:
        return span
    if is_control_flow(ended_by):
        return replace(span, status="unset", status_message="") if span.status == "error" else span
    return span if span.status == "error" else replace(span, status="error")


def continues_as_new(span: Span) -> bool:
    """Whether the span ended so that its work continues as a new run."""
    ended_by = _ended_by(span)
    return ended_by is not None and CONTINUE_AS_NEW.search(word(ended_by.attributes.get(EXCEPTION_TYPE))) is not None


def is_control_flow(event: Event) -> bool:
    """Whether an exception event only carries control flow."""
    return CONTROL_FLOW.search(word(event.attributes.get(EXCEPTION_TYPE))) is not None


def is_ours(span: Span) -> bool:
    """Whether Sagascope's own instrumentation made the span."""
    return span.scope.schema_url == semconv.SCHEMA_URL


def _ended_by(span: Span) -> Event | None:
    """The last exception event at the span's end, or one that is marked as escaped."""
    for event in reversed(span.events):
        if event.name == EXCEPTION and (abs(event.at - span.end) <= AT_THE_END_NS or _escaped(event)):
            return event
    return None


def _escaped(event: Event) -> bool:
    said = event.attributes.get(ESCAPED)
    return said is True or (isinstance(said, str) and said.lower() == "true")
