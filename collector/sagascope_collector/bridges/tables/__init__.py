"""Follows tables in which an application keeps what its sagas have come to.

A mapping says what the columns mean. It reads only, a bounded number of rows at a time, and tells each row that has not
moved as work that has not ended. A table cannot say that anybody lives: nothing here speaks of processes.
"""

from sagascope_collector.bridges.tables.mapping import Mapping, read_mapping, ready
from sagascope_collector.bridges.tables.place import Place
from sagascope_collector.bridges.tables.source import Tables

__all__ = ["Mapping", "Place", "Tables", "read_mapping", "ready"]
