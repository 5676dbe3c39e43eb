"""The target of an examination, the results of checks, and the checks of the API, disk, database and clocks."""

import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import duckdb
import httpx
from pydantic import BaseModel, ConfigDict

from sagascope_collector.client import (
    Client,
    ClientError,
    CollectorUnreachable,
    CredentialsUnusable,
    NotSagascope,
    TokenNeeded,
    schemas,
)
from sagascope_collector.client.credentials import Credentials
from sagascope_collector.errors import CannotStart, DatabaseLocked
from sagascope_collector.safe_text import without_password
from sagascope_collector.settings import MEBIBYTE, Address
from sagascope_collector.storage.connection import applied, check_path, explain, migrations


@dataclass(frozen=True, slots=True)
class Target:
    """The collector to examine, as the command's options name it."""

    url: str
    otlp_grpc: Address
    otlp_http: Address
    db: Path
    credentials: Credentials
    ingest_token: str | None = field(default=None, repr=False)
    timeout_seconds: float = 5.0
    """For one answer, and for a test span to become visible."""

    @property
    def uses_tls(self) -> bool:
        """Whether its ports use TLS."""
        return urlsplit(self.url).scheme == "https"

    @property
    def is_local(self) -> bool:
        """Whether it runs, or would run, on this machine."""
        return Address(urlsplit(self.url).hostname or "", 0).is_loopback

    @property
    def ingest_headers(self) -> dict[str, str]:
        """The headers that authenticate a sender."""
        return {"authorization": f"Bearer {self.ingest_token}"} if self.ingest_token else {}


class State(StrEnum):
    """The result of one check."""

    OK = "ok"
    WARNING = "warning"
    """It works now, but needs attention soon."""
    PROBLEM = "problem"
    SKIPPED = "skipped"
    """It could not be checked because of another result."""


class Result(BaseModel):
    """The result of one check, with the advice that resolves it."""

    model_config = ConfigDict(frozen=True)

    check: str
    state: State
    text: str
    advice: str | None = None


class CollectorStatus(NamedTuple):
    """What the collector's API answered."""

    result: Result
    status: schemas.Status | None
    """None: the API did not answer with a status."""
    is_unreachable: bool
    """Whether nothing listens at the API's address."""


def ok(check: str, text: str) -> Result:
    """Returns the result of a check that passed."""
    return Result(check=check, state=State.OK, text=text)


def warning(check: str, text: str, advice: str) -> Result:
    """Returns the result of a check that passed but needs attention soon."""
    return Result(check=check, state=State.WARNING, text=text, advice=advice)


def problem(check: str, text: str, advice: str) -> Result:
    """Returns the result of a check that failed."""
    return Result(check=check, state=State.PROBLEM, text=text, advice=advice)


def skipped(check: str, text: str) -> Result:
    """Returns the result of a check that could not run."""
    return Result(check=check, state=State.SKIPPED, text=text)


MIN_FREE_BYTES: Final = 64 * MEBIBYTE
"""A busy collector fills less free space within minutes."""

LOW_FREE_BYTES: Final = 1024 * MEBIBYTE

WRITE_TEST_BYTES: Final = MEBIBYTE

MAX_CLOCK_SKEW_SECONDS: Final = 2.0
"""An HTTP date has a resolution of one second."""

EARLIEST_CLOCK_SECONDS: Final = 1_767_225_600
"""2026-01-01 in Unix time; a clock with an earlier date is wrong."""

CLOCK_ADVICE: Final = "Synchronize both clocks with NTP. A wrong clock makes steps look late or early."

API_ADVICE: Final[dict[type[ClientError], str]] = {
    CollectorUnreachable: "Start a collector with `sagascope serve`, or name another one with --url.",
    TokenNeeded: "Name the token's file with --token-file, or set SAGASCOPE_TOKEN.",
    NotSagascope: "Name the collector's API with --url; its default port is 4319.",
    CredentialsUnusable: "Name another file.",
}

LOG_ADVICE: Final = "See the collector's log."

LOCK_HOLDER: Final = re.compile(r"held in (?P<program>\S+) \(PID (?P<pid>\d+)\)")
"""The part of DuckDB's error message that names the process that has a file open."""


def check_api(target: Target) -> CollectorStatus:
    """Checks whether a collector answers, and returns its status."""
    check = "collector"
    try:
        with Client(target.url, timeout=target.timeout_seconds, credentials=target.credentials) as client:
            status = client.status()
    except ClientError as error:
        advice = next((text for kind, text in API_ADVICE.items() if isinstance(error, kind)), LOG_ADVICE)
        return CollectorStatus(problem(check, str(error), advice), None, isinstance(error, CollectorUnreachable))
    text = f"A collector of version {status.version} answers at {without_password(target.url)}."
    if status.notices:
        result = warning(check, f"{text} Its status has a notice: {status.notices[0]}", LOG_ADVICE)
        return CollectorStatus(result, status, False)
    return CollectorStatus(ok(check, text), status, False)


