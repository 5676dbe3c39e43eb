"""Which records are stored already: sorted runs of fingerprints, merged as they grow."""

import numpy as np
import numpy.typing as npt

from sagascope_collector.store.fingerprints import NONE, Fingerprints, among

SMALL: int = 1_024
"""Fingerprints below which a run is always merged: each run costs every look-up a search."""


class Known:
    """A set of fingerprints that only grows: a few sorted runs, each at least twice as long as the next."""

    def __init__(self) -> None:
        self._runs: list[Fingerprints] = []

    def __contains__(self, fingerprint: int) -> bool:
        return bool(self.holds(np.array([fingerprint], np.uint64))[0])

    def holds(self, fingerprints: Fingerprints) -> npt.NDArray[np.bool_]:
        """Which of these were added."""
        held = np.zeros(fingerprints.size, np.bool_)
        for run in self._runs:
            held |= among(fingerprints, run)
        return held

    def add(self, distinct: Fingerprints) -> None:
        """Add sorted fingerprints, none of which is in it."""
        if distinct.size:
            self._runs.append(distinct)
        while len(self._runs) > 1 and self._runs[-2].size < max(2 * self._runs[-1].size, SMALL):
            later, earlier = self._runs.pop(), self._runs.pop()
            self._runs.append(np.sort(np.concatenate([earlier, later]), kind="stable"))

    def all(self) -> Fingerprints:
        """Everything in it, sorted."""
        return np.sort(np.concatenate([NONE, *self._runs]), kind="stable")
