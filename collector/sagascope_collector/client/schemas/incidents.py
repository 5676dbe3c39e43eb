"""Incidents, and the tasks of their sagas."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from sagascope_collector.client.schemas.sagas import (
    AmountAtRisk,
    AttemptStateName,
    AttentionCode,
    ConfidenceName,
    Parts,
    PhaseName,
    Time,
    Wire,
)

IncidentReason = AttentionCode | Literal["failure_rate"]
"""Why sagas form an incident: they need attention for the same reason, or more of them fail than expected."""

ScopeName = Literal["systemic", "isolated"]

RecommendedActionName = Literal["resume", "compensate", "verify_first"]

IncidentState = Literal["open", "acknowledged", "resolved"]

IncidentEvent = Literal["opened", "reopened", "acknowledged", "noted", "resolved"]


class RecommendedActions(Wire):
    """The number of sagas of an incident by recommended action."""

    resume: int
    compensate: int
    verify_first: int


class IncidentProgress(Wire):
    """The current state of the sagas that an incident had when it was acknowledged, as numbers."""

    still: int
    stuck_again: int
    moved_on: int
    finished: int


class IncidentChange(Wire):
    """A change of an incident. `by` is null if the collector made it; `count` is the number of sagas at that time."""

    at: Time
    what: IncidentEvent
    by: str | None
    note: str | None
    count: int


class FailureRate(Wire):
    """Failures of one saga type since the start of an incident: `failed` of `ended` sagas failed or were compensated.

    If `step` is given, `ended` counts the sagas that reached that step and `failed` those with an error there; they may
    have completed. `baseline` is the expected share, from 0 to 1 (null: too few sagas ended before).
    """

    failed: int
    ended: int
    baseline: float | None
    step: str | None


class Incident(Wire):
    """Sagas that are stuck for the same reason, or, if `reason` is `failure_rate`, fail more often than expected."""

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
    """An attribute of a service's process or of a step. If both are null, an attribute of the whole saga."""

    service: str | None
    step: str | None
    key: str
    value: str


class CommonAttribute(SagaAttribute):
    """An attribute that sagas of an incident have more often than completed sagas of the same name.

    Only sagas that were seen at its service or step are compared: `affected` of `affected_of` sagas of the incident and
    `completed` of `completed_of` other sagas have the attribute. `lift` is the ratio of both shares (null: no completed
    saga has it). `also` lists the attributes that exactly the same sagas have.
    """

    affected: int
    affected_of: int
    completed: int
    completed_of: int
    lift: float | None
    also: list[SagaAttribute]


class IncidentInFull(Incident):
    """One incident with its history, and the state of its sagas since it was acknowledged (null: it never was).

    `common_attributes` are sorted by significance; the list is empty if the samples are too small.
    """

    progress: IncidentProgress | None
    common_attributes: list[CommonAttribute]
    history: list[IncidentChange]


class Incidents(Wire):
    """Incidents, the most severe first, at most 1,000."""

    items: list[Incident]


class Verification(Wire):
    """Work to verify at a service, by idempotency key if it has one. `state` is null if the work never started."""

    step: str | None
    service: str | None
    instance: str | None
    idempotency_key: str | None
    state: AttemptStateName | None
    started_at: Time | None
    trace_id: str | None
    span_id: str | None


class Task(Wire):
    """The recommended action for one saga that needs attention, and where to verify the actual outcome."""

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
    verifications: list[Verification]
    actions: list[str]
    actions_parts: list[Parts]
    amount_at_risk: list[AmountAtRisk]


class Tasks(Wire):
    """A page of tasks; `next_cursor` is null on the last page."""

    items: list[Task]
    next_cursor: str | None


class IncidentPatch(BaseModel, extra="forbid"):
    """A change of an incident by a person. Omitted fields stay unchanged; `by` names the person."""

    state: IncidentState | None = None
    note: Annotated[str, Field(max_length=4_000)] | None = None
    by: Annotated[str, Field(min_length=1, max_length=200)] | None = None
