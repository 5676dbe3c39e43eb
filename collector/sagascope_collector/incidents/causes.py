"""What makes sagas that need attention one incident: their cause. Pure."""

import hashlib
import json
from typing import Final, NamedTuple

from sagascope_collector.analysis.model import Failure, Judgement, Saga
from sagascope_collector.incidents.fingerprint import fingerprint
from sagascope_collector.incidents.recommended_actions import recommended_action
from sagascope_collector.storage import AmountAtRisk, IncidentSaga

KEY_DIGITS: Final = 16

MAX_ERROR_CHARACTERS: Final = 500
"""Characters of an error that are kept outside the saga's own page."""


class Cause(NamedTuple):
    """What all sagas of one incident share."""

    environment: str
    name: str
    step: str
    phase: str
    reason: str
    fingerprint: str

    @property
    def key(self) -> str:
        """The incident's key: the same for the same cause, at any time and on any collector."""
        return hashlib.sha256(json.dumps(self).encode()).hexdigest()[:KEY_DIGITS]


def cause(saga: Saga, judgement: Judgement) -> Cause | None:
    """Returns the cause for which a saga needs attention; None: it needs none."""
    verdict, error = judgement.verdict, judgement.error
    if verdict is None:
        return None
    return Cause(
        saga.key.environment,
        saga.key.name,
        verdict.step or "",
        verdict.phase.value,
        verdict.reason.value,
        fingerprint(error.type, error.message) if error else "",
    )


def incident_saga(saga: Saga, judgement: Judgement) -> IncidentSaga | None:
    """Returns what a saga contributes to its incident; None: it needs no attention."""
    verdict, why = judgement.verdict, cause(saga, judgement)
    if verdict is None or why is None:
        return None
    return IncidentSaga(
        incident=why.key,
        step=why.step,
        service=verdict.service or "",
        phase=why.phase,
        reason=why.reason,
        fingerprint=why.fingerprint,
        error=error_text(judgement.error),
        recommended_action=recommended_action(saga, judgement).value,
        since=verdict.since,
        amounts=tuple(AmountAtRisk(each.currency, each.certain, each.possible) for each in saga.amount_at_risk),
    )


def error_text(error: Failure | None) -> str:
    """Returns the type and message of an error, cut to `MAX_ERROR_CHARACTERS`; ``""``: there is none."""
    parts = [part for part in (error.type, error.message) if part] if error else []
    return ": ".join(parts)[:MAX_ERROR_CHARACTERS]
