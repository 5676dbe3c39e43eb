"""Routes for the whole database: erasure by a business key, mapping rules and backups."""

import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from threading import Semaphore
from typing import TYPE_CHECKING, Annotated, Any, Final, Protocol

import yaml
from fastapi import APIRouter, Query, Response

from sagascope_collector.api.parameters import BusinessKeyQuery, NoParameters, new_router
from sagascope_collector.api.responses import DatabaseFile, described, json_response, responds
from sagascope_collector.backups import pieces
from sagascope_collector.client import schemas
from sagascope_collector.errors import Overloaded, Unavailable
from sagascope_collector.records import SagaId
from sagascope_collector.saga_filters import SagaFilters
from sagascope_collector.storage import SagaRow, Storage
from sagascope_collector.storage.connection import statements

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
    """Erases from the lake of which the storage is a copy; None: it is no copy."""

    def preview(self, request: schemas.ErasureRequest) -> schemas.ErasureResult:
        """Returns what `erase` would erase: all runs and names of an id are erased together.

        Waits for the summaries of records that were received before the call.
        """
        rows = self._matching(request)
        return self._result(rows, self._in_lake_only(request, rows), None)

    def erase(self, request: schemas.ErasureRequest) -> schemas.ErasureResult:
        """Erases the sagas that have the key.

        Raises:
            StorageUnavailable: the erasure is not finished; the next start, or another collector of the lake, does it.
            Unavailable: not all matching sagas are known yet; nothing was erased.
        """
        rows = self._matching(request)
        older = self._in_lake_only(request, rows)
        result = self._result(rows, older, 0)
        ids = list(dict.fromkeys([*(SagaId(row.key.environment, row.key.id) for row in rows), *older]))
        if self.lake and ids:
            records = self.lake.erase(ids, self._values(request))
        else:
            records = self.storage.erasure.erase(ids, self._values(request))
            self.on_erased(ids)
        return result.model_copy(update={"records": records})

    def _in_lake_only(self, request: schemas.ErasureRequest, rows: Sequence[SagaRow]) -> list[SagaId]:
        """Returns the matching sagas that are in the lake only."""
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
        """Waits until the summaries include all records stored by now: sagas are found by them.

        Raises:
            Unavailable: the summaries lag behind by more than `MAX_WAIT_SECONDS`.
        """
        started = time.monotonic()
        while (waited := time.monotonic() - started) < MAX_WAIT_SECONDS:
            changed = self.storage.changes.backlog()
            # a backlog that is younger than this wait has only records that were received after the call
            if not changed.sagas or changed.seconds < waited:
                return
            time.sleep(POLL_INTERVAL_SECONDS)
        raise Unavailable("Sagas with this key may be among the records that are not summarized yet. Try again later.")


def erasure_routes(eraser: Eraser, read_slot: Sequence[Any]) -> APIRouter:
    """Returns the routes; a preview takes a `read_slot`, as every read does."""
    router = new_router()

    @router.get("/api/v1/forget", dependencies=read_slot, **responds(schemas.ErasureResult))
    def preview(query: Annotated[BusinessKeyQuery, Query()]) -> Response:
        """Previews an erasure: every saga with a business key of this value."""
        return json_response(eraser.preview(schemas.ErasureRequest(**query.model_dump())))

    @router.post("/api/v1/forget", **responds(schemas.ErasureResult))
    def forget(request: schemas.ErasureRequest, _: Annotated[NoParameters, Query()]) -> Response:
        """Erases every saga with a business key of this value, also from disk.

        The call can take minutes. Records received later are stored as new.
        """
        return json_response(eraser.erase(request))

    return router


SQL: Final = statements("suggestions")

RECENT_RECORDS: int = 100_000
"""Number of the newest records of which spans without a saga are counted and examined."""

TECHNICAL_ATTRIBUTE: Final = re.compile(
    r"^(http|url|net|network|server|client|peer|rpc|db|thread|code|user_agent|otel|telemetry|process|host|k8s|container"
    r"|exception|error|feature_flag|messaging\.(batch|kafka|rabbitmq|destination|operation|client|system)|sagascope"
    r"|source|destination|faas|cloud|aws|gcp|tls|dns|cpu|disk|system|os|device|browser|session\.previous)[._]"
    r"|(^|[._])(port|size|length|count|duration|latency|version|timestamp|time|date|amount|price|quantity|total|ip)$"
)
"""Matches attributes that OpenTelemetry's conventions, or their names, show not to identify a transaction."""

REQUEST_ATTRIBUTE: Final = re.compile(
    r"(request|session|trace|span|correlation|message|event|user|customer|account|product|sku|item|tenant|enduser)"
    r"[._-]?(id|key|uuid|number|no|code)?$",
    re.IGNORECASE,
)
"""Matches attributes that identify a request, a person or a thing rather than a transaction."""

MAX_TRACES_OF_VALUE: Final = 20
"""A value of an attribute that has more traces on average is not the id of a transaction."""

MANY_TRACES_OF_VALUE: Final = 5

MAX_CANDIDATES: Final = 200
MAX_SUGGESTIONS: Final = 10


def recent_spans(storage: Storage) -> tuple[int, int]:
    """Returns the number of the newest spans, and how many of them belong to no saga."""
    ((spans, unassigned),) = storage.database.rows(SQL["count_recent_spans"], {"after": _recent_since(storage)})
    return spans, unassigned


