"""Checks that uvicorn lacks: of the number of connections, the time and size of requests, and the names of hosts.

The collector's ports and the dashboard have these checks.
"""

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final, Protocol, Self
from urllib.parse import urlsplit

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sagascope_collector.safe_text import REPEAT_SECONDS

HEAD_TIMEOUT_SECONDS: Final = 10.0
"""A connection is closed if a complete request head does not arrive in this time."""

MAX_HEAD_BYTES: Final = 64 * 1024
"""Maximum size of a request head, and of the sizes, extensions and trailers of chunks between two parts of a body."""

BODY_TIMEOUT_SECONDS: Final = 70.0
"""A connection is closed if a complete body does not arrive in this time. Applications that wait answer sooner."""

ANSWER_TIMEOUT_SECONDS: Final = 300.0
"""A connection is closed if its client does not read an answer in this time."""

MAX_UNREAD_BYTES: Final = 128 * 1024 * 1024
"""Total size of unread answers; beyond it, the connection is closed whose answer has been unread longest."""

MAX_PIPELINED_REQUESTS: Final = 100
"""Maximum number of requests before an earlier one is answered; uvicorn keeps any number."""

HEAD_TOO_LONG: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n"

_log: Final = logging.getLogger(__name__)


def address_text(name: tuple[Any, ...]) -> str:
    """Returns ``HOST:PORT`` for the name of a socket."""
    host, port, *_ = name
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Connection(Protocol):
    """One open connection, of any protocol."""

    def abort(self) -> None:
        """Closes the connection at once."""

    def local_address(self) -> str:
        """Returns the address at which the client connected."""

    def unread_bytes(self) -> int:
        """Returns the size of what the client has not read."""


