"""Whether this machine's clock is one with the file system's and the collector's."""

import tempfile
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import httpx

from sagascope_collector.doctor.api import Answered
from sagascope_collector.doctor.patient import Patient
from sagascope_collector.doctor.result import Result, ok, problem, skipped

CHECK: Final = "clock"

FILE_CHECK: Final = "clock of files"

MOST: Final = 2.0
"""Seconds by which clocks may differ: an HTTP date counts whole seconds."""

ADVICE: Final = "Let NTP set the clocks of both; a wrong clock makes steps look late or early."

EARLIEST: Final = 1_767_225_600
"""2026-01-01: no clock that is right says less."""


def look(patient: Patient, collector: Answered) -> Iterator[Result]:
    """Compare them."""
    if time.time() < EARLIEST:
        yield problem(CHECK, f"This machine says that it is {time.strftime('%Y-%m-%d', time.gmtime())}.", ADVICE)
    if patient.is_here:
        yield _files(patient)
    yield _collector(patient) if collector.status else skipped(CHECK, "No collector tells its time.")


def _files(patient: Patient) -> Result:
    folder = patient.db.absolute().parent
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".sagascope-doctor-") as file:
            differs = Path(file.name).stat().st_mtime - time.time()
    except OSError as error:
        return skipped(FILE_CHECK, f"{folder} cannot be written: {error.strerror}.")
    return _judged(FILE_CHECK, "The file system's clock", differs)


def _collector(patient: Patient) -> Result:
    try:
        verify = patient.credentials.tls() if patient.is_tls else True
        with httpx.Client(verify=verify, trust_env=not patient.is_here, timeout=patient.wait) as http:
            began = time.time()
            answer = http.get(f"{patient.url.rstrip('/')}/healthz")
            middle = (began + time.time()) / 2
        said = parsedate_to_datetime(answer.headers["date"]).timestamp() + 0.5
    except (httpx.HTTPError, KeyError, ValueError) as error:
        return skipped(CHECK, f"The collector does not tell its time ({type(error).__name__}).")
    return _judged(CHECK, "The collector's clock", said - middle)


def _judged(check: str, whose: str, differs: float) -> Result:
    if abs(differs) <= MOST:
        return ok(check, f"{whose} is one with this machine's.")
    way = "ahead of" if differs > 0 else "behind"
    return problem(check, f"{whose} is {abs(differs):,.1f} s {way} this machine's.", ADVICE)
