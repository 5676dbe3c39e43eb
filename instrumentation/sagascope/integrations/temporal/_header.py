"""What travels with a workflow's start and with the calls of its activities, in one header of Temporal's."""

from collections.abc import Mapping
from typing import Final

from opentelemetry.context import Context
from opentelemetry.trace import Link, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter

from sagascope.integrations.temporal._run import Call

NAME: Final = "sagascope"

Headers = Mapping[str, Payload]

_CONVERTER: Final = PayloadConverter.default
_W3C: Final = TraceContextTextMapPropagator()


def with_trace(headers: Headers) -> Headers:
    """Headers of a start, with the span in which the workflow is started, if there is one."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return _with(headers, carrier)


def links(headers: Headers) -> tuple[Link, ...]:
    """The span in which a workflow was started, as a link; none where none was told."""
    here = get_current_span(_W3C.extract(read(headers), Context())).get_span_context()
    return (Link(here),) if here.is_valid else ()


def with_call(headers: Headers, call: Call) -> Headers:
    """Headers of an activity, with what only its workflow knows of it."""
    return _with(headers, call.write())


def read(headers: Headers) -> dict[str, str]:
    """What was told; nothing where it was nothing, or something that cannot be read."""
    payload = headers.get(NAME)
    told = _CONVERTER.from_payload(payload) if payload is not None else {}
    return {str(name): str(value) for name, value in told.items()} if isinstance(told, dict) else {}


def _with(headers: Headers, told: dict[str, str]) -> Headers:
    return {**headers, NAME: _CONVERTER.to_payload(told)} if told else headers
