"""Keeps the summary of every saga in step with its facts, with the processes that run it, and with the clock.

Lists, triage and search read these summaries; the page of one saga judges anew with the same code.
"""

from sagascope_collector.projection.memory import Memory
from sagascope_collector.projection.surroundings import Surroundings
from sagascope_collector.projection.thread import Projection

__all__ = ["Memory", "Projection", "Surroundings"]
