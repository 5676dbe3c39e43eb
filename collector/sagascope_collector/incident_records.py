"""The records of incidents, of the sagas that are part of them, and of alerts."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from sagascope_collector.records import SagaKey


class AmountAtRisk(NamedTuple):
    """An amount at risk in one currency."""

    currency: str
    certain: Decimal
    possible: Decimal


@dataclass(frozen=True, slots=True)
class IncidentSaga:
    """Why one saga is stuck, and its attributes that incidents group by; unknown texts are ``""``."""

    incident: str
    """The key of its incident."""
    step: str
    service: str
    phase: str
    reason: str
    fingerprint: str
    error: str
    """The saga's own error, with the details that the fingerprint omits."""
    recommended_action: str
    """``resume``, ``compensate`` or ``verify_first``."""
    since: int
    amounts: tuple[AmountAtRisk, ...] = ()


class FailureRate(NamedTuple):
    """Outcomes of the sagas of a type that ended since their failure rate exceeded its baseline."""

    failed: int
    """Sagas that failed or were compensated."""
    ended: int
    baseline: float | None
    """The expected share of failures; None: too few sagas ended before."""
    is_total: bool
    """Whether no saga completed since half of the failures."""
    step: str = ""
    """The step at which attempts fail, whether or not the sagas fail; ``""``: the sagas fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentGroup:
    """The sagas that are currently stuck, or failed, for one cause."""

    key: str
    environment: str
    name: str
    step: str
    service: str
    """The service at which most of them are stuck."""
    phase: str
    reason: str
    fingerprint: str
    error: str
    """The latest error of its sagas."""
    count: int
    since: int
    """The time at which the first of them stopped."""
    middle: int = 0
    """The time by which half of them had stopped."""
    latest_at: int
    """The time at which the latest of them stopped."""
    joined_at: int = 0
    """The time at which the latest of them was first assigned to this group."""
    examples: tuple[str, ...]
    """The ids of the sagas that have been stuck longest."""
    recommended_actions: Mapping[str, int]
    """The number of sagas by recommended action."""
    amounts: tuple[AmountAtRisk, ...]
    failure_rate: FailureRate | None = None
    """None: its sagas need attention."""


class IncidentChange(NamedTuple):
    """A change of an incident."""

    incident: str
    at: int
    what: str
    """``opened``, ``reopened``, ``acknowledged``, ``noted`` or ``resolved``."""
    by: str | None
    """None: the collector made the change."""
    note: str
    sagas: int
    """The number of its sagas at that time."""


class Progress(NamedTuple):
    """The current state of the sagas that an incident had when it was acknowledged."""

    still: int
    stuck_again: int
    moved_on: int
    finished: int


class OutcomePeriod(NamedTuple):
    """The sagas that ended within one minute or, for older counts, one hour."""

    start: int
    """The start of the period in seconds since 1970."""
    ended: int
    failed: int
    """Sagas that failed or were compensated."""
    running: int = 0
    """Sagas that started within the period and have not ended."""


class FailedSaga(NamedTuple):
    """A saga that failed or was compensated, and when it ended."""

    key: SagaKey
    ended_at: int


class PeriodCount(NamedTuple):
    """The number of sagas that started or stopped making progress within one period."""

    kind: str
    """``started`` or ``attention``."""
    name: str
    """The status of these sagas; for ``attention`` its code."""
    at: int
    """The start of the period in nanoseconds since 1970; 0: outside the window."""
    sagas: int


class AlertState(NamedTuple):
    """The last state of one incident that one receiver was notified of."""

    receiver: str
    incident: str
    opened_at: int
    """When the incident opened, in nanoseconds; a reopened incident has another time."""
    growth_step: int
    """The largest growth step that the receiver was notified of; 0: none."""
    is_resolved: bool
    resolved_since: int | None
    """When the incident was first seen to be resolved, until the receiver is notified; else None."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One message for one receiver. A notification with the same `id` is stored once."""

    id: str
    receiver: str
    at: int
    event: str
    """``opened``, ``grown`` or ``resolved``."""
    document: str
    """The body, as JSON."""


class Pending(NamedTuple):
    """A notification that is still to be delivered."""

    notification: Notification
    attempts: int
    next_attempt_at: int
