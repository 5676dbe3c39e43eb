"""Work that is taken with 202 and answered by a call back."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sagascope_samples.chassis._errors import Refused, Unavailable
from sagascope_samples.chassis._peers import CALL_BACK_HEADER, KEY_HEADER, Peers
from sagascope_samples.chassis._retry import NOT_NOW, pauses
from sagascope_samples.chassis._tasks import Tasks

log = logging.getLogger("chassis")


class Later:
    """Takes work, does it in the background, and tells the orchestrator how it ended.

    What was taken is kept in memory only, as in many a real service: a process that is killed forgets it, and its
    call back never comes.
    """

    def __init__(self, tasks: Tasks, peers: Peers) -> None:
        self._tasks = tasks
        self._peers = peers
        self._taken: set[str] = set()

    def take(self, request: Request, work: Callable[[], Awaitable[Any]]) -> Response:
        """Answer 202 and start the work; a key whose work is under way is not started again.

        Raises:
            Refused: the request names no key, or nothing to call back.
        """
        key, path = request.headers.get(KEY_HEADER), request.headers.get(CALL_BACK_HEADER, "")
        if not key or not path.startswith("/"):
            raise Refused(f"Work that is answered later needs the headers {KEY_HEADER} and {CALL_BACK_HEADER}.")
        if key not in self._taken:
            self._taken.add(key)
            self._tasks.start(self._do(key, path, work))
        return Response(status_code=202)

    async def _do(self, key: str, path: str, work: Callable[[], Awaitable[Any]]) -> None:
        try:
            result = await _end_of(work)
        finally:
            self._taken.discard(key)
        for pause in pauses():
            try:
                await self._peers.post("orchestrator", path, result, key)
            except NOT_NOW as error:
                log.warning("Calling %s back failed: %s; next try in %.1f s", path, error, pause)
                await asyncio.sleep(pause)
            else:
                return


async def _end_of(work: Callable[[], Awaitable[Any]]) -> dict[str, str]:
    """How the work ended, as the orchestrator is told."""
    try:
        await work()
    except Refused as error:
        return {"ended": "refused", "error": str(error)}
    except Unavailable as error:
        return {"ended": "unavailable", "error": str(error)}
    return {"ended": "done"}
