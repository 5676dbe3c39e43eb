"""The routes that erase sagas by a business key."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Query, Response

from sagascope_collector.api.answers import json, responds
from sagascope_collector.api.parameters import BusinessKey, NoParameters, new_router
from sagascope_collector.client import schemas
from sagascope_collector.records import SagaId
from sagascope_collector.saga_filters import SagaFilters
from sagascope_collector.storage import SagaRow, Storage

if TYPE_CHECKING:
    from sagascope_collector.lake import LakeErasure

PAGE_SAGAS: Final = 500

MAX_LISTED_SAGAS: Final = 50
"""Maximum number of sagas listed in the answer; `sagas` is the number of all."""

MAX_WAIT_SECONDS: Final = 8.0
"""Maximum time to wait for the summaries of records that were received before the call."""

POLL_INTERVAL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Eraser:
    """Erases sagas by business key."""

    storage: Storage
    stored_as: Callable[[str], str] = str
    """Returns the form in which a text is stored after scrubbing."""
    on_erased: Callable[[Sequence[SagaId]], None] = lambda _: None
    """Called with the erased sagas, so that they are removed from memory as well."""
    lake: "LakeErasure | None" = None
    """What erases from the lake of which the storage is a copy."""

    def preview(self, request: schemas.ErasureRequest) -> schemas.ErasureResult:
        """Returns what `erase` would erase: all runs and names of an id are erased together.

        Waits for the summaries of records that were received before the call.
        """
        rows = self._matching(request)
        return self._result(rows, self._older(request, rows), None)

    def erase(self, request: schemas.ErasureRequest) -> schemas.ErasureResult:
        """Erases the sagas that have the key.

        Raises:
            StorageUnavailable: the erasure is not finished; the next start, or another collector of the lake, does it.
        """
        rows = self._matching(request)
        older = self._older(request, rows)
        result = self._result(rows, older, 0)
        ids = list(dict.fromkeys([*(SagaId(row.key.environment, row.key.id) for row in rows), *older]))
        if self.lake and ids:
            records = self.lake.erase(ids, self._values(request))
        else:
            records = self.storage.erasure.erase(ids, self._values(request))
            self.on_erased(ids)
        return result.model_copy(update={"records": records})

    def _older(self, request: schemas.ErasureRequest, rows: Sequence[SagaRow]) -> list[SagaId]:
        """Returns further sagas, which are in the lake only."""
        known = {SagaId(row.key.environment, row.key.id) for row in rows}
        found = self.lake.older(request.key, self._values(request)) if self.lake else []
        return [each for each in found if each not in known and request.environment in {None, each.environment}]

    def _result(self, rows: Sequence[SagaRow], older: Sequence[SagaId], records: int | None) -> schemas.ErasureResult:
        backups = self.storage.backups.since(min(row.started_at for row in rows)) if rows else []
        items = [
            schemas.ErasedSaga.model_validate(row.key._asdict() | {"status": row.status})
            for row in rows[:MAX_LISTED_SAGAS]
        ]
        return schemas.ErasureResult(sagas=len(rows) + len(older), records=records, items=items, backups=list(backups))

    def _values(self, request: schemas.ErasureRequest) -> list[str]:
        return sorted({request.value, self.stored_as(request.value)})

    def _matching(self, request: schemas.ErasureRequest) -> list[SagaRow]:
        if self.lake:
            self.lake.wait()
        self._wait()
        return [row for value in self._values(request) for row in self._pages(request, value)]

    def _pages(self, request: schemas.ErasureRequest, value: str) -> Iterator[SagaRow]:
        cursor = None
        while True:
            filter_ = SagaFilters(environment=request.environment, q=value)
            page = self.storage.listing.page(filter_, limit=PAGE_SAGAS, cursor=cursor)
            yield from (row for row in page.rows if row.keys.get(request.key) == value)
            cursor = page.next_cursor
            if not cursor:
                return

    def _wait(self) -> None:
        """Waits until the summaries include all records stored by now, or the time is up."""
        started = time.monotonic()
        while (waited := time.monotonic() - started) < MAX_WAIT_SECONDS:
            changed = self.storage.changes.backlog()
            if not changed.sagas or changed.seconds < waited:
                return
            time.sleep(POLL_INTERVAL_SECONDS)


def erasure_routes(eraser: Eraser, read_slot: Sequence[Any]) -> APIRouter:
    """Returns the routes; a preview takes a `read_slot`, as every read does."""
    router = new_router()

    @router.get("/api/v1/forget", dependencies=read_slot, **responds(schemas.ErasureResult))
    def preview(query: Annotated[BusinessKey, Query()]) -> Response:
        """Previews an erasure: every saga with a business key of this value."""
        return json(eraser.preview(schemas.ErasureRequest(**query.model_dump())))

    @router.post("/api/v1/forget", **responds(schemas.ErasureResult))
    def forget(request: schemas.ErasureRequest, _: Annotated[NoParameters, Query()]) -> Response:
        """Erases every saga with a business key of this value, also from disk.

        The call can take minutes. Records received later are stored as new.
        """
        return json(eraser.erase(request))

    return router
