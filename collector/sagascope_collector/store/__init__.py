"""The store: facts appended, summaries kept beside them. `contract` says what is promised."""

from sagascope_collector.store.alerting import AlertStore, Notification, Told, Waiting
from sagascope_collector.store.contract import (
    Appended,
    Batch,
    Changed,
    Counters,
    Keep,
    LessonRow,
    Order,
    Page,
    Part,
    PlainEnd,
    SagaFilter,
    SagaRow,
    Store,
)
from sagascope_collector.store.duckdb import DuckDBStore
from sagascope_collector.store.journal import sync_folder
from sagascope_collector.store.links import DATABASE, FACTS
from sagascope_collector.store.presence import Beat, Sighting
from sagascope_collector.store.standing import Change, Group, IncidentStore, Moved, Stake, Standing

__all__ = [
    "DATABASE",
    "FACTS",
    "AlertStore",
    "Appended",
    "Batch",
    "Beat",
    "Change",
    "Changed",
    "Counters",
    "DuckDBStore",
    "Group",
    "IncidentStore",
    "Keep",
    "LessonRow",
    "Moved",
    "Notification",
    "Order",
    "Page",
    "Part",
    "PlainEnd",
    "SagaFilter",
    "SagaRow",
    "Sighting",
    "Stake",
    "Standing",
    "Store",
    "Told",
    "Waiting",
    "sync_folder",
]
