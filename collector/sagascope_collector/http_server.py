"""HTTP servers: listening sockets, and limits on connections that uvicorn does not have."""

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sagascope_collector.errors import CannotStart, PortTaken
from sagascope_collector.settings import Address

BACKLOG_CONNECTIONS: Final = 2048


def listen(address: Address, option: str) -> socket.socket:
    """Returns a listening socket.

    Raises:
        PortTaken: the address is in use.
        CannotStart: this machine does not have the address, or the user lacks permission for it.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG_CONNECTIONS)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise port_taken(address, option) from error
        raise CannotStart(
            f"Cannot listen on {address}: {error.strerror}. Choose another address with {option}."
        ) from error
    listener.setblocking(False)
    return listener


def port_taken(address: Address, option: str) -> PortTaken:
    """Returns the error for an address that is in use."""
    return PortTaken(
        f"Port {address.port} on {address.host} is in use by another program. "
        f"Stop that program, or choose another port with {option} {address.host}:PORT."
    )


def address_of(listener: socket.socket) -> Address:
    """Returns the address of a socket, with the actual port in place of 0."""
    host, port, *_ = listener.getsockname()
    return Address(host, port)


HEAD_TIMEOUT_SECONDS: Final = 10.0
"""A connection is closed if a complete request head does not arrive in this time."""

MAX_HEAD_BYTES: Final = 64 * 1024

KEEP_ALIVE_SECONDS: Final = 75
"""The lifetime of an idle connection: exporters send every 5 to 60 s."""

HEAD_TOO_LONG: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n"


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: several servers share one process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to the code that runs the servers."""
        yield


def server(application: Any, *, drain_seconds: float, tls: dict[str, Any] | None = None) -> Server:
    """Returns a server for an ASGI application; `tls` are uvicorn's ``ssl_*`` settings."""
    config = uvicorn.Config(
        application,
        http=LimitedHeadProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(drain_seconds),
        **(tls or {}),
    )
    return Server(config)


class LimitedHeadProtocol(HttpToolsProtocol):
    """Limits the time and size of a request's head, which uvicorn does not. Applications limit bodies."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the timer of the first head."""
        super().connection_made(transport)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timer."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts the bytes of an incomplete head."""
        if self._head_timer:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(HEAD_TOO_LONG)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Starts the timer of a further request on the connection."""
        super().on_message_begin()
        if self._head_timer is None:
            self._start_head_timer()

    def on_headers_complete(self) -> None:
        """Stops the timer."""
        self._stop_head_timer()
        super().on_headers_complete()

    def _start_head_timer(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self.transport.close)

    def _stop_head_timer(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None
