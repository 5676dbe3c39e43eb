"""Serves the dashboard: Streamlit around ``app.py``, with security headers, and limits on connections.

The content security policy lets the browser load, run and call nothing but this server, whatever a screen shows. The
limits are those that the collector has too.
"""

import base64
import contextlib
import hashlib
import logging
import os
import re
from functools import partial
from pathlib import Path
from typing import Any, Final

import streamlit as st
import uvicorn
from starlette import status
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from sagascope_collector.http_server.connections import (
    FOREIGN_ORIGIN,
    UNKNOWN_HOST,
    Connections,
    KnownHosts,
    LimitedProtocol,
    TransportConnection,
)
from sagascope_collector.safe_text import RepeatFilter
from sagascope_dashboard import HOSTS_VARIABLE, LISTENING_VARIABLE
from sagascope_dashboard.components.elements import render_internal_error
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


HIDDEN_PATHS = ("/_stcore/metrics", "/_stcore/upload_file/", "/_stcore/agent/")
"""Streamlit serves these before any login: its metrics, a place for files, and an interface for programs."""


class SecurityHeaders:
    """Adds the security headers to every response, and hides paths of Streamlit that the dashboard does not need."""

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
        is_hidden = any(path in scope["path"] for path in HIDDEN_PATHS)
        answer = PlainTextResponse("Not found", 404) if is_hidden else self._app

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
    _LOG.error("a screen could not be rendered", exc_info=error)
    render_internal_error()
    return True


app = st.App(
    Path(__file__).with_name("app.py"),
    middleware=[Middleware(HostGuard), Middleware(SecurityHeaders), Middleware(LoginFailures)],
    on_script_error=render_failure,
)

MAX_CONNECTIONS: Final = 1_000
"""Connections of all browsers; each page that is open has one for its WebSocket, and some for a few seconds."""

MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""The size of a message from a browser: what was clicked and entered."""

KEEP_ALIVE_SECONDS: Final = 60

PING_SECONDS: Final = 30.0
"""The interval of pings over WebSocket; a connection that does not answer one in this time is closed."""

STOP_SECONDS: Final = 5

NOISY_LOGGERS: Final = ("uvicorn.error", "streamlit.web.server.starlette.starlette_websocket")
"""Loggers of warnings that any client can cause."""


def serve(host: str, port: int) -> None:
    """Serves the dashboard at an address until the process receives a stop signal."""
    for name in NOISY_LOGGERS:
        logging.getLogger(name).addFilter(RepeatFilter())
    os.environ[LISTENING_VARIABLE] = host
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises the signal again after it has stopped in order
        limited_server(app, host, port).run()


def limited_server(application: Any, host: str, port: int, connections: int = MAX_CONNECTIONS) -> uvicorn.Server:
    """Returns a server for an ASGI application."""
    open_connections = Connections(connections)
    config = uvicorn.Config(
        application,
        host=host,
        port=port,
        http=partial(LimitedProtocol, open_connections=open_connections),  # type: ignore[arg-type]
        ws=partial(LimitedWebSocket, open_connections=open_connections),  # type: ignore[arg-type]
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return uvicorn.Server(config)


class LimitedWebSocket(TransportConnection, WebSocketsSansIOProtocol):
    """A WebSocket that counts as a connection. Where there are too many, the one that was silent longest is closed.

    Its page connects again and goes on.
    """

    def __init__(self, *, open_connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._open_connections = open_connections

    def data_received(self, data: bytes) -> None:
        """Notes that the client is alive."""
        self._open_connections.on_waiting(self)
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Counts the connection no longer."""
        self._open_connections.on_closed(self)
        super().connection_lost(exc)
