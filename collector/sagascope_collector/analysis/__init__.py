"""Rebuilds sagas from their records and diagnoses them. Pure: no clock, no database, no network."""

from sagascope_collector.analysis.assembly import rebuild, runners
from sagascope_collector.analysis.baseline import Baseline, SlowdownDetector, in_order, learn_baseline
from sagascope_collector.analysis.context import Context
from sagascope_collector.analysis.diagnosis import diagnose
from sagascope_collector.analysis.learned_plan import SagaSample, load_sample, take_sample
from sagascope_collector.analysis.liveness import is_alive, is_other_deadline, must_report_by, outages
from sagascope_collector.analysis.model import Saga
from sagascope_collector.analysis.verdict import Diagnosis

__all__ = [
    "Baseline",
    "Context",
    "Diagnosis",
    "Saga",
    "SagaSample",
    "SlowdownDetector",
    "diagnose",
    "in_order",
    "is_alive",
    "is_other_deadline",
    "learn_baseline",
    "load_sample",
    "must_report_by",
    "outages",
    "rebuild",
    "runners",
    "take_sample",
]
