"""A part of the sealed tier: records sorted by saga in Parquet files that never change, with an index beside them.

The files are named by the chunk's number. They count only once the catalogue in the database has the chunk; what a
crash left half written is thrown away at the next start.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from sagascope_collector.errors import NotADatabase
from sagascope_collector.store import mapped
from sagascope_collector.store.fingerprints import Fingerprints
from sagascope_collector.store.generation import KINDS, Bounds
from sagascope_collector.store.journal import sync_folder

INDEXES: Final = ("sagas", "groups")
FILTER: Final = "ids"
"""Not part of the chunk, but beside it: see `spanfilters`."""


class Entry(NamedTuple):
    """A row of the catalogue."""

    number: int
    spans: int
    logs: int
    links: int
    earliest: int
    latest: int
    bytes: int

    @property
    def records(self) -> int:
        """Spans and log records."""
        return self.spans + self.logs


@dataclass(frozen=True, slots=True)
class Chunk:
    """Files of one number."""

    entry: Entry
    files: Mapping[str, Path]
    """Of the tables that have rows."""
    sagas: Fingerprints = field(repr=False)
    """Of every saga that has a record here, sorted; read from its file as it is needed."""
    groups: Fingerprints = field(repr=False)
    """Of every record: see `generation.Columns.groups`."""

    @property
    def bounds(self) -> Bounds:
        """Those of its records."""
        return Bounds(self.entry.earliest, self.entry.latest)


def path_of(folder: Path, number: int, kind: str) -> Path:
    """The file of a table, or of an index."""
    return folder / f"{number:08}.{kind}.{'parquet' if kind in KINDS else 'npy'}"


def number_of(path: Path) -> int | None:
    """The number of the chunk that a file is of; None: of none."""
    number, *rest = path.name.split(".")
    ours = len(rest) == 2 and rest[0] in (*KINDS, *INDEXES, FILTER) and rest[1] in ("npy", "parquet", "tmp")
    return int(number) if ours and number.isdecimal() else None


def discard_unfinished(folder: Path, known: Iterable[int]) -> None:
    """Remove the files of chunks that are not in the catalogue: a crash, or a full disk, left them."""
    for path in folder.iterdir():
        number = number_of(path)
        if number is not None and number not in set(known):
            path.unlink(missing_ok=True)


def save_index(folder: Path, number: int, sagas: Fingerprints, groups: Fingerprints) -> None:
    """Write the index of a chunk."""
    for kind, content in zip(INDEXES, (sagas, groups), strict=True):
        mapped.save(path_of(folder, number, kind), content)


def settle(folder: Path, number: int) -> int:
    """Wait until all files of a chunk are on disk; their size in bytes."""
    total = 0
    for path in folder.glob(f"{number:08}.*"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            total += os.fstat(file.fileno()).st_size
    sync_folder(folder)
    return total


def load(folder: Path, entry: Entry) -> Chunk:
    """A chunk of the catalogue.

    Raises:
        NotADatabase: files of it are missing or cut short.
    """
    files = {kind: path_of(folder, entry.number, kind) for kind in KINDS if getattr(entry, kind)}
    try:
        size = sum(path.stat().st_size for path in (*files.values(), *_indexes(folder, entry.number)))
        if size != entry.bytes:
            raise NotADatabase(f"Files of {folder} are damaged: those numbered {entry.number:08} have another size.")
        sagas, groups = map(mapped.load, _indexes(folder, entry.number))
    except (OSError, ValueError) as error:
        raise NotADatabase(
            f"Files that belong to the database are missing from {folder}, or damaged: {error}"
        ) from error
    return Chunk(entry, files, sagas, groups)


def discard(folder: Path, number: int) -> None:
    """Remove all files of a chunk."""
    for path in folder.glob(f"{number:08}.*"):
        path.unlink(missing_ok=True)


def _indexes(folder: Path, number: int) -> list[Path]:
    return [path_of(folder, number, kind) for kind in INDEXES]
