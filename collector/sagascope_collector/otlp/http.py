"""OTLP over HTTP: an ASGI application without a framework, which would halve the requests per second."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Final

import pyarrow as pa
from google.rpc.code_pb2 import Code
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from sagascope_collector.errors import SagascopeError, TooLarge, Undecodable
from sagascope_collector.http_server.access import OPEN, Receive, Scope, Send, Tokens
from sagascope_collector.ingest import Encoding, Payload, PayloadSink, Signal
from sagascope_collector.otlp import answers
from sagascope_collector.otlp.answers import (
    MAX_CHECKED_METRICS_BYTES,
    HttpAnswer,
    prepare_request,
    sender_of,
    store_request,
)
from sagascope_collector.otlp.budget import Budget, Lease
from sagascope_collector.otlp.decode import parse

METRICS_PATH: Final = "/v1/metrics"
SIGNALS: Final = {"/v1/traces": Signal.TRACES, "/v1/logs": Signal.LOGS, METRICS_PATH: None}

_ENCODINGS: Final = {media_type: encoding for encoding, media_type in answers.MEDIA_TYPES.items()}


PIECE_BYTES: Final = 1024 * 1024
"""Bytes that are decompressed before the event loop serves others: some milliseconds of work."""

MAX_MEMBERS: Final = 1_000
"""Members of gzip, or frames of zstd, in one request: each costs work, even if it is empty."""

ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"

GZIP: Final = 16 + zlib.MAX_WBITS
"""The window bits with which zlib expects gzip's header."""

CONTENT_ENCODINGS: Final = frozenset({b"", b"identity", b"none", b"gzip", b"zstd"})
"""Values of Content-Encoding that are understood."""


async def read_body(chunks: AsyncIterator[bytes], encoding: bytes, max_bytes: int, lease: Lease) -> bytes:
    """Returns the whole body, decompressed piece by piece so that the event loop serves others meanwhile.

    Raises:
        TooLarge: it holds more than `max_bytes` bytes, compressed or not; no more than that was kept.
        Undecodable: it is not compressed as it claims to be.
        Overloaded: together with the others that are arriving it is more than the budget of `lease` allows.
    """
    reader = _READERS.get(encoding, _IdentityReader)(max_bytes)
    async for chunk in chunks:
        for grown in reader.feed(chunk) if chunk else ():
            lease.take(grown)
            if grown >= PIECE_BYTES:
                await asyncio.sleep(0)
    return await reader.finish(lease)


class _IdentityReader:
    def __init__(self, max_bytes: int) -> None:
        self._room = self._max_bytes = max_bytes
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[int]:
        """Adds a piece; yields the number of further bytes that are held, after each step of work."""
        yield self._keep(chunk)

    async def finish(self, _: Lease) -> bytes:
        """Returns the body."""
        return b"".join(self._parts)

    def _keep(self, piece: bytes) -> int:
        self._room -= len(piece)
        if self._room < 0:
            raise too_large(self._max_bytes)
        self._parts.append(piece)
        return len(piece)


class _GzipReader(_IdentityReader):
    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self._inflate = zlib.decompressobj(GZIP)
        self._members = 1

    def feed(self, chunk: bytes) -> Iterator[int]:
        while chunk:
            if self._inflate.eof:  # gzip files may follow one another
                self._members += 1
                if self._members > MAX_MEMBERS:
                    raise TooLarge(f"This request has more than the {MAX_MEMBERS} gzip members that it may.")
                self._inflate = zlib.decompressobj(GZIP)
            yield self._keep(self._inflated(chunk))
            chunk = self._inflate.unconsumed_tail or self._inflate.unused_data

    async def finish(self, lease: Lease) -> bytes:
        if not self._inflate.eof:
            raise Undecodable("The gzip data ends before it is complete.")
        return await super().finish(lease)

    def _inflated(self, chunk: bytes) -> bytes:
        try:
            return self._inflate.decompress(chunk, min(self._room + 1, PIECE_BYTES))
        except zlib.error as error:
            raise Undecodable(f"The body is not gzip data: {error}.") from error


