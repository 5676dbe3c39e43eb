"""MassTransit's saga state machines: one span for each message, with the states before and after it."""

from collections.abc import Sequence
from typing import Final

from sagascope import semconv
from sagascope_collector.engines import engine
from sagascope_collector.engines.engine import Engine, EngineSpans, RecordFields, in_order
from sagascope_collector.records import Mark, Span, as_text

SCOPE: Final = "MassTransit"
PREFIX: Final = "messaging.masstransit."
SAGA_ID: Final = "messaging.masstransit.saga_id"
CONVERSATION_ID: Final = "messaging.message.conversation_id"
MESSAGE_TYPES: Final = "messaging.masstransit.message_types"
CONSUMER_TYPE: Final = "messaging.masstransit.consumer_type"
DESTINATION: Final = "messaging.destination.name"
END_STATE: Final = "messaging.masstransit.end_state"
FINAL_STATE: Final = "Final"
PROCESS: Final = " process"

NAME: Final = "masstransit"


def mark(record: RecordFields) -> Mark | None:
    """Returns the saga of a record: the state machine's instance, else the conversation."""
    is_masstransit = record.scope == SCOPE or any(key.startswith(PREFIX) for key in record.attributes)
    saga = record.first(SAGA_ID) or (record.first(CONVERSATION_ID) if is_masstransit else "")
    if not saga:
        return None
    if not record.name.endswith(PROCESS):
        return Mark(id=saga)
    name = _unqualified(record.first(CONSUMER_TYPE)) if record.first(SAGA_ID) else ""
    step = _unqualified(_message_type(record)) or record.name.removesuffix(PROCESS)
    return Mark(id=saga, name=name, role=NAME, step=step)


def _message_type(record: RecordFields) -> str:
    """Returns the message's own type, which comes before its base types; else its destination."""
    types = record.attributes.get(MESSAGE_TYPES)
    own = types[0] if isinstance(types, list) and types else types
    return as_text(own).partition(",")[0].partition(";")[0] or record.first(DESTINATION)


def _unqualified(type_: str) -> str:
    """Returns a type without its namespaces: ``urn:message:Shop.Contracts:OrderPlaced`` becomes ``OrderPlaced``."""
    return type_.rpartition(":")[2].rpartition(".")[2]


def interpret(spans: Sequence[Span]) -> EngineSpans:
    """Rewrites the spans of one instance of a state machine. Its final state ends the saga."""
    attempts = engine.numbered_attempts(span for span in spans if span.mark.step)
    return EngineSpans([engine.with_outcome(span, _outcome(span)) for span in in_order(attempts)])


def _outcome(span: Span) -> str:
    is_final = span.has_succeeded and span.attributes.get(END_STATE) == FINAL_STATE
    return semconv.OUTCOME_COMPLETED if is_final else ""


ENGINE: Final = Engine(
    name=NAME,
    keys=(SAGA_ID, CONVERSATION_ID, MESSAGE_TYPES, CONSUMER_TYPE, DESTINATION, END_STATE),
    prefilter_terms=(PREFIX,),
    mark=mark,
    interpret=interpret,
)
