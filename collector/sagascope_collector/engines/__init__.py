"""Telemetry of others: engines whose spans know nothing of ``saga.*``, and their ways to tell of work in flight.

Facts stay as they came. Where a record belongs is decided once, when it is decoded (`Forms.mark`); what the spans of a
saga mean together is read each time it is rebuilt (`read`, `in_flight`, `open_span`).
"""

from sagascope_collector.engines.engine import Engine, Seen
from sagascope_collector.engines.forms import BUILT_IN, Forms
from sagascope_collector.engines.logfire import in_flight, is_pending
from sagascope_collector.engines.mapping import read_mapping
from sagascope_collector.engines.partial import EVENT as PARTIAL_EVENT
from sagascope_collector.engines.partial import Partial, is_partial, open_span
from sagascope_collector.engines.partial import parse as parse_partial
from sagascope_collector.engines.reading import Reading, read

__all__ = [
    "BUILT_IN",
    "PARTIAL_EVENT",
    "Engine",
    "Forms",
    "Partial",
    "Reading",
    "Seen",
    "in_flight",
    "is_partial",
    "is_pending",
    "open_span",
    "parse_partial",
    "read",
    "read_mapping",
]
