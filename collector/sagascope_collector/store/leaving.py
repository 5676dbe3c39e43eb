"""Takes whole sagas out of the sealed tier: chunks are written anew without them, or go if they hold nothing else."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from sagascope_collector.records import SagaId
from sagascope_collector.store import chunk, fingerprints
from sagascope_collector.store.catalogue import Catalogue
from sagascope_collector.store.chunk import Chunk
from sagascope_collector.store.database import Database
from sagascope_collector.store.fingerprints import Fingerprints, among
from sagascope_collector.store.generation import KINDS, Bounds, columns_of, joined
from sagascope_collector.store.sql import Query
from sagascope_collector.store.unlinking import unlinked

LEFT_OUT: Final = pa.schema([("environment", pa.string()), ("saga_id", pa.string())])
NOBODY: Final = LEFT_OUT.empty_table()

MERGE: Final = {"spans": Query.MERGE_SPANS, "logs": Query.MERGE_LOGS, "links": Query.MERGE_LINKS}


@dataclass(frozen=True, slots=True)
class _Gone:
    """What is to leave."""

    wanted: Fingerprints
    rows: pa.Table
    before: int
    names: frozenset[str] = frozenset()
    """Of those whose names leave other sagas' spans, too."""


class Leaving:
    """Rewrites chunks. Each is exchanged by itself: after a fault or a crash, what is left is done by asking again."""

    def __init__(self, catalogue: Catalogue, database: Database) -> None:
        self._catalogue = catalogue
        self._tiers = catalogue.tiers
        self._database = database

    def without(self, ids: Iterable[SagaId], before: int = 0, *, named: bool = False) -> int:
        """Leave out all records of these sagas; how many spans and log records went.

        What is not sealed stays. From chunks that are written anew, records in no saga go too that are from `before`;
        if they are not to be `named` any more, so do the links to them in the spans of other sagas.

        Raises:
            StoreUnavailable: chunks that were not reached yet still have such records.
        """
        going = set(ids)
        wanted = fingerprints.distinct(np.fromiter((fingerprints.of_text(each.id) for each in going), np.uint64))
        rows = [{"environment": each.environment, "saga_id": each.id} for each in going]
        names = frozenset(each.id for each in going) if named else frozenset()
        gone = _Gone(wanted, pa.Table.from_pylist(rows, schema=LEFT_OUT), before, names)
        with self._catalogue.working:
            chunks = [each for each in self._tiers.view.chunks if among(wanted, each.sagas).any()]
            return sum(self._rewrite(each, gone) for each in chunks)

    def bare(self, before: int) -> int:
        """Remove chunks in which all is from `before` and in no saga; how many records went."""
        with self._catalogue.working:
            old = [each for each in self._tiers.view.chunks if not each.sagas.size and each.entry.latest < before]
            if old:
                self._catalogue.replace(old, [])
            return sum(each.entry.records for each in old)

    def _rewrite(self, old: Chunk, gone: _Gone) -> int:
        if old.entry.latest < gone.before and among(np.asarray(old.sagas), gone.wanted).all():
            self._catalogue.replace([old], [])
            return old.entry.records
        number = self._catalogue.number()
        owners = {kind: self._kept(number, kind, old, gone) for kind in KINDS}
        left: int = old.entry.records - sum(owners[kind].num_rows for kind in ("spans", "logs"))
        if all(owners[kind].num_rows == getattr(old.entry, kind) for kind in KINDS):
            chunk.discard(self._tiers.folder, number)  # a fingerprint was met by chance
            return 0
        made = [self._indexed(number, owners, old.bounds)] if any(each.num_rows for each in owners.values()) else []
        self._catalogue.replace([old], made)
        return left

    def _kept(self, number: int, kind: str, old: Chunk, gone: _Gone) -> pa.Table:
        """Write the rows of a table that are not left out; whose they are. No row, no file."""
        if kind not in old.files:
            return joined(kind, [])
        path = chunk.path_of(self._tiers.folder, number, kind)
        values = {"files": [str(old.files[kind])], "file": str(path), "before": gone.before}
        if kind == "links" and "spans" in old.files:
            values["spans"] = [str(old.files["spans"])]
            self._database.rows(Query.MERGE_LINKS_OF_SPANS, values, left_out=gone.rows)
        elif kind == "spans" and gone.names and "links" in old.files:
            self._database.rows(
                Query.MERGE_SPANS_UNLINKED, values, left_out=gone.rows, unlinked=self._others(old, gone)
            )
        else:
            self._database.rows(MERGE[kind], values, left_out=gone.rows)
        owners = self._database.arrow(Query.SELECT_SEALED_OWNERS, {"files": [str(path)]})
        if not owners.num_rows:
            path.unlink()
        return owners

    def _others(self, old: Chunk, gone: _Gone) -> pa.Table:
        """Spans that stay, and from now on have other links."""
        values = {kind: [str(old.files[kind])] for kind in ("spans", "links")}
        return unlinked(self._database.arrow(Query.SELECT_LINKING_SPANS, values, left_out=gone.rows), gone.names)

    def _indexed(self, number: int, owners: Mapping[str, pa.Table], bounds: Bounds) -> Chunk:
        columns = [columns_of(kind, table) for kind, table in owners.items() if table.num_rows]
        sagas = _all(each.distinct_sagas for each in columns)
        chunk.save_index(self._tiers.folder, number, sagas, _all(each.groups for each in columns))
        return self._catalogue.finished(number, {kind: table.num_rows for kind, table in owners.items()}, bounds)


def _all(parts: Iterable[Fingerprints]) -> Fingerprints:
    return fingerprints.distinct(np.concatenate(list(parts)))
