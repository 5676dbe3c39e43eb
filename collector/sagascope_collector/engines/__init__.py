"""Telemetry of workflow engines and libraries that do not set ``saga.*`` attributes, and formats for open spans.

Records are stored unchanged. The saga of a record is decided once, when the record is decoded
(`AttributeMapping.mark`). The meaning of the spans of one saga is derived whenever the saga is rebuilt (`normalize`,
`in_flight`, `open_span`).
"""

from sagascope_collector.engines.dbos import step_of_log, with_logged_attempt
from sagascope_collector.engines.engine import Engine, RecordFields
from sagascope_collector.engines.mapping import read_mapping
from sagascope_collector.engines.open_spans import (
    EVENT as PARTIAL_EVENT,
    Partial,
    in_flight,
    is_partial,
    is_pending,
    open_span,
    parse as parse_partial,
)
from sagascope_collector.engines.registry import BUILT_IN, AttributeMapping, NormalizedSpans, normalize

__all__ = [
    "BUILT_IN",
    "PARTIAL_EVENT",
    "AttributeMapping",
    "Engine",
    "NormalizedSpans",
    "Partial",
    "RecordFields",
    "in_flight",
    "is_partial",
    "is_pending",
    "normalize",
    "open_span",
    "parse_partial",
    "read_mapping",
    "step_of_log",
    "with_logged_attempt",
]
