"""The dashboard as an application: Streamlit around ``app.py``, with headers that keep the page to itself.

The content security policy lets the browser load, run and call nothing but this server: whatever a screen might
once show, no other host is ever asked.
"""

import base64
import hashlib
import logging
import re
from pathlib import Path

import streamlit as st
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sagascope_dashboard.screens.login import Failures

_LOG = logging.getLogger(__name__)


def policy() -> str:
    """The content security policy.

    Components come as blobs, styles are written by Streamlit's own code as the page runs, and its page begins with
    a script in the document, which is allowed by its hash.
    """
    rules = {
        "default-src": "'self'",
        "script-src": f"'self' blob: 'wasm-unsafe-eval' {' '.join(_hashes())}".strip(),
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "frame-ancestors": "'self'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hashes() -> list[str]:
    page = (Path(st.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts]


class Headers:
    """Puts the policy on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = {
            "Content-Security-Policy": policy(),
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on; add to what is answered over HTTP."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        return await self._app(scope, receive, dressed)


def broken(error: Exception) -> bool:
    """Say calmly that the dashboard itself failed; what failed goes to its log, never to the screen."""
    from sagascope_dashboard.components import error_states

    _LOG.error("a screen could not be drawn", exc_info=error)
    error_states.broken()
    return True


app = st.App(
    Path(__file__).with_name("app.py"), middleware=[Middleware(Headers), Middleware(Failures)], on_script_error=broken
)
