"""Takes the ports that a collector listens on, before anything else is started."""

import errno
import socket
from typing import Final

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
