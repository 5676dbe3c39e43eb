"""Whether a collector answers."""

from typing import NamedTuple

from sagascope_collector.client import (
    Client,
    ClientError,
    CollectorUnreachable,
    CredentialsUnusable,
    NotSagascope,
    TokenNeeded,
    schemas,
)
from sagascope_collector.doctor.patient import Patient
from sagascope_collector.doctor.result import Result, ok, problem, warning

CHECK = "collector"

ADVICE: dict[type[ClientError], str] = {
    CollectorUnreachable: "Start one with `sagascope serve`, or name another with --url.",
    TokenNeeded: "Name its file with --token-file, or set SAGASCOPE_TOKEN.",
    NotSagascope: "Name the collector's API with --url; its port is 4319 unless told otherwise.",
    CredentialsUnusable: "Name another file.",
}

OTHERWISE = "See the collector's log."


class Answered(NamedTuple):
    """What the collector said of itself; None: it did not."""

    result: Result
    status: schemas.Status | None
    is_absent: bool
    """Nothing at all answers there."""


def look(patient: Patient) -> Answered:
    """Ask how it is."""
    try:
        with Client(patient.url, timeout=patient.wait, credentials=patient.credentials) as client:
            status = client.status()
    except ClientError as error:
        return Answered(problem(CHECK, str(error), _advice(error)), None, isinstance(error, CollectorUnreachable))
    text = f"A collector of version {status.version} answers at {patient.url}."
    if status.notices:
        return Answered(warning(CHECK, f"{text} It says: {status.notices[0]}", OTHERWISE), status, False)
    return Answered(ok(CHECK, text), status, False)


def _advice(error: ClientError) -> str:
    return next((said for kind, said in ADVICE.items() if isinstance(error, kind)), OTHERWISE)
