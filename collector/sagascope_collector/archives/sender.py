"""Sends requests to a collector over OTLP/HTTP, with retries until they are acknowledged."""

import random
import threading
import time
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx
import orjson
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from sagascope_collector.archives.reader import Message, RecordKind
from sagascope_collector.client import connect
from sagascope_collector.client.credentials import Credentials
from sagascope_collector.errors import SendFailed

RETRY_SECONDS: Final = 120.0
"""The time for which one request is retried."""

MIN_BACKOFF_SECONDS: Final = 0.1
MAX_BACKOFF_SECONDS: Final = 5.0

ANSWER_TIMEOUT_SECONDS: Final = 60.0
"""The collector answers within 30 s."""

RETRYABLE: Final = frozenset({429, 502, 503, 504})
REJECTED: Final = frozenset({400, 413})

PATHS: Final = {RecordKind.SPANS: "/v1/traces", RecordKind.LOG_RECORDS: "/v1/logs"}
_ANSWERS: Final[dict[RecordKind, tuple[Any, str, str]]] = {
    RecordKind.SPANS: (ExportTraceServiceResponse, "rejected_spans", "rejectedSpans"),
    RecordKind.LOG_RECORDS: (ExportLogsServiceResponse, "rejected_log_records", "rejectedLogRecords"),
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """What the collector rejected of one request."""

    records: int | None
    """The number of rejected records; None: the whole request."""
    reason: str


class Sender:
    """Sends to one collector. Can be shared between threads; is a context manager."""

    def __init__(self, url: str, credentials: Credentials, *, retry_seconds: float = RETRY_SECONDS) -> None:
        """Connects to the collector's OTLP/HTTP address, for example ``http://127.0.0.1:4318``."""
        self.url = url.rstrip("/")
        self._retry_seconds = retry_seconds
        self._stopped = threading.Event()
        self._http = connect(self.url, ANSWER_TIMEOUT_SECONDS, credentials)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def stop(self) -> None:
        """Ends all retries now."""
        self._stopped.set()

    def send(self, message: Message, kind: RecordKind) -> Rejection | None:
        """Sends a message until it is acknowledged; returns None if all of its records were accepted.

        Raises:
            SendFailed: the collector was unreachable or overloaded for too long, or does not accept OTLP.
        """
        deadline, backoff = time.monotonic() + self._retry_seconds, MIN_BACKOFF_SECONDS
        while True:
            answer, reason = self._post(message, kind)
            if answer is not None and answer.status_code not in RETRYABLE:
                return self._read(answer, message, kind)
            backoff = min(max(backoff * 2, _retry_after_seconds(answer)), MAX_BACKOFF_SECONDS)
            wait_seconds = backoff * random.uniform(0.5, 1.0)  # noqa: S311  # jitter: senders must not retry in step
            if time.monotonic() + wait_seconds > deadline:
                raise SendFailed(f"{self.url} accepted nothing for {self._retry_seconds:.0f} s: {reason}")
            if self._stopped.wait(wait_seconds):
                raise SendFailed("It was stopped.")

    def _post(self, message: Message, kind: RecordKind) -> tuple[httpx.Response | None, str]:
        media_type = "application/json" if message.json else "application/x-protobuf"
        try:
            answer = self._http.post(PATHS[kind], content=message.body, headers={"Content-Type": media_type})
        except httpx.TransportError as error:
            return None, f"{type(error).__name__}: {error}."
        return answer, _message_of(answer) if answer.is_error else ""

    def _read(self, answer: httpx.Response, message: Message, kind: RecordKind) -> Rejection | None:
        if answer.status_code in REJECTED:
            return Rejection(None, _message_of(answer))
        if answer.status_code != httpx.codes.OK:
            raise SendFailed(f"{self.url} does not accept this request: {answer.status_code}, {_message_of(answer)}")
        try:
            rejected, reason = _rejected(answer.content, message.json, kind)
        except (DecodeError, orjson.JSONDecodeError, AttributeError, ValueError) as error:
            raise SendFailed(f"The program at {self.url} is not an OTLP receiver.") from error
        return Rejection(rejected, reason) if rejected else None


def _rejected(content: bytes, json: bool, kind: RecordKind) -> tuple[int, str]:
    message, name, json_name = _ANSWERS[kind]
    if json:
        partial = orjson.loads(content).get("partialSuccess") or {}
        return int(partial.get(json_name, 0)), str(partial.get("errorMessage", ""))
    partial = message.FromString(content).partial_success
    return getattr(partial, name), partial.error_message


def _message_of(answer: httpx.Response) -> str:
    """Returns the message of an answer's ``google.rpc.Status`` or problem details, else its status line."""
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    try:
        if media_type == "application/x-protobuf":
            return str(Status.FromString(answer.content).message)
        if media_type.endswith("json"):
            body = orjson.loads(answer.content)
            return str(body.get("message") or body.get("detail") or "")
    except (DecodeError, orjson.JSONDecodeError, AttributeError):
        pass
    return f"{answer.status_code} {answer.reason_phrase}."


def _retry_after_seconds(answer: httpx.Response | None) -> float:
    header = answer.headers.get("retry-after", "") if answer is not None else ""
    return float(header) if header.isdecimal() else 0.0
