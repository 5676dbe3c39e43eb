"""Follows tables in which an application stores the state of its sagas.

A mapping describes the columns. The bridge only reads, a bounded number of rows at a time, and reports each row that
has not reached a final state as work in flight. Rows do not identify processes, so that no instance is reported.
"""

from sagascope_collector.bridges.tables.mapping import (
    Mapping as Mapping,
    built_in_mappings as built_in_mappings,
    read_mapping as read_mapping,
)
from sagascope_collector.bridges.tables.rows import Checkpoint as Checkpoint
from sagascope_collector.bridges.tables.source import TablesSource as TablesSource
