"""Work that continues after its response: background tasks, and callbacks that report their result."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sagascope_samples.chassis._calls import (
    CALLBACK_HEADER,
    KEY_HEADER,
    RETRYABLE,
    Peers,
    Refused,
    Unavailable,
    backoffs,
)

log = logging.getLogger("chassis")


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
        for backoff in backoffs():
            try:
                await self._peers.post("orchestrator", path, result, key)
            except RETRYABLE as error:
                log.warning("Callback to %s failed: %s; retry in %.1f s", path, error, backoff)
                await asyncio.sleep(backoff)
            else:
                return


async def _result(work: Callable[[], Awaitable[Any]]) -> dict[str, str]:
    """Executes the work and returns its result as the orchestrator receives it."""
    try:
        await work()
    except Refused as error:
        return {"ended": "refused", "error": str(error)}
    except Unavailable as error:
        return {"ended": "unavailable", "error": str(error)}
    return {"ended": "done"}
