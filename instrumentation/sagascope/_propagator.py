"""Lets OpenTelemetry's own instrumentation carry sagas: a propagator around the one that the service has."""

from collections.abc import Callable
from typing import Any

from opentelemetry import baggage, propagate
from opentelemetry.context import Context, get_current
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)
from opentelemetry.trace import get_current_span

from sagascope import _headers, semconv
from sagascope._context import place_in, put
from sagascope._destination import destination
from sagascope._guard import Guard
from sagascope._propagation import place_from

_CARRYING = Guard("carrying a saga with OpenTelemetry's propagators")


class SagaPropagator(TextMapPropagator):
    """Does what the service's propagator does, and carries the saga's members in ``baggage`` beside it."""

    def __init__(self, inner: TextMapPropagator, allows: Callable[[str], bool], trusts: Callable[[Any], bool]) -> None:
        self._inner = inner
        self._allows = allows
        self._trusts = trusts

    def inject(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        setter: Setter[CarrierT] = default_setter,
    ) -> None:
        """Fill outgoing headers; the saga's members go only to hosts that are allowed."""
        here = get_current() if context is None else context
        seen = _Seen(setter)
        self._inner.inject(carrier, context, seen)
        with _CARRYING:
            place = place_in(here)
            host = destination(carrier, here) if place is not None else None
            if place is not None and (host is None or (host and self._allows(host))):
                existing = seen.baggage or _existing(carrier)
                setter.set(carrier, _headers.BAGGAGE, _headers.merge_baggage(existing, place))

    def extract(
        self,
        carrier: CarrierT,
        context: Context | None = None,
        getter: Getter[CarrierT] = default_getter,
    ) -> Context:
        """Read incoming headers; the saga's members become the place where work goes on, if they are trusted."""
        found = self._inner.extract(carrier, context, getter)
        with _CARRYING:
            found = _without_members(found)
            header = ",".join(getter.get(carrier, _headers.BAGGAGE) or ())
            members = _headers.parse_baggage(header) if header else {}
            if members and self._trusts(carrier):
                place = place_from(members, get_current_span(found).get_span_context())
                found = found if place is None else put(place, found)
        return found

    @property
    def fields(self) -> set[str]:
        """The headers that `inject` may set."""
        return {*self._inner.fields, _headers.BAGGAGE}

    @property
    def inner(self) -> TextMapPropagator:
        """The service's own."""
        return self._inner


class _Seen(Setter[Any]):
    """Sets headers, and remembers the baggage that the service's own propagator wrote."""

    def __init__(self, setter: Setter[Any]) -> None:
        self._setter = setter
        self.baggage = ""

    def set(self, carrier: Any, key: str, value: str) -> None:
        if key.lower() == _headers.BAGGAGE:
            self.baggage = value
        self._setter.set(carrier, key, value)


def install(allows: Callable[[str], bool], trusts: Callable[[Any], bool]) -> None:
    """Put a propagator of ours around the global one, in place of an earlier one of ours."""
    remove()
    propagate.set_global_textmap(SagaPropagator(propagate.get_global_textmap(), allows, trusts))


def remove() -> None:
    """Give the service its own propagator back, unless it has set another since."""
    current = propagate.get_global_textmap()
    if isinstance(current, SagaPropagator):
        propagate.set_global_textmap(current.inner)


def _existing(carrier: Any) -> str:
    try:
        return _headers.read(carrier).get(_headers.BAGGAGE, "")
    except (TypeError, ValueError):
        return ""


def _without_members(context: Context) -> Context:
    """OpenTelemetry's own baggage without our members: it would send them on to anybody."""
    for name in semconv.BAGGAGE_MEMBERS:
        if baggage.get_baggage(name, context) is not None:
            context = baggage.remove_baggage(name, context)
    return context
