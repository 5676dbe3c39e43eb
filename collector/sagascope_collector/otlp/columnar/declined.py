"""What is left to the exact path."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Integers = NDArray[np.integer]


class Declined(Exception):
    """Some requests hold what cannot be read here; the others can."""

    def __init__(self, requests: Iterable[int]) -> None:
        self.requests = frozenset(map(int, requests))
        """By their number among those that were given."""


def decline(where: Bools, request: Integers) -> None:
    """Decline the requests of all places where something was found; `request` says whose each place is.

    Raises:
        Declined: there is such a place.
    """
    if where.any():
        raise Declined(np.unique(request[where]))
