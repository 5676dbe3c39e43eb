"""What to do with each saga of an incident, judged as of now."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sagascope_collector import analysis, incidents
from sagascope_collector.analysis import model
from sagascope_collector.api.present import decimal, moment, parts
from sagascope_collector.client import schemas
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.storage import SagaFilter, Storage


@dataclass(frozen=True, slots=True)
class Tasks:
    """Reads one store. Call it from a thread, not from the event loop."""

    storage: Storage
    context: Callable[[int], analysis.Context]
    clock: Callable[[], int]

    def page(self, incident: str, limit: int, cursor: str | None) -> schemas.Tasks:
        """A page of what to do; sagas that no longer need attention are left out, so it may hold fewer than `limit`.

        Raises:
            BadCursor: it is none of ours.
        """
        page = self.storage.listing.page(SagaFilter(incident=incident), limit=limit, cursor=cursor)
        items = list(self._tasks([row.key for row in page.rows]))
        return schemas.Tasks(items=items, next_cursor=page.next_cursor)

    def _tasks(self, keys: Sequence[SagaKey]) -> Iterator[schemas.Task]:
        context, wanted = self.context(self.clock()), set(keys)
        ids = list(dict.fromkeys(SagaId(key.environment, key.id) for key in keys))
        for facts in (self.storage.lookup.facts(ids) if ids else {}).values():
            for saga in analysis.rebuild(facts, context.now, context.baselines):
                task = _task(saga, analysis.judge(saga, facts.instances, context)) if saga.key in wanted else None
                if task:
                    yield task


def _task(saga: model.Saga, judgement: model.Judgement) -> schemas.Task | None:
    verdict, why = judgement.verdict, incidents.cause(saga, judgement)
    if verdict is None or why is None:
        return None
    return schemas.Task.model_validate(
        {
            **saga.key._asdict(),
            "incident": why.key,
            "recommended_action": incidents.recommended_action(saga, judgement).value,
            "reason": verdict.reason.value,
            "phase": verdict.phase.value,
            "step": verdict.step,
            "service": verdict.service,
            "since": moment(verdict.since),
            "confidence": verdict.confidence.value,
            "headline": verdict.headline,
            "headline_parts": parts(verdict.headline),
            "look_up": [_look_up(each) for each in incidents.look_ups(saga, judgement)],
            "actions": list(verdict.actions),
            "actions_parts": [parts(each) for each in verdict.actions],
            "amount_at_risk": [
                schemas.AmountAtRisk(
                    currency=each.currency, certain=decimal(each.certain), possible=decimal(each.possible)
                )
                for each in saga.amount_at_risk
            ],
        }
    )


def _look_up(of: incidents.LookUp) -> schemas.LookUp:
    tried = of.attempt
    return schemas.LookUp(
        step=of.step,
        service=of.service or None,
        instance=(tried.process.instance or None) if tried else None,
        idempotency_key=tried.idempotency_key if tried else None,
        state=tried.state.value if tried else None,
        started_at=moment(tried.started_at) if tried else None,
        trace_id=tried.trace_id if tried else None,
        span_id=tried.span_id if tried else None,
    )
