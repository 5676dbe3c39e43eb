"""Delivers encoded requests to the collector, or keeps them on disk until it accepts them, and counts the outcome."""

import encodings.idna  # noqa: F401 - a fork while a thread imports it would leave the child without it
import gzip
import http.client
import logging
import re
import ssl
import time
from collections.abc import Callable
from enum import Enum, auto
from http import HTTPStatus
from itertools import count
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import NamedTuple
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from sagascope._errors import Guard, SettingInvalid
from sagascope._settings import Settings

_logger = logging.getLogger("sagascope")


class Request(NamedTuple):
    """An encoded OTLP request."""

    signal: str
    """``traces`` or ``logs``, as in OTLP's paths."""
    records: int
    """The number of spans or log records in it."""
    body: bytes


# --- over HTTP -------------------------------------------------------------------------------------

GRPC_PORT = 4317

NOT_GRPC = "; Sagascope sends OTLP over HTTP (usually port 4318), not over gRPC (4317)"

RETRYABLE_STATUSES = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)
"""Statuses after which OTLP allows a client to send the same request again."""

MAX_RESPONSE_BYTES = 65_536
"""Bytes of a response that are read; OTLP responses are shorter."""


class Delivery(Enum):
    """The outcome of a request."""

    ACCEPTED = auto()
    RETRYABLE = auto()
    REFUSED = auto()


class Result(NamedTuple):
    """The outcome of a request, with its reason."""

    delivery: Delivery
    reason: str = ""
    retry_after: float | None = None
    """Seconds that the server asked to wait."""
    rejected: int = 0
    """Records of an accepted request that the server rejected."""


class Sender:
    """One kept-alive connection to the collector, for one thread. Sending raises no error.

    Raises:
        SettingInvalid: The endpoint is not an http or https address, or the certificate cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        parts = urlsplit(settings.endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingInvalid(
                f"endpoint must be an http or https address, not {settings.endpoint.rpartition('@')[2]!r}"
            )
        try:
            self._tls = ssl.create_default_context(cafile=settings.certificate) if parts.scheme == "https" else None
        except OSError as error:  # of which SSLError is one
            raise SettingInvalid(f"certificate {settings.certificate!r} cannot be read: {error}") from error
        self._host, self._port = parts.hostname, parts.port
        self._origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._base = parts.path.rstrip("/")
        self._timeout = settings.timeout
        self._compress = settings.compression == "gzip"
        self._headers = {"Content-Type": "application/x-protobuf", "User-Agent": "sagascope", **settings.headers}
        if self._compress:
            self._headers["Content-Encoding"] = "gzip"
        self._connection: http.client.HTTPConnection | None = None

    def post(self, request: Request) -> Result:
        """Sends a request; if the server had closed the kept connection, sends it once more on a new one."""
        path = f"{self._base}/v1/{request.signal}"
        payload = gzip.compress(request.body, 1) if self._compress else request.body
        reused = self._connection is not None
        result, connection_lost = self._send_once(path, payload)
        if reused and connection_lost:
            result, _ = self._send_once(path, payload)
        return result._replace(reason=f"POST {self._origin}{path}: {result.reason}") if result.reason else result

    def close(self) -> None:
        """Closes the connection; the next request opens one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def reset_after_fork(self) -> None:
        """Drops the connection without closing it: it belongs to the parent process."""
        self._connection = None

    def _send_once(self, path: str, payload: bytes) -> tuple[Result, bool]:
        """Returns the result, and whether the connection was lost."""
        try:
            connection = self._connection = self._connection or self._new_connection()
            connection.request("POST", path, payload, self._headers)
            response = connection.getresponse()
            body = response.read(MAX_RESPONSE_BYTES)
            if not response.isclosed():
                self.close()
        except Exception as error:  # noqa: BLE001 - after any error the connection cannot be used again
            self.close()
            lost = isinstance(error, (ConnectionError, http.client.BadStatusLine))
            reason = f"{'connection lost' if lost else 'no response'}: {error!r}"
            # gRPC answers with bytes that are no status line; a lost connection raises a subclass of the same error
            is_grpc = self._port == GRPC_PORT or type(error) is http.client.BadStatusLine
            return Result(Delivery.RETRYABLE, reason + NOT_GRPC if is_grpc else reason), lost
        return _result(response, body), False

    def _new_connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=self._tls)


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


# --- on disk ---------------------------------------------------------------------------------------

ABANDONED_AFTER_SECONDS = 60.0
"""Age after which another process may send the files of a process that ended."""

SCAN_PAUSE_FACTOR = 50
"""Pause before the size of the folder, which may hold many files, is read again, as a multiple of the time it takes."""

FILE_SUFFIX = ".otlp"
FILE_NAME = re.compile(r"\d{20}-\d+-(?P<records>\d+)-(?P<signal>traces|logs)-(?P<owner>[0-9a-f]{32})\.otlp")
"""Time of writing, a sequence number, number of records, signal, and owner."""

