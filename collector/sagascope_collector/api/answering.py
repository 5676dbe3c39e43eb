"""How every route answers."""

from collections.abc import Iterable
from typing import Any

from fastapi import Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from sagascope_collector import wire
from sagascope_collector.api import problems


def answers(shape: type[wire.Wire], *refusals: int) -> dict[str, Any]:
    """What OpenAPI says of a route that answers `shape`."""
    return {"response_model": shape, "responses": problems.described(*refusals, 422, 503)}


def json(answer: BaseModel | str) -> Response:
    """An answer that nobody may keep: the next one may say something else."""
    text = answer if isinstance(answer, str) else answer.model_dump_json()
    return Response(text, media_type="application/json", headers={"Cache-Control": "no-store"})


class OtlpLines(StreamingResponse):
    """An answer in lines of JSON, sent as they are made."""

    media_type = "application/x-ndjson"

    def __init__(self, lines: Iterable[bytes] = (), status_code: int = 200) -> None:
        super().__init__(lines, status_code, headers={"Cache-Control": "no-store"})
