"""Erases sagas from disk completely: records, summaries, texts, and free blocks of the file.

A request is stored before it is carried out; after a crash it is carried out at the next start. Requests that arrive
during an erasure are carried out together, with one rewrite of the file.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

from sagascope_collector.errors import StorageUnavailable
from sagascope_collector.records import SagaId, SagaKey
from sagascope_collector.storage import summaries
from sagascope_collector.storage.changes import Changes
from sagascope_collector.storage.connection import IN_MEMORY, statements
from sagascope_collector.storage.copies import Rewriting
from sagascope_collector.storage.database import Database
from sagascope_collector.storage.incidents import AlertRecords, IncidentRecords
from sagascope_collector.storage.lookup import TraceIndex
from sagascope_collector.storage.records import Records
from sagascope_collector.storage.sagas import Sagas
from sagascope_collector.storage.schema import table
from sagascope_collector.storage.statistics import Baselines

SQL: Final = statements("erasure")

MIN_TEXT_LENGTH: Final = 4
"""Minimum length of a text that is searched for within other texts. Shorter texts must match completely."""


@dataclass(slots=True, eq=False)
class _Request:
    ids: Sequence[SagaId]
    texts: Sequence[str]
    removed: int | None = None
    """The number of erased records; None: not carried out yet."""
    failure: StorageUnavailable | None = None
    """Why the request was not carried out."""


@dataclass(eq=False)
class Erasure:
    """Carries out requests. Reads and appends continue meanwhile."""

    _database: Database
    _records: Records
    _sagas: Sagas
    _changes: Changes
    _incidents: IncidentRecords
    _alerts: AlertRecords
    _baselines: Baselines
    _traces: TraceIndex
    _rewriting: Rewriting
    _working: threading.Lock
    """The lock of maintenance."""
    _waiting: list[_Request] = field(default_factory=list)
    _queue: threading.Lock = field(default_factory=threading.Lock)
    """Held briefly, regardless of other locks."""
    progress: float | None = None
    """The share of the file that is rewritten; None: no erasure is running."""

    def erase(self, ids: Sequence[SagaId], texts: Iterable[str]) -> int:
        """Erases these sagas, and other data that contains one of the texts; returns the number of erased records.

        Records received later are new. It takes as long as copying the database.

        Raises:
            StorageUnavailable: the erasure is not finished; it is finished after the next start at the latest.
        """
        if not ids:
            return 0
        request = _Request(ids, list(texts))
        with self._queue:
            self._waiting.append(request)
        with self._working:
            if request.removed is None and request.failure is None:
                self._carry_out()
        if request.failure is not None:
            raise request.failure
        return request.removed or 0

    def resume(self) -> None:
        """Finishes requests that were interrupted by a crash or a full disk.

        Raises:
            StorageUnavailable: they are still not finished.
        """
        with self._working:
            found = self._database.rows(SQL["select_erasures"])
            if found:
                ids = list(dict.fromkeys(SagaId(environment, id_) for environment, id_, _ in found if id_))
                self._delete(ids, [text for *_, text in found])
                self._rewrite()

    def _carry_out(self) -> None:
        with self._queue:
            requests, self._waiting = self._waiting, []
        failure, removed = StorageUnavailable("The erasure was interrupted."), list[int]()
        try:
            self.progress = 0.0
            for each in requests:
                self._store(each)
                removed.append(self._delete(each.ids, [*(saga.id for saga in each.ids), *each.texts]))
            self._rewrite()
            for each, count in zip(requests, removed, strict=True):
                each.removed = count
        except StorageUnavailable as error:
            failure = error
        finally:
            self.progress = None
            for each in requests:
                each.failure = failure if each.removed is None else None

    def _store(self, request: _Request) -> None:
        rows = [*((*each, each.id) for each in request.ids), *(("", "", each) for each in request.texts)]
        self._database.rows(SQL["insert_erasures"], named=table("environment id text", rows))

    def _delete(self, ids: Sequence[SagaId], named: Sequence[str]) -> int:
        settled = summaries.ids_table(ids)
        with self._sagas.writing:
            with self._records.appending, self._database.transaction():
                removed = self._records.delete(self._sagas.bounds(ids), is_erasure=True)
                keys = self._incidents.named(settled)
                self._sagas.delete(ids)
                self._sagas.delete_terms(named)
                self._traces.clear()
                learned = self._database.rows(SQL["delete_baselines_of_ids"], settled=settled)
                self._database.rows(SQL["delete_changed_of_ids"], settled=settled)
                texts = table("text", zip(search_texts([*named, *keys]), strict=True))
                self._incidents.redact(settled, keys, texts)
                self._alerts.redact(texts)
                self._changes.drop(ids)
            self._sagas.erased(ids)
            self._baselines.forget(SagaKey(*row) for row in learned)
        self._incidents.redacted()
        return removed

    def _rewrite(self) -> None:
        """Replaces the file with a copy, without free blocks and without the stored requests."""
        if self._database.path == IN_MEMORY:
            self._database.rows(SQL["delete_erasures"])
            return
        new = Path(f"{self._database.path}.rewriting")
        with self._rewriting.copy(new, self._report, is_in_use=True):
            self._database.replace_with(new)

    def _report(self, share: float) -> None:
        self.progress = share


def search_texts(texts: Iterable[str]) -> list[str]:
    """Returns the texts to search for in documents and notes: as they are, and as a whole JSON string."""
    every = set(texts)
    long = {each for each in every if len(each) >= MIN_TEXT_LENGTH}
    return sorted({orjson.dumps(each).decode() for each in every} | long)
