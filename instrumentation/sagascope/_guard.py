"""Contains our own failures: the service that embeds us never sees one."""

import logging
from types import TracebackType

_logger = logging.getLogger("sagascope")
_said: set[tuple[str, type[BaseException]]] = set()

strict = False
"""True in our own tests: failures of ours are raised instead of being logged."""


class Guard:
    """Runs a piece of our code; an `Exception` in it is logged once per kind and goes no further.

    One guard is made per place, at import, and used by every thread. The user's code never runs inside one.
    """

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or strict or not isinstance(error, Exception):
            return False
        report(self._doing, error)
        return True


def report(doing: str, error: BaseException) -> None:
    """Log a failure of ours, the first time that one of its kind happens there."""
    seen = (doing, type(error))
    if seen not in _said:
        _said.add(seen)
        _logger.error("Sagascope failed while %s; the service goes on without it", doing, exc_info=error)
