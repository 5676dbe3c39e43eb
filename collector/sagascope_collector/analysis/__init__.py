"""Rebuilds sagas from their records and diagnoses them. Pure: no clock, no database, no network."""

from sagascope_collector.analysis.assembly import rebuild as rebuild
from sagascope_collector.analysis.baseline import (
    Baseline as Baseline,
    SagaSample as SagaSample,
    SlowdownDetector as SlowdownDetector,
    in_order as in_order,
    learn_baseline as learn_baseline,
    load_sample as load_sample,
    take_sample as take_sample,
)
from sagascope_collector.analysis.context import (
    Context as Context,
    is_alive as is_alive,
    is_other_deadline as is_other_deadline,
    must_report_by as must_report_by,
    outages as outages,
)
from sagascope_collector.analysis.diagnosis import Diagnosis as Diagnosis, diagnose as diagnose
from sagascope_collector.analysis.model import Saga as Saga
