"""NServiceBus: the spans of handlers that are sagas. They tell of each message, never of the saga's end."""

from collections.abc import Sequence
from typing import Final

from sagascope_collector.engines import telling
from sagascope_collector.engines.engine import Engine, Seen, Told
from sagascope_collector.records import Mark, Span

SAGA_ID: Final = "nservicebus.handler.saga_id"
HANDLER_TYPE: Final = "nservicebus.handler.handler_type"

NAME: Final = "nservicebus"


def mark(seen: Seen) -> Mark | None:
    """Where a record belongs."""
    saga = seen.said(SAGA_ID)
    if not saga:
        return None
    handler = seen.said(HANDLER_TYPE).rpartition(".")[2]
    return Mark(id=saga, name=handler, role=NAME if seen.name else "", step=handler or seen.name)


def tell(spans: Sequence[Span]) -> Told:
    """What the spans of one saga mean."""
    return Told(telling.tries(spans))


ENGINE: Final = Engine(name=NAME, keys=(SAGA_ID, HANDLER_TYPE), needles=(SAGA_ID,), mark=mark, tell=tell)
