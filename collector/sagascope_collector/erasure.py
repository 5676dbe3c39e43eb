"""Which sagas somebody wants to be forgotten, and the forgetting of them."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sagascope_collector.client import schemas
from sagascope_collector.records import SagaId
from sagascope_collector.storage import SagaFilter, SagaRow, Storage

PAGE: Final = 500
"""Summaries that are read together."""

SHOWN: Final = 50
"""Sagas that are named in the answer."""

PATIENCE: Final = 8.0
"""Seconds to wait for the summaries of what was received before the call."""

PAUSE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Eraser:
    """Forgets by business key."""

    storage: Storage
    stored_as: Callable[[str], str] = str
    """What scrubbing leaves of a text."""

    def preview(self, asked: schemas.Forget) -> schemas.Forgotten:
        """What would be forgotten: all sagas of an id go together, other runs and other names too.

        Summaries of what was received before the call are waited for.
        """
        return self._told(self._meant(asked), None)

    def forget(self, asked: schemas.Forget) -> schemas.Forgotten:
        """Forget the sagas that are meant.

        Raises:
            StorageUnavailable: it is not done; it is, at the latest, after the next start.
        """
        rows = self._meant(asked)
        told = self._told(rows, 0)
        ids = list(dict.fromkeys(SagaId(row.key.environment, row.key.id) for row in rows))
        return told.model_copy(update={"records": self.storage.erasure.erase(ids, self._values(asked))})

    def _told(self, rows: Sequence[SagaRow], records: int | None) -> schemas.Forgotten:
        backups = self.storage.backups.since(min(row.started_at for row in rows)) if rows else []
        items = [_named(row) for row in rows[:SHOWN]]
        return schemas.Forgotten(sagas=len(rows), records=records, items=items, backups=list(backups))

    def _values(self, asked: schemas.Forget) -> list[str]:
        return sorted({asked.value, self.stored_as(asked.value)})

    def _meant(self, asked: schemas.Forget) -> list[SagaRow]:
        self._wait()
        return [row for value in self._values(asked) for row in self._found(asked, value)]

    def _found(self, asked: schemas.Forget, value: str) -> Iterator[SagaRow]:
        cursor = None
        while True:
            narrowed = SagaFilter(environment=asked.environment, q=value)
            page = self.storage.listing.page(narrowed, limit=PAGE, cursor=cursor)
            yield from (row for row in page.rows if row.keys.get(asked.key) == value)
            cursor = page.next_cursor
            if not cursor:
                return

    def _wait(self) -> None:
        """Until summaries have seen all that is stored by now, or for as long as one can be asked to wait."""
        begun = time.monotonic()
        while (waited := time.monotonic() - begun) < PATIENCE:
            changed = self.storage.changes.backlog()
            if not changed.sagas or changed.seconds < waited:
                return
            time.sleep(PAUSE)


def _named(row: SagaRow) -> schemas.ForgottenSaga:
    environment, name, id_, run = row.key
    said = {"environment": environment, "name": name, "id": id_, "run": run, "status": row.status}
    return schemas.ForgottenSaga.model_validate(said)
