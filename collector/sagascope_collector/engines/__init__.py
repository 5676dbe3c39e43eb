"""Telemetry of workflow engines and libraries that do not set ``saga.*`` attributes, and formats for open spans.

Records are stored unchanged. The saga of a record is decided once, when the record is decoded
(`AttributeMapping.mark`). The meaning of the spans of one saga is derived whenever the saga is rebuilt (`normalize`,
`in_flight`, `open_span`).
"""

from sagascope_collector.engines.dbos import step_of_log as step_of_log, with_logged_attempt as with_logged_attempt
from sagascope_collector.engines.engine import Engine as Engine, RecordFields as RecordFields
from sagascope_collector.engines.mapping import (
    BUILT_IN as BUILT_IN,
    AttributeMapping as AttributeMapping,
    read_mapping as read_mapping,
)
from sagascope_collector.engines.open_spans import (
    PARTIAL_EVENT as PARTIAL_EVENT,
    Partial as Partial,
    in_flight as in_flight,
    is_partial as is_partial,
    is_pending as is_pending,
    open_span as open_span,
    parse_partial as parse_partial,
)
from sagascope_collector.engines.registry import NormalizedSpans as NormalizedSpans, normalize as normalize
