"""Carries a saga from service to service: W3C ``traceparent``, and W3C ``baggage`` with the members of the contract.

The members are kept apart from OpenTelemetry's own baggage, so that nothing else sends them anywhere.
"""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, unquote

from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sagascope import semconv
from sagascope._context import Identity, Place, leave, place_in, put
from sagascope._guard import Guard

BAGGAGE = "baggage"
LONGEST_BAGGAGE = 8192
"""Bytes of a baggage header that W3C lets everybody rely on."""

_CARRYING = Guard("carrying a saga to another service")

Carrier = Any
"""A mapping of header names to values, or a list of (name, value) pairs; names and values str or bytes."""


def inject(carrier: Carrier) -> None:
    """Add the current saga to outgoing headers: ``traceparent``, and members in ``baggage``; what is there stays.

    The carrier is any mutable mapping, or a list of pairs as Kafka clients and gRPC take it. Outside any saga nothing
    is added.
    """
    with _CARRYING:
        context = get_current()
        place = place_in(context)
        if place is not None:
            headers: dict[str, str] = {}
            TraceContextTextMapPropagator().inject(headers, context)
            headers[BAGGAGE] = merge_baggage(_read(carrier).get(BAGGAGE, ""), place)
            _write(carrier, headers)


def extract(carrier: Carrier) -> "Incoming":
    """Take up the saga that incoming headers name, for the length of a block.

    ``with extract(request.headers):`` or ``async with``; it may be entered again later, by a background task.

    The carrier is any mapping or any iterable of pairs. Headers that name no saga, or cannot be read, change nothing.
    """
    with _CARRYING:
        headers = _read(carrier)
        identity, members = parse_baggage(headers.get(BAGGAGE, ""))
        if identity is not None:
            return Incoming(_place(identity, members, _remote(headers)))
    return Incoming(None)


class Incoming:
    """A saga that came in with headers. Its block, sync or async, runs as a part of that saga."""

    __slots__ = ("_entered", "_place", "_previous")

    def __init__(self, place: Place | None) -> None:
        self._place = place
        self._entered: Context | None = None

    @property
    def saga_id(self) -> str | None:
        """The saga's id; None when the headers named no saga."""
        return self._place.identity.id if self._place is not None else None

    def __enter__(self) -> Self:
        if self._place is not None:
            with _CARRYING:
                self._previous = get_current()
                self._entered = put(self._fresh(self._place), self._with_trace(self._previous, self._place.parent))
                attach(self._entered)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entered is not None:
            leave(self._entered, self._previous)
            self._entered = None

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    @staticmethod
    def _fresh(place: Place) -> Place:
        return Place(place.identity, place.parent, step=place.step, key=place.key, attempt=place.attempt, remote=True)

    @staticmethod
    def _with_trace(context: Context, parent: SpanContext) -> Context:
        """Go on in the caller's trace, unless the service's own OpenTelemetry does so already."""
        here = get_current_span(context).get_span_context()
        if not parent.is_valid or (here.is_valid and here.trace_id == parent.trace_id):
            return context
        return set_span_in_context(NonRecordingSpan(parent), context)


def place_of(context: Context) -> Place | None:
    """The place in a context."""
    return place_in(context)


def merge_baggage(existing: str, place: Place) -> str:
    """A baggage header with the place's members; other members of `existing` are left as they are."""
    kept = [member for member in existing.split(",") if member.strip() and _name(member) not in semconv.BAGGAGE_MEMBERS]
    ours = [f"{name}={quote(str(value), safe='')}" for name, value in place.stamp.items()]
    merged = ",".join([*kept, *ours])
    return merged if len(merged) <= LONGEST_BAGGAGE else existing


def parse_baggage(header: str) -> tuple[Identity | None, dict[str, str]]:
    """The saga that a baggage header names, and the members of the contract in it."""
    members = {}
    for member in header[:LONGEST_BAGGAGE].split(","):
        name = _name(member)
        if name in semconv.BAGGAGE_MEMBERS:
            members[name] = unquote(member.split(";", 1)[0].partition("=")[2].strip())
    if not members.get(semconv.SAGA_ID):
        return None, members
    return (
        Identity(members[semconv.SAGA_ID], members.get(semconv.SAGA_NAME, ""), members.get(semconv.SAGA_RUN_ID, "")),
        members,
    )


def _name(member: str) -> str:
    return member.partition("=")[0].strip()


def _place(identity: Identity, members: Mapping[str, str], parent: SpanContext) -> Place:
    attempt = members.get(semconv.STEP_ATTEMPT, "")
    return Place(
        identity,
        parent,
        step=members.get(semconv.STEP_NAME, ""),
        key=members.get(semconv.STEP_KEY, ""),
        attempt=int(attempt) if attempt.isascii() and attempt.isdigit() else 0,
        remote=True,
    )


def _remote(headers: Mapping[str, str]) -> SpanContext:
    context = TraceContextTextMapPropagator().extract(headers, Context())
    found = get_current_span(context).get_span_context()
    return found if found.is_valid else INVALID_SPAN_CONTEXT


def _read(carrier: Carrier) -> dict[str, str]:
    """The three headers that matter, by lower-case name; several of one name are joined."""
    headers: dict[str, str] = {}
    for name, value in _pairs(carrier):
        key = _text(name).lower().removeprefix("http_")
        if key in {"traceparent", "tracestate", BAGGAGE}:
            text = _text(value[0] if isinstance(value, (list, tuple)) and value else value)
            headers[key] = f"{headers[key]},{text}" if key in headers else text
    return headers


def _pairs(carrier: Carrier) -> Iterable[tuple[Any, Any]]:
    if carrier is None:
        return ()
    pairs: Iterable[tuple[Any, Any]] = carrier.items() if hasattr(carrier, "items") else carrier
    return pairs


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _write(carrier: Carrier, headers: Mapping[str, str]) -> None:
    if not hasattr(carrier, "append") or hasattr(carrier, "items"):
        present = {_text(name).lower(): name for name, _ in _pairs(carrier)}
        for name, value in headers.items():
            carrier[present.get(name, name)] = value
        return
    as_bytes = any(isinstance(value, bytes) for _, value in carrier)
    carrier[:] = [pair for pair in carrier if _text(pair[0]).lower() not in headers]
    carrier.extend((name, value.encode() if as_bytes else value) for name, value in headers.items())
