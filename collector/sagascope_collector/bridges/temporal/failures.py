"""A failure as Temporal keeps it, in one line with its causes."""

from typing import Final

from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.failure.v1 import Failure

DEEPEST: Final = 8
"""Causes that are told."""


def said(failure: Failure) -> str:
    """What went wrong, and what caused it; never its stack, nor its details."""
    told = list[str]()
    while len(told) < DEEPEST:
        told.append(_one(failure))
        if not failure.HasField("cause"):
            break
        failure = failure.cause
    return ", caused by ".join(each for each in told if each)


def kind(failure: Failure) -> str:
    """Its type, as the code names it, or what Temporal calls it; ``""`` if unknown."""
    if failure.HasField("activity_failure_info") and failure.HasField("cause"):
        return kind(failure.cause)
    if failure.HasField("timeout_failure_info"):
        return _timeout(failure)
    return failure.application_failure_info.type


def _one(failure: Failure) -> str:
    if failure.HasField("timeout_failure_info"):
        return f"{failure.message} ({_timeout(failure)})"
    return failure.message or failure.application_failure_info.type


def _timeout(failure: Failure) -> str:
    name = TimeoutType.Name(failure.timeout_failure_info.timeout_type)
    return name.removeprefix("TIMEOUT_TYPE_").lower() + " timeout"
