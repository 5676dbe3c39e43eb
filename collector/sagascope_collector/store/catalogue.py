"""Which chunks there are: new ones enter and old ones leave in one transaction, whoever made them.

First the files are written and on disk, then one transaction puts them into the catalogue, then readers are turned to
them, then what they replace is removed. A crash before the transaction leaves files that nothing names; after it,
files that nothing needs. Both are removed at the next start.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import pyarrow as pa

from sagascope_collector.store import chunk
from sagascope_collector.store.chunk import Chunk, Entry
from sagascope_collector.store.database import Database
from sagascope_collector.store.generation import Bounds, Generation
from sagascope_collector.store.sql import Query
from sagascope_collector.store.tiers import Tiers

ENTRIES: Final = pa.schema([(name, pa.uint64()) for name in Entry._fields])


class Catalogue:
    """The chunks of a store, for those who make and replace them; each holds `working` meanwhile."""

    def __init__(self, tiers: Tiers, database: Database) -> None:
        self.tiers = tiers
        self._database = database
        self._latest = 0
        self.unfinished: set[int] = set()
        """Numbers of chunks that are being made, and whose files stay for that."""
        self.working = threading.Lock()
        """Held while files are written or exchanged."""

    def number(self) -> int:
        """A number that no file has, nor had."""
        taken = [*(each.entry.number for each in self.tiers.view.chunks), *self.unfinished]
        # a reader may still hold a chunk that was the last and is gone
        self._latest = max([self._latest, *taken]) + 1
        chunk.discard_unfinished(self.tiers.folder, taken)
        return self._latest

    def finished(self, number: int, counts: Mapping[str, int], bounds: Bounds) -> Chunk:
        """The chunk whose files were written; when this returns, they are on disk."""
        size = chunk.settle(self.tiers.folder, number)
        return chunk.load(self.tiers.folder, Entry(number, **counts, earliest=bounds[0], latest=bounds[1], bytes=size))

    def replace(self, old: Sequence[Chunk], made: Sequence[Chunk]) -> None:
        """Chunks by others.

        Raises:
            StoreUnavailable: the old ones stand.
        """
        self._exchange([], old, made, lambda: None)
        for each in old:
            chunk.discard(self.tiers.folder, each.entry.number)

    def sealed(self, generation: Generation, made: Sequence[Chunk], beside: Callable[[], None]) -> None:
        """A generation by a chunk; `beside` does what else belongs to the transaction.

        Raises:
            StoreUnavailable: the generation stands.
        """
        self._exchange([generation], [], made, beside)
        generation.journal.path.unlink(missing_ok=True)

    def _exchange(
        self,
        generations: Sequence[Generation],
        old: Sequence[Chunk],
        made: Sequence[Chunk],
        beside: Callable[[], None],
    ) -> None:
        with self._database.transaction():
            if old:
                self._database.rows(Query.DELETE_CHUNKS, {"numbers": [each.entry.number for each in old]})
            if made:
                entries = pa.Table.from_pylist([each.entry._asdict() for each in made], schema=ENTRIES)
                self._database.rows(Query.INSERT_CHUNKS, entries=entries)
            beside()
        self.tiers.exchange(generations, old, made)
