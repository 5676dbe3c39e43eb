"""The exception tree, and the guard that keeps our own failures from the service that embeds Sagascope.

Sagascope raises errors only while it is configured and while sagas are declared, never inside a saga.

    SagascopeError
    ├── MissingExtra      an optional dependency is not installed
    ├── PlanInvalid       the plan of a saga is invalid
    └── SettingInvalid    a setting is unknown or has an invalid value
"""

import logging
import os
import sys
import warnings
from types import TracebackType


class SagascopeError(Exception):
    """Base class of all errors that Sagascope raises."""


class SagascopeWarning(UserWarning):
    """A call that cannot have been meant: a step outside the plan, an empty id, an amount that is not a number.

    Nothing is raised, unless the filter ``error::sagascope.SagascopeWarning`` of `warnings` asks for it, in tests.
    """


class MissingExtra(SagascopeError, ImportError):
    """A feature needs packages that are not installed. The message contains the exact install command."""

    def __init__(self, feature: str, extra: str = "otlp", *, package: str | None = None) -> None:
        needed = package or f'"sagascope[{extra}]"'
        checkout = "" if package else f' (from a checkout: pip install "/path/to/sagascope[{extra}]")'
        super().__init__(f"{feature} needs packages that are not installed. Run: pip install {needed}{checkout}")


class PlanInvalid(SagascopeError, ValueError):
    """The plan of a saga is invalid: two steps have the same name, or a step waits for one that is not in the plan."""


class SettingInvalid(SagascopeError, ValueError):
    """A setting is unknown or has an invalid value, for example an endpoint that is not an http address."""


# --- the guard --------------------------------------------------------------------------------------

_PACKAGE = os.path.dirname(__file__)  # noqa: PTH120 - importing pathlib takes a tenth of the time of all imports
_logger = logging.getLogger("sagascope")
_logged: set[tuple[str, type[BaseException]]] = set()

strict = False
"""True in our own tests: our failures are raised instead of logged."""


class Guard:
    """Runs a piece of our code. An `Exception` in it is logged, once per type, and suppressed.

    A warning that the service has turned into an error is raised.

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
        if error is None or strict or not isinstance(error, Exception) or isinstance(error, SagascopeWarning):
            return False
        report(self._activity, error)
        return True


def report(activity: str, error: BaseException) -> None:
    """Logs one of our failures, the first time that its type occurs in this activity."""
    failure = (activity, type(error))
    if failure not in _logged:
        _logged.add(failure)
        _logger.error("Sagascope failed while %s; the service is not affected", activity, exc_info=error)


def warn(message: str) -> None:
    """Warns about the call that entered this package; a text without variable parts is shown once for each place."""
    warnings.warn(message, SagascopeWarning, stacklevel=_caller_level())


def _caller_level() -> int:
    """Returns the `stacklevel` of the innermost frame outside this package, as seen by `warn`."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001 - `warnings` counts the same frames
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    return level
