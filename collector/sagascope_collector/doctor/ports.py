"""Whether the OTLP ports are a collector's, free, or somebody else's."""

import socket
from collections.abc import Iterator

from sagascope_collector.doctor import senders
from sagascope_collector.doctor.api import Answered
from sagascope_collector.doctor.patient import Patient
from sagascope_collector.doctor.result import Result, ok, problem, skipped
from sagascope_collector.errors import CannotStart
from sagascope_collector.http_server import listen
from sagascope_collector.settings import Address


def look(patient: Patient, collector: Answered) -> Iterator[tuple[str, Result]]:
    """Look at both; each with the sender's name."""
    for sender in senders.both(patient):
        yield sender.name, _look(sender, patient, collector)


def _look(sender: senders.Sender, patient: Patient, collector: Answered) -> Result:
    check, address, option = f"port {sender.name}", sender.address, sender.option
    if not _is_open(address, patient.wait):
        return _closed(check, address, option, patient, collector)
    if sender.recognises():
        return ok(check, f"{sender.name} is taken at {address}.")
    advice = f"Stop that program, or choose another port with {option}; look whether it speaks TLS, as --url says."
    return problem(check, f"What listens at {address} is no Sagascope receiver of {sender.name}.", advice)


def _closed(check: str, address: Address, option: str, patient: Patient, collector: Answered) -> Result:
    if not collector.is_absent:
        advice = f"Name the address that the collector printed when it started, with {option}."
        return problem(check, f"Nothing listens at {address}, though a collector answers.", advice)
    if not patient.is_here:
        return skipped(check, f"Nothing listens at {address}.")
    try:
        listen(address, option).close()
    except CannotStart as error:
        return problem(check, str(error), f"Choose another with {option}.")
    return ok(check, f"{address} is free.")


def _is_open(address: Address, seconds: float) -> bool:
    try:
        with socket.create_connection(address, timeout=seconds):
            return True
    except OSError:
        return False
