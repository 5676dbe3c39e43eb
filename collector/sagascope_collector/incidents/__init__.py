"""Incidents: sagas that need attention for one cause, or of which more fail than usual, with a life cycle."""

from sagascope_collector.incidents.affected_sagas import (
    Cause as Cause,
    RecommendedAction as RecommendedAction,
    Verification as Verification,
    cause as cause,
    fingerprint as fingerprint,
    incident_saga as incident_saga,
    recommended_action as recommended_action,
    verifications as verifications,
)
from sagascope_collector.incidents.common_attributes import (
    CommonAttribute as CommonAttribute,
    Comparison as Comparison,
    SagaAttribute as SagaAttribute,
    SagaAttributes as SagaAttributes,
    common_attributes as common_attributes,
    saga_attributes as saga_attributes,
)
from sagascope_collector.incidents.failure_monitor import FAILURE_RATE as FAILURE_RATE, FailureRates as FailureRates
from sagascope_collector.incidents.lifecycle import Incident as Incident, Scope as Scope, State as State
from sagascope_collector.incidents.tracker import Incidents as Incidents, SharedIncidents as SharedIncidents
