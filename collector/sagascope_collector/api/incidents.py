"""The routes of incidents: what many sagas that stand still have in common."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response

from sagascope_collector.api.answering import answers, json
from sagascope_collector.api.parameters import IncidentListing, Nothing, TaskListing, Word, said_once
from sagascope_collector.api.present import decimal, moment
from sagascope_collector.api.tasks import Tasks
from sagascope_collector.client import schemas
from sagascope_collector.errors import BadValue
from sagascope_collector.incidents import Comparisons, Contrast, Incident, Incidents, State, Trait
from sagascope_collector.storage import FailureRate, IncidentChange

Key = Annotated[Word, Path(alias="key")]


def of_incidents(incidents: Incidents, tasks: Tasks, comparisons: Comparisons) -> APIRouter:
    """The routes over these incidents, what to do with their sagas, and what sets those apart."""
    router = APIRouter(dependencies=[Depends(said_once)], redirect_slashes=False)

    @router.get("/api/v1/incidents", **answers(schemas.Incidents))
    def listed(asked: Annotated[IncidentListing, Query()]) -> Response:
        """Incidents, the worst first; without `state` also those that are over, the latest of them first."""
        state = State(asked.state) if asked.state else None
        return json(schemas.Incidents(items=[schemas.Incident(**_said(each)) for each in incidents.all(state)]))

    @router.get("/api/v1/incidents/{key}", **answers(schemas.IncidentInFull, 404))
    def one(key: Key, _: Annotated[Nothing, Query()]) -> Response:
        """One incident with its history."""
        return json(_in_full(incidents, incidents.one(key), comparisons))

    @router.get("/api/v1/incidents/{key}/tasks", **answers(schemas.Tasks, 404))
    def what_to_do(key: Key, asked: Annotated[TaskListing, Query()]) -> Response:
        """What to do with each saga of an incident, and where to look up what was really done."""
        incident = incidents.one(key)
        if incident.failure_rate:  # its sagas ended properly
            return json(schemas.Tasks(items=[], next_cursor=None))
        return json(tasks.page(incident.key, asked.limit, asked.cursor))

    @router.patch("/api/v1/incidents/{key}", **answers(schemas.IncidentInFull, 404))
    def tell(key: Key, said: schemas.IncidentPatch, _: Annotated[Nothing, Query()]) -> Response:
        """Acknowledge an incident, resolve it, open it again, or note something; its sagas stay as they are."""
        if said.state is None and said.note is None:
            raise BadValue("Say a 'state', a 'note', or both.")
        state = State(said.state) if said.state else None
        return json(_in_full(incidents, incidents.tell(key, state=state, note=said.note, by=said.by), comparisons))

    return router


def _in_full(incidents: Incidents, incident: Incident, comparisons: Comparisons) -> schemas.IncidentInFull:
    moved = incidents.moved(incident.key)
    return schemas.IncidentInFull(
        **_said(incident),
        moved=schemas.Moved(**moved._asdict()) if moved else None,
        contrast=[_contrast(each) for each in comparisons.of(incident)],
        history=[_change(each) for each in incidents.history(incident.key)],
    )


def _said(incident: Incident) -> dict[str, Any]:
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
    return schemas.FailureRate(failed=rate.failed, ended=rate.ended, baseline=baseline)


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


def _contrast(contrast: Contrast) -> schemas.Contrast:
    return schemas.Contrast(
        **_trait(contrast.trait),
        stuck=contrast.stuck,
        stuck_of=contrast.stuck_of,
        finished=contrast.finished,
        finished_of=contrast.finished_of,
        lift=None if contrast.lift is None else round(contrast.lift, 2),
        also=[schemas.Trait(**_trait(each)) for each in contrast.also],
    )


def _trait(trait: Trait) -> dict[str, Any]:
    return {
        "service": trait.service or None,
        "step": trait.step or None,
        "key": trait.key,
        "value": trait.value,
    }
