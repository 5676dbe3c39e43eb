"""A file of summaries at rest, newest start first, that never changes; with it, what finds a row by id or by key.

A shelf counts only once the catalogue in the database has it; what a crash left half written is thrown away at the
next start.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from sagascope_collector.errors import NotADatabase
from sagascope_collector.store import alphabet, fingerprints, mapped, postings
from sagascope_collector.store.alphabet import Alphabet
from sagascope_collector.store.contract import SagaFilter
from sagascope_collector.store.fingerprints import Fingerprints
from sagascope_collector.store.journal import sync_folder
from sagascope_collector.store.postings import Places

ROWS, IDS, KEYS, NAMES = "parquet", "ids.npy", "keys.npy", "names.arrow"
FILES: Final = (ROWS, IDS, KEYS, NAMES)

FEW: Final = 256
"""Steps or services beyond which it is not kept which of them a shelf has."""

Flow = tuple[str, str, str]
"""(environment, saga name, status)."""


class Entry(NamedTuple):
    """A row of the catalogue; times are those at which its sagas started."""

    number: int
    sagas: int
    earliest: int
    latest: int
    bytes: int
    steps: str | None
    """Names of all steps in it, as JSON; None: too many."""
    services: str | None


@dataclass(frozen=True, slots=True)
class Shelf:
    """The files of one number."""

    entry: Entry
    rows: Path
    ids: Fingerprints = field(repr=False)
    """Postings of its saga ids."""
    keys: Fingerprints = field(repr=False)
    """Postings of the values of its business keys."""
    names: Alphabet = field(repr=False)
    flows: frozenset[Flow] = field(repr=False)
    steps: frozenset[str] | None = field(repr=False)
    services: frozenset[str] | None = field(repr=False)

    def may_have(self, narrowed: SagaFilter, before: int | None) -> bool:
        """Whether a row may be one that a list is narrowed to, and have started at `before` or earlier."""
        return (
            narrowed.attention is None
            and narrowed.incident is None
            and narrowed.alone is None
            and (before is None or self.entry.earliest <= before)
            and (narrowed.since is None or narrowed.since <= self.entry.latest)
            and (narrowed.until is None or self.entry.earliest < narrowed.until)
            and (narrowed.step is None or self.steps is None or narrowed.step in self.steps)
            and (narrowed.service is None or self.services is None or narrowed.service in self.services)
            and self._has_flow(narrowed)
            and (narrowed.q is None or bool(self.told(narrowed.q).size or self.beginning(narrowed.q).size))
        )

    def _has_flow(self, narrowed: SagaFilter) -> bool:
        wanted = (narrowed.environment, narrowed.name, narrowed.status)
        if wanted == (None, None, None):
            return True
        return any(
            all(asked is None or asked == has for asked, has in zip(wanted, flow, strict=True)) for flow in self.flows
        )

    def called(self, ids: Iterable[str]) -> Places:
        """The rows that may have one of these ids."""
        return postings.found(self.ids, map(fingerprints.of_text, ids))

    def told(self, value: str) -> Places:
        """The rows that may have a business key of this value."""
        return postings.found(self.keys, [fingerprints.of_text(value)])

    def beginning(self, text: str) -> Places:
        """The rows whose id begins so."""
        return self.names.beginning(text)


def path_of(folder: Path, number: int, kind: str) -> Path:
    """One of the files of a shelf."""
    return folder / f"shelf-{number:08}.{kind}"


def finish(folder: Path, number: int, rows: pa.Table) -> Entry:
    """Write what finds the `rows` of a file that was written, and wait until all of it is on disk."""
    places = np.arange(rows.num_rows)
    mapped.save(path_of(folder, number, IDS), postings.packed(fingerprints.of_texts(rows["id"]), places))
    mapped.save(path_of(folder, number, KEYS), _keys(rows["keys"]))
    alphabet.save(path_of(folder, number, NAMES), rows["id"])
    started = pc.min_max(rows["started_at"]).as_py()
    named = (_named(rows[column]) for column in ("steps", "services"))
    return Entry(number, rows.num_rows, started["min"], started["max"], _settled(folder, number), *named)


def _keys(documents: pa.ChunkedArray) -> Fingerprints:
    values, places = [], []
    for place, document in enumerate(documents.to_pylist()):
        for value in orjson.loads(document).values():
            values.append(fingerprints.of_text(value))
            places.append(place)
    return postings.packed(np.array(values, np.uint64), np.array(places, np.int64))


def _named(texts: pa.ChunkedArray) -> str | None:
    """All members of lists that are JSON texts."""
    names = {name for text in pc.unique(texts).to_pylist() for name in orjson.loads(text)}
    return orjson.dumps(sorted(names)).decode() if len(names) <= FEW else None


def _settled(folder: Path, number: int) -> int:
    total = 0
    for kind in FILES:
        with path_of(folder, number, kind).open("rb") as file:
            os.fsync(file.fileno())
            total += os.fstat(file.fileno()).st_size
    sync_folder(folder)
    return total


def load(folder: Path, entry: Entry, flows: Iterable[Flow]) -> Shelf:
    """A shelf of the catalogue.

    Raises:
        NotADatabase: files of it are missing or cut short.
    """
    rows, ids, keys, names = (path_of(folder, entry.number, kind) for kind in FILES)
    try:
        if sum(path.stat().st_size for path in (rows, ids, keys, names)) != entry.bytes:
            raise NotADatabase(f"Files of {folder} are damaged: those of shelf {entry.number:08} have another size.")
        indexes = mapped.load(ids), mapped.load(keys), Alphabet(names)
    except (OSError, ValueError) as error:
        raise NotADatabase(
            f"Files that belong to the database are missing from {folder}, or damaged: {error}"
        ) from error
    return Shelf(entry, rows, *indexes, frozenset(flows), _set(entry.steps), _set(entry.services))


def _set(names: str | None) -> frozenset[str] | None:
    return None if names is None else frozenset(orjson.loads(names))


def discard(folder: Path, number: int) -> None:
    """Remove all files of a shelf."""
    for kind in FILES:
        path_of(folder, number, kind).unlink(missing_ok=True)


def discard_unfinished(folder: Path, known: Sequence[int]) -> None:
    """Remove the files of shelves that are not in the catalogue."""
    for number in set(_numbers(folder)) - set(known):
        discard(folder, number)


def _numbers(folder: Path) -> Iterator[int]:
    for path in folder.glob("shelf-*"):
        number = path.name.removeprefix("shelf-").partition(".")[0]
        if number.isdecimal():
            yield int(number)
