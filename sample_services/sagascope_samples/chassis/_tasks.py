"""Work that goes on after the request that asked for it was answered."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("chassis")


class Tasks:
    """Holds on to background work, and ends it with the process."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start it in a copy of the current context, so that what it does belongs to the same saga."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Cancel what still runs, and wait until it has ended."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("Work in the background failed", exc_info=error)
