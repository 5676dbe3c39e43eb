"""Follows tables in which an application stores the state of its sagas.

A mapping describes the columns. The bridge only reads, a bounded number of rows at a time, and reports each row that
has not reached a final state as work in flight. Rows do not identify processes, so that no instance is reported.
"""

from sagascope_collector.bridges.tables.mapping import Mapping, built_in_mappings, read_mapping
from sagascope_collector.bridges.tables.rows import Checkpoint
from sagascope_collector.bridges.tables.source import TablesSource

__all__ = ["Checkpoint", "Mapping", "TablesSource", "built_in_mappings", "read_mapping"]
