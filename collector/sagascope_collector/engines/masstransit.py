"""MassTransit's saga state machines: one span for each message, with the states before and after."""

from collections.abc import Sequence
from typing import Final

from sagascope import semconv
from sagascope_collector.engines import telling
from sagascope_collector.engines.engine import Engine, Seen, Told, in_order
from sagascope_collector.records import Mark, Span
from sagascope_collector.values import word

SAGA_ID: Final = "messaging.masstransit.saga_id"
CONVERSATION_ID: Final = "messaging.message.conversation_id"
MESSAGE_TYPES: Final = "messaging.masstransit.message_types"
CONSUMER_TYPE: Final = "messaging.masstransit.consumer_type"
DESTINATION: Final = "messaging.destination.name"
END_STATE: Final = "messaging.masstransit.end_state"
FINAL_STATE: Final = "Final"
PROCESS: Final = " process"
PREFIX: Final = "messaging.masstransit."

NAME: Final = "masstransit"


def mark(seen: Seen) -> Mark | None:
    """Where a record belongs: to a state machine's instance, else, of this library, to the conversation."""
    ours = seen.scope == "MassTransit" or any(key.startswith(PREFIX) for key in seen.attributes)
    saga = seen.said(SAGA_ID) or (seen.said(CONVERSATION_ID) if ours else "")
    if not saga:
        return None
    if not seen.name.endswith(PROCESS):
        return Mark(id=saga)
    name = _short(seen.said(CONSUMER_TYPE)) if seen.said(SAGA_ID) else ""
    return Mark(id=saga, name=name, role=NAME, step=_short(_first(seen)) or seen.name.removesuffix(PROCESS))


def _first(seen: Seen) -> str:
    """The message's own type: the ones behind it are its bases."""
    said = seen.attributes.get(MESSAGE_TYPES)
    first = said[0] if isinstance(said, list) and said else said
    return word(first).partition(",")[0].partition(";")[0] or seen.said(DESTINATION)


def _short(type_: str) -> str:
    """A type without the namespaces before it: ``urn:message:Shop.Contracts:OrderPlaced`` is ``OrderPlaced``."""
    return type_.rpartition(":")[2].rpartition(".")[2]


def tell(spans: Sequence[Span]) -> Told:
    """What the spans of one state machine's instance mean; its final state ends it."""
    tries = telling.tries(span for span in spans if span.mark.step)
    return Told([telling.with_outcome(span, _outcome(span)) for span in in_order(tries)])


def _outcome(span: Span) -> str:
    final = span.end and span.status != "error" and span.attributes.get(END_STATE) == FINAL_STATE
    return semconv.OUTCOME_COMPLETED if final else ""


ENGINE: Final = Engine(
    name=NAME,
    keys=(SAGA_ID, CONVERSATION_ID, MESSAGE_TYPES, CONSUMER_TYPE, DESTINATION, END_STATE),
    needles=(PREFIX,),
    mark=mark,
    tell=tell,
)
