"""The known host names of a server, and the origins of pages that may send changes.

A page on any web site can let its own name resolve to 127.0.0.1, and then read what a server on this machine answers
(DNS rebinding). The `Host` header still has the page's name, so a server answers only to names that it knows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self
from urllib.parse import urlsplit

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
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")


def _is_ip(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
