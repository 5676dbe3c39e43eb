"""What a heartbeat record says. Pure."""

import math
from typing import Final

from sagascope import semconv
from sagascope_collector.records import Attributes, Following, Value
from sagascope_collector.storage import Beat
from sagascope_collector.values import count

DEFAULT_INTERVAL: Final = 60.0
"""Seconds to the next heartbeat where a record does not say it."""

MOST_PARTS: Final = 10_000


def beat(attributes: Attributes, at: int) -> Beat:
    """Read a heartbeat; what it does not say, or says wrongly, is as if absent."""
    parts = min(count(attributes.get(semconv.HEARTBEAT_PARTS)) or 1, MOST_PARTS)
    return Beat(
        at=at,
        interval=_positive(attributes.get(semconv.HEARTBEAT_INTERVAL)) or DEFAULT_INTERVAL,
        sequence=count(attributes.get(semconv.HEARTBEAT_SEQUENCE)),
        open_spans=_ids(attributes.get(semconv.HEARTBEAT_OPEN_SPANS)),
        part=min(count(attributes.get(semconv.HEARTBEAT_PART)) or 1, parts),
        parts=parts,
        dropped=count(attributes.get(semconv.HEARTBEAT_DROPPED)),
        final=attributes.get(semconv.HEARTBEAT_FINAL) is True,
        following=_following(attributes),
    )


def _following(attributes: Attributes) -> Following | None:
    kind = attributes.get(semconv.BRIDGE_KIND)
    if not isinstance(kind, str) or not kind:
        return None
    trouble = attributes.get(semconv.BRIDGE_ERROR)
    return Following(
        kind=kind,
        lag=_positive(attributes.get(semconv.BRIDGE_LAG)) or 0.0,
        watching=count(attributes.get(semconv.BRIDGE_WATCHING)),
        trouble=trouble if isinstance(trouble, str) else "",
    )


def promise(interval: float, at: int) -> Beat:
    """The word of a process that it will be heard again, of which nothing is known but one open span.

    It is the first of two parts, of which the second never comes: no other span is over because it is not listed.
    """
    return Beat(at=at, interval=interval, sequence=0, open_spans=frozenset(), part=1, parts=2)


def _positive(value: Value) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
        return float(value)
    return None


def _ids(value: Value) -> frozenset[str]:
    listed = value if isinstance(value, list) else ()
    return frozenset(each.lower() for each in listed if isinstance(each, str))
