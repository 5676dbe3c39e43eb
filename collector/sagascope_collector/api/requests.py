"""What a call may ask for: its parameters, validated by pydantic, and the limits that leave capacity for ingest.

Unknown parameters are refused. The limits apply to concurrent reads and SQL queries, to their duration, and to bodies.
"""

import asyncio
import os
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator, BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sagascope_collector.api.sql import Queries
from sagascope_collector.client import schemas
from sagascope_collector.durations import parse_duration
from sagascope_collector.errors import BadValue, Overloaded, ReadTooLong
from sagascope_collector.saga_filters import Order, SagaFilters, Text, Word
from sagascope_collector.storage import within

DEFAULT_PAGE_ROWS: int = 50
"""Default number of sagas on a page."""

MAX_PAGE_ROWS: int = 500
"""Maximum number of sagas on a page."""

MAX_PAGE_TASKS: int = 100
"""Maximum and default number of tasks on a page: the verdict of each is derived for the call."""

MAX_WINDOW_SECONDS: Final = 400 * 86_400
"""The retention period of statistics."""


def _valid_window(text: str) -> str:
    try:
        seconds = parse_duration(text)
    except BadValue as error:
        raise ValueError(str(error)) from error
    if not 1 <= seconds <= MAX_WINDOW_SECONDS:
        raise ValueError("write a window from 1s to 400d, such as 15m, 24h or 7d")
    return text


class NoParameters(BaseModel, extra="forbid"):
    """Parameters of a call that takes none."""


class Search(NoParameters):
    """Parameters of a search."""

    q: Word


class OneSaga(NoParameters):
    """Selects among the sagas of one name and id."""

    environment: Text | None = None
    run: Text | None = None


class NamedSaga(OneSaga):
    """Selects a saga by its name and id, which may contain any character."""

    name: Word
    id: Word


class IncidentListing(NoParameters):
    """Filters of the list of incidents."""

    state: schemas.IncidentState | None = None


class BusinessKey(NoParameters):
    """Selects sagas by a business key."""

    key: Word
    value: Word
    environment: Text | None = None


WindowText = Annotated[str, AfterValidator(_valid_window)]


class Counting(SagaFilters):
    """The filters of the sagas that are counted, and the window, which ends at `until`, else now."""

    window: WindowText = "24h"


class Window(NoParameters):
    """The time window and environment for which steps are counted."""

    window: WindowText = "24h"
    environment: Text | None = None

    @property
    def seconds(self) -> int:
        """The length of the window in seconds."""
        return int(parse_duration(self.window))


class CallWindow(Window):
    """The time window and environment for which calls between services are counted."""

    window: WindowText = "1h"


class TaskListing(NoParameters):
    """Selects a page of the tasks of an incident."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE_TASKS)] = MAX_PAGE_TASKS
    cursor: Word | None = None


class Listing(SagaFilters):
    """The filters of a list of sagas, its order, and the page that is requested."""

    sort: schemas.SagaOrder = "-started"
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE_ROWS)] = DEFAULT_PAGE_ROWS
    cursor: Word | None = None

    @property
    def order(self) -> Order:
        """The order in the form that the store expects."""
        return Order(self.sort.removeprefix("-"), self.sort.startswith("-"))


async def refuse_repeated(request: Request) -> None:
    """Refuses a repeated parameter, because the intended value is ambiguous.

    Raises:
        BadValue: a parameter is repeated; the message names it.
    """
    times = Counter(name for name, _ in request.query_params.multi_items())
    twice = next((name for name, number in times.items() if number > 1), None)
    if twice is not None:
        raise BadValue(f"{twice!r} is given {times[twice]} times.")


def new_router() -> APIRouter:
    """Returns a router whose routes refuse repeated parameters and paths that differ by a slash."""
    return APIRouter(dependencies=[Depends(refuse_repeated)], redirect_slashes=False)


MAX_WAITING_CALLS: Final = 256
"""Maximum number of calls that wait for a slot; further calls are refused with a time to retry."""


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Limits of the number and duration of concurrent reads."""

    readers: int = 4
    """Calls that read concurrently; others wait in the order of their arrival."""
    seconds: float = 10.0
    """Maximum time that a call waits for a slot, and again the maximum time that it reads."""


