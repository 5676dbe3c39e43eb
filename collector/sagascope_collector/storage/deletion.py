"""Deletes the records of sagas, and only those: an id may be in use in several environments, under several names."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
import pyarrow as pa

from sagascope import semconv
from sagascope_collector.records import SagaId
from sagascope_collector.storage import summaries, values
from sagascope_collector.storage.bounds import DOWNSAMPLED, Bounds, covering
from sagascope_collector.storage.changes import Changes
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.statements import load

SQL: Final = load("deletion")

LINKS: Final = pa.schema(
    [("trace_id", pa.binary()), ("span_id", pa.binary()), ("earlier", pa.string()), ("links", pa.string())]
)


class Deletion:
    """Deletes records, within transactions of those who decide what goes."""

    def __init__(self, database: Database, changes: Changes) -> None:
        self._database = database
        self._changes = changes

    def delete(self, where: Mapping[SagaId, Bounds], *, is_erasure: bool = False) -> int:
        """Deletes the records of these sagas; returns how many.

        A span that links make part of another saga stays, as a record of that one, until that is deleted. An erasure
        deletes it all the same, and takes out of other spans the links that name these sagas.
        """
        gone, deleted = summaries.ids_table(where), 0
        for first, last in covering(where.values()):
            span = {"first": first, "last": last}
            if is_erasure:
                self._cut_links(span, gone)
                self._database.rows(SQL["delete_links_of_spans"], span, gone=gone)
            values_ = {**span, "keeps_linked": not is_erasure}
            deleted += self._database.count(SQL["delete_spans"], values_, gone=gone)
            deleted += self._database.count(SQL["delete_logs"], span, gone=gone)
            deleted += self._delete_links(span, gone, is_erasure=is_erasure)
        if moves := sorted({each.move for each in where.values() if each.move}):
            moved = pa.table({"move": pa.array(moves, pa.uint64())})
            deleted += self._database.count(SQL["delete_moved_spans"], gone=gone, moved=moved)
            deleted += self._database.count(SQL["delete_moved_logs"], gone=gone, moved=moved)
        return deleted

    def delete_others(self, before: int, first: int, last: int) -> int:
        """Deletes records that are in no saga and were received before a moment, of some commits; returns how many."""
        span = {"before": before, "first": first, "last": last}
        return sum(self._database.count(SQL[f"delete_other_{kind}"], span) for kind in ("spans", "logs"))

    def _delete_links(self, span: Mapping[str, int], gone: pa.Table, *, is_erasure: bool) -> int:
        """Deletes what links say of these sagas, and the spans that were kept for their sake alone."""
        freed = self._database.arrow(SQL["select_linked_to"], span, gone=gone)
        if not freed.num_rows:
            return 0
        self._database.rows(SQL["delete_links"], span, gone=gone)
        waiting = summaries.ids_table(self._changes.all())
        values_ = {**span, "downsampled": DOWNSAMPLED.dump(), "in_none": not is_erasure}
        return self._database.count(SQL["delete_freed_spans"], values_, freed=freed, waiting=waiting)

    def _cut_links(self, span: Mapping[str, int], gone: pa.Table) -> None:
        found = self._database.rows(SQL["select_linking"], span, gone=gone)
        named = set(gone["id"].to_pylist())
        rows = [(trace_id, span_id, links, _without(links, named)) for trace_id, span_id, links in found]
        if rows:
            columns = [pa.array(each, kind.type) for each, kind in zip(zip(*rows, strict=True), LINKS, strict=True)]
            self._database.rows(SQL["update_links"], span, changed=pa.table(columns, schema=LINKS))


def _without(links: str, named: Iterable[str]) -> str:
    """Returns the stored form of links without those that name one of these sagas."""
    kept: list[Any] = [each for each in orjson.loads(links) if _saga_of(each) not in set(named)]
    return orjson.dumps(kept).decode() if kept else ""


def _saga_of(link: list[Any]) -> object:
    return values.attributes(link[2]).get(semconv.SAGA_ID)
