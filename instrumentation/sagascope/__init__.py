"""Sagascope shows why a transaction is stuck. Services embed this package.

Each name is imported when it is first used, so that importing the package is fast.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sagascope._configure import configure, flush, install, shutdown, stats
    from sagascope._errors import MissingExtra, PlanInvalid, SagascopeError, SagascopeWarning, SettingInvalid
    from sagascope._plan import Step
    from sagascope._propagation import Incoming, extract, inject
    from sagascope._runtime import Stats
    from sagascope._saga import RunningSaga, Saga, current
    from sagascope._step import Attempt, Batch, batch, compensation, step

__all__ = [
    "Attempt",
    "Batch",
    "Incoming",
    "MissingExtra",
    "PlanInvalid",
    "RunningSaga",
    "Saga",
    "SagascopeError",
    "SagascopeWarning",
    "SettingInvalid",
    "Stats",
    "Step",
    "__version__",
    "batch",
    "compensation",
    "configure",
    "current",
    "extract",
    "flush",
    "inject",
    "install",
    "shutdown",
    "stats",
    "step",
]

_MODULES = {
    "_configure": ("configure", "flush", "install", "shutdown", "stats"),
    "_plan": ("Step",),
    "_propagation": ("Incoming", "extract", "inject"),
    "_runtime": ("Stats",),
    "_saga": ("RunningSaga", "Saga", "current"),
    "_step": ("Attempt", "Batch", "batch", "compensation", "step"),
    "_errors": ("MissingExtra", "PlanInvalid", "SagascopeError", "SagascopeWarning", "SettingInvalid"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
