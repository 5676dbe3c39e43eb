"""The two ways in which a service says no, and what they are in HTTP."""

from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse


class Refused(Exception):
    """The answer is no, and will stay no. Nothing was done."""


class Unavailable(Exception):
    """Not now; the same request may succeed later. Nothing was done."""


STATUS_OF: Final[dict[type[Exception], HTTPStatus]] = {
    Refused: HTTPStatus.UNPROCESSABLE_ENTITY,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""One table for both directions: answers are written with it, and read with it."""


async def say_no(_request: Request, error: Exception) -> JSONResponse:
    """Answer a request that ended in one of the two."""
    return JSONResponse({"error": str(error)}, status_code=STATUS_OF[type(error)])
