"""Many sagas that stand still for one cause are one incident, with a life of its own."""

from sagascope_collector.incidents.cause import Cause, cause
from sagascope_collector.incidents.clues import Clue, clues
from sagascope_collector.incidents.comparing import Comparisons
from sagascope_collector.incidents.contrast import Contrast, contrasts
from sagascope_collector.incidents.failure_monitor import FAILURE_RATE, FailureRates
from sagascope_collector.incidents.fingerprint import fingerprint
from sagascope_collector.incidents.life import Incident, Scope, State
from sagascope_collector.incidents.remedy import RecommendedAction, recommended_action
from sagascope_collector.incidents.standing import standing
from sagascope_collector.incidents.traits import Trait, Traits, traits
from sagascope_collector.incidents.watch import Incidents

__all__ = [
    "FAILURE_RATE",
    "Cause",
    "Clue",
    "Comparisons",
    "Contrast",
    "FailureRates",
    "Incident",
    "Incidents",
    "RecommendedAction",
    "Scope",
    "State",
    "Trait",
    "Traits",
    "cause",
    "clues",
    "contrasts",
    "fingerprint",
    "recommended_action",
    "standing",
    "traits",
]
