"""Incidents: sagas that need attention for one cause, or of which more fail than usual, with a life cycle."""

from sagascope_collector.incidents.common_attributes import (
    CommonAttribute,
    Comparison,
    SagaAttribute,
    SagaAttributes,
    common_attributes,
    saga_attributes,
)
from sagascope_collector.incidents.failure_monitor import FAILURE_RATE, FailureRates
from sagascope_collector.incidents.lifecycle import Incident, Scope, State
from sagascope_collector.incidents.sagas import (
    Cause,
    RecommendedAction,
    Verification,
    cause,
    fingerprint,
    incident_saga,
    recommended_action,
    verifications,
)
from sagascope_collector.incidents.tracker import Incidents, SharedIncidents

__all__ = [
    "FAILURE_RATE",
    "Cause",
    "CommonAttribute",
    "Comparison",
    "FailureRates",
    "Incident",
    "Incidents",
    "RecommendedAction",
    "SagaAttribute",
    "SagaAttributes",
    "Scope",
    "SharedIncidents",
    "State",
    "Verification",
    "cause",
    "common_attributes",
    "fingerprint",
    "incident_saga",
    "recommended_action",
    "saga_attributes",
    "verifications",
]
