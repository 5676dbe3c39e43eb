"""The records of incidents, and of the sagas that are part of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple


class AmountAtRisk(NamedTuple):
    """An amount at risk in one currency."""

    currency: str
    certain: Decimal
    possible: Decimal


@dataclass(frozen=True, slots=True)
class IncidentSaga:
    """Why one saga is stuck, and what it shares with others; texts that are not known are ``""``."""

    incident: str
    """The key of the incident that it is part of."""
    step: str
    service: str
    phase: str
    reason: str
    fingerprint: str
    error: str
    """Its own error, with all that the fingerprint leaves out."""
    recommended_action: str
    """``resume``, ``compensate`` or ``verify_first``."""
    since: int
    amounts: tuple[AmountAtRisk, ...] = ()


class FailureRate(NamedTuple):
    """The sagas of a type that ended since their share of failures left its baseline."""

    failed: int
    """Those that failed or were compensated."""
    ended: int
    baseline: float | None
    """The share of failures that is expected; None: too few sagas ended before to know."""
    is_total: bool
    """None completed since half of the failures."""
    step: str = ""
    """The step at which attempts fail, whatever becomes of the sagas; ``""``: the sagas fail."""


@dataclass(frozen=True, slots=True)
class IncidentGroup:
    """The sagas that are stuck, or failed, for one cause at this moment."""

    key: str
    environment: str
    name: str
    step: str
    service: str
    """The one at which most of them are stuck."""
    phase: str
    reason: str
    fingerprint: str
    error: str
    """The latest of theirs."""
    count: int
    since: int
    """When the first of them stopped."""
    middle: int
    """When half of them had stopped."""
    latest_at: int
    """When the latest of them stopped."""
    joined_at: int
    """When the latest of them was first seen to be part of this."""
    examples: tuple[str, ...]
    """The ids of those that are stuck for longest."""
    recommended_actions: Mapping[str, int]
    """How many there are of each."""
    amounts: tuple[AmountAtRisk, ...]
    failure_rate: FailureRate | None = None
    """None: its sagas need attention."""


class IncidentChange(NamedTuple):
    """Something that happened to an incident."""

    incident: str
    at: int
    what: str
    """``opened``, ``reopened``, ``acknowledged``, ``noted`` or ``resolved``."""
    by: str | None
    """None: the collector itself."""
    note: str
    sagas: int
    """How many were part of it then."""


class Progress(NamedTuple):
    """What became of the sagas that were part of an incident when it was acknowledged."""

    still: int
    stuck_again: int
    moved_on: int
    finished: int
