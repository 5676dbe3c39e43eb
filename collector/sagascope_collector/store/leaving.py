"""Takes whole sagas out of the sealed tier: chunks are written anew without them, or go if they hold nothing else."""

from collections.abc import Iterable, Mapping
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

LEFT_OUT: Final = pa.schema([("environment", pa.string()), ("saga_id", pa.string())])
NOBODY: Final = LEFT_OUT.empty_table()

MERGE: Final = {"spans": Query.MERGE_SPANS, "logs": Query.MERGE_LOGS, "links": Query.MERGE_LINKS}


class Leaving:
    """Rewrites chunks. Each is exchanged by itself: after a fault or a crash, what is left is done by asking again."""

    def __init__(self, catalogue: Catalogue, database: Database) -> None:
        self._catalogue = catalogue
        self._tiers = catalogue.tiers
        self._database = database

    def without(self, ids: Iterable[SagaId], before: int = 0) -> int:
        """Leave out all records of these sagas; how many spans and log records went.

        What is not sealed stays. From chunks that are written anew, records in no saga go too that are from `before`.

        Raises:
            StoreUnavailable: chunks that were not reached yet still have such records.
        """
        gone = set(ids)
        wanted = fingerprints.distinct(np.fromiter((fingerprints.of_text(each.id) for each in gone), np.uint64))
        rows = [{"environment": each.environment, "saga_id": each.id} for each in gone]
        left_out = pa.Table.from_pylist(rows, schema=LEFT_OUT)
        with self._catalogue.working:
            chunks = [each for each in self._tiers.view.chunks if among(wanted, each.sagas).any()]
            return sum(self._rewrite(each, wanted, left_out, before) for each in chunks)

    def bare(self, before: int) -> int:
        """Remove chunks in which all is from `before` and in no saga; how many records went."""
        with self._catalogue.working:
            old = [each for each in self._tiers.view.chunks if not each.sagas.size and each.entry.latest < before]
            if old:
                self._catalogue.replace(old, [])
            return sum(each.entry.records for each in old)

    def _rewrite(self, old: Chunk, wanted: Fingerprints, left_out: pa.Table, before: int) -> int:
        if old.entry.latest < before and among(np.asarray(old.sagas), wanted).all():
            self._catalogue.replace([old], [])
            return old.entry.records
        number = self._catalogue.number()
        owners = {kind: self._kept(number, kind, old, left_out, before) for kind in KINDS}
        left: int = old.entry.records - sum(owners[kind].num_rows for kind in ("spans", "logs"))
        if all(owners[kind].num_rows == getattr(old.entry, kind) for kind in KINDS):
            chunk.discard(self._tiers.folder, number)  # a fingerprint was met by chance
            return 0
        made = [self._indexed(number, owners, old.bounds)] if any(each.num_rows for each in owners.values()) else []
        self._catalogue.replace([old], made)
        return left

    def _kept(self, number: int, kind: str, old: Chunk, left_out: pa.Table, before: int) -> pa.Table:
        """Write the rows of a table that are not left out; whose they are. No row, no file."""
        if kind not in old.files:
            return joined(kind, [])
        path = chunk.path_of(self._tiers.folder, number, kind)
        values = {"files": [str(old.files[kind])], "file": str(path), "before": before}
        self._database.rows(MERGE[kind], values, left_out=left_out)
        owners = self._database.arrow(Query.SELECT_SEALED_OWNERS, {"files": [str(path)]})
        if not owners.num_rows:
            path.unlink()
        return owners

    def _indexed(self, number: int, owners: Mapping[str, pa.Table], bounds: Bounds) -> Chunk:
        columns = [columns_of(kind, table) for kind, table in owners.items() if table.num_rows]
        sagas = _all(each.distinct_sagas for each in columns)
        chunk.save_index(self._tiers.folder, number, sagas, _all(each.groups for each in columns))
        return self._catalogue.finished(number, {kind: table.num_rows for kind, table in owners.items()}, bounds)


def _all(parts: Iterable[Fingerprints]) -> Fingerprints:
    return fingerprints.distinct(np.concatenate(list(parts)))
