"""How every route answers."""

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from sagascope_collector.api import problems
from sagascope_collector.backups import pieces
from sagascope_collector.client import schemas
from sagascope_collector.storage import Storage


def answers(shape: type[schemas.Wire], *refusals: int) -> dict[str, Any]:
    """What OpenAPI says of a route that answers `shape`."""
    return {"response_model": shape, "responses": problems.described(*refusals, 422, 503)}


def json(answer: BaseModel | str) -> Response:
    """Returns an answer that must not be cached: the next one may differ."""
    text = answer if isinstance(answer, str) else answer.model_dump_json()
    return Response(text, media_type="application/json", headers={"Cache-Control": "no-store"})


class Streamed(StreamingResponse):
    """An answer that is sent as it is made."""

    def __init__(self, pieces: Iterable[bytes] = (), status_code: int = 200) -> None:
        super().__init__(pieces, status_code, headers={"Cache-Control": "no-store"})


class OtlpLines(Streamed):
    """An answer in lines of JSON."""

    media_type = "application/x-ndjson"


class DatabaseFile(Streamed):
    """A DuckDB database."""

    media_type = "application/vnd.duckdb"


def database_file(storage: Storage) -> DatabaseFile:
    """Returns a copy of the database, which was made when this returns.

    Raises:
        StorageUnavailable: none can be made.
    """
    sent = _sent(storage)
    size = int(next(sent))
    answer = DatabaseFile(sent)
    answer.headers["Content-Length"] = str(size)
    return answer


def _sent(storage: Storage) -> Iterator[bytes]:
    """Returns the size of a copy, as text, and then its bytes; the copy is removed at the end."""
    with storage.backups.copied() as copy:
        yield str(copy.stat().st_size).encode()
        yield from pieces(copy)
