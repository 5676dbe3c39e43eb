"""Many sagas that stand still for one cause are one incident. Pure."""

from sagascope_collector.incidents.cause import Cause, cause
from sagascope_collector.incidents.fingerprint import fingerprint

__all__ = ["Cause", "cause", "fingerprint"]
