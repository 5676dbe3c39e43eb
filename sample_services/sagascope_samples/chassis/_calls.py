"""Calls to the other services: their errors, and their retries with exponential backoff and jitter."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count
from random import SystemRandom
from typing import Any, Final, TypeVar

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse

import sagascope
from sagascope import Attempt

KEY_HEADER = "Idempotency-Key"
"""Two requests with the same key ask for the same work, which is executed once."""

CALLBACK_HEADER = "Call-Back"
"""The caller's path for a ``POST`` when the work is accepted now and executed later."""

TIMEOUT = httpx.Timeout(5.0, read=None)
"""Connecting fails after 5 s; an accepted request may take any time."""

INITIAL_BACKOFF_SECONDS = 0.2
"""Upper bound of the pause before the second attempt."""

MAX_BACKOFF_SECONDS = 5.0
"""Upper bound of every pause, so that a service that returns is called soon."""

MAX_BACKOFF_EXPONENT = 20

Result = TypeVar("Result")

log = logging.getLogger("chassis")


class Refused(Exception):
    """The service refuses the request for good. Nothing was executed."""


class Unavailable(Exception):
    """The service cannot execute the request now; the same request may succeed later. Nothing was executed."""


STATUS_OF: Final[dict[type[Exception], HTTPStatus]] = {
    Refused: HTTPStatus.UNPROCESSABLE_ENTITY,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The statuses of both errors, for writing responses and for reading them."""

RETRYABLE = (Unavailable, httpx.TransportError)
"""Errors that are retried: the service is unavailable, or the connection failed and the outcome is unknown."""


async def respond_with_error(_request: Request, error: Exception) -> JSONResponse:
    """Returns the response to a request that failed with one of the two errors."""
    return JSONResponse({"error": str(error)}, status_code=STATUS_OF[type(error)])


@dataclass(frozen=True, slots=True)
class Reply:
    """The response of another service. If it is `accepted`, the service calls back when the work ends."""

    body: Any
    accepted: bool


class Peers:
    """The other services by name, over one connection pool."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls
        self._http = httpx.AsyncClient(timeout=TIMEOUT, trust_env=False)

    async def close(self) -> None:
        """Closes the connections; further calls fail."""
        await self._http.aclose()

    async def post(self, peer: str, path: str, body: Any, key: str, callback: str = "") -> Reply:
        """Calls a service with an idempotency key and the context of the current saga.

        Raises:
            Refused: The service refused the request.
            Unavailable: The service is unavailable, or its response is invalid.
            httpx.TransportError: The request failed, or the response was lost.
        """
        headers = {KEY_HEADER: key, CALLBACK_HEADER: callback}
        sagascope.inject(headers)
        response = await self._http.post(self._urls[peer] + path, json=body, headers=headers)
        if response.is_success:
            is_accepted = response.status_code == HTTPStatus.ACCEPTED
            return Reply(response.json() if response.content else None, is_accepted)
        if response.status_code == STATUS_OF[Refused]:
            raise Refused(response.json()["error"])
        raise Unavailable(_reason(response))


def _reason(response: httpx.Response) -> str:
    if response.status_code == STATUS_OF[Unavailable]:
        return str(response.json()["error"])
    return f"{response.request.url} responded with status {response.status_code}"


def backoffs(initial: float = INITIAL_BACKOFF_SECONDS, maximum: float = MAX_BACKOFF_SECONDS) -> Iterator[float]:
    """Yields the seconds to wait after the first attempt, the second, and so on: about doubled each time.

    Each is a random value from the upper half of its range, so that many callers do not retry at the same moment.
    """
    random = SystemRandom()
    for exponent in count():
        upper = min(maximum, initial * 2 ** min(exponent, MAX_BACKOFF_EXPONENT))
        yield random.uniform(upper / 2, upper)


async def retried(open_attempt: Callable[[int], Attempt], work: Callable[[], Awaitable[Result]]) -> Result:
    """Executes the work until it succeeds, each time in a new attempt; an error that is not `RETRYABLE` propagates."""
    for number, backoff in enumerate(backoffs(), 1):
        try:
            return await _execute(open_attempt(number), work, backoff)
        except RETRYABLE as error:
            log.warning("Attempt %d failed: %s; retry in %.1f s", number, error or type(error).__name__, backoff)
            await asyncio.sleep(backoff)
    raise AssertionError  # backoffs are endless


async def _execute(attempt: Attempt, work: Callable[[], Awaitable[Result]], backoff: float) -> Result:
    with attempt:
        try:
            return await work()
        except RETRYABLE:
            attempt.retry_in = backoff
            raise
