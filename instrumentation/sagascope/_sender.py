"""Sends OTLP requests over HTTP, from our own threads only, with the standard library's client."""

import encodings.idna  # noqa: F401 - a fork while a thread imports it would leave the child without it
import gzip
import http.client
import ssl
from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from sagascope.errors import SettingInvalid

RETRYABLE = frozenset({429, 502, 503, 504})
"""Answers after which OTLP lets a client send the same again."""

LONGEST_ANSWER = 65_536
"""Bytes read of an answer; nothing that OTLP answers is longer."""


class Fate(Enum):
    """What became of a request."""

    DELIVERED = "delivered"
    LATER = "later"
    REFUSED = "refused"


class Answer(NamedTuple):
    """What came back, in our words."""

    fate: Fate
    why: str = ""
    wait: float | None = None
    """Seconds that the server asked us to wait."""
    rejected: int = 0
    """Records of a request that was taken which were not."""


class Sender:
    """One kept-alive connection to a collector, for one thread. Sending raises nothing.

    Raises:
        SettingInvalid: The endpoint is no http or https address.
    """

    def __init__(
        self, endpoint: str, *, timeout: float, headers: Mapping[str, str], compress: bool, certificate: str | None
    ) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingInvalid(f"The endpoint must be an http or https address, not {endpoint!r}")
        self._tls = ssl.create_default_context(cafile=certificate) if parts.scheme == "https" else None
        self._host, self._port = parts.hostname, parts.port
        self._base = parts.path.rstrip("/")
        self._timeout = timeout
        self._compress = compress
        self._headers = {"Content-Type": "application/x-protobuf", "User-Agent": "sagascope", **headers}
        if compress:
            self._headers["Content-Encoding"] = "gzip"
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: bytes) -> Answer:
        """Send one request; a connection that the server had closed meanwhile is opened anew, once."""
        payload = gzip.compress(body, 1) if self._compress else body
        reused = self._connection is not None
        answer = self._try(path, payload)
        if reused and answer.fate is Fate.LATER and self._connection is None and answer.why.startswith("connection"):
            answer = self._try(path, payload)
        return answer

    def close(self) -> None:
        """Close the connection; the next call opens one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def forked(self) -> None:
        """Let go of a connection that is the parent's."""
        self._connection = None

    def _try(self, path: str, payload: bytes) -> Answer:
        try:
            connection = self._connection or self._connect()
            connection.request("POST", self._base + path, payload, self._headers)
            response = connection.getresponse()
            body = response.read(LONGEST_ANSWER)
            if not response.isclosed():
                self.close()
        except Exception as error:  # noqa: BLE001 - whatever it was, the connection is of no use any more
            self.close()
            lost = isinstance(error, (ConnectionError, http.client.BadStatusLine))
            return Answer(Fate.LATER, f"{'connection lost' if lost else 'no answer'}: {type(error).__name__}: {error}")
        return _read(response, body)

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            self._connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=self._tls
            )
        else:
            self._connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        return self._connection


def _read(response: http.client.HTTPResponse, body: bytes) -> Answer:
    if 200 <= response.status < 300:
        return _taken(body)
    why = f"HTTP {response.status} {response.reason}"
    if response.status in RETRYABLE:
        return Answer(Fate.LATER, why, _seconds(response.getheader("Retry-After")))
    return Answer(Fate.REFUSED, why)


def _taken(body: bytes) -> Answer:
    """A request that was taken, perhaps without some of its records; an answer that cannot be read says nothing."""
    try:
        # its fields have the same numbers in the answers to spans and to log records
        partial = ExportTraceServiceResponse.FromString(body).partial_success
    except DecodeError:
        return Answer(Fate.DELIVERED)
    return Answer(Fate.DELIVERED, why=partial.error_message, rejected=max(0, partial.rejected_spans))


def _seconds(header: str | None) -> float | None:
    """Retry-After in seconds; its date form is not used by OTLP servers and counts as absent."""
    try:
        return max(0.0, float(header)) if header is not None else None
    except ValueError:
        return None
