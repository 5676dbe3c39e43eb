"""In a process whose path has this folder, lakes have further migrations: as many as `FURTHER_MIGRATIONS` says."""

import os

import pyarrow as pa

from sagascope_collector.lake import catalog, writer
from sagascope_collector.lake.catalog import Migration

_known = catalog.migrations
_to_lake = writer.to_lake
_last = _known()[-1].number

_ADDS = Migration(
    _last + 1,
    "ALTER TABLE sagascope_receivers ADD COLUMN IF NOT EXISTS zone TEXT",
    "ALTER TABLE spans ADD COLUMN IF NOT EXISTS zone VARCHAR; ALTER TABLE logs ADD COLUMN IF NOT EXISTS zone VARCHAR",
)
_EXCLUDES = Migration(_last + 2, f"UPDATE sagascope_version SET oldest = {_last + 2}", "SELECT 1")


def _with_zone(table: pa.Table, origins: pa.Table) -> pa.Table:
    rows = _to_lake(table, origins)
    return rows.append_column("zone", pa.array(["north"] * rows.num_rows, pa.string()))


catalog.migrations = lambda: (*_known(), _ADDS, _EXCLUDES)[: _last + int(os.environ["FURTHER_MIGRATIONS"])]
writer.to_lake = _with_zone
