"""Sends the requests of files to a collector, several at a time, and reports the result of each file."""

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import httpx
import orjson
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from sagascope_collector.archives.documents import Message, Problem, RecordKind
from sagascope_collector.archives.reader import messages
from sagascope_collector.client import connect
from sagascope_collector.client.credentials import Credentials
from sagascope_collector.errors import SendFailed
from sagascope_collector.safe_text import without_password

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
        self.url = without_password(url.rstrip("/"))
        """Without user and password."""
        self._retry_seconds = retry_seconds
        self._stopped = threading.Event()
        self._http = connect(url.rstrip("/"), ANSWER_TIMEOUT_SECONDS, credentials)

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


MAX_CONCURRENT_REQUESTS: Final = 24
"""The collector commits waiting requests together, so concurrency raises the throughput."""

MAX_CONCURRENT_BYTES: Final = 32 * 1024 * 1024
"""The total size of concurrent requests, unless a single one is larger."""

MAX_LISTED_PROBLEMS: Final = 100
"""Problems of one file that are listed; all are counted."""


@dataclass(slots=True)
class FileReport:
    """The result of one file. A request that was sent several times counts once."""

    file: str
    requests: int = 0
    """Requests that the collector acknowledged, including those it rejected in part."""
    imported: Counter[RecordKind] = field(default_factory=Counter)
    """Records that the collector acknowledged, by kind; metrics are read and not sent."""
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    rejected_requests: int = 0
    """Requests and documents of which nothing was imported: unreadable, or refused by the collector."""
    rejected_records: int = 0
    """Single records: unreadable, or rejected by the collector in a request that it acknowledged."""
    truncated: bool = False
    """Whether the end of the file is missing."""
    finished: bool = False
    """Whether the file was read to its end and every request was answered."""

    def add_problem(self, problem: Problem) -> None:
        """Counts a problem, and lists it if the list is not full."""
        self.problem_count += 1
        self.rejected_requests += problem.records is None
        self.rejected_records += problem.records or 0
        if len(self.problems) < MAX_LISTED_PROBLEMS:
            self.problems.append(problem)

    def as_json(self) -> dict[str, Any]:
        """Returns the form that ``--json`` prints."""
        return {
            "file": self.file,
            "requests": self.requests,
            "spans": self.imported[RecordKind.SPANS],
            "log_records": self.imported[RecordKind.LOG_RECORDS],
            "metrics_ignored": self.imported[RecordKind.METRICS],
            "refused_requests": self.rejected_requests,
            "refused_records": self.rejected_records,
            "refused": [
                {"line": each.number, "reason": each.reason, "records": each.records} for each in self.problems
            ],
            "cut_off": self.truncated,
            "finished": self.finished,
        }


@dataclass(slots=True)
class Report:
    """The result of all files."""

    files: list[FileReport] = field(default_factory=list)
    stopped: str | None = None
    """The reason for which the import ended early."""
    interrupted: bool = False
    """Whether Ctrl-C ended it."""

    @property
    def ok(self) -> bool:
        """Whether everything in the files was stored."""
        return self.stopped is None and not any(each.problems or each.truncated for each in self.files)

    def as_json(self) -> dict[str, Any]:
        """Returns the form that ``--json`` prints."""
        totals = ("requests", "spans", "log_records", "metrics_ignored", "refused_requests", "refused_records")
        files = [each.as_json() for each in self.files]
        return {
            "ok": self.ok,
            "stopped": self.stopped,
            **{name: sum(each[name] for each in files) for name in totals},
            "files": files,
        }


class Progress:
    """The progress of an import; this class shows nothing."""

    def update(self, report: FileReport, read_bytes: int) -> None:
        """Is called with the number of bytes read of this file, before decompression."""

    def finish(self, report: FileReport) -> None:
        """Is called when a file is finished."""


def send_files(files: Iterable[Path], sender: Sender, progress: Progress) -> Iterator[Report]:
    """Sends files one after the other; yields the growing report after each.

    Acknowledged requests are on disk. The collector stores repeated requests once, so an import that was stopped can be
    started again from the beginning.
    """
    report = Report()
    with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS, thread_name_prefix="sagascope-import") as pool:
        try:
            for path in files:
                report.files.append(FileReport(str(path)))
                _send_file(path, _Window(pool, sender, report.files[-1]), progress)
                yield report
        except SendFailed as error:
            report.stopped = str(error)
        except KeyboardInterrupt:
            report.stopped, report.interrupted = "It was interrupted.", True
        finally:
            sender.stop()  # else the pool waits for the retries of all threads
            pool.shutdown(wait=True, cancel_futures=True)
    yield report


def _send_file(path: Path, window: "_Window", progress: Progress) -> None:
    report = window.report
    try:
        with path.open("rb") as raw:
            for each in messages(raw):
                window.add(each)
                progress.update(report, raw.tell())
        window.drain()
        report.finished = True
    finally:
        window.close()
        progress.finish(report)


@dataclass(frozen=True, slots=True)
class _Pending:
    message: Message
    kind: RecordKind
    answer: Future[Rejection | None]


class _Window:
    """The concurrent requests of one file."""

    def __init__(self, pool: ThreadPoolExecutor, sender: Sender, report: FileReport) -> None:
        self.report = report
        self._pool = pool
        self._sender = sender
        self._pending: deque[_Pending] = deque()
        self._bytes = 0

    def add(self, each: Message | Problem) -> None:
        """Starts to send a message, after waiting until the limits allow it."""
        if isinstance(each, Problem):
            self.report.truncated |= each.truncated
            if not each.truncated:
                self.report.add_problem(each)
            return
        self.report.imported[RecordKind.METRICS] += each.counts.get(RecordKind.METRICS, 0)
        for kind in each.counts:
            if kind in PATHS:
                self._wait_for_room(len(each.body))
                self._pending.append(_Pending(each, kind, self._pool.submit(self._sender.send, each, kind)))
                self._bytes += len(each.body)

    def drain(self) -> None:
        """Waits for every answer."""
        while self._pending:
            self._finish_oldest()

    def close(self) -> None:
        """Stops sending; counts the requests that were answered before."""
        if self._pending:  # only after an error
            self._sender.stop()
        while self._pending:
            if not self._pending[0].answer.cancel():
                with suppress(SendFailed):
                    self._finish_oldest()
            else:
                self._pending.popleft()

    def _wait_for_room(self, size: int) -> None:
        while self._pending and (
            len(self._pending) >= MAX_CONCURRENT_REQUESTS or self._bytes + size > MAX_CONCURRENT_BYTES
        ):
            self._finish_oldest()

    def _finish_oldest(self) -> None:
        oldest = self._pending.popleft()
        self._bytes -= len(oldest.message.body)
        rejection = oldest.answer.result()
        if rejection is not None:
            self.report.add_problem(Problem(oldest.message.number, rejection.reason, records=rejection.records))
            if rejection.records is None:
                return
        rejected = 0 if rejection is None else rejection.records or 0
        self.report.requests += 1
        self.report.imported[oldest.kind] += max(0, oldest.message.counts[oldest.kind] - rejected)
