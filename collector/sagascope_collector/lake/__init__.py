"""Records in a DuckLake: a catalog in PostgreSQL, and Parquet files in a folder or an object store."""

from sagascope_collector.lake.catalog import Lake
from sagascope_collector.lake.erasure import LakeErasure
from sagascope_collector.lake.follower import Follower
from sagascope_collector.lake.incidents import LakeAlerts, LakeIncidents
from sagascope_collector.lake.leader import Leader
from sagascope_collector.lake.maintenance import LakeMaintenance
from sagascope_collector.lake.migration import Migration
from sagascope_collector.lake.writer import Heartbeat, LakeWriter

__all__ = [
    "Follower",
    "Heartbeat",
    "Lake",
    "LakeAlerts",
    "LakeErasure",
    "LakeIncidents",
    "LakeMaintenance",
    "LakeWriter",
    "Leader",
    "Migration",
]
