"""What senders over either transport have in common: who they are, and how long they wait."""

import asyncio
from functools import lru_cache
from ipaddress import ip_address
from typing import Final
from urllib.parse import unquote

from sagascope_collector.errors import Overloaded
from sagascope_collector.ingest import Receipt

ANSWER_SECONDS: Final = 30.0
"""A request that is not stored by then is refused, though it may be stored yet; sent again, it is known."""


async def answered(answer: asyncio.Future[Receipt]) -> Receipt:
    """Wait for a receipt.

    Raises:
        Overloaded: it takes too long. What was received may be stored all the same.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await answer
    except TimeoutError as error:
        raise Overloaded(f"This could not be stored within {ANSWER_SECONDS:.0f} s.") from error


def sender_of(host: str, port: int | str) -> str:
    """Who is to share the queue fairly with others: a host, or on this machine each connection."""
    bare, is_alone = _host_name(host)
    return f"{bare}:{port}" if is_alone else bare


@lru_cache(1024)
def _host_name(host: str) -> tuple[str, bool]:
    """A host's bare name, and whether it is not shared with others."""
    bare = unquote(host).strip("[]")
    try:
        return bare, ip_address(bare).is_loopback
    except ValueError:
        return bare, True
