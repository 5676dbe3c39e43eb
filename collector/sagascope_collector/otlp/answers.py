"""Maps receipts and errors to OTLP responses, over HTTP and gRPC."""

import asyncio
import math
from dataclasses import dataclass, field
from functools import lru_cache, partial
from ipaddress import ip_address
from typing import Any, Final, TypeVar
from urllib.parse import unquote

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from sagascope_collector.errors import Overloaded, Refused, SagascopeError, TooLarge, Unauthenticated, Unavailable
from sagascope_collector.http_server.access import CHALLENGE
from sagascope_collector.ingest import Encoding, Payload, PayloadSink, Receipt, Signal
from sagascope_collector.otlp import limits
from sagascope_collector.otlp.budget import Lease
from sagascope_collector.otlp.decode import Prepared, prepare

NO_METRICS: Final = "Sagascope does not keep metrics; none of these were stored."

MAX_CHECKED_METRICS_BYTES: Final = 64 * 1024
"""Metrics are not kept, so a larger request of them is accepted without decoding."""

MEDIA_TYPES: Final = {Encoding.PROTOBUF: b"application/x-protobuf", Encoding.JSON: b"application/json"}

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class ErrorCodes:
    """The codes of one kind of error: the HTTP status, and the code of gRPC and of ``google.rpc.Status``."""

    http: int
    code: int


ERROR_CODES: Final[tuple[tuple[type[SagascopeError], ErrorCodes], ...]] = (
    (TooLarge, ErrorCodes(413, Code.RESOURCE_EXHAUSTED)),
    (Unauthenticated, ErrorCodes(401, Code.UNAUTHENTICATED)),
    (Refused, ErrorCodes(400, Code.INVALID_ARGUMENT)),
    (Unavailable, ErrorCodes(503, Code.UNAVAILABLE)),
    (SagascopeError, ErrorCodes(503, Code.UNAVAILABLE)),  # clients drop what is answered with a 500
)
"""The first class that matches applies."""

_RESPONSES: Final[dict[Signal, tuple[Any, str]]] = {
    Signal.TRACES: (ExportTraceServiceResponse, "rejected_spans"),
    Signal.LOGS: (ExportLogsServiceResponse, "rejected_log_records"),
}
"""The response to each signal, and the field for the number of rejected records."""

