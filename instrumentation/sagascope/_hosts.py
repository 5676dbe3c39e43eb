"""Decides which hosts a saga's baggage may be sent to."""

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

PRIVATE = "private"
"""In a list of hosts: private and loopback addresses, and names without a public suffix."""

NOT_PUBLIC = frozenset(
    {"cluster", "consul", "corp", "home", "internal", "intranet", "invalid", "lan", "local", "localdomain", "localhost"}
    | {"mail", "mesh", "private", "svc", "test"}
)
"""Last labels under which nothing is delegated in the public DNS: reserved by RFC 2606, 6761, 6762 and 8375 or by
ICANN, or used inside clusters."""


def is_private(host: str) -> bool:
    """True for private and loopback addresses, and for names without a public suffix."""
    name = host.rstrip(".").lower()
    try:
        return not ip_address(name.strip("[]")).is_global
    except ValueError:
        labels = name.split(".")
        return bool(name) and (len(labels) == 1 or labels[-1] in NOT_PUBLIC or name.endswith(".home.arpa"))


def host_of(address: str) -> str:
    """The host of a URL, or of a ``host:port``."""
    if "//" not in address:
        address = f"//{address}"
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def allowing(propagate_to: Callable[[str], bool] | Iterable[str] | None) -> Callable[[str], bool]:
    """A decision about hosts, from what was set.

    Args:
        propagate_to: A function of the host; or patterns such as ``*.example.com``, networks such as ``10.0.0.0/8``,
            and ``private`` for what is allowed when nothing is set; None: ``private`` alone.
    """
    if callable(propagate_to):
        return propagate_to
    if propagate_to is None:
        return lru_cache(1024)(is_private)
    patterns = (propagate_to,) if isinstance(propagate_to, str) else tuple(propagate_to)
    return lru_cache(1024)(lambda host: any(_matches(host.lower(), pattern.lower()) for pattern in patterns))


def _matches(host: str, pattern: str) -> bool:
    if pattern == PRIVATE:
        return is_private(host)
    if "/" in pattern:
        try:
            return ip_address(host) in ip_network(pattern, strict=False)
        except ValueError:
            return False
    return fnmatchcase(host, pattern)
