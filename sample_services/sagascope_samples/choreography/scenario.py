"""The faults that the demo plants in messages, and the expected findings.

Each process reads its own faults from its environment.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sagascope_samples.scenario import Finding

FAULTS_VARIABLE: Final = "SAMPLE_MESSAGE_FAULTS"
"""``PAYMENT=FAULT``, separated by commas."""

PAYMENTS: Final = 14
"""Payments that are sent: every planted fault, and enough payments without one to compare with."""

KILLED_SERVICE: Final = "shipping"
"""The service that is killed before the last payment."""


class MessageFault(StrEnum):
    """How a handler fails on a message."""

    LOSE = "lose"
    """It acknowledges the message without handling it."""
    POISON = "poison"
    """Every delivery fails."""
    TWICE = "twice"
    """It publishes the next message twice."""


@dataclass(frozen=True, slots=True)
class PlantedFault:
    """A fault in one payment, and the expected finding."""

    payment: str
    description: str
    service: str
    """The service whose handler fails, or that is killed."""
    fault: MessageFault | None
    """None: the service is killed."""
    expected: Finding
    headline: str
    """Words that the headline must contain, because they name the cause."""


PLANTED_FAULTS: Final = (
    PlantedFault(
        "8486",
        "The ledger acknowledges this payment's message without handling it.",
        "ledger",
        MessageFault.LOSE,
        Finding("running", "next_step_missing", "forward", "ledger.record", "ledger"),
        "so the cause is this message",
    ),
    PlantedFault(
        "8488",
        "The wallet publishes twice that this payment is debited.",
        "wallet",
        MessageFault.TWICE,
        Finding("completed", "applied_twice", "forward", "ledger.record", "ledger"),
        "Two messages requested it, published by wallet",
    ),
    PlantedFault(
        "8490",
        "The notification service fails on this payment's message, and JetStream delivers it again and again.",
        "notification",
        MessageFault.POISON,
        Finding("running", "retrying", "forward", "notification.send", "notification"),
        "is redelivered after each failure",
    ),
    PlantedFault(
        "8494",
        "Shipping is killed (SIGKILL) and not restarted; its messages wait.",
        KILLED_SERVICE,
        None,
        Finding("running", "next_step_missing", "forward", "shipping.book", "shipping"),
        "so the consumer may be the cause",
    ),
)


def faults_of(service: str) -> dict[str, MessageFault]:
    """Returns the faults of one service, by payment."""
    return {each.payment: each.fault for each in PLANTED_FAULTS if each.service == service and each.fault}


def faults_from_environment(environment: Mapping[str, str] = os.environ) -> dict[str, MessageFault]:
    """Returns the faults of this process, by payment.

    Raises:
        ValueError: A fault is unknown.
    """
    pairs = (pair.partition("=") for pair in environment.get(FAULTS_VARIABLE, "").split(",") if pair)
    return {payment: MessageFault(fault) for payment, _, fault in pairs}


def faults_to_environment(faults: Mapping[str, MessageFault]) -> dict[str, str]:
    """Returns the variable that `faults_from_environment` reads."""
    return {FAULTS_VARIABLE: ",".join(f"{payment}={fault}" for payment, fault in faults.items())}
