"""Waits for what other threads and processes do."""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

DEADLINE = 60.0


def wait_until(holds: Callable[[], Any], otherwise: str, seconds: float = DEADLINE) -> Any:
    """Ask until the answer is true, and return it."""
    pauses, deadline = growing_pauses(), time.monotonic() + seconds
    while not (answer := holds()):
        assert time.monotonic() < deadline, otherwise
        time.sleep(next(pauses))
    return answer


def growing_pauses(longest: float = 0.25) -> Iterator[float]:
    """Seconds between questions to another process: it works meanwhile, on the same processors."""
    for number in itertools.count():
        yield min(0.02 * 1.3**number, longest)
