"""A filter that says of a fingerprint that it was surely never added, or may have been.

B. H. Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970. The fingerprints are mixed already, so
the places are taken from their own bits.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from sagascope_collector.store.fingerprints import Fingerprints

BITS: Final = 25
"""Each filter has 2 to this power, 4 MB."""

HOLDS: Final = 2**21
"""Fingerprints that one filter takes before another is begun: 16 bits each, one wrong answer in 1,000."""

_TAKEN: Final = (0, 13, 26, 39)
"""Where in a fingerprint the four places begin."""

_PLACE, _LOW = np.uint64(2**BITS - 1), np.uint64(7)


class Bloom:
    """A set of fingerprints that only grows, seen through filters."""

    def __init__(self) -> None:
        self._filters: list[npt.NDArray[np.uint8]] = []
        self._room = 0

    def add(self, fingerprints: Fingerprints) -> None:
        """Add them."""
        while fingerprints.size:
            if not self._room:
                self._filters.append(np.zeros(2**BITS // 8, np.uint8))
                self._room = HOLDS
            part, fingerprints = fingerprints[: self._room], fingerprints[self._room :]
            self._room -= part.size
            for place in _places(part):
                np.bitwise_or.at(self._filters[-1], place >> np.uint64(3), _bit(place))

    def may_hold(self, fingerprints: Fingerprints) -> npt.NDArray[np.bool_]:
        """Which of these may have been added."""
        held = np.zeros(fingerprints.size, np.bool_)
        places = _places(fingerprints)
        for content in self._filters:
            here = np.ones(fingerprints.size, np.bool_)
            for place in places:
                here &= (content[place >> np.uint64(3)] & _bit(place)) != 0
            held |= here
        return held


def _places(fingerprints: Fingerprints) -> list[Fingerprints]:
    return [(fingerprints >> np.uint64(begin)) & _PLACE for begin in _TAKEN]


def _bit(place: Fingerprints) -> npt.NDArray[np.uint8]:
    return np.left_shift(np.uint8(1), (place & _LOW).astype(np.uint8))