def check_mapping(status: schemas.Status) -> Result:
    """Reports how many spans belong to no transaction."""
    check, spans, loose = "mapping", status.recent_spans, status.recent_unassigned
    text = f"{loose:,} of the newest {spans:,} spans belong to no transaction."
    advice = "If they should, `sagascope mapping suggest` proposes rules for them."
    if loose and loose == spans:
        return warning(check, text, advice)
    return Result(check=check, state=State.OK, text=text, advice=advice if loose else None)


def check_disk(target: Target) -> Iterator[Result]:
    """Writes a file beside the database, and measures the free space."""
    folder = target.db.absolute().parent
    if not folder.is_dir():
        yield problem("disk", f"The folder {folder} does not exist.", "Create it, or name another file with --db.")
        return
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".sagascope-doctor-") as file:
            file.write(bytes(WRITE_TEST_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        advice = f"{'Free some space' if is_full else 'Change its permissions'}, or name a file elsewhere with --db."
        yield problem("disk", f"{folder} cannot be written: {error.strerror}.", advice)
        yield skipped("space", "See the previous result.")
        return
    yield ok("disk", f"{folder} can be written.")
    yield _check_free_space(folder)


def _check_free_space(folder: Path) -> Result:
    free = shutil.disk_usage(folder).free
    text = f"{free // MEBIBYTE:,} MiB are free in {folder}."
    if free < MIN_FREE_BYTES:
        return problem("space", text, "Free some space, or name a file elsewhere with --db.")
    return warning("space", text, "Free some space soon.") if free < LOW_FREE_BYTES else ok("space", text)


def check_database(target: Target, collector: CollectorStatus) -> Result:
    """Opens an existing database for reading."""
    check, path = "database", target.db
    if not path.exists():
        if collector.status is not None:
            return ok(check, f"{path} does not exist; the collector that answers uses another file.")
        return ok(check, f"{path} does not exist yet; the first start creates it.")
    try:
        check_path(path)
        with duckdb.connect(path, read_only=True) as opened:
            schema = max(applied(opened, str(path)), default=0)
    except duckdb.Error as error:
        return _unopened(path, explain(str(path), str(error)), collector)
    except CannotStart as error:
        return _unopened(path, error, collector)
    if schema < (known := migrations()[-1].version):
        return ok(check, f"{path} opens; the next start migrates its schema from {schema} to {known}.")
    return ok(check, f"{path} opens; its schema {schema} is current.")


def _unopened(path: Path, error: CannotStart, collector: CollectorStatus) -> Result:
    if not isinstance(error, DatabaseLocked):
        return problem("database", str(error), "Name another file with --db, or restore a backup.")
    match = LOCK_HOLDER.search(str(error))
    holder = f"process {match['pid']} ({match['program']})" if match else "another process"
    if not collector.is_unreachable:
        return ok("database", f"{path} is open in {holder}, and a program answers at the API's address.")
    advice = f"Stop {holder}, or name another file with --db." if match else "Find it with `fuser`, and stop it."
    return problem("database", f"{path} is open in {holder}, and no collector answers.", advice)


def check_clocks(target: Target, collector: CollectorStatus) -> Iterator[Result]:
    """Compares this machine's clock with the file system's and the collector's."""
    if time.time() < EARLIEST_CLOCK_SECONDS:
        today = time.strftime("%Y-%m-%d", time.gmtime())
        yield problem("clock", f"The date of this machine is {today}.", CLOCK_ADVICE)
    if target.is_local:
        yield _check_file_clock(target)
    yield _check_collector_clock(target) if collector.status else skipped("clock", "No collector reports its time.")


def _check_file_clock(target: Target) -> Result:
    check, folder = "clock of files", target.db.absolute().parent
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".sagascope-doctor-") as file:
            skew_seconds = Path(file.name).stat().st_mtime - time.time()
    except OSError as error:
        return skipped(check, f"{folder} cannot be written: {error.strerror}.")
    return _skew_result(check, "The file system's clock", skew_seconds)


def _check_collector_clock(target: Target) -> Result:
    try:
        verify = target.credentials.tls() if target.uses_tls else True
        with httpx.Client(verify=verify, trust_env=not target.is_local, timeout=target.timeout_seconds) as http:
            sent_at = time.time()
            answer = http.get(f"{target.url.rstrip('/')}/healthz")
            midpoint = (sent_at + time.time()) / 2
        reported = parsedate_to_datetime(answer.headers["date"]).timestamp() + 0.5  # the header truncates to seconds
    except (httpx.HTTPError, KeyError, ValueError) as error:
        return skipped("clock", f"The collector does not report its time ({type(error).__name__}).")
    return _skew_result("clock", "The collector's clock", reported - midpoint)


def _skew_result(check: str, clock: str, skew_seconds: float) -> Result:
    if abs(skew_seconds) <= MAX_CLOCK_SKEW_SECONDS:
        return ok(check, f"{clock} agrees with this machine's clock.")
    direction = "ahead of" if skew_seconds > 0 else "behind"
    return problem(check, f"{clock} is {abs(skew_seconds):,.1f} s {direction} this machine's clock.", CLOCK_ADVICE)
