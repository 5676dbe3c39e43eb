"""Logfire's pending spans: an extra span that Logfire sends when the real span starts."""

from dataclasses import replace
from typing import Final

from sagascope_collector.records import Span

SPAN_TYPE: Final = "logfire.span_type"
PENDING_SPAN: Final = "pending_span"
PENDING_PARENT_ID: Final = "logfire.pending_parent_id"
NO_PARENT: Final = "0" * 16


def is_pending(span: Span) -> bool:
    """Returns whether this span only announces the start of its parent."""
    return span.attributes.get(SPAN_TYPE) == PENDING_SPAN and span.parent_id != ""


def in_flight(pending: Span) -> Span:
    """Returns the open span that a pending span announces."""
    above = pending.attributes.get(PENDING_PARENT_ID)
    parent = above.lower() if isinstance(above, str) and above != NO_PARENT else ""
    attributes = {key: value for key, value in pending.attributes.items() if key not in (SPAN_TYPE, PENDING_PARENT_ID)}
    return replace(pending, span_id=pending.parent_id, parent_id=parent, end=0, attributes=attributes, status="unset")