class _ZstdReader(_IdentityReader):
    async def finish(self, lease: Lease) -> bytes:
        content = await super().finish(lease)
        if content.count(ZSTD_MAGIC) > MAX_MEMBERS:
            raise TooLarge(f"This request has more than the {MAX_MEMBERS} zstd frames that it may.")
        inflated = _IdentityReader(self._max_bytes)
        with pa.CompressedInputStream(
            pa.BufferReader(content), "zstd"
        ) as stream:  # the standard library has no zstd yet
            while piece := await asyncio.to_thread(self._inflated, stream):
                lease.take(next(inflated.feed(piece)))
                if len(piece) < PIECE_BYTES:
                    break
        return await inflated.finish(lease)

    def _inflated(self, stream: pa.CompressedInputStream) -> bytes:
        try:
            piece: bytes = stream.read(PIECE_BYTES)
        except OSError as error:
            raise Undecodable(f"The body is not zstd data: {error}.") from error
        return piece


_READERS: Final[dict[bytes, type[_IdentityReader]]] = {b"gzip": _GzipReader, b"zstd": _ZstdReader}


def too_large(max_bytes: int) -> TooLarge:
    """Returns the error for a request that holds more than `max_bytes` bytes."""
    return TooLarge(
        f"This request holds more than the {max_bytes} bytes that it may, decompressed. Send smaller batches."
    )


class SenderGone(Exception):
    """The connection ended before the request did; the client no longer waits for an answer."""


class OtlpHttp:
    """The application; one object serves any number of connections."""

    def __init__(
        self,
        ingest: PayloadSink,
        clock: Callable[[], int],
        *,
        max_bytes: int,
        budget: Budget,
        tokens: Tokens = OPEN,
        refused: Callable[[SagascopeError], None] = lambda _: None,
    ) -> None:
        """`max_bytes` bounds a request's body, compressed or not; `budget` all that arrive at one time."""
        self._ingest = ingest
        self._clock = clock
        self._max_bytes = max_bytes
        self._budget = budget
        self._tokens = tokens
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
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
            async with self._budget.lease() as lease:
                content = await self._read_content(headers, receive, lease)
                if scope["path"] == METRICS_PATH:
                    if len(content) <= MAX_CHECKED_METRICS_BYTES:
                        parse(content, encoding, ExportMetricsServiceRequest)
                    return answers.http_success(answers.metrics_success(), encoding)
                signal = SIGNALS[scope["path"]]
                assert signal  # noqa: S101  # only metrics have none
                payload = Payload(signal, encoding, content, self._clock(), sender_of(*(scope["client"] or ("", 0))))
                ready = await prepare_request(payload, lease)
            receipt = await store_request(self._ingest, ready)
        except SagascopeError as error:
            self._refused(error)
            return answers.http_error(error, encoding)
        return answers.http_success(answers.success(signal, receipt), encoding)

    async def _read_content(self, headers: Mapping[bytes, bytes], receive: Receive, lease: Lease) -> bytes:
        announced = headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._max_bytes:
            raise too_large(self._max_bytes)
        return await read_body(_chunks(receive), _content_encoding(headers), self._max_bytes, lease)


def _refusal(scope: Scope, headers: Mapping[bytes, bytes], encoding: Encoding | None) -> HttpAnswer | None:
    """Returns the refusal of a request whose body need not be read."""
    accepted = encoding or Encoding.JSON
    if scope["path"] not in SIGNALS:
        text = f"This path does not exist; OTLP is received at {', '.join(SIGNALS)}."
        return answers.http_refusal(404, Code.NOT_FOUND, text, accepted)
    if scope["method"] != "POST":
        return answers.http_refusal(405, Code.UNIMPLEMENTED, "OTLP is sent with POST.", accepted, (b"allow", b"POST"))
    if encoding is None:
        text = "OTLP is sent as application/x-protobuf or application/json."
        return answers.http_refusal(415, Code.INVALID_ARGUMENT, text, accepted)
    if _content_encoding(headers) not in CONTENT_ENCODINGS:
        text, header = "Content-Encoding is gzip, zstd or none.", (b"accept-encoding", b"gzip, zstd, identity")
        return answers.http_refusal(415, Code.INVALID_ARGUMENT, text, accepted, header)
    return None


def _content_encoding(headers: Mapping[bytes, bytes]) -> bytes:
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
