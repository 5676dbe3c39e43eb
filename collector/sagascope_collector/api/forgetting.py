"""The route by which sagas are forgotten."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from sagascope_collector.api.answering import answers, json
from sagascope_collector.api.parameters import Nothing, OfKey, said_once
from sagascope_collector.client import schemas
from sagascope_collector.erasure import Eraser


def of_forgetting(forgetter: Eraser, turn: Sequence[Any]) -> APIRouter:
    """The routes over a store; who only asks waits for a `turn` to read, as others do."""
    router = APIRouter(dependencies=[Depends(said_once)], redirect_slashes=False)

    @router.get("/api/v1/forget", dependencies=turn, **answers(schemas.Forgotten))
    def what_would_go(asked: Annotated[OfKey, Query()]) -> Response:
        """What forgetting would remove: every saga with a business key of this value."""
        return json(forgetter.preview(schemas.Forget(**asked.model_dump())))

    @router.post("/api/v1/forget", **answers(schemas.Forgotten))
    def forget(asked: schemas.Forget, _: Annotated[Nothing, Query()]) -> Response:
        """Remove every saga with a business key of this value, so that nothing of it is left on disk.

        It may take minutes; what is received later is new.
        """
        return json(forgetter.erase(asked))

    return router
