"""Sagascope: what a service embeds to show its sagas."""

from sagascope._configure import configure, install, shutdown, stats
from sagascope._plan import Step
from sagascope._propagation import Incoming, extract, inject
from sagascope._saga import RunningSaga, Saga, current
from sagascope._stats import Stats
from sagascope._step import Attempt, compensation, step
from sagascope._version import __version__

__all__ = [
    "Attempt",
    "Incoming",
    "RunningSaga",
    "Saga",
    "Stats",
    "Step",
    "__version__",
    "compensation",
    "configure",
    "current",
    "extract",
    "inject",
    "install",
    "shutdown",
    "stats",
    "step",
]
