"""Storage of records and of the summaries derived from them, in one DuckDB file. `Storage` opens it."""

from sagascope_collector.incident_records import AlertState, Notification, Pending
from sagascope_collector.storage.database import sync_folder, within
from sagascope_collector.storage.incidents import AlertRecords, IncidentRecords
from sagascope_collector.storage.records import Batch, Counters
from sagascope_collector.storage.retention import RetentionPolicy
from sagascope_collector.storage.statistics import BaselineRow, Outcomes
from sagascope_collector.storage.storage import Storage
from sagascope_collector.storage.summaries import NEWEST, Order, Page, SagaRow, id_of

__all__ = [
    "NEWEST",
    "AlertRecords",
    "AlertState",
    "BaselineRow",
    "Batch",
    "Counters",
    "IncidentRecords",
    "Notification",
    "Order",
    "Outcomes",
    "Page",
    "Pending",
    "RetentionPolicy",
    "SagaRow",
    "Storage",
    "id_of",
    "sync_folder",
    "within",
]
