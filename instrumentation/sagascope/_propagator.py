"""Lets OpenTelemetry's own instrumentation propagate sagas, to the hosts that are allowed.

A propagator of ours wraps the service's global one.
"""

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from inspect import currentframe
from ipaddress import ip_address, ip_network
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

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
from opentelemetry.trace import SpanKind, get_current_span

from sagascope import semconv
from sagascope._context import get_saga_context, set_saga_in_context
from sagascope._errors import Guard
from sagascope._propagation import (
    BAGGAGE,
    Carrier,
    first_value,
    header_pairs,
    header_text,
    merge_baggage,
    parse_baggage,
    read_headers,
    remote_saga_context,
)

UNKNOWN_HOST = ""
"""The destination of an HTTP request whose host cannot be determined."""

URL_ATTRIBUTES = ("url.full", "http.url", "server.address", "net.peer.name")
INSTRUMENTATION_PREFIX = "opentelemetry.instrumentation."
MAX_FRAMES = 8
"""Frames between the propagator and the instrumentation that calls it, at most."""

BROKERS = ("celery", "kafka", "aiokafka", "confluent_kafka", "pika", "aio_pika", "boto3sqs", "remoulade")
"""Instrumentation whose headers go to a message broker, which belongs to the service."""

PRIVATE = "private"
"""In a list of hosts: private and loopback addresses, and names without a public suffix."""

PRIVATE_SUFFIXES = frozenset(
    {"cluster", "consul", "corp", "home", "internal", "intranet", "invalid", "lan", "local", "localdomain", "localhost"}
    | {"mail", "mesh", "private", "svc", "test"}
)
"""Last labels that are not delegated in the public DNS: reserved by RFC 2606, 6761, 6762, 8375 or ICANN, or used inside
clusters."""

MAX_CACHED_HOSTS = 1024

_PROPAGATING = Guard("propagating a saga with OpenTelemetry's propagators")


class SagaPropagator(TextMapPropagator):
    """Does what the service's propagator does, and adds the saga's members to ``baggage``."""

    def __init__(self, inner: TextMapPropagator, allows: Callable[[str], bool], trusts: Callable[[Any], bool]) -> None:
        self.inner = inner
        self._allows = allows
        self._trusts = trusts

    def inject(
        self, carrier: CarrierT, context: Context | None = None, setter: Setter[CarrierT] = default_setter
    ) -> None:
        """Sets outgoing headers; the saga's members are sent to allowed hosts only."""
        current = get_current() if context is None else context
        recording = _RecordingSetter(setter)
        self.inner.inject(carrier, context, recording)
        with _PROPAGATING:
            saga_context = get_saga_context(current)
            host = destination(carrier, current) if saga_context is not None else None
            if saga_context is not None and (host is None or (host and self._allows(host))):
                existing = recording.baggage or _existing_baggage(carrier)
                setter.set(carrier, BAGGAGE, merge_baggage(existing, saga_context))

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """Reads incoming headers, and continues the saga that they name if they are trusted."""
        found = self.inner.extract(carrier, context, getter)
        with _PROPAGATING:
            found = _without_members(found)
            header = ",".join(getter.get(carrier, BAGGAGE) or ())
            members = parse_baggage(header) if header else {}
            if members and self._trusts(carrier):
                saga_context = remote_saga_context(members, get_current_span(found).get_span_context())
                found = found if saga_context is None else set_saga_in_context(saga_context, found)
        return found

    @property
    def fields(self) -> set[str]:
        return {*self.inner.fields, BAGGAGE}


class _RecordingSetter(Setter[Any]):
    """Sets headers, and keeps the baggage that the service's own propagator wrote."""

    def __init__(self, setter: Setter[Any]) -> None:
        self._setter = setter
        self.baggage = ""

    def set(self, carrier: Any, key: str, value: str) -> None:
        if key.lower() == BAGGAGE:
            self.baggage = value
        self._setter.set(carrier, key, value)


def install(allows: Callable[[str], bool], trusts: Callable[[Any], bool]) -> None:
    """Wraps the global propagator, replacing an earlier propagator of ours."""
    remove()
    propagate.set_global_textmap(SagaPropagator(propagate.get_global_textmap(), allows, trusts))


