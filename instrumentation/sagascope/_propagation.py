"""Carries a saga from service to service, in W3C ``traceparent`` and in W3C ``baggage``.

The members of sagas are kept apart from OpenTelemetry's own baggage, so that no other code sends them anywhere.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Self

from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    get_current_span,
    set_span_in_context,
)

from sagascope import _runtime, semconv
from sagascope._context import SagaContext, SagaIdentity, get_saga_context, restore, set_saga_in_context
from sagascope._errors import Guard

if TYPE_CHECKING:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

BAGGAGE = "baggage"
TRACE_HEADERS = frozenset({"traceparent", "tracestate"})

MAX_BAGGAGE_BYTES = 8192
"""The length of a baggage header that every W3C implementation propagates."""

MAX_ATTEMPT_DIGITS = 9

Carrier = Any
"""A mapping of header names to values, or a list of (name, value) pairs; names and values are str or bytes."""

_PROPAGATING = Guard("propagating a saga")


@cache
def _w3c() -> "TraceContextTextMapPropagator":
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # when it is needed

    return TraceContextTextMapPropagator()


def inject(carrier: Carrier, *, to: str | None = None) -> None:
    """Adds the current saga to outgoing headers: ``traceparent``, and members in ``baggage``.

    Other headers and baggage members are left unchanged. Outside any saga nothing is added.

    Args:
        carrier: Any mutable mapping, or a list of pairs as Kafka clients and gRPC use it.
        to: URL or host that the headers are sent to. Baggage is left out if ``propagate_to`` does not allow that host;
            without `to` it is always added.
    """
    with _PROPAGATING:
        context = get_current()
        saga_context = get_saga_context(context)
        if saga_context is not None:
            headers: dict[str, str] = {}
            _w3c().inject(headers, context)
            if to is None or _runtime.active is None or _runtime.active.may_propagate_to(to):
                headers[BAGGAGE] = merge_baggage(read_headers(carrier).get(BAGGAGE, ""), saga_context)
            write_headers(carrier, headers)


def extract(carrier: Carrier) -> "Incoming":
    """Returns the saga that incoming headers name, to continue it for the length of a block.

    ``with extract(request.headers):`` or ``async with``; a background task can enter it again later. Headers that name
    no saga, that cannot be read, or that are not trusted (``trust_incoming``) have no effect.

    Args:
        carrier: Any mapping, or any iterable of pairs.
    """
    with _PROPAGATING:
        headers = read_headers(carrier)
        if _runtime.active is None or _runtime.active.trusts(carrier):
            remote = get_current_span(_w3c().extract(headers, Context())).get_span_context()
            return Incoming(remote_saga_context(parse_baggage(headers.get(BAGGAGE, "")), remote))
    return Incoming(None)


class Incoming:
    """A saga that arrived in headers. Code in its block, synchronous or not, runs as a part of that saga."""

    __slots__ = ("_entered", "saga_context")

    def __init__(self, saga_context: SagaContext | None) -> None:
        self.saga_context: SagaContext | None = saga_context
        """The caller's saga and step."""
        self._entered: list[tuple[Context, Context]] = []

    @property
    def saga_id(self) -> str | None:
        """The saga's id; None if the headers named no saga, or are not trusted."""
        return self.saga_context.identity.id if self.saga_context is not None else None

    def __enter__(self) -> Self:
        if self.saga_context is not None:
            with _PROPAGATING:
                context = get_current()
                traced = _with_trace(context, self.saga_context.span_context)
                entered = set_saga_in_context(self.saga_context.copy(), traced)
                self._entered.append((entered, context))
                attach(entered)
        return self

    def __exit__(self, *_: object) -> None:
        if self._entered:
            with _PROPAGATING:
                restore(*self._own_entry())

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()

    def _own_entry(self) -> tuple[Context, Context]:
        """Returns the entry of the code that leaves now; several tasks may be inside at the same time."""
        current = get_current()
        own = next((entry for entry in reversed(self._entered) if entry[0] is current), self._entered[-1])
        self._entered.remove(own)
        return own


