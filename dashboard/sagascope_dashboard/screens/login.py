"""Login by OpenID Connect, where the operator of the dashboard configures it: Streamlit's own, off by default."""

from http import HTTPStatus
from importlib.util import find_spec
from typing import Final
from urllib.parse import parse_qs

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sagascope_dashboard.components.elements import h, message, render

PARAMETER: Final = "login"
"""The URL parameter with the reason of a failed login."""

REFUSED: Final = "refused"
"""The provider refused, or its answer could not be verified."""

UNREACHABLE: Final = "unreachable"
"""The provider did not answer."""

_COOKIE: Final = "_streamlit_user="


class LoginFailures:
    """Redirects a failed login to the page that reports it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on, except the responses to a login that failed."""

        async def send_redirected(message: Message) -> None:
            await send(_redirected(scope, message))

        is_login = scope["type"] == "http" and scope["path"].endswith(("/auth/login", "/oauth2callback"))
        await self._app(scope, receive, send_redirected if is_login else send)


def _redirected(scope: Scope, message: Message) -> Message:
    if message["type"] != "http.response.start":
        return message
    if scope["path"].endswith("/auth/login"):
        return message if message["status"] < HTTPStatus.BAD_REQUEST else _redirect(message, "../", UNREACHABLE)
    has_answer = {"state", "error"} & parse_qs(scope["query_string"].decode("latin-1")).keys()
    return _redirect(message, "./", REFUSED) if has_answer and not _sets_user(message) else message


def _sets_user(message: Message) -> bool:
    cookies = Headers(raw=message["headers"]).getlist("set-cookie")
    return any(cookie.startswith(_COOKIE) and "max-age=0" not in cookie.lower() for cookie in cookies)


def _redirect(message: Message, to: str, failure: str) -> Message:
    redirect = {**message, "status": HTTPStatus.FOUND.value}
    MutableHeaders(scope=redirect)["Location"] = f"{to}?{PARAMETER}={failure}"
    return redirect


WELCOME_TEXT = "Log in to see transactions."
FAILURE_TEXTS = {
    REFUSED: "The login failed: the provider refused it, or its answer could not be verified.",
    UNREACHABLE: "The login provider does not answer. Try again in a moment.",
}


def is_required() -> bool:
    """Returns whether a login is required, and this reader has not logged in."""
    # Streamlit's user has this attribute only where its secrets configure a login
    return getattr(st.user, "is_logged_in", None) is False


def page() -> None:
    """Renders the login page in place of every screen."""
    st.set_page_config(page_title="Log in · Sagascope")
    if find_spec("authlib") is None:
        text = "This dashboard requires a login, but its server lacks a package."
        install = "The operator runs: pip install 'streamlit[auth]'"
        render("login", message("Log in", text, h("p", install, cls="hint")))
        return
    failure = FAILURE_TEXTS.get(st.query_params.get(PARAMETER, ""))
    hint = [h("p", "The operator finds the cause in the dashboard's log.", cls="hint")] if failure else []
    render("login", message("Log in", failure or WELCOME_TEXT, *hint))
    st.button("Try again" if failure else "Log in", on_click=st.login, key="log-in")


def user_name() -> str:
    """Returns the name of the reader who is logged in; ``""`` where the dashboard requires no login."""
    user = st.user.to_dict() if getattr(st.user, "is_logged_in", False) else {}
    return str(user.get("name") or user.get("email") or "")


def render_logout() -> None:
    """Renders the button to log out, if the reader is logged in."""
    if getattr(st.user, "is_logged_in", False):
        button = h("button", "Log out", type="button", cls="action", data_choice="log-out")
        render("log-out", button, width="content", on_choice=lambda _: st.logout())
