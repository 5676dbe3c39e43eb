"""Why a saga stands still, as far as others can stand still for the same. Pure."""

import hashlib
import json
from typing import Final, NamedTuple

from sagascope_collector.analysis.model import Judgement, Saga
from sagascope_collector.incidents.fingerprint import fingerprint

KEY_DIGITS: Final = 16


class Cause(NamedTuple):
    """What the sagas of one incident share."""

    environment: str
    name: str
    step: str
    phase: str
    reason: str
    fingerprint: str

    @property
    def key(self) -> str:
        """A short name for it: the same wherever and whenever it is made."""
        return hashlib.sha256(json.dumps(self).encode()).hexdigest()[:KEY_DIGITS]


def cause(saga: Saga, judgement: Judgement) -> Cause | None:
    """The cause for which a saga needs someone; None: nobody is needed."""
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
