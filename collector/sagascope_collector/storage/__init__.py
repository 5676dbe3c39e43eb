"""Storage of records and of the summaries derived from them, in one DuckDB file. `Storage` opens it."""

from sagascope_collector.storage.database import sync_folder as sync_folder, within as within
from sagascope_collector.storage.incidents import AlertRecords as AlertRecords, IncidentRecords as IncidentRecords
from sagascope_collector.storage.maintenance import RetentionPolicy as RetentionPolicy
from sagascope_collector.storage.records import Batch as Batch, Counters as Counters
from sagascope_collector.storage.statistics import BaselineRow as BaselineRow, Outcomes as Outcomes
from sagascope_collector.storage.storage import Storage as Storage
from sagascope_collector.storage.summaries import Page as Page, SagaRow as SagaRow, id_of as id_of
