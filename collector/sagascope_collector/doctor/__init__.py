"""Checks whether a collector can run here, and whether telemetry that is sent to it can be read back."""

from sagascope_collector.doctor.checks import examine
from sagascope_collector.doctor.result import Result, State, Target

__all__ = ["Result", "State", "Target", "examine"]