def _with_trace(context: Context, parent: SpanContext) -> Context:
    """Continues the caller's trace, unless the service's own OpenTelemetry already does."""
    current = get_current_span(context).get_span_context()
    if not parent.is_valid or (current.is_valid and current.trace_id == parent.trace_id):
        return context
    return set_span_in_context(NonRecordingSpan(parent), context)


# --- baggage ---------------------------------------------------------------------------------------


def merge_baggage(existing: str, saga_context: SagaContext) -> str:
    """Returns a baggage header with the saga's members and all other members of `existing` unchanged."""
    from urllib.parse import quote  # a process that only declares sagas does not need it

    own = [f"{name}={quote(str(value), safe='')}" for name, value in saga_context.attributes.items()]
    merged = ",".join([*other_members(existing), *own])
    return merged if len(merged) <= MAX_BAGGAGE_BYTES else existing


def other_members(header: str) -> Iterator[str]:
    """Yields the members of a baggage header that do not belong to sagas, as they were written."""
    return (m for m in header.split(",") if m.strip() and _member_name(m) not in semconv.BAGGAGE_MEMBERS)


def parse_baggage(header: str) -> dict[str, str]:
    """Returns the members of a baggage header that belong to sagas; ignores what cannot be read."""
    from urllib.parse import unquote

    if len(header) > MAX_BAGGAGE_BYTES:
        header = header[:MAX_BAGGAGE_BYTES].rpartition(",")[0]
    members = {}
    for member in header.split(","):
        name = _member_name(member)
        if name in semconv.BAGGAGE_MEMBERS:
            members[name] = unquote(member.split(";", 1)[0].partition("=")[2].strip())
    return members


def remote_saga_context(members: Mapping[str, str], remote: SpanContext) -> SagaContext | None:
    """Returns the caller's saga context from baggage members and its span; None if they name no saga."""
    saga_id = members.get(semconv.SAGA_ID)
    if not saga_id:
        return None
    return SagaContext(
        SagaIdentity(saga_id, members.get(semconv.SAGA_NAME, ""), members.get(semconv.SAGA_RUN_ID, "")),
        remote if remote.is_valid else INVALID_SPAN_CONTEXT,
        step=members.get(semconv.STEP_NAME, ""),
        key=members.get(semconv.STEP_KEY, ""),
        attempt=_attempt(members.get(semconv.STEP_ATTEMPT, "")),
        remote=True,
    )


def _attempt(text: str) -> int:
    """Returns an attempt number; 0 if there is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_ATTEMPT_DIGITS else 0


def _member_name(member: str) -> str:
    return member.partition("=")[0].strip()


# --- headers ---------------------------------------------------------------------------------------


def read_headers(carrier: Carrier) -> dict[str, str]:
    """Returns the headers that carry a context, by lower-case name, with several ``baggage`` headers joined."""
    headers: dict[str, str] = {}
    for name, value in header_pairs(carrier):
        key = header_text(name).lower().removeprefix("http_")
        if key == BAGGAGE or key in TRACE_HEADERS:
            headers[key] = ",".join(filter(None, (headers.get(key), first_value(value))))
    return headers


def write_headers(carrier: Carrier, headers: Mapping[str, str]) -> None:
    """Sets these headers, replacing headers of the same name in any case."""
    if hasattr(carrier, "items"):
        present = {header_text(name).lower(): name for name, _ in header_pairs(carrier)}
        for name, value in headers.items():
            carrier[present.get(name, name)] = value
        return
    # Kafka's clients take bytes, those of gRPC texts: the new headers are as those that are there
    as_bytes = any(isinstance(value, bytes) for _, value in carrier)
    carrier[:] = [pair for pair in carrier if header_text(pair[0]).lower() not in headers]
    carrier.extend((name, value.encode() if as_bytes else value) for name, value in headers.items())


def header_pairs(carrier: Carrier) -> Iterable[tuple[Any, Any]]:
    """Returns the names and values of a carrier."""
    if carrier is None:
        return ()
    pairs: Iterable[tuple[Any, Any]] = carrier.items() if hasattr(carrier, "items") else carrier
    return pairs


def header_text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def first_value(value: Any) -> str:
    """Returns a header's value; the first one if the carrier holds a list of values."""
    if isinstance(value, (list, tuple)):
        return header_text(value[0]) if value else ""
    return header_text(value)