class Connections:
    """The connections of one server. If there are too many, one that waits for its client is closed.

    A connection waits for its client until a handshake or request is complete, and while an answer is not read.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._number = 0
        self._waiting: OrderedDict[Connection, None] = OrderedDict()
        """Connections that wait for their client, from the one that has waited longest."""
        self._unread: OrderedDict[Connection, None] = OrderedDict()
        """Connections with an answer that is not read, from the one that has waited longest."""
        self._logged_at: dict[str, float] = {}

    def on_opened(self, connection: Connection) -> None:
        """Counts a connection; beyond the limit, closes the one that has waited longest, else the new one."""
        self._number += 1
        if self._number > self._limit:
            closed = self._waiting.popitem(last=False)[0] if self._waiting else connection
            closed.abort()
            self._log("no idle one is left, and new ones" if closed is connection else "idle ones", connection)
        self._waiting[connection] = None

    def _log(self, closed: str, connection: Connection) -> None:
        if (now := time.monotonic()) - self._logged_at.get(closed, -math.inf) >= REPEAT_SECONDS:
            self._logged_at[closed] = now
            address = connection.local_address()
            _log.warning("More than %d connections are open at %s; %s are closed.", self._limit, address, closed)

    def on_waiting(self, connection: Connection) -> None:
        """Notes that a connection waits for its client from now on."""
        self._waiting[connection] = None
        self._waiting.move_to_end(connection)

    def on_served(self, connection: Connection) -> None:
        """Notes that the server works on a request of a connection, which is not closed meanwhile."""
        self._waiting.pop(connection, None)

    def on_unread(self, connection: Connection) -> None:
        """Notes that a client does not read its answer."""
        self._unread[connection] = None
        while sum(each.unread_bytes() for each in self._unread) > MAX_UNREAD_BYTES:
            self._unread.popitem(last=False)[0].abort()

    def on_read(self, connection: Connection) -> None:
        """Notes that a client has read its answer."""
        self._unread.pop(connection, None)

    def on_replaced(self, connection: Connection, successor: Connection) -> None:
        """Counts another protocol of the same connection in its place."""
        self._waiting.pop(connection, None)
        self._waiting[successor] = None

    def on_closed(self, connection: Connection) -> None:
        """Forgets a connection."""
        self._number -= 1
        self._waiting.pop(connection, None)
        self._unread.pop(connection, None)


class PipelineFull(Exception):
    """Too many requests wait for the answer to an earlier one."""


class TransportConnection:
    """The methods of `Connection` for a protocol of asyncio."""

    transport: asyncio.Transport

    def abort(self) -> None:
        """Closes the connection at once."""
        self.transport.abort()

    def local_address(self) -> str:
        """Returns the address at which the client connected."""
        return address_text(self.transport.get_extra_info("sockname"))

    def unread_bytes(self) -> int:
        """Returns the size of what the client has not read."""
        return self.transport.get_write_buffer_size()


class LimitedProtocol(TransportConnection, HttpToolsProtocol):
    """Limits what uvicorn does not: connections, the size and time of a request, the time of reading its answer.

    Timers exist only for what does not arrive, or leave, at once.
    """

    def __init__(self, *, open_connections: Connections, handshake: Connection | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.access_log = False  # a URL may name a transaction; uvicorn asks whether a handler exists
        self._open_connections = open_connections
        self._handshake = handshake
        self._arriving_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._is_arriving = self._is_in_head = True
        self._head_bytes = 0
        self.is_connected = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the timer of the first head."""
        super().connection_made(transport)
        self.is_connected = True
        self._arriving_timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self.abort)
        if self._handshake:
            self._open_connections.on_replaced(self._handshake, self)
        else:
            self._open_connections.on_opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timers."""
        self._open_connections.on_closed(self)
        self._stop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts the bytes that are not part of a body, and starts a timer if more of a request must follow.

        Empty lines between requests also start it: they stop uvicorn's timer of idle connections.
        """
        self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.get_protocol() is not self:
            return  # it is a WebSocket now
        if self.transport.is_closing():
            self._start_unread_timer()
        elif self._is_arriving and self._head_bytes > MAX_HEAD_BYTES:
            if self._is_in_head:
                self.transport.write(HEAD_TOO_LONG)
            self.transport.close()
            self._start_unread_timer()
        elif self._arriving_timer is None and (self._is_arriving or self.cycle.response_complete):
            seconds = HEAD_TIMEOUT_SECONDS if self._is_in_head else BODY_TIMEOUT_SECONDS
            self._arriving_timer = self.loop.call_later(seconds, self.abort)

    def on_message_begin(self) -> None:
        """Notes that a head arrives."""
        if len(self.pipeline) >= MAX_PIPELINED_REQUESTS:
            self.abort()
            raise PipelineFull  # ends the parser, which would go on with what was received
        super().on_message_begin()
        self._is_arriving = self._is_in_head = True
        self._head_bytes = 0
        if self.cycle is None or self.cycle.response_complete:
            self._open_connections.on_waiting(self)

    def on_headers_complete(self) -> None:
        """Notes that a body arrives."""
        self._is_in_head = False
        self._stop_arriving_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Notes that the body goes on."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Notes that the request is complete, and that a head may follow."""
        self._is_arriving, self._is_in_head = False, True
        self._stop_arriving_timer()
        super().on_message_complete()
        if self.cycle and not self.cycle.response_complete:
            self._open_connections.on_served(self)

    def on_response_complete(self) -> None:
        """Notes that the answer was written."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._start_unread_timer()
        if self._is_arriving or self.cycle.response_complete:
            self._open_connections.on_waiting(self)

    def pause_writing(self) -> None:
        """Starts the timer of an answer that the client does not read."""
        super().pause_writing()
        self._start_unread_timer()
        self._open_connections.on_waiting(self)
        self._open_connections.on_unread(self)

    def resume_writing(self) -> None:
        """Stops the timer."""
        super().resume_writing()
        self._open_connections.on_read(self)
        if not (self._is_arriving or self.cycle.response_complete):
            self._open_connections.on_served(self)
        if self._unread_timer and not self.transport.is_closing():
            self._unread_timer.cancel()
            self._unread_timer = None

    def timeout_keep_alive_handler(self) -> None:
        """Closes an idle connection, also if its client has not read all answers."""
        super().timeout_keep_alive_handler()
        self._start_unread_timer()

    def handle_websocket_upgrade(self) -> None:
        """Leaves the connection to the protocol of WebSockets."""
        self._stop_timers()
        super().handle_websocket_upgrade()
        self._open_connections.on_replaced(self, self.transport.get_protocol())  # type: ignore[arg-type]

    def _unsupported_upgrade_warning(self) -> None:
        """Logs nothing: a client may offer another protocol, and is answered in this one."""

    def _start_unread_timer(self) -> None:
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(ANSWER_TIMEOUT_SECONDS, self.abort)

    def _stop_timers(self) -> None:
        for timer in (self._arriving_timer, self._unread_timer):
            if timer:
                timer.cancel()

    def _stop_arriving_timer(self) -> None:
        if self._arriving_timer:
            self._arriving_timer.cancel()
            self._arriving_timer = None


# --- names -------------------------------------------------------------------------------------------
#
# A page on any web site can let its own name resolve to 127.0.0.1, and then read what a server on this machine answers
# (DNS rebinding). The `Host` header still has the page's name, so a server answers only to names that it knows.

Headers = Iterable[tuple[bytes, bytes]]

UNKNOWN_HOST = "This server does not answer to the name {host!r}. Add it with --allowed-host {host}."

FOREIGN_ORIGIN = "Pages of {origin!r} may not make this call."


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """Known host names. Loopback and IP addresses are always known: no page can have them as its name."""

    names: frozenset[str]
    origins: frozenset[str] = frozenset()
    """Origins of other pages that may call this server, as in CORS."""

    @classmethod
    def of(cls, names: Iterable[str], origins: Iterable[str] = ()) -> Self:
        """Returns the hosts with these names, in any case."""
        return cls(frozenset(name.lower().rstrip(".") for name in names), frozenset(origins))

    def knows(self, host: str) -> bool:
        """Returns whether a `Host` header has a known name; the port does not count."""
        name = _name(host)
        return name == "localhost" or name.endswith(".localhost") or name in self.names or _is_ip(name)

    def unknown(self, headers: Headers) -> str | None:
        """Returns the first unknown name in the `Host` headers of a request; None: each is known, or there is none."""
        return next((host for host in _values(headers, b"host") if not self.knows(host)), None)

    def foreign_origin(self, headers: Headers) -> str | None:
        """Returns the origin of a request if it comes from a page of another server that is not listed."""
        headers = list(headers)
        hosts = {host.lower() for host in _values(headers, b"host")}
        for origin in _values(headers, b"origin"):
            if origin not in self.origins and urlsplit(origin).netloc.lower() not in hosts:
                return origin
        return None


def _values(headers: Headers, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name]


def _name(host: str) -> str:
    """Returns the name in ``NAME:PORT`` or ``[IPV6]:PORT``."""
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name if not port or port.startswith(":") else host
    return host.partition(":")[0].lower().rstrip(".")


def _is_ip(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
