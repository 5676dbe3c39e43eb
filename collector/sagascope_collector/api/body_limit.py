"""The size limit of request bodies: the API reads short documents only."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from starlette.exceptions import HTTPException

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BODY_BYTES: Final = 1024 * 1024


class BodyLimit:
    """Middleware that refuses a request as soon as its body exceeds `MAX_BODY_BYTES`."""

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request."""
        held = 0

        async def counted() -> Message:
            nonlocal held
            message = await receive()
            held += len(message.get("body", b""))
            if held > MAX_BODY_BYTES:
                raise HTTPException(413, f"This request holds more than the {MAX_BODY_BYTES} bytes that it may.")
            return message

        await self._app(scope, counted, send)
