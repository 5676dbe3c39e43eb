"""Sends OTLP requests over HTTP, from background threads, with the standard library's client."""

import encodings.idna  # noqa: F401 - a fork while a thread imports it would leave the child without it
import gzip
import http.client
import ssl
from collections.abc import Mapping
from enum import Enum
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from sagascope.errors import SettingInvalid

RETRYABLE_STATUSES = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)
"""Statuses after which OTLP allows a client to send the same request again."""

MAX_RESPONSE_BYTES = 65_536
"""Bytes of a response that are read; OTLP responses are shorter."""


class Delivery(Enum):
    """The outcome of a request."""

    ACCEPTED = "accepted"
    RETRYABLE = "retryable"
    REFUSED = "refused"


class Result(NamedTuple):
    """The outcome of a request, with its reason."""

    delivery: Delivery
    reason: str = ""
    retry_after: float | None = None
    """Seconds that the server asked to wait."""
    rejected: int = 0
    """Records of an accepted request that the server rejected."""


class Sender:
    """One kept-alive connection to a collector, for one thread. Sending raises no error.

    Raises:
        SettingInvalid: The endpoint is not an http or https address.
    """

    def __init__(
        self, endpoint: str, *, timeout: float, headers: Mapping[str, str], compress: bool, certificate: str | None
    ) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingInvalid(f"endpoint must be an http or https address, not {endpoint!r}")
        self._tls = ssl.create_default_context(cafile=certificate) if parts.scheme == "https" else None
        self._host, self._port = parts.hostname, parts.port
        self._base = parts.path.rstrip("/")
        self._timeout = timeout
        self._compress = compress
        self._headers = {"Content-Type": "application/x-protobuf", "User-Agent": "sagascope", **headers}
        if compress:
            self._headers["Content-Encoding"] = "gzip"
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: bytes) -> Result:
        """Sends one request; if the server had closed the kept connection, sends it once more on a new one."""
        payload = gzip.compress(body, 1) if self._compress else body
        reused = self._connection is not None
        result, connection_lost = self._try(path, payload)
        if reused and connection_lost:
            result, _ = self._try(path, payload)
        return result

    def close(self) -> None:
        """Closes the connection; the next request opens one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def reset_after_fork(self) -> None:
        """Drops the connection without closing it: it belongs to the parent process."""
        self._connection = None

    def _try(self, path: str, payload: bytes) -> tuple[Result, bool]:
        """Returns the result, and whether the connection was lost."""
        try:
            connection = self._connection or self._connect()
            connection.request("POST", self._base + path, payload, self._headers)
            response = connection.getresponse()
            body = response.read(MAX_RESPONSE_BYTES)
            if not response.isclosed():
                self.close()
        except Exception as error:  # noqa: BLE001 - after any error the connection cannot be used again
            self.close()
            lost = isinstance(error, (ConnectionError, http.client.BadStatusLine))
            reason = f"{'connection lost' if lost else 'no response'}: {type(error).__name__}: {error}"
            return Result(Delivery.RETRYABLE, reason), lost
        return _result(response, body), False

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            self._connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=self._tls
            )
        else:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        return self._connection


def _result(response: http.client.HTTPResponse, body: bytes) -> Result:
    if 200 <= response.status < 300:
        return _accepted(body)
    reason = f"HTTP {response.status} {response.reason}"
    if response.status in RETRYABLE_STATUSES:
        return Result(Delivery.RETRYABLE, reason, _seconds(response.getheader("Retry-After")))
    return Result(Delivery.REFUSED, reason)


def _accepted(body: bytes) -> Result:
    """Returns the result of an accepted request; a body that cannot be decoded counts as full success."""
    try:
        # the responses to spans and to log records have the same field numbers
        partial = ExportTraceServiceResponse.FromString(body).partial_success
    except DecodeError:
        return Result(Delivery.ACCEPTED)
    return Result(Delivery.ACCEPTED, reason=partial.error_message, rejected=max(0, partial.rejected_spans))


def _seconds(header: str | None) -> float | None:
    """Returns Retry-After in seconds; its date form, which OTLP servers do not use, counts as absent."""
    try:
        return max(0.0, float(header)) if header is not None else None
    except ValueError:
        return None
