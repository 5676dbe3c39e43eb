"""The routes of incidents."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from sagascope_collector import analysis, incidents
from sagascope_collector.analysis import model
from sagascope_collector.analysis.diagnosis import Diagnosis
from sagascope_collector.api.parameters import IncidentsQuery, NoParameters, TasksQuery, new_router
from sagascope_collector.api.present import amounts_at_risk, parts
from sagascope_collector.api.responses import json_response, responds
from sagascope_collector.client import schemas
from sagascope_collector.durations import to_datetime
from sagascope_collector.errors import BadValue
from sagascope_collector.incident_records import FailureRate, IncidentChange
from sagascope_collector.incidents import CommonAttribute, Comparison, Incident, Incidents, SagaAttribute, State
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.saga_filters import SagaFilters, Word
from sagascope_collector.storage import Storage

MAX_INCIDENTS: int = 1_000
"""Maximum number of incidents in an answer, the most severe ones."""


@dataclass(frozen=True, slots=True)
class Tasks:
    """Reads the tasks of incidents from one store. Its methods block: call them from a thread."""

    storage: Storage
    context: Callable[[int], analysis.Context]
    clock: Callable[[], int]

    def page(self, incident_key: str, limit: int, cursor: str | None) -> schemas.Tasks:
        """Returns a page of tasks. Sagas that no longer need attention are omitted, so it may hold fewer than `limit`.

        Raises:
            BadCursor: `cursor` was not issued by this API.
        """
        page = self.storage.listing.page(SagaFilters(incident=incident_key), limit=limit, cursor=cursor)
        items = list(self._tasks([row.key for row in page.rows]))
        return schemas.Tasks(items=items, next_cursor=page.next_cursor)

    def _tasks(self, keys: Sequence[SagaKey]) -> Iterator[schemas.Task]:
        context, wanted = self.context(self.clock()), set(keys)
        ids = list(dict.fromkeys(SagaId(key.environment, key.id) for key in keys))
        for facts in (self.storage.lookup.facts(ids) if ids else {}).values():
            for saga in analysis.rebuild(facts, context.now, context.baselines):
                task = _task(saga, analysis.diagnose(saga, facts.instances, context)) if saga.key in wanted else None
                if task:
                    yield task


def _task(saga: model.Saga, diagnosis: Diagnosis) -> schemas.Task | None:
    verdict, why = diagnosis.verdict, incidents.cause(saga, diagnosis)
    if verdict is None or why is None:
        return None
    return schemas.Task.model_validate(
        {
            **saga.key._asdict(),
            "incident": why.key,
            "recommended_action": incidents.recommended_action(saga, diagnosis).value,
            "reason": verdict.reason.value,
            "phase": verdict.phase.value,
            "step": verdict.step,
            "service": verdict.service,
            "since": to_datetime(verdict.since),
            "confidence": verdict.confidence.value,
            "headline": verdict.headline,
            "headline_parts": parts(verdict.headline),
            "verifications": [_verification(each) for each in incidents.verifications(saga, diagnosis)],
            "actions": list(verdict.actions),
            "actions_parts": [parts(each) for each in verdict.actions],
            "amount_at_risk": amounts_at_risk(saga.amount_at_risk),
        }
    )


def _verification(verification: incidents.Verification) -> schemas.Verification:
    attempt = verification.attempt
    return schemas.Verification(
        step=verification.step,
        service=verification.service or None,
        instance=(attempt.process.instance or None) if attempt else None,
        idempotency_key=attempt.idempotency_key if attempt else None,
        state=attempt.state.value if attempt else None,
        started_at=to_datetime(attempt.started_at) if attempt else None,
        trace_id=attempt.trace_id if attempt else None,
        span_id=attempt.span_id if attempt else None,
    )


Key = Annotated[Word, Path(alias="key")]


def incident_routes(tracker: Incidents, tasks: Tasks, comparison: Comparison) -> APIRouter:
    """Returns the routes of incidents, of the tasks for their sagas, and of the attributes these have in common."""
    router = new_router()

    @router.get("/api/v1/incidents", **responds(schemas.Incidents))
    def listed(query: Annotated[IncidentsQuery, Query()]) -> Response:
        """Returns incidents, the most severe first. Without `state`, resolved incidents follow, the latest first."""
        state = State(query.state) if query.state else None
        found = tracker.all(state)[:MAX_INCIDENTS]
        return json_response(schemas.Incidents(items=[schemas.Incident(**_summary(each)) for each in found]))

    @router.get("/api/v1/incidents/{key}", **responds(schemas.IncidentInFull, 404))
    def one(key: Key, _: Annotated[NoParameters, Query()]) -> Response:
        """Returns one incident with its history."""
        return json_response(_in_full(tracker, tracker.one(key), comparison))

    @router.get("/api/v1/incidents/{key}/tasks", **responds(schemas.Tasks, 404))
    def tasks_of(key: Key, query: Annotated[TasksQuery, Query()]) -> Response:
        """Returns a task for each saga of an incident: the recommended action, and what to verify first."""
        incident = tracker.one(key)
        if incident.failure_rate:  # the sagas of a failure rate incident have ended, so there is nothing to do
            return json_response(schemas.Tasks(items=[], next_cursor=None))
        return json_response(tasks.page(incident.key, query.limit, query.cursor))

    @router.patch("/api/v1/incidents/{key}", **responds(schemas.IncidentInFull, 404))
    def change(key: Key, patch: schemas.IncidentPatch, _: Annotated[NoParameters, Query()]) -> Response:
        """Acknowledges, resolves or reopens an incident, or adds a note. Its sagas do not change."""
        if patch.state is None and patch.note is None:
            raise BadValue("Give a 'state', a 'note', or both.")
        state = State(patch.state) if patch.state else None
        return json_response(
            _in_full(tracker, tracker.change(key, state=state, note=patch.note, by=patch.by), comparison)
        )

    return router


def _in_full(tracker: Incidents, incident: Incident, comparison: Comparison) -> schemas.IncidentInFull:
    progress = tracker.progress(incident.key)
    return schemas.IncidentInFull(
        **_summary(incident),
        progress=schemas.IncidentProgress.model_validate(progress) if progress else None,
        common_attributes=[_common_attribute(each) for each in comparison.common_attributes(incident)],
        history=[_change(each) for each in tracker.history(incident.key)],
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
        "since": to_datetime(incident.since),
        "latest_at": to_datetime(incident.latest_at),
        "amount_at_risk": amounts_at_risk(incident.amounts),
        "examples": list(incident.examples),
        "state": incident.state.value,
        "note": incident.note or None,
        "acknowledged_by": incident.acknowledged_by or None,
        "recommended_actions": schemas.RecommendedActions(**incident.recommended_actions),
        "fingerprint": incident.fingerprint or None,
        "opened_at": to_datetime(incident.opened_at),
        "changed_at": to_datetime(incident.changed_at),
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
            "at": to_datetime(change.at),
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
