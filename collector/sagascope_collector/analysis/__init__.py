"""Rebuilds sagas from their records and diagnoses them. Pure: no clock, no database, no network."""

from sagascope_collector.analysis.assembly import rebuild as rebuild, runners as runners
from sagascope_collector.analysis.baseline import (
    Baseline as Baseline,
    SlowdownDetector as SlowdownDetector,
    in_order as in_order,
    learn_baseline as learn_baseline,
)
from sagascope_collector.analysis.context import Context as Context
from sagascope_collector.analysis.diagnosis import diagnose as diagnose
from sagascope_collector.analysis.learned_plan import (
    SagaSample as SagaSample,
    load_sample as load_sample,
    take_sample as take_sample,
)
from sagascope_collector.analysis.liveness import (
    is_alive as is_alive,
    is_other_deadline as is_other_deadline,
    must_report_by as must_report_by,
    outages as outages,
)
from sagascope_collector.analysis.model import Saga as Saga
from sagascope_collector.analysis.verdict import Diagnosis as Diagnosis
