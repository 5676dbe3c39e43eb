"""What a saga that needs someone adds to its incident. Pure."""

from sagascope_collector.incidents.cause import cause
from sagascope_collector.incidents.remedy import remedy
from sagascope_collector.sagas.model import Judgement, Saga
from sagascope_collector.store.standing import Stake, Standing

LONGEST = 500
"""Characters of an error that are kept beside the saga's own page."""


def standing(saga: Saga, judgement: Judgement) -> Standing | None:
    """A saga's part in an incident; None: it needs nobody."""
    verdict, why, error = judgement.verdict, cause(saga, judgement), judgement.error
    if verdict is None or why is None:
        return None
    said = [part for part in (error.type, error.message) if part] if error else []
    return Standing(
        incident=why.key,
        step=why.step,
        service=verdict.service or "",
        phase=why.phase,
        reason=why.reason,
        fingerprint=why.fingerprint,
        error=": ".join(said)[:LONGEST],
        remedy=remedy(saga, judgement).value,
        since=verdict.since,
        stakes=tuple(Stake(each.currency, each.certain, each.possible) for each in saga.exposure),
    )