_GRPC_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A response: status, body and headers."""

    status: int
    body: bytes
    headers: Headers = field(default_factory=list)


def codes_of(error: SagascopeError) -> ErrorCodes:
    """Returns the codes of an error."""
    return next(codes for class_, codes in ERROR_CODES if isinstance(error, class_))


def success(signal: Signal, receipt: Receipt) -> Message:
    """Returns the response message; ``partial_success`` is set only where something was rejected."""
    response_type, rejected_field = _RESPONSES[signal]
    response: Message = response_type()
    if receipt.rejected or receipt.message:
        setattr(response.partial_success, rejected_field, receipt.rejected)  # type: ignore[attr-defined]
        response.partial_success.error_message = receipt.message  # type: ignore[attr-defined]
    return response


def metrics_success() -> Message:
    """Returns the response to metrics: accepted, with a warning that they are not kept."""
    response = ExportMetricsServiceResponse()
    response.partial_success.error_message = NO_METRICS
    return response


def http_success(response: Message, encoding: Encoding) -> HttpAnswer:
    """Returns 200 in the encoding of the request."""
    return HttpAnswer(200, encoded(response, encoding), _content_type(encoding))


def http_error(error: SagascopeError, encoding: Encoding) -> HttpAnswer:
    """Returns an error response; a temporary error has the time to wait before a retry."""
    codes = codes_of(error)
    headers = []
    if isinstance(error, Unavailable):
        headers.append((b"retry-after", b"%d" % math.ceil(error.retry_after)))
    if isinstance(error, Unauthenticated):
        headers.append(CHALLENGE)
    return http_refusal(codes.http, codes.code, str(error), encoding, *headers)


def http_refusal(status: int, code: int, message: str, encoding: Encoding, *headers: tuple[bytes, bytes]) -> HttpAnswer:
    """Returns a 4xx or 5xx with a ``google.rpc.Status`` as its body."""
    body = encoded(Status(code=code, message=message), encoding)
    return HttpAnswer(status, body, [*_content_type(encoding), *headers])


def grpc_error(error: SagascopeError) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """Returns status, text and trailing metadata; a temporary error has the time to wait before a retry."""
    code = codes_of(error).code
    return _GRPC_CODES[code], str(error), _retry_info(error, code) if isinstance(error, Unavailable) else ()


def _retry_info(error: Unavailable, code: int) -> tuple[tuple[str, bytes], ...]:
    seconds = math.floor(error.retry_after)
    delay = Duration(seconds=seconds, nanos=round((error.retry_after - seconds) * 1e9))
    detail = AnyMessage()
    detail.Pack(RetryInfo(retry_delay=delay))
    status: Any = Status(code=code, message=str(error), details=[detail])
    return (("grpc-status-details-bin", status.SerializeToString()),)


def encoded(message: Message, encoding: Encoding) -> bytes:
    """Returns the encoded message."""
    if encoding is Encoding.JSON:
        text: str = MessageToJson(message, indent=None)
        return text.encode()
    raw: bytes = message.SerializeToString()
    return raw


def _content_type(encoding: Encoding) -> Headers:
    return [(b"content-type", MEDIA_TYPES[encoding])]


Receipts = TypeVar("Receipts")

MAX_MESSAGE_CHARACTERS: Final = 2_000
"""Maximum length of the reasons in one answer."""

ANSWER_SECONDS: Final = 30.0
"""A request that is not stored by then is refused. It may still be stored; repeated, it is recognised."""


async def wait_for_receipt(answer: asyncio.Future[Receipts]) -> Receipts:
    """Waits for the receipt of one request, or for the receipts of several.

    Raises:
        Overloaded: it takes too long. What was received may still be stored.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await answer
    except TimeoutError as error:
        raise Overloaded(f"This could not be stored within {ANSWER_SECONDS:.0f} s.") from error


async def prepare_request(payload: Payload, lease: Lease) -> Prepared:
    """Checks and splits a request if it is large, one at a time and outside the event loop.

    Raises:
        TooLarge: it holds more than a request may.
        Undecodable: it is not OTLP.
        Overloaded: other requests got its memory while it waited.
    """
    if not limits.is_large(payload):
        return Prepared([payload], Receipt())
    return await lease.run(partial(prepare, payload))


async def store_request(ingest: PayloadSink, request: Prepared) -> Receipt:
    """Submits a request and waits until it is stored.

    Raises:
        Undecodable: it is not OTLP.
        Overloaded: the queue is full, or storing takes too long; a part of a large request may be stored.
    """
    if len(request.payloads) == 1:
        receipt = await wait_for_receipt(ingest.submit(request.payloads[0]))
        if request.receipt == Receipt():
            return receipt
        receipts = [receipt]
    else:
        receipts = await wait_for_receipt(asyncio.gather(*map(ingest.submit, request.payloads)))
    receipts.append(request.receipt)
    messages = dict.fromkeys(each.message for each in receipts if each.message)
    return Receipt(sum(each.rejected for each in receipts), " ".join(messages)[:MAX_MESSAGE_CHARACTERS])


def sender_of(host: str, port: int | str) -> str:
    """Returns the sender that shares the queue with others: a host, or on this machine each connection."""
    bare, is_alone = _host_name(host)
    return f"{bare}:{port}" if is_alone else bare


@lru_cache(1024)
def _host_name(host: str) -> tuple[str, bool]:
    """Returns a host's name, and whether each connection of it counts as a sender."""
    bare = unquote(host).strip("[]")
    try:
        return bare, ip_address(bare).is_loopback
    except ValueError:
        return bare, True
