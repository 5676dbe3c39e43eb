"""Incidents, and the tasks of their sagas."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sagascope_collector.client.schemas.base import (
    AmountAtRisk,
    AttentionCode,
    ConfidenceName,
    Parts,
    PhaseName,
    Time,
    Wire,
)
from sagascope_collector.client.schemas.sagas import AttemptStateName

IncidentReason = AttentionCode | Literal["failure_rate"]
"""Why sagas are one incident: they need attention for one cause, or more of them fail than usual."""

ScopeName = Literal["systemic", "isolated"]

RecommendedActionName = Literal["resume", "compensate", "verify_first"]

IncidentState = Literal["open", "acknowledged", "resolved"]

IncidentEvent = Literal["opened", "reopened", "acknowledged", "noted", "resolved"]


class RecommendedActions(Wire):
    """How many sagas of an incident there are to resume, to compensate, and to verify first."""

    resume: int
    compensate: int
    verify_first: int


class Moved(Wire):
    """What became of the sagas that an incident had when it was acknowledged."""

    still: int
    stuck_again: int
    moved_on: int
    finished: int


class IncidentChange(Wire):
    """A change of an incident; `by` is null where the collector made it, `count` is its sagas at that time."""

    at: Time
    what: IncidentEvent
    by: str | None
    note: str | None
    count: int


class FailureRate(Wire):
    """Sagas of a type that ended since `since` of an incident: `failed` of `ended` failed or were compensated.

    Where `step` is given, they had an error at that step, of those that reached it, and may have completed all the
    same. `baseline` is the share that is expected, from 0 to 1 (null: too few ended before to know).
    """

    failed: int
    ended: int
    baseline: float | None
    step: str | None


class Incident(Wire):
    """Sagas that are stuck for one cause, or that fail more often than usual: then `reason` is `failure_rate`."""

    key: str
    environment: str
    name: str
    step: str | None
    service: str | None
    phase: PhaseName
    reason: IncidentReason
    error_sample: str | None
    scope: ScopeName
    count: int
    since: Time
    latest_at: Time
    amount_at_risk: list[AmountAtRisk]
    examples: list[str]
    state: IncidentState
    note: str | None
    acknowledged_by: str | None
    recommended_actions: RecommendedActions
    fingerprint: str | None
    opened_at: Time
    changed_at: Time
    peak: int
    reopened: int
    failure_rate: FailureRate | None


class SagaAttribute(Wire):
    """An attribute of a service's process, else of a step, else of the whole saga: then both are null."""

    service: str | None
    step: str | None
    key: str
    value: str


class CommonAttribute(SagaAttribute):
    """An attribute that sagas of an incident have more often than completed sagas of that name.

    Of the sagas compared that were seen at its service or step, `affected` of `affected_of` of the incident have it,
    and `completed` of `completed_of` others. `lift` is how many times as frequent it is (null: no completed saga has
    it); `also` are the attributes that exactly the same sagas have.
    """

    affected: int
    affected_of: int
    completed: int
    completed_of: int
    lift: float | None
    also: list[SagaAttribute]


class IncidentInFull(Incident):
    """One incident with its history, and what became of its sagas since it was acknowledged (null: it never was).

    `common_attributes` are sorted by significance; the list is empty where the samples are too small.
    """

    moved: Moved | None
    common_attributes: list[CommonAttribute]
    history: list[IncidentChange]


class Incidents(Wire):
    """Incidents, the worst first."""

    items: list[Incident]


class LookUp(Wire):
    """Work to look up at a service, by its idempotency key where it has one; `state` null: it never began."""

    step: str | None
    service: str | None
    instance: str | None
    idempotency_key: str | None
    state: AttemptStateName | None
    started_at: Time | None
    trace_id: str | None
    span_id: str | None


class Task(Wire):
    """What to do with one saga that needs attention, and where to look up what was really done."""

    incident: str
    environment: str
    name: str
    id: str
    run: str
    recommended_action: RecommendedActionName
    reason: AttentionCode
    phase: PhaseName
    step: str | None
    service: str | None
    since: Time
    confidence: ConfidenceName
    headline: str
    headline_parts: Parts
    look_up: list[LookUp]
    actions: list[str]
    actions_parts: list[Parts]
    amount_at_risk: list[AmountAtRisk]


class Tasks(Wire):
    """A page of what to do; `next_cursor` is null on the last."""

    items: list[Task]
    next_cursor: str | None


class IncidentPatch(BaseModel):
    """A change of an incident by a person. What is left out stays as it is; `by` names the person."""

    model_config = ConfigDict(extra="forbid")

    state: IncidentState | None = None
    note: Annotated[str, Field(max_length=4_000)] | None = None
    by: Annotated[str, Field(min_length=1, max_length=200)] | None = None
