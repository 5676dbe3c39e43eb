"""How every route answers."""

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from sagascope_collector import wire
from sagascope_collector.api import problems
from sagascope_collector.backups import archive
from sagascope_collector.store.contract import Store


def answers(shape: type[wire.Wire], *refusals: int) -> dict[str, Any]:
    """What OpenAPI says of a route that answers `shape`."""
    return {"response_model": shape, "responses": problems.described(*refusals, 422, 503)}


def json(answer: BaseModel | str) -> Response:
    """An answer that nobody may keep: the next one may say something else."""
    text = answer if isinstance(answer, str) else answer.model_dump_json()
    return Response(text, media_type="application/json", headers={"Cache-Control": "no-store"})


class Streamed(StreamingResponse):
    """An answer that is sent as it is made."""

    def __init__(self, pieces: Iterable[bytes] = (), status_code: int = 200) -> None:
        super().__init__(pieces, status_code, headers={"Cache-Control": "no-store"})


class OtlpLines(Streamed):
    """An answer in lines of JSON."""

    media_type = "application/x-ndjson"


class Archive(Streamed):
    """A tar archive."""

    media_type = "application/x-tar"


def copied(store: Store) -> Iterator[bytes]:
    """A backup of a store, whose copy was made when this returns.

    Raises:
        StoreUnavailable: none can be made.
    """
    pieces = _archived(store)
    next(pieces)
    return pieces


def _archived(store: Store) -> Iterator[bytes]:
    with store.copied() as parts:
        yield b""
        yield from archive(parts)
