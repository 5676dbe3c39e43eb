"""How every route answers."""

from typing import Any

from fastapi import Response
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
