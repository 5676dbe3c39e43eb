"""What a saga that needs attention adds to its incident. Pure."""

from sagascope_collector.analysis.model import Judgement, Saga
from sagascope_collector.incidents.cause import cause
from sagascope_collector.incidents.remedy import recommended_action
from sagascope_collector.storage import AmountAtRisk, IncidentSaga

MAX_ERROR_CHARACTERS = 500
"""Characters of an error that are kept beside the saga's own page."""


def standing(saga: Saga, judgement: Judgement) -> IncidentSaga | None:
    """A saga's part in an incident; None: it needs no attention."""
    verdict, why, error = judgement.verdict, cause(saga, judgement), judgement.error
    if verdict is None or why is None:
        return None
    said = [part for part in (error.type, error.message) if part] if error else []
    return IncidentSaga(
        incident=why.key,
        step=why.step,
        service=verdict.service or "",
        phase=why.phase,
        reason=why.reason,
        fingerprint=why.fingerprint,
        error=": ".join(said)[:MAX_ERROR_CHARACTERS],
        recommended_action=recommended_action(saga, judgement).value,
        since=verdict.since,
        amounts=tuple(AmountAtRisk(each.currency, each.certain, each.possible) for each in saga.amount_at_risk),
    )
