"""Carries a saga from service to service: W3C ``traceparent``, and W3C ``baggage`` with the members of the contract.

The members are kept apart from OpenTelemetry's own baggage, so that nothing else sends them anywhere.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sagascope import _headers, _runtime, semconv
from sagascope._context import Place, leave, place_in, put
from sagascope._guard import Guard
from sagascope._headers import Carrier

_CARRYING = Guard("carrying a saga to another service")
_W3C = TraceContextTextMapPropagator()


def inject(carrier: Carrier, *, to: str | None = None) -> None:
    """Add the current saga to outgoing headers: ``traceparent``, and members in ``baggage``; what is there stays.

    Outside any saga nothing is added.

    Args:
        carrier: Any mutable mapping, or a list of pairs as Kafka clients and gRPC take it.
        to: URL or host that the headers go to. The baggage is left out where ``propagate_to`` does not allow that host;
            without it, it is added.
    """
    with _CARRYING:
        context = get_current()
        place = place_in(context)
        if place is not None:
            headers: dict[str, str] = {}
            _W3C.inject(headers, context)
            if to is None or _runtime.active is None or _runtime.active.may_reach(to):
                headers[_headers.BAGGAGE] = _headers.merge_baggage(
                    _headers.read(carrier).get(_headers.BAGGAGE, ""), place
                )
            _headers.write(carrier, headers)


def extract(carrier: Carrier) -> "Incoming":
    """Take up the saga that incoming headers name, for the length of a block.

    ``with extract(request.headers):`` or ``async with``; it may be entered again later, by a background task. Headers
    that name no saga, that cannot be read, or that are not trusted (``trust_incoming``) change nothing.

    Args:
        carrier: Any mapping, or any iterable of pairs.
    """
    with _CARRYING:
        headers = _headers.read(carrier)
        if _runtime.active is None or _runtime.active.trusts(carrier):
            remote = get_current_span(_W3C.extract(headers, Context())).get_span_context()
            return Incoming(place_from(_headers.parse_baggage(headers.get(_headers.BAGGAGE, "")), remote))
    return Incoming(None)


def place_from(members: Mapping[str, str], remote: SpanContext) -> Place | None:
    """The caller's place, from the baggage members and the span that it sent; None: they name no saga."""
    identity = _headers.identity(members)
    if identity is None:
        return None
    return Place(
        identity,
        remote if remote.is_valid else INVALID_SPAN_CONTEXT,
        step=members.get(semconv.STEP_NAME, ""),
        key=members.get(semconv.STEP_KEY, ""),
        attempt=_headers.attempt(members),
        remote=True,
    )


class Incoming:
    """A saga that came in with headers. Its block, sync or async, runs as a part of that saga."""

    __slots__ = ("_entered", "_place")

    def __init__(self, place: Place | None) -> None:
        self._place = place
        self._entered: list[tuple[Context, Context]] = []

    @property
    def saga_id(self) -> str | None:
        """The saga's id; None when the headers named no saga, or are not trusted."""
        return self._place.identity.id if self._place is not None else None

    @property
    def place(self) -> Place | None:
        """The caller's place."""
        return self._place

    def __enter__(self) -> Self:
        if self._place is not None:
            with _CARRYING:
                context = get_current()
                entered = put(self._place.again(), _with_trace(context, self._place.parent))
                self._entered.append((entered, context))
                attach(entered)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entered:
            with _CARRYING:
                leave(*self._own_entry())

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _own_entry(self) -> tuple[Context, Context]:
        """What was entered by the code that leaves now; tasks may have entered it at the same time."""
        current = get_current()
        mine = next((entry for entry in reversed(self._entered) if entry[0] is current), self._entered[-1])
        self._entered.remove(mine)
        return mine


def _with_trace(context: Context, parent: SpanContext) -> Context:
    """Go on in the caller's trace, unless the service's own OpenTelemetry does so already."""
    here = get_current_span(context).get_span_context()
    if not parent.is_valid or (here.is_valid and here.trace_id == parent.trace_id):
        return context
    return set_span_in_context(NonRecordingSpan(parent), context)
