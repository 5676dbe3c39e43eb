"""Checks whether a collector can run here, and whether telemetry that is sent to it can be read back."""

from sagascope_collector.doctor.checks import Result as Result, State as State, Target as Target
from sagascope_collector.doctor.examination import examine as examine
