"""Exports all records as Parquet files: a folder for each day, plain column types, attributes as JSON."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
import pyarrow.dataset as ds

from sagascope_collector.errors import BadValue
from sagascope_collector.storage import Storage

MAX_TIMESTAMP_NS: Final = 2**63 - 1

MAX_OPEN_FILES: Final = 32

MAX_DAYS: Final = 100_000
"""Maximum number of days whose records may be read together; pyarrow allows 1,024."""

TIMESTAMP: Final = pa.timestamp("ns", tz="UTC")

PARTITIONING: Final = ds.partitioning(pa.schema([("day", pa.string())]), flavor="hive")


def export(storage: Storage, folder: Path, since: int = 0, until: int = MAX_TIMESTAMP_NS) -> int:
    """Writes the records that started in a period, in Unix nanoseconds, to a new folder; returns their number.

    Removes the folder if the export fails.

    Raises:
        BadValue: the folder exists, or cannot be written.
    """
    if folder.exists():
        raise BadValue(f"{folder} already exists and was not changed. Name another folder.")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    kinds: tuple[Literal["spans", "logs"], ...] = ("spans", "logs")
    try:
        temporary.mkdir(parents=True)
        written = sum(_write(temporary / kind, storage.lookup.between(kind, since, until)) for kind in kinds)
        temporary.rename(folder)
        return written
    except OSError as error:
        raise BadValue(f"{folder} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(folder: Path, tables: Iterator[pa.Table]) -> int:
    first = next(tables, None)
    if first is None:
        return 0
    types = [TIMESTAMP if pa.types.is_timestamp(each) else each for each in first.schema.types]
    schema = pa.schema(zip(first.schema.names, types, strict=True))
    written = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal written
        table: pa.Table | None = first
        while table is not None:
            written += table.num_rows
            yield from table.cast(schema).to_batches()
            table = next(tables, None)

    parquet = ds.ParquetFileFormat()
    ds.write_dataset(
        batches(),
        folder,
        schema=schema,
        format=parquet,
        file_options=parquet.make_write_options(compression="zstd"),
        partitioning=PARTITIONING,
        max_open_files=MAX_OPEN_FILES,
        max_partitions=MAX_DAYS,
    )
    return written
