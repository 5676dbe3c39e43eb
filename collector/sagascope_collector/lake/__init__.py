"""Records in a DuckLake: a catalog in PostgreSQL, and Parquet files in a folder or an object store."""

from sagascope_collector.lake.catalog import Lake as Lake
from sagascope_collector.lake.erasure import LakeErasure as LakeErasure
from sagascope_collector.lake.follower import Follower as Follower
from sagascope_collector.lake.incidents import LakeAlerts as LakeAlerts, LakeIncidents as LakeIncidents
from sagascope_collector.lake.leader import LakeMaintenance as LakeMaintenance, Leader as Leader
from sagascope_collector.lake.transfer import Transfer as Transfer
from sagascope_collector.lake.writer import Heartbeat as Heartbeat, LakeWriter as LakeWriter
