"""Finds out where headers are going that OpenTelemetry's own instrumentation asks to fill."""

from inspect import currentframe
from types import FrameType
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, get_current_span

from sagascope._headers import Carrier, first, pairs, text
from sagascope._hosts import host_of

UNKNOWN = ""
"""An HTTP request to a host that cannot be found out."""

URL_ATTRIBUTES = ("url.full", "http.url", "server.address", "net.peer.name")
INSTRUMENTATION = "opentelemetry.instrumentation."
BROKERS = ("celery", "kafka", "aiokafka", "confluent_kafka", "pika", "aio_pika", "boto3sqs", "remoulade")
"""Instrumentation whose headers go to a message broker; that is the service's own."""


def destination(carrier: Carrier, context: Context) -> str | None:
    """The host that a carrier goes to; None: to no host, or by hand; `UNKNOWN`: to one that cannot be found out.

    A client span says it, or a Host header. A request that the service's sampler left out has no such span; then the
    instrumentation that asks is looked at itself, since the call that it makes tells it the carrier alone.
    """
    span: Any = get_current_span(context)
    kind = getattr(span, "kind", None)
    if kind is SpanKind.CLIENT:
        said = next((span.attributes[key] for key in URL_ATTRIBUTES if key in (span.attributes or {})), None)
        if said is not None:
            return host_of(str(said))
    elif kind is not None:
        return None
    header = next((first(value) for name, value in pairs(carrier) if text(name).lower() == "host"), None)
    return host_of(header) if header is not None else _asked_by(currentframe())


def _asked_by(frame: FrameType | None) -> str | None:
    for _ in range(8):
        if frame is None:
            return None
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith(INSTRUMENTATION):
            library = module.removeprefix(INSTRUMENTATION).partition(".")[0]
            return None if library in BROKERS else _url_in(frame.f_locals)
        frame = frame.f_back
    return None


def _url_in(names: dict[str, Any]) -> str:
    candidates = (names.get("url"), *(getattr(names.get(name), "url", None) for name in ("request", "params")))
    url = next((candidate for candidate in candidates if candidate), None)
    return host_of(str(url)) if url is not None else UNKNOWN
