"""Limits of concurrent reads and SQL queries, of their duration, and of bodies. They leave capacity for ingest."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sagascope_collector.api.sql import Queries
from sagascope_collector.client import schemas
from sagascope_collector.errors import Overloaded, ReadTooLong
from sagascope_collector.storage import within

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
