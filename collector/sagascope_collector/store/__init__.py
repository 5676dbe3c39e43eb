"""The store: facts appended, summaries kept beside them. `contract` says what is promised."""

from sagascope_collector.store.contract import (
    Appended,
    Batch,
    Counters,
    LessonRow,
    Page,
    SagaFilter,
    SagaRow,
    Store,
)
from sagascope_collector.store.duckdb import DuckDBStore
from sagascope_collector.store.presence import Beat, Sighting

__all__ = [
    "Appended",
    "Batch",
    "Beat",
    "Counters",
    "DuckDBStore",
    "LessonRow",
    "Page",
    "SagaFilter",
    "SagaRow",
    "Sighting",
    "Store",
]
