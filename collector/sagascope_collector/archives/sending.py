"""Sends requests to a collector, and again until it has them on disk."""

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

from sagascope_collector.archives.reading import Message
from sagascope_collector.archives.signals import Kind
from sagascope_collector.client import connect
from sagascope_collector.client.credentials import Credentials
from sagascope_collector.errors import StoppedShort

PATIENCE: Final = 120.0
"""Seconds for which one request is sent again and again."""

FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
ANSWER_SECONDS: Final = 60.0
"""The collector answers within 30."""

PASSING: Final = frozenset({429, 502, 503, 504})
REFUSING: Final = frozenset({400, 413})

PATHS: Final = {Kind.SPANS: "/v1/traces", Kind.LOG_RECORDS: "/v1/logs"}
_ANSWERS: Final[dict[Kind, tuple[Any, str, str]]] = {
    Kind.SPANS: (ExportTraceServiceResponse, "rejected_spans", "rejectedSpans"),
    Kind.LOG_RECORDS: (ExportLogsServiceResponse, "rejected_log_records", "rejectedLogRecords"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the collector refused of one request."""

    refused: int | None
    """Records; None: all of it."""
    reason: str


class Sender:
    """Speaks OTLP over HTTP with one collector. Safe to share between threads; a context manager."""

    def __init__(self, url: str, credentials: Credentials, *, patience: float = PATIENCE) -> None:
        """`url` is the collector's OTLP/HTTP, for example ``http://127.0.0.1:4318``."""
        self.url = url.rstrip("/")
        self._patience = patience
        self._stopped = threading.Event()
        self._http = connect(self.url, ANSWER_SECONDS, credentials)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def stop(self) -> None:
        """Let nothing be sent again; what waits for that ends now."""
        self._stopped.set()

    def send(self, message: Message, kind: Kind) -> Answer | None:
        """Send what a message holds of one kind, until it is acknowledged; None: all of it was taken.

        Raises:
            StoppedShort: the collector could not be reached, or could not take it, for too long; or it takes no OTLP.
        """
        give_up, wait = time.monotonic() + self._patience, FIRST_WAIT
        while True:
            answer, why = self._post(message, kind)
            if answer is not None and answer.status_code not in PASSING:
                return self._read(answer, message, kind)
            wait = min(max(wait * 2, _asked_for(answer)), LONGEST_WAIT)
            if time.monotonic() + wait > give_up:
                raise StoppedShort(f"{self.url} took nothing for {self._patience:.0f} s: {why}")
            if self._stopped.wait(wait):
                raise StoppedShort("It was stopped.")

    def _post(self, message: Message, kind: Kind) -> tuple[httpx.Response | None, str]:
        media_type = "application/json" if message.json else "application/x-protobuf"
        try:
            answer = self._http.post(PATHS[kind], content=message.body, headers={"Content-Type": media_type})
        except httpx.TransportError as error:
            return None, f"{type(error).__name__}: {error}."
        return answer, _said(answer) if answer.is_error else ""

    def _read(self, answer: httpx.Response, message: Message, kind: Kind) -> Answer | None:
        if answer.status_code in REFUSING:
            return Answer(None, _said(answer))
        if answer.status_code != httpx.codes.OK:
            raise StoppedShort(f"{self.url} does not take this: {answer.status_code}, {_said(answer)}")
        try:
            rejected, reason = _rejected(answer.content, message.json, kind)
        except (DecodeError, orjson.JSONDecodeError, AttributeError, ValueError) as error:
            raise StoppedShort(f"What answers at {self.url} does not speak OTLP.") from error
        return Answer(rejected, reason) if rejected else None


def _rejected(content: bytes, json: bool, kind: Kind) -> tuple[int, str]:
    message, name, json_name = _ANSWERS[kind]
    if json:
        partial = orjson.loads(content).get("partialSuccess") or {}
        return int(partial.get(json_name, 0)), str(partial.get("errorMessage", ""))
    partial = message.FromString(content).partial_success
    return getattr(partial, name), partial.error_message


def _said(answer: httpx.Response) -> str:
    """What an answer says of itself: the message of its ``google.rpc.Status``."""
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    try:
        if media_type == "application/x-protobuf":
            return str(Status.FromString(answer.content).message)
        if media_type.endswith("json"):
            told = orjson.loads(answer.content)
            return str(told.get("message") or told.get("detail") or "")
    except (DecodeError, orjson.JSONDecodeError, AttributeError):
        pass
    return f"{answer.status_code} {answer.reason_phrase}."


def _asked_for(answer: httpx.Response | None) -> float:
    """Seconds that the collector asks to wait for."""
    said = answer.headers.get("retry-after", "") if answer is not None else ""
    return float(said) if said.isdecimal() else 0.0
