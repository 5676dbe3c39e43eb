"""The routes that erase sagas by a business key."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from sagascope_collector.api.answering import answers, json
from sagascope_collector.api.parameters import Nothing, OfKey, no_repeats
from sagascope_collector.client import schemas
from sagascope_collector.erasure import Eraser


def of_erasure(eraser: Eraser, read_slot: Sequence[Any]) -> APIRouter:
    """Returns the routes; a preview takes a `read_slot`, as every read does."""
    router = APIRouter(dependencies=[Depends(no_repeats)], redirect_slashes=False)

    @router.get("/api/v1/forget", dependencies=read_slot, **answers(schemas.Forgotten))
    def what_would_go(asked: Annotated[OfKey, Query()]) -> Response:
        """What forgetting would remove: every saga with a business key of this value."""
        return json(eraser.preview(schemas.Forget(**asked.model_dump())))

    @router.post("/api/v1/forget", **answers(schemas.Forgotten))
    def forget(asked: schemas.Forget, _: Annotated[Nothing, Query()]) -> Response:
        """Remove every saga with a business key of this value, so that nothing of it is left on disk.

        It may take minutes; what is received later is new.
        """
        return json(eraser.erase(asked))

    return router
