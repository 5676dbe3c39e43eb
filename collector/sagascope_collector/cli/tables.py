"""`export --parquet`: everything, out of a copy of what a collector keeps, or out of a database at rest."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from sagascope_collector import backups
from sagascope_collector.client import Client


def export(client: Client, db: Path | None, folder: Path, since: datetime | None, until: datetime | None) -> int:
    """Write what began between two moments; how many records.

    Raises:
        BadValue: the folder is there already, or cannot be written.
    """
    from sagascope_collector.archives import parquet
    from sagascope_collector.storage import Storage

    between = _nanoseconds(since, 0), _nanoseconds(until, parquet.LATEST)
    with _at_rest(client, db, folder) as path:
        storage = Storage(str(path))
        try:
            return parquet.export(storage, folder, *between)
        finally:
            storage.close()


@contextmanager
def _at_rest(client: Client, db: Path | None, folder: Path) -> Iterator[Path]:
    """The database; else a copy of the collector's, made beside the folder."""
    if db is not None:
        yield db
        return
    with TemporaryDirectory(prefix=".sagascope-", dir=folder.absolute().parent) as name:
        copy = Path(name) / "copy.duckdb"
        backups.save(client.backup(), copy)
        yield copy


def _nanoseconds(moment: datetime | None, otherwise: int) -> int:
    return otherwise if moment is None else int(moment.replace(tzinfo=UTC).timestamp()) * 1_000_000_000