_SPOOLING = Guard("using the spool")


class Spool:
    """Requests in files, one each, sent oldest first; also beyond the end of the process.

    Processes may share a folder. No method raises an error: on a full or missing disk `write` returns False.
    """

    def __init__(self, folder: str, max_bytes: int, owner: str) -> None:
        self._folder = Path(folder)
        self._max_bytes = max_bytes
        self._owner = owner
        self._sequence = count()
        self._used_bytes = 0
        self._next_scan = 0.0

    def write(self, request: Request) -> bool:
        """Writes a request to disk; returns False if there is no space, or writing fails."""
        with _SPOOLING:
            try:
                return self._write(request)
            except OSError:
                return False
        return False

    def drain(self, deliver: Callable[[Request], bool]) -> bool:
        """Passes requests to `deliver` until it returns False; returns True if no request is left."""
        with _SPOOLING:
            for file in self._claimable():
                claimed = self._claim(file)
                if claimed is not None and not _deliver_file(claimed, deliver):
                    return False
                self._next_scan = 0.0
        return True

    def _write(self, request: Request) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        started = monotonic()
        if started >= self._next_scan:
            self._used_bytes = sum(file.stat().st_size for file in self._files())
            self._next_scan = monotonic() + SCAN_PAUSE_FACTOR * (monotonic() - started)
        if self._used_bytes + len(request.body) > self._max_bytes:
            return False
        name = f"{time.time_ns():020}-{next(self._sequence)}-{request.records}-{request.signal}-{self._owner}"
        partial = self._folder / f"{name}.part"
        try:
            partial.write_bytes(request.body)
            # only whole files have the name that processes look for
            partial.rename(self._folder / (name + FILE_SUFFIX))
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        self._used_bytes += len(request.body)
        return True

    def _files(self) -> list[Path]:
        try:
            return sorted(file for file in self._folder.iterdir() if FILE_NAME.fullmatch(file.name))
        except OSError:
            return []

    def _claimable(self) -> list[Path]:
        """Returns our own files, and those of processes that ended."""
        before = time.time() - ABANDONED_AFTER_SECONDS
        return [file for file in self._files() if self._owner in file.name or _modified_at(file) < before]

    def _claim(self, file: Path) -> Path | None:
        """Makes a file ours; returns None if another process was faster: a file can be renamed only once."""
        if self._owner in file.name:
            return file
        without_owner = file.stem.rpartition("-")[0]
        claimed = file.with_name(f"{without_owner}-{self._owner}{FILE_SUFFIX}")
        try:
            file.rename(claimed)
            claimed.touch()  # its age counts from now, so that no other process claims it from us
        except OSError:
            return None
        return claimed


def _deliver_file(file: Path, deliver: Callable[[Request], bool]) -> bool:
    name = FILE_NAME.fullmatch(file.name)
    try:
        body = file.read_bytes()
    except OSError:
        return True
    if name is None or not deliver(Request(name["signal"], int(name["records"]), body)):
        return False
    file.unlink(missing_ok=True)
    return True


def _modified_at(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return time.time()


# --- the outcome -----------------------------------------------------------------------------------

PROCESS_ENDED = "the process ended first"
"""Reason for records that were still queued at the end of the process."""

LOG_INTERVAL_SECONDS = 60.0
"""Minimum time between two log lines about telemetry that cannot be sent."""


class Counters:
    """What became of the records of one process, and the log line about problems. A forked child has its own."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._logged_at = 0.0
        self._logged = (0, "")
        self.sent = 0
        self.dropped = 0
        self.spooled = 0
        self.last_error = ""

    def count_dropped(self, records: int, reason: str) -> None:
        with self._lock:
            self.dropped += records
            self.last_error = reason

    def count_spooled(self, records: int) -> None:
        """Counts records that were written to disk; a negative number for records that left it."""
        with self._lock:
            self.spooled += records

    def count_result(self, result: Result, records: int) -> None:
        """Counts the records of a request that was accepted, or finally refused."""
        refused = records if result.delivery is Delivery.REFUSED else min(records, result.rejected)
        with self._lock:
            self.sent += records - refused
        if refused:
            self.count_dropped(refused, result.reason)

    def log_problems(self, queued: int, *, at_end: bool = False) -> None:
        """Logs problems that are new, at most once in `LOG_INTERVAL_SECONDS`, and once more at the end of the process.

        Only one thread at a time calls it.
        """
        now = monotonic()
        current = (self.dropped, self.last_error)
        is_due = at_end or not self._logged_at or now - self._logged_at >= LOG_INTERVAL_SECONDS
        if not self.last_error or current == self._logged or not is_due:
            return
        self._logged_at, self._logged = now, current
        _logger.warning(
            "Saga telemetry cannot be sent: %s. Records queued in memory: %d, queued on disk: %d, dropped so far: %d.",
            self.last_error,
            queued,
            self.spooled,
            self.dropped,
        )