def suggestions(storage: Storage) -> schemas.Suggestions:
    """Returns mapping rules for the newest spans that belong to no saga, the best first."""
    spans, unassigned = recent_spans(storage)
    values = {
        "after": _recent_since(storage),
        "excluded": TECHNICAL_ATTRIBUTE.pattern,
        "max_traces": MAX_TRACES_OF_VALUE,
        "limit": MAX_CANDIDATES,
    }
    rows = storage.database.rows(SQL["select_unassigned_attributes"], values)
    found = sorted((_suggestion(*row) for row in rows), key=itemgetter(0))
    return schemas.Suggestions(spans=spans, unassigned=unassigned, items=[each for _, each in found[:MAX_SUGGESTIONS]])


def _recent_since(storage: Storage) -> int:
    return max(0, storage.records.seq - RECENT_RECORDS)


def _suggestion(
    key: str, values: int, spans: int, traces: int, joined: int, services: int, example: str
) -> tuple[tuple[bool, int, int, int, str], schemas.Suggestion]:
    """Returns a suggestion after its rank; the least is the best."""
    is_likely = REQUEST_ATTRIBUTE.search(key) is None and traces <= MANY_TRACES_OF_VALUE * values
    rule = {"scope": "trace", "when": {"has": [key]}, "id": key, "name": {"constant": _saga_name(key)}}
    text = yaml.safe_dump({"rules": [rule]}, sort_keys=False, allow_unicode=True)
    suggestion = schemas.Suggestion(
        attribute=key,
        values=values,
        spans=spans,
        traces=traces,
        services=services,
        joined=joined,
        example=example.strip('"'),
        is_likely=is_likely,
        rule=text,
    )
    return (not is_likely, -bool(joined), -services, -values, key), suggestion


def _saga_name(key: str) -> str:
    """Returns the type of transaction that an attribute's name suggests: ``order`` for ``app.order.id``."""
    bare = re.sub(r"[._-]?(id|key|uuid|number|no)$", "", key, flags=re.IGNORECASE)
    return re.split(r"[._-]", bare or key)[-1] or key


MAX_COPIES: Final = 2
"""Copies of the database that are read at one time; each occupies disk space until its reader has all of it."""


def _size_and_pieces(storage: Storage, copies: Semaphore) -> Generator[bytes]:
    """Yields the size of a copy in bytes, as text, and then its content. Deletes the copy at the end."""
    if not copies.acquire(blocking=False):
        raise Overloaded(f"{MAX_COPIES} backups are being read already, and each occupies disk space meanwhile.")
    try:
        with storage.backups.copied() as copy:
            yield str(copy.stat().st_size).encode()
            yield from pieces(copy)
    finally:
        copies.release()


class Mapper(Protocol):
    """The mapping of stored records, as the API needs it. Thread-safe."""

    def state(self) -> schemas.Remapping:
        """Returns how far stored records are mapped."""
        ...

    def restart(self) -> None:
        """Reads the mapping file again, and applies it to all stored records in the background.

        Raises:
            Disabled: the collector runs without a mapping file.
            BadValue: the file is not valid.
        """
        ...


def mapping_routes(storage: Storage, mapper: Mapper, read_slot: Sequence[Any]) -> APIRouter:
    """Returns the routes that suggest mapping rules, and apply those of the mapping file to stored records."""
    router = new_router()

    @router.get("/api/v1/suggestions", dependencies=read_slot, **responds(schemas.Suggestions))
    def suggested_rules(_: Annotated[NoParameters, Query()]) -> Response:
        """Suggests mapping rules for recent spans that belong to no saga, the best first."""
        return json_response(suggestions(storage))

    @router.get("/api/v1/remap", **responds(schemas.Remapping))
    def remapping(_: Annotated[NoParameters, Query()]) -> Response:
        """Returns how far stored records are mapped by the current rules of the mapping file."""
        return json_response(mapper.state())

    @router.post("/api/v1/remap", **responds(schemas.Remapping, 403))
    def remap(_: Annotated[NoParameters, Query()]) -> Response:
        """Reads the mapping file again, and applies its rules to what is received and, in the background, stored."""
        mapper.restart()
        return json_response(mapper.state())

    return router


def backup_routes(storage: Storage) -> APIRouter:
    """Returns the routes of backups, which take no read slot: a backup may take minutes."""
    router, copies = new_router(), Semaphore(MAX_COPIES)

    @router.get("/api/v1/backup", response_class=DatabaseFile, responses=described(422, 503))
    def backup(_: Annotated[NoParameters, Query()]) -> Response:
        """Returns all stored data as a DuckDB database. Ingest continues meanwhile."""
        parts = _size_and_pieces(storage, copies)
        size = next(parts)  # the copy is complete
        answer = DatabaseFile(parts)
        answer.headers["Content-Length"] = size.decode()
        return answer

    @router.post("/api/v1/backups", **responds(schemas.Alive))
    def note_backup(written: schemas.BackupNote, _: Annotated[NoParameters, Query()]) -> Response:
        """Records the location of a backup. Erasures list it if the backup may hold an erased saga."""
        storage.backups.note(written.location)
        return json_response(schemas.Alive(status="ok", reasons=[]))

    return router
