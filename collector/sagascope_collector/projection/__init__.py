"""Keeps the summary of every saga up to date with its records, with the instances that run it, and with the clock.

Lists, triage and search read these summaries. The page of one saga derives the verdict again, with the same code.
"""

from sagascope_collector.projection.baseline_learner import BaselineLearner as BaselineLearner
from sagascope_collector.projection.system_state import SystemState as SystemState
from sagascope_collector.projection.thread import Projection as Projection
