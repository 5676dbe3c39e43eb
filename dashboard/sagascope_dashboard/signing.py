"""What becomes of a login that failed: Streamlit's routes lead back without a word, or to a bare page.

A failure is told to the page by the parameter ``login``, and nothing of its cause; that stands in the server's log.
"""

from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PARAMETER: Final = "login"
"""The parameter of an address that says how a login failed."""

REFUSED: Final = "refused"
"""The provider said no, or what it said could not be believed."""

UNREACHABLE: Final = "unreachable"
"""The provider could not be asked."""

_COOKIE: Final = "_streamlit_user="


class Failures:
    """Leads from a failed login to the page that says so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, but for the answers to a login that failed."""

        async def led(message: Message) -> None:
            await send(_redirected(scope, message))

        await self._app(scope, receive, led if scope["type"] == "http" and _of_login(scope["path"]) else send)


def _of_login(path: str) -> bool:
    return path.endswith(("/auth/login", "/oauth2callback"))


def _redirected(scope: Scope, message: Message) -> Message:
    if message["type"] != "http.response.start":
        return message
    if scope["path"].endswith("/auth/login"):
        return message if message["status"] < HTTPStatus.BAD_REQUEST else _led(message, "../", UNREACHABLE)
    answered = {"state", "error"} & parse_qs(scope["query_string"].decode("latin-1")).keys()
    return _led(message, "./", REFUSED) if answered and not _let_in(message) else message


def _let_in(message: Message) -> bool:
    cookies = Headers(raw=message["headers"]).getlist("set-cookie")
    return any(cookie.startswith(_COOKIE) and "max-age=0" not in cookie.lower() for cookie in cookies)


def _led(message: Message, to: str, failure: str) -> Message:
    led = {**message, "status": HTTPStatus.FOUND.value}
    MutableHeaders(scope=led)["Location"] = f"{to}?{PARAMETER}={failure}"
    return led
