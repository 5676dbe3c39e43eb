"""Login by OpenID Connect, where the operator of the dashboard configures it: Streamlit's own, off by default."""

from http import HTTPStatus
from importlib.util import find_spec
from typing import Final
from urllib.parse import parse_qs

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sagascope_dashboard.components.elements import h
from sagascope_dashboard.components.renderer import render

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


WELCOME = "Transactions are shown to those who are."
FAILED = {
    REFUSED: "You were not let in: the login was refused, or what came back could not be trusted.",
    UNREACHABLE: "Who says who you are does not answer. Try again in a moment.",
}


def wanted() -> bool:
    """Whether a login is asked for, and this reader has not logged in."""
    return getattr(st.user, "is_logged_in", None) is False


def draw() -> None:
    """Instead of every screen: the way in."""
    st.set_page_config(page_title="Log in · Sagascope")
    if find_spec("authlib") is None:
        said = "This dashboard asks for a login, and cannot: its server lacks a package."
        hint = "Its operator runs: pip install 'streamlit[auth]'"
        render("login", h("section", h("h1", "Log in"), h("p", said), h("p", hint, cls="hint"), cls="trouble"))
        return
    failed = FAILED.get(st.query_params.get(PARAMETER, ""))
    cause = [h("p", "The cause is in the dashboard's log, for its operator.", cls="hint")] if failed else []
    render("login", h("section", h("h1", "Log in"), h("p", failed or WELCOME), *cause, cls="trouble"))
    st.button("Try again" if failed else "Log in", on_click=st.login, key="log-in")


def name() -> str:
    """Who is logged in, where the dashboard asks for that; else nothing."""
    user = st.user.to_dict() if getattr(st.user, "is_logged_in", False) else {}
    return str(user.get("name") or user.get("email") or "")


def out() -> None:
    """The way out, for who has logged in."""
    if getattr(st.user, "is_logged_in", False):
        st.button("Log out", on_click=st.logout, key="log-out")
