"""The route of SQL queries. One query runs at a time, with a lower priority than the rest of the collector."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Response

from sagascope_collector.api.answers import json, responds
from sagascope_collector.api.parameters import Nothing, no_repeats
from sagascope_collector.client import schemas
from sagascope_collector.errors import Disabled, Overloaded, ReadTooLong
from sagascope_collector.sql import Queries

WAIT_SECONDS: float = 2.0
"""Maximum time that a query waits while another one runs."""

GRACE_SECONDS: Final = 2.0
"""Time to wait for the answer after the query's timeout: DuckDB interrupts a query only between units of work."""

NICENESS: Final = 10
"""Niceness of the thread that runs queries. It lowers the priority, so that ingest goes first."""


class QuerySlot:
    """Runs one query at a time, in a separate thread."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._free = asyncio.Semaphore(1)
        self._thread = ThreadPoolExecutor(1, "sql", _lower_priority)

    async def answer(self, asked: schemas.SqlQuery) -> str:
        """Runs a query and returns the answer as JSON.

        Raises:
            Overloaded: another query is running.
            ReadTooLong: the query did not end in time.
        """
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._free.acquire()
        except TimeoutError as error:
            raise Overloaded("Another query is running, and one runs at a time. Try again in a few seconds.") from error
        running = asyncio.get_running_loop().run_in_executor(self._thread, self._run, asked)
        running.add_done_callback(self._ended)
        done, _ = await asyncio.wait([running], timeout=asked.timeout + GRACE_SECONDS)
        if not done:
            raise ReadTooLong("The query took too long and could not be interrupted yet; others wait until it ends.")
        return running.result()

    def _run(self, asked: schemas.SqlQuery) -> str:
        return self._queries.run(asked.query, limit=asked.limit, seconds=asked.timeout).json().decode()

    def _ended(self, running: asyncio.Future[str]) -> None:
        self._free.release()
        if not running.cancelled():
            running.exception()


def of_sql(queries: Queries | None) -> APIRouter:
    """Returns the route; `queries` is None if SQL is switched off."""
    router = APIRouter(dependencies=[Depends(no_repeats)], redirect_slashes=False)
    slot = QuerySlot(queries) if queries else None

    @router.post("/api/v1/sql", **responds(schemas.SqlResult, 403))
    async def sql(asked: schemas.SqlQuery, _: Annotated[Nothing, Query()]) -> Response:
        """Runs one SELECT over the views `spans`, `logs` and `sagas`, read-only, and returns its first rows."""
        if slot is None:
            raise Disabled("SQL is switched off here, as the API does not listen on loopback only; see serve --sql.")
        return json(await slot.answer(asked))

    return router


def _lower_priority() -> None:
    with suppress(AttributeError, OSError):  # only Linux has thread priorities
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
