"""Logfire's pending spans: beside the real span, one that is sent at its start."""

from dataclasses import replace
from typing import Final

from sagascope_collector.records import Span

SPAN_TYPE: Final = "logfire.span_type"
PENDING: Final = "pending_span"
REAL_PARENT: Final = "logfire.pending_parent_id"
NONE: Final = "0" * 16


def is_pending(span: Span) -> bool:
    """Whether this is no span of its own, but the word that its parent has begun."""
    return span.attributes.get(SPAN_TYPE) == PENDING and span.parent_id != ""


def in_flight(pending: Span) -> Span:
    """The open span that a pending one tells of."""
    above = pending.attributes.get(REAL_PARENT)
    parent = above.lower() if isinstance(above, str) and above != NONE else ""
    attributes = {key: value for key, value in pending.attributes.items() if key not in (SPAN_TYPE, REAL_PARENT)}
    return replace(pending, span_id=pending.parent_id, parent_id=parent, end=0, attributes=attributes, status="unset")
