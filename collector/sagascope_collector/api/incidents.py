"""The routes of incidents."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response

from sagascope_collector.api.answering import answers, json
from sagascope_collector.api.parameters import IncidentListing, Nothing, TaskListing, Word, no_repeats
from sagascope_collector.api.present import decimal, moment
from sagascope_collector.api.tasks import Tasks
from sagascope_collector.client import schemas
from sagascope_collector.errors import BadValue
from sagascope_collector.incidents import CommonAttribute, Comparison, Incident, Incidents, SagaAttribute, State
from sagascope_collector.storage import FailureRate, IncidentChange

Key = Annotated[Word, Path(alias="key")]


def incident_routes(incidents: Incidents, tasks: Tasks, comparison: Comparison) -> APIRouter:
    """Returns the routes of incidents, of the tasks for their sagas, and of what these have in common."""
    router = APIRouter(dependencies=[Depends(no_repeats)], redirect_slashes=False)

    @router.get("/api/v1/incidents", **answers(schemas.Incidents))
    def listed(asked: Annotated[IncidentListing, Query()]) -> Response:
        """Returns incidents, the worst first; without `state` also resolved ones, the latest of them first."""
        state = State(asked.state) if asked.state else None
        return json(schemas.Incidents(items=[schemas.Incident(**_summary(each)) for each in incidents.all(state)]))

    @router.get("/api/v1/incidents/{key}", **answers(schemas.IncidentInFull, 404))
    def one(key: Key, _: Annotated[Nothing, Query()]) -> Response:
        """Returns one incident with its history."""
        return json(_in_full(incidents, incidents.one(key), comparison))

    @router.get("/api/v1/incidents/{key}/tasks", **answers(schemas.Tasks, 404))
    def tasks_of(key: Key, asked: Annotated[TaskListing, Query()]) -> Response:
        """Returns what to do with each saga of an incident, and what to look up first."""
        incident = incidents.one(key)
        if incident.failure_rate:  # its sagas ended properly
            return json(schemas.Tasks(items=[], next_cursor=None))
        return json(tasks.page(incident.key, asked.limit, asked.cursor))

    @router.patch("/api/v1/incidents/{key}", **answers(schemas.IncidentInFull, 404))
    def change(key: Key, patch: schemas.IncidentPatch, _: Annotated[Nothing, Query()]) -> Response:
        """Acknowledges, resolves or reopens an incident, or adds a note; its sagas stay as they are."""
        if patch.state is None and patch.note is None:
            raise BadValue("Give a 'state', a 'note', or both.")
        state = State(patch.state) if patch.state else None
        return json(_in_full(incidents, incidents.change(key, state=state, note=patch.note, by=patch.by), comparison))

    return router


def _in_full(incidents: Incidents, incident: Incident, comparison: Comparison) -> schemas.IncidentInFull:
    moved = incidents.moved(incident.key)
    return schemas.IncidentInFull(
        **_summary(incident),
        moved=schemas.Moved(**moved._asdict()) if moved else None,
        common_attributes=[_common_attribute(each) for each in comparison.common_attributes(incident)],
        history=[_change(each) for each in incidents.history(incident.key)],
    )


def _summary(incident: Incident) -> dict[str, Any]:
    return {
        "key": incident.key,
        "environment": incident.environment,
        "name": incident.name,
        "step": incident.step or None,
        "service": incident.service or None,
        "phase": incident.phase,
        "reason": incident.reason,
        "error_sample": incident.error or None,
        "scope": incident.scope.value,
        "count": incident.count,
        "since": moment(incident.since),
        "latest_at": moment(incident.latest_at),
        "amount_at_risk": [
            schemas.AmountAtRisk(currency=each.currency, certain=decimal(each.certain), possible=decimal(each.possible))
            for each in incident.amounts
        ],
        "examples": list(incident.examples),
        "state": incident.state.value,
        "note": incident.note or None,
        "acknowledged_by": incident.acknowledged_by or None,
        "recommended_actions": schemas.RecommendedActions(**incident.recommended_actions),
        "fingerprint": incident.fingerprint or None,
        "opened_at": moment(incident.opened_at),
        "changed_at": moment(incident.changed_at),
        "peak": incident.peak,
        "reopened": incident.reopened,
        "failure_rate": _failure_rate(incident.failure_rate) if incident.failure_rate else None,
    }


def _failure_rate(rate: FailureRate) -> schemas.FailureRate:
    baseline = None if rate.baseline is None else round(rate.baseline, 4)
    return schemas.FailureRate(failed=rate.failed, ended=rate.ended, baseline=baseline, step=rate.step or None)


def _change(change: IncidentChange) -> schemas.IncidentChange:
    return schemas.IncidentChange.model_validate(
        {
            "at": moment(change.at),
            "what": change.what,
            "by": change.by,
            "note": change.note or None,
            "count": change.sagas,
        }
    )


def _common_attribute(common: CommonAttribute) -> schemas.CommonAttribute:
    return schemas.CommonAttribute(
        **_attribute(common.attribute),
        affected=common.affected,
        affected_of=common.affected_of,
        completed=common.completed,
        completed_of=common.completed_of,
        lift=None if common.lift is None else round(common.lift, 2),
        also=[schemas.SagaAttribute(**_attribute(each)) for each in common.also],
    )


def _attribute(attribute: SagaAttribute) -> dict[str, Any]:
    return {
        "service": attribute.service or None,
        "step": attribute.step or None,
        "key": attribute.key,
        "value": attribute.value,
    }
