"""Calls between services: orders, errors, retries with backoff and jitter, and callbacks that report a result later."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from json import JSONDecodeError
from typing import Any, Final, Self

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential, wait_random_exponential

import sagascope

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

log = logging.getLogger("calls")


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


class Peers:
    """The other services by name, over one connection pool."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls
        self._http = httpx.AsyncClient(timeout=TIMEOUT, trust_env=False)

    async def close(self) -> None:
        """Closes the connections; further calls fail."""
        await self._http.aclose()

    async def post(self, peer: str, path: str, body: Any, key: str, callback: str = "") -> bool:
        """Calls a service with an idempotency key and the context of the current saga.

        Returns:
            Whether the service accepted the work and calls back when it ends; otherwise it is done.

        Raises:
            Refused: The service refused the request.
            Unavailable: The service is unavailable, or its response is invalid.
            httpx.TransportError: The request failed, or the response was lost.
        """
        headers = {KEY_HEADER: key, CALLBACK_HEADER: callback}
        sagascope.inject(headers)
        response = await self._http.post(self._urls[peer] + path, json=body, headers=headers)
        if response.is_success:
            return response.status_code == HTTPStatus.ACCEPTED
        if response.status_code == STATUS_OF[Refused]:
            raise Refused(response.json()["error"])
        raise Unavailable(_reason(response))


def _reason(response: httpx.Response) -> str:
    if response.status_code == STATUS_OF[Unavailable]:
        return str(response.json()["error"])
    return f"{response.request.url} responded with status {response.status_code}"


def retrying(what: str) -> AsyncRetrying:
    """Retries errors that are `RETRYABLE` without end, with backoff and jitter; others propagate.

    Args:
        what: What is retried, for the log.
    """

    def log_retry(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        log.warning("%s failed: %s; retry in %.1f s", what, error or type(error).__name__, state.upcoming_sleep)

    # half of each pause is random, so that callers that failed together do not come back together
    half = INITIAL_BACKOFF_SECONDS / 2, MAX_BACKOFF_SECONDS / 2
    return AsyncRetrying(
        retry=retry_if_exception_type(RETRYABLE),
        wait=wait_exponential(*half) + wait_random_exponential(*half),
        before_sleep=log_retry,
    )


class BackgroundTasks:
    """Background tasks that end with the process."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Starts the work in a copy of the current context, so that it belongs to the same saga."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Cancels running tasks and waits for their end."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("A background task failed", exc_info=error)


class Callbacks:
    """Accepts work, executes it in the background, and reports its result to the orchestrator.

    Accepted work is kept in memory only, as in many real services: a process that is killed loses it, and never calls
    back.
    """

    def __init__(self, tasks: BackgroundTasks, peers: Peers) -> None:
        self._tasks = tasks
        self._peers = peers
        self._in_progress: set[str] = set()

    def accept(self, request: Request, work: Callable[[], Awaitable[Any]]) -> Response:
        """Responds with status 202 and starts the work, unless work with the same key is in progress.

        Raises:
            Refused: The request has no key, or no callback path.
        """
        key, path = request.headers.get(KEY_HEADER), request.headers.get(CALLBACK_HEADER, "")
        if not key or not path.startswith("/"):
            raise Refused(f"Accepted work needs the headers {KEY_HEADER} and {CALLBACK_HEADER}.")
        if key not in self._in_progress:
            self._in_progress.add(key)
            self._tasks.start(self._execute(key, path, work))
        return Response(status_code=202)

    async def _execute(self, key: str, path: str, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            result = await _result(work)
        finally:
            self._in_progress.discard(key)
        async for attempt in retrying(f"Callback to {path}"):
            with attempt:
                await self._peers.post("orchestrator", path, result, key)


async def _result(work: Callable[[], Awaitable[Any]]) -> dict[str, str]:
    """Executes the work and returns its result as the orchestrator receives it."""
    try:
        await work()
    except Refused as error:
        return {"ended": "refused", "error": str(error)}
    except Unavailable as error:
        return {"ended": "unavailable", "error": str(error)}
    return {"ended": "done"}


CURRENCIES = ("EUR", "GBP", "USD")
"""All have two decimals, so amounts are stored as integer cents."""

MAX_AMOUNT = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Order:
    """A payment, as the services behind the orchestrator know it."""

    payment: str
    order_id: str
    customer: str
    amount: Decimal
    currency: str

    @classmethod
    def read(cls, body: Any) -> Self:
        """Reads the JSON of a request.

        Raises:
            Refused: A value is missing or invalid.
        """
        try:
            texts = {field: str(body[field]) for field in ("payment", "order_id", "customer", "currency")}
            order = cls(**texts, amount=Decimal(body["amount"]))
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            raise Refused(
                "An order needs payment, order_id, customer, amount (a decimal string) and currency."
            ) from error
        order._check()
        return order

    def write(self) -> dict[str, str]:
        """Returns the JSON that `read` reads."""
        return {field: str(value) for field, value in asdict(self).items()}

    @property
    def cents(self) -> int:
        """The amount in cents."""
        return int(self.amount * 100)

    def _check(self) -> None:
        if not self.payment or self.currency not in CURRENCIES:
            raise Refused(f"A payment needs an id and one of the currencies {', '.join(CURRENCIES)}.")
        if not (self.amount.is_finite() and 0 < self.amount < MAX_AMOUNT and self.amount == round(self.amount, 2)):
            raise Refused(f"An amount must be above zero, below {MAX_AMOUNT}, and have at most two decimals.")


async def read_order(request: Request) -> tuple[Order, str]:
    """Returns the order in a request and its idempotency key.

    Raises:
        Refused: The order is missing or invalid, or there is no key.
    """
    try:
        body = await request.json()
    except JSONDecodeError as error:
        raise Refused("The body is not valid JSON.") from error
    key = request.headers.get(KEY_HEADER)
    if not key:
        raise Refused(f"The header {KEY_HEADER} is missing.")
    return Order.read(body), key
