"""Contains our own failures: the service that embeds Sagascope never sees one."""

import logging
from types import TracebackType

_logger = logging.getLogger("sagascope")
_logged: set[tuple[str, type[BaseException]]] = set()

strict = False
"""True in our own tests: our failures are raised instead of logged."""


class Guard:
    """Runs a piece of our code. An `Exception` in it is logged, once per type, and suppressed.

    Modules create their guards at import; all threads share them. The user's code never runs inside one.
    """

    __slots__ = ("_activity",)

    def __init__(self, activity: str) -> None:
        self._activity = activity

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or strict or not isinstance(error, Exception):
            return False
        report(self._activity, error)
        return True


def report(activity: str, error: BaseException) -> None:
    """Logs one of our failures, the first time that its type occurs in this activity."""
    failure = (activity, type(error))
    if failure not in _logged:
        _logged.add(failure)
        _logger.error("Sagascope failed while %s; the service is not affected", activity, exc_info=error)
