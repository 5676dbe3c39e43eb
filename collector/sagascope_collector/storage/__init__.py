"""Records appended, summaries kept beside them, in one DuckDB file. `Storage` opens it."""

from sagascope_collector.storage.alerts import AlertRecords, AlertState, Notification, Pending
from sagascope_collector.storage.baselines import BaselineRow
from sagascope_collector.storage.changes import Backlog
from sagascope_collector.storage.database import sync_folder, within
from sagascope_collector.storage.incidents import FailureRate, IncidentChange, IncidentGroup, IncidentRecords, Progress
from sagascope_collector.storage.lookup import CleanCompletion
from sagascope_collector.storage.records import Appended, Batch, Counters
from sagascope_collector.storage.retention import Keep
from sagascope_collector.storage.statistics import (
    TRANSITION,
    FailedSaga,
    OutcomePeriod,
    Outcomes,
    PathCount,
    StepPeriod,
    StepStatistics,
    steps_of,
    whole_period,
)
from sagascope_collector.storage.storage import Storage
from sagascope_collector.storage.summaries import NEWEST, AmountAtRisk, IncidentSaga, Order, Page, SagaRow, id_of

__all__ = [
    "NEWEST",
    "TRANSITION",
    "AlertRecords",
    "AlertState",
    "AmountAtRisk",
    "Appended",
    "Backlog",
    "BaselineRow",
    "Batch",
    "CleanCompletion",
    "Counters",
    "FailedSaga",
    "FailureRate",
    "IncidentChange",
    "IncidentGroup",
    "IncidentRecords",
    "IncidentSaga",
    "Keep",
    "Notification",
    "Order",
    "OutcomePeriod",
    "Outcomes",
    "Page",
    "PathCount",
    "Pending",
    "Progress",
    "SagaRow",
    "StepPeriod",
    "StepStatistics",
    "Storage",
    "id_of",
    "steps_of",
    "sync_folder",
    "whole_period",
    "within",
]
