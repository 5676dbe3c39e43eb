"""Trying again what cannot be done now, with growing pauses."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from random import SystemRandom
from typing import TypeVar

import httpx

from sagascope import Attempt
from sagascope_samples.chassis._errors import Unavailable

FIRST = 0.2
"""Seconds, at most, before the second try."""

MOST = 5.0
"""Seconds; no pause is longer, so that a service that is back is asked soon."""

NOT_NOW = (Unavailable, httpx.TransportError)
"""What is tried again: a service said not now, or a connection failed and nobody knows what became of the request."""

Result = TypeVar("Result")

log = logging.getLogger("chassis")


def pauses(first: float = FIRST, most: float = MOST) -> Iterator[float]:
    """Seconds to wait after the first try, the second, ...: about doubled each time, without end.

    Each is drawn from the upper half of its range, so that many callers do not come back at once.
    """
    chance = SystemRandom()
    for tries in count():
        longest = min(most, first * 2 ** min(tries, 20))
        yield chance.uniform(longest / 2, longest)


async def retried(open_attempt: Callable[[int], Attempt], work: Callable[[], Awaitable[Result]]) -> Result:
    """Do the work, each try in an attempt of its own, until it is done; anything but `NOT_NOW` ends it at once."""
    for number, pause in enumerate(pauses(), 1):
        try:
            return await _try(open_attempt(number), work, pause)
        except NOT_NOW as error:
            log.warning("Try %d failed: %s; the next in %.1f s", number, error or type(error).__name__, pause)
            await asyncio.sleep(pause)
    raise AssertionError  # pauses never end


async def _try(attempt: Attempt, work: Callable[[], Awaitable[Result]], pause: float) -> Result:
    with attempt:
        try:
            return await work()
        except NOT_NOW:
            attempt.retry_in = pause
            raise
