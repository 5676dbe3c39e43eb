"""The dashboard as an ASGI application: Streamlit around ``app.py``, with security headers.

The content security policy lets the browser load, run and call nothing but this server, whatever a screen shows.
"""

import base64
import hashlib
import logging
import os
import re
from pathlib import Path

import streamlit as st
from starlette import status
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sagascope_collector.client.hosts import FOREIGN_ORIGIN, UNKNOWN_HOST, KnownHosts
from sagascope_dashboard.launch import HOSTS_VARIABLE
from sagascope_dashboard.screens.login import LoginFailures

_LOG = logging.getLogger(__name__)


def content_security_policy() -> str:
    """Returns the content security policy.

    Components come as blobs, styles are written by Streamlit's own code as the page runs, and its page begins with
    a script in the document, which is allowed by its hash.
    """
    rules = {
        "default-src": "'self'",
        "script-src": f"'self' blob: 'wasm-unsafe-eval' {' '.join(_inline_script_hashes())}".strip(),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "frame-ancestors": "'self'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _inline_script_hashes() -> list[str]:
    page = (Path(st.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts]


METRICS_PATH = "/_stcore/metrics"
"""Streamlit's own metrics: it serves them to everybody, before any login."""


class SecurityHeaders:
    """Adds the security headers to every response, and hides Streamlit's metrics."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = {
            "Content-Security-Policy": content_security_policy(),
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Adds the headers to HTTP responses."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        answer = PlainTextResponse("Not found", 404) if scope["path"].rstrip("/").endswith(METRICS_PATH) else self._app

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        return await answer(scope, receive, send_with_headers)


class HostGuard:
    """Answers to known hosts only, over HTTP and WebSocket: the dashboard holds a token that a page must not use."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._hosts = KnownHosts.of(os.environ.get(HOSTS_VARIABLE, "").split())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses calls by an unknown name, and from pages of another server."""
        if scope["type"] not in {"http", "websocket"}:
            return await self._app(scope, receive, send)
        host = self._hosts.unknown(scope["headers"])
        origin = self._hosts.foreign_origin(scope["headers"])
        if host is None and origin is None:
            return await self._app(scope, receive, send)
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": status.WS_1008_POLICY_VIOLATION})
        if host is not None:
            refusal = PlainTextResponse(UNKNOWN_HOST.format(host=host.partition(":")[0]), 421)
        else:
            refusal = PlainTextResponse(FOREIGN_ORIGIN.format(origin=origin), 403)
        return await refusal(scope, receive, send)


def render_failure(error: Exception) -> bool:
    """Renders the error page; the cause goes to the log, never to the screen."""
    from sagascope_dashboard.components import error_states

    _LOG.error("a screen could not be rendered", exc_info=error)
    error_states.render_internal_error()
    return True


app = st.App(
    Path(__file__).with_name("app.py"),
    middleware=[Middleware(HostGuard), Middleware(SecurityHeaders), Middleware(LoginFailures)],
    on_script_error=render_failure,
)