def remove() -> None:
    """Restores the service's own propagator, unless the service has set another since."""
    current = propagate.get_global_textmap()
    if isinstance(current, SagaPropagator):
        propagate.set_global_textmap(current.inner)


def _existing_baggage(carrier: Any) -> str:
    try:
        return read_headers(carrier).get(BAGGAGE, "")
    except (TypeError, ValueError):
        return ""


def _without_members(context: Context) -> Context:
    """Removes the members of sagas from OpenTelemetry's own baggage, which would be sent to any host."""
    for name in semconv.BAGGAGE_MEMBERS:
        if baggage.get_baggage(name, context) is not None:
            context = baggage.remove_baggage(name, context)
    return context


# --- hosts -----------------------------------------------------------------------------------------


def allowed_hosts(propagate_to: Callable[[str], bool] | Iterable[str] | None) -> Callable[[str], bool]:
    """Returns a predicate on host names.

    Args:
        propagate_to: A predicate; or patterns such as ``*.example.com``, networks such as ``10.0.0.0/8``, and
            ``private``; None is ``private`` alone.
    """
    if callable(propagate_to):
        return propagate_to
    if propagate_to is None:
        return lru_cache(MAX_CACHED_HOSTS)(is_private)
    patterns = (propagate_to,) if isinstance(propagate_to, str) else tuple(propagate_to)
    return lru_cache(MAX_CACHED_HOSTS)(lambda host: any(_matches(host.lower(), each.lower()) for each in patterns))


def is_private(host: str) -> bool:
    """Returns True for private and loopback addresses, and for names without a public suffix."""
    name = host.rstrip(".").lower()
    try:
        return not ip_address(name.strip("[]")).is_global
    except ValueError:
        labels = name.split(".")
        return bool(name) and (len(labels) == 1 or labels[-1] in PRIVATE_SUFFIXES or name.endswith(".home.arpa"))


def host_of(address: str) -> str:
    """Returns the host of a URL or of a ``host:port``; ``""`` if there is none."""
    if "//" not in address:
        address = f"//{address}"
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _matches(host: str, pattern: str) -> bool:
    if pattern == PRIVATE:
        return is_private(host)
    if "/" in pattern:
        try:
            return ip_address(host) in ip_network(pattern, strict=False)
        except ValueError:
            return False
    return fnmatchcase(host, pattern)


# --- the destination of headers --------------------------------------------------------------------


def destination(carrier: Carrier, context: Context) -> str | None:
    """Returns the host that a carrier is sent to.

    None means that it is sent to no host, or by the user's own code; `UNKNOWN_HOST` that the host is not known. The
    host is in the client span or in a Host header. A request that the service's sampler dropped has no such span; then
    the frames of the calling instrumentation are inspected, because it passes nothing but the carrier.
    """
    span: Any = get_current_span(context)
    kind = getattr(span, "kind", None)
    if kind is SpanKind.CLIENT:
        url = next((span.attributes[key] for key in URL_ATTRIBUTES if key in (span.attributes or {})), None)
        if url is not None:
            return host_of(str(url))
    elif kind is not None:
        return None
    pairs = header_pairs(carrier)
    header = next((first_value(value) for name, value in pairs if header_text(name).lower() == "host"), None)
    return host_of(header) if header is not None else _host_in_caller(currentframe())


def _host_in_caller(frame: FrameType | None) -> str | None:
    for _ in range(MAX_FRAMES):
        if frame is None:
            return None
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith(INSTRUMENTATION_PREFIX):
            library = module.removeprefix(INSTRUMENTATION_PREFIX).partition(".")[0]
            return None if library in BROKERS else _host_in_locals(frame.f_locals)
        frame = frame.f_back
    return None


def _host_in_locals(names: dict[str, Any]) -> str:
    candidates = (names.get("url"), *(getattr(names.get(name), "url", None) for name in ("request", "params")))
    url = next((candidate for candidate in candidates if candidate), None)
    return host_of(str(url)) if url is not None else UNKNOWN_HOST