class ReadSlots:
    """Assigns read slots to calls. Not thread-safe: all calls must be on one event loop."""

    def __init__(self, limits: ReadLimits) -> None:
        self._limits = limits
        self._free = asyncio.Semaphore(limits.readers)
        self._waiting = 0

    async def hold(self) -> AsyncIterator[None]:
        """Holds a slot while a route runs, but not while its answer is sent: a dependency of the scope ``function``.

        Raises:
            Overloaded: no slot became free in time, or too many calls are waiting.
        """
        await self._wait()
        try:
            with within(self._limits.seconds):
                yield
        finally:
            self._free.release()

    async def _wait(self) -> None:
        if self._waiting >= MAX_WAITING_CALLS:
            raise Overloaded(f"{MAX_WAITING_CALLS} calls are already waiting for an answer.")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise Overloaded("Too many calls are reading; no read slot became free in time.") from error
        finally:
            self._waiting -= 1


MAX_QUERY_WAIT_SECONDS: float = 2.0
"""Maximum time that a query waits while another one runs."""

QUERY_GRACE_SECONDS: Final = 2.0
"""Time to wait for the answer after the query's timeout: DuckDB interrupts a query only between units of work."""

QUERY_NICENESS: Final = 5
"""Niceness of the thread that runs queries: ingest gets three times its share of a busy processor. With 10, a small
query did not end in 10 s on a machine that was busy with other work."""


class QuerySlot:
    """Runs one query at a time, in a separate thread."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._free = asyncio.Semaphore(1)
        self._thread = ThreadPoolExecutor(1, "sql", _lower_priority)

    async def answer(self, request: schemas.SqlQuery) -> str:
        """Runs a query and returns the answer as JSON.

        Raises:
            Overloaded: another query is running.
            ReadTooLong: the query did not end in time.
        """
        try:
            async with asyncio.timeout(MAX_QUERY_WAIT_SECONDS):
                await self._free.acquire()
        except TimeoutError as error:
            raise Overloaded(
                "Another query is running; only one runs at a time. Try again in a few seconds."
            ) from error
        running = asyncio.get_running_loop().run_in_executor(self._thread, self._run, request)
        # the slot stays occupied until the thread is free, even if the answer is no longer waited for
        running.add_done_callback(self._release)
        done, _ = await asyncio.wait([running], timeout=request.timeout + QUERY_GRACE_SECONDS)
        if not done:
            raise ReadTooLong(
                "The query exceeded its timeout and is still being interrupted; further queries wait until it ends."
            )
        return running.result()

    def _run(self, request: schemas.SqlQuery) -> str:
        return self._queries.run(request.query, limit=request.limit, seconds=request.timeout).json().decode()

    def _release(self, running: asyncio.Future[str]) -> None:
        self._free.release()
        if not running.cancelled():
            running.exception()  # else asyncio logs an error that was not retrieved


def _lower_priority() -> None:
    if sys.platform == "linux":  # elsewhere priorities are of processes, and the number could be that of another one
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), QUERY_NICENESS)


MAX_BODY_BYTES: Final = 1024 * 1024

BODY_SECONDS: Final = 10.0
"""Maximum time for a body to arrive. After it the request is refused and its connection is closed."""


class BodyLimit:
    """Middleware that refuses a body that exceeds `MAX_BODY_BYTES` or takes longer than `BODY_SECONDS` to arrive."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        body_bytes, more = 0, True
        deadline = asyncio.get_running_loop().time() + BODY_SECONDS

        async def counted() -> Message:
            nonlocal body_bytes, more
            if not more:  # the message after the body is the disconnect, which may come at any time
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(
                    408, f"The request did not arrive within {BODY_SECONDS:.0f} s.", {"Connection": "close"}
                ) from error
            more = message.get("more_body", False)
            body_bytes += len(message.get("body", b""))
            if body_bytes > MAX_BODY_BYTES:
                raise HTTPException(413, f"The body exceeds the limit of {MAX_BODY_BYTES} bytes.")
            return message

        await self._app(scope, counted, send)
