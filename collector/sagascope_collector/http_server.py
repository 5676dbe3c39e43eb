"""Takes the ports that a collector listens on, before anything else is started."""

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

BACKLOG: Final = 2048


def listen(address: Address, option: str) -> socket.socket:
    """A socket that listens there.

    Raises:
        PortTaken: something else does already.
        CannotStart: this machine has no such address, or this user may not use it.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise port_taken(address, option) from error
        raise CannotStart(f"Cannot listen on {address}: {error.strerror}. Choose another with {option}.") from error
    listener.setblocking(False)
    return listener


def port_taken(address: Address, option: str) -> PortTaken:
    """What a person is told when an address is in use."""
    return PortTaken(
        f"Port {address.port} on {address.host} is in use by another program. "
        f"Stop that, or choose another port with {option} {address.host}:PORT."
    )


def address_of(listener: socket.socket) -> Address:
    """Where a socket listens; says which port 0 became."""
    host, port, *_ = listener.getsockname()
    return Address(host, port)


HEAD_SECONDS: Final = 10.0
"""A connection on which no complete request head arrives within this time is closed."""

HEAD_BYTES: Final = 64 * 1024
"""A request head may be this long."""

KEEP_ALIVE_SECONDS: Final = 75
"""An idle connection is kept for so long: exporters come back every 5 to 60 s."""

HEAD_TOO_LONG: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n"


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: several servers share one process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to whoever runs the servers."""
        yield


def server(application: Any, *, drain_seconds: float, tls: dict[str, Any] | None = None) -> Server:
    """A server for an ASGI application; `tls` are uvicorn's ``ssl_*`` settings."""
    config = uvicorn.Config(
        application,
        http=PatientProtocol,
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


class PatientProtocol(HttpToolsProtocol):
    """Bounds the time and size of a request's head, which uvicorn does not. Bodies are bounded by who reads them."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._head_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head that has not ended."""
        if self._head_timer:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(HEAD_TOO_LONG)
            self.transport.close()

    def on_message_begin(self) -> None:
        """A further request on the same connection has begun."""
        super().on_message_begin()
        if self._head_timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._head_is_here()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _head_is_here(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None
