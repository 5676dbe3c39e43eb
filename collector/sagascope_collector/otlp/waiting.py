"""What senders over either transport have in common: who they are, and how long they wait."""

import asyncio
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
    bare = unquote(host).strip("[]")
    try:
        alone = ip_address(bare).is_loopback
    except ValueError:
        alone = True
    return f"{bare}:{port}" if alone else bare
