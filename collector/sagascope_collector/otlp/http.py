"""OTLP over HTTP: a bare ASGI application, since a framework costs half of the requests a second."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from google.rpc.code_pb2 import Code
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from sagascope_collector.access import OPEN, Tokens
from sagascope_collector.errors import Overloaded, SagascopeError
from sagascope_collector.ingest import Encoding, Payload, Signal, Taker
from sagascope_collector.otlp import answers, body
from sagascope_collector.otlp.answers import HttpAnswer
from sagascope_collector.otlp.decode import parse
from sagascope_collector.otlp.waiting import answered, sender_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

METRICS: Final = "/v1/metrics"
SIGNALS: Final = {"/v1/traces": Signal.TRACES, "/v1/logs": Signal.LOGS, METRICS: None}

_ENCODINGS: Final = {media_type: encoding for encoding, media_type in answers.MEDIA_TYPES.items()}


RECEIVE_SECONDS: Final = 60.0
"""A request whose body has not arrived by then is refused: slow senders may not hold memory for long."""


class SenderGone(Exception):
    """The connection ended before the request did; the client no longer waits for an answer."""


class OtlpHttp:
    """The application. One object serves any number of connections."""

    def __init__(
        self,
        ingest: Taker,
        clock: Callable[[], int],
        *,
        max_bytes: int,
        budget: body.Budget,
        tokens: Tokens = OPEN,
        refused: Callable[[SagascopeError], None] = lambda _: None,
    ) -> None:
        """`max_bytes` bounds a request's body, compressed or not; `budget` bounds all that arrive at one time."""
        self._ingest = ingest
        self._clock = clock
        self._max_bytes = max_bytes
        self._budget = budget
        self._tokens = tokens
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            answer = await self._answer(scope, receive)
        except SenderGone:
            return
        await _send(send, answer)

    async def _answer(self, scope: Scope, receive: Receive) -> HttpAnswer:
        headers = dict(scope["headers"])
        media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        encoding = _ENCODINGS.get(media_type)
        if refusal := _refusal(scope, headers, encoding):
            return refusal
        assert encoding  # noqa: S101  # an unknown one was refused
        try:
            self._tokens.check_ingest(headers.get(b"authorization", b"").decode("latin-1"))
            content = await self._content(headers, receive)
            if scope["path"] == METRICS:
                parse(content, encoding, ExportMetricsServiceRequest)
                return answers.http_success(answers.metrics(), encoding)
            signal = SIGNALS[scope["path"]]
            assert signal  # noqa: S101  # only metrics have none
            payload = Payload(signal, encoding, content, self._clock(), sender_of(*(scope["client"] or ("", 0))))
            receipt = await answered(self._ingest.submit(payload))
        except SagascopeError as error:
            self._refused(error)
            return answers.http_error(error, encoding)
        return answers.http_success(answers.success(signal, receipt), encoding)

    async def _content(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        announced = headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._max_bytes:
            raise body.too_large(self._max_bytes)
        try:
            async with asyncio.timeout(RECEIVE_SECONDS):
                return await body.read(_chunks(receive), _coding(headers), self._max_bytes, self._budget)
        except TimeoutError as error:
            raise Overloaded(f"The request did not arrive within {RECEIVE_SECONDS:.0f} s.") from error


def _refusal(scope: Scope, headers: Mapping[bytes, bytes], encoding: Encoding | None) -> HttpAnswer | None:
    """What can be refused before the body is read."""
    spoken = encoding or Encoding.JSON
    if scope["path"] not in SIGNALS:
        known = ", ".join(SIGNALS)
        return answers.http_refusal(404, Code.NOT_FOUND, f"There is nothing here; OTLP is taken at {known}.", spoken)
    if scope["method"] != "POST":
        answer = answers.http_refusal(405, Code.UNIMPLEMENTED, "OTLP is sent with POST.", spoken)
        answer.headers.append((b"allow", b"POST"))
        return answer
    if encoding is None:
        said = "OTLP is sent as application/x-protobuf or application/json."
        return answers.http_refusal(415, Code.INVALID_ARGUMENT, said, spoken)
    if _coding(headers) not in body.ENCODINGS:
        answer = answers.http_refusal(415, Code.INVALID_ARGUMENT, "Content-Encoding is gzip, zstd or none.", spoken)
        answer.headers.append((b"accept-encoding", b"gzip, zstd, identity"))
        return answer
    return None


def _coding(headers: Mapping[bytes, bytes]) -> bytes:
    return headers.get(b"content-encoding", b"").strip().lower()


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise SenderGone
        more = message.get("more_body", False)
        yield message.get("body", b"")


async def _send(send: Send, answer: HttpAnswer) -> None:
    headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
