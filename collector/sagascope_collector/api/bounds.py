"""How much a request may bring: the API takes a few words, and never needs to hold more."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from starlette.exceptions import HTTPException

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MOST: Final = 1024 * 1024
"""Bytes of a body."""


class Bounded:
    """An application of which nobody makes it hold more of a body than `MOST`; such a request is refused at once."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        held = 0

        async def counted() -> Message:
            nonlocal held
            message = await receive()
            held += len(message.get("body", b""))
            if held > MOST:
                raise HTTPException(413, f"This request holds more than the {MOST} bytes that it may.")
            return message

        await self._app(scope, counted, send)
