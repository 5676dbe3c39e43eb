"""NServiceBus: spans of message handlers that are sagas. No span reports the end of a saga."""

from collections.abc import Sequence
from typing import Final

from sagascope_collector.engines import engine
from sagascope_collector.engines.engine import Engine, EngineSpans, RecordFields
from sagascope_collector.records import Mark, Span

SAGA_ID: Final = "nservicebus.handler.saga_id"
HANDLER_TYPE: Final = "nservicebus.handler.handler_type"

NAME: Final = "nservicebus"


def mark(record: RecordFields) -> Mark | None:
    """Returns the saga of a record: the saga is named after its handler, each message is a step."""
    saga = record.first(SAGA_ID)
    if not saga:
        return None
    handler = record.first(HANDLER_TYPE).rpartition(".")[2]
    return Mark(id=saga, name=handler, role=NAME if record.name else "", step=handler or record.name)


def interpret(spans: Sequence[Span]) -> EngineSpans:
    """Rewrites the spans of one saga."""
    return EngineSpans(engine.numbered_attempts(spans))


ENGINE: Final = Engine(
    name=NAME, keys=(SAGA_ID, HANDLER_TYPE), prefilter_terms=(SAGA_ID,), mark=mark, interpret=interpret
)
