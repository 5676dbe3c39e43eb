"""Looks whether a collector can run here, and whether what is sent to it is found again."""

from collections.abc import Iterator

from sagascope_collector.doctor import api, clock, database, disk, ports, roundtrip
from sagascope_collector.doctor.patient import Patient
from sagascope_collector.doctor.result import Result, State

__all__ = ["Patient", "Result", "State", "examine"]


def examine(patient: Patient) -> Iterator[Result]:
    """Every check, in an order in which the first problem explains those after it."""
    collector = api.look(patient)
    yield collector.result
    shut = set()
    for sender, result in ports.look(patient, collector):
        yield result
        if result.state is State.PROBLEM:
            shut.add(sender)
    if patient.is_here:
        yield from disk.look(patient)
        yield database.look(patient, collector)
    yield from clock.look(patient, collector)
    yield from roundtrip.look(patient, collector, shut)
