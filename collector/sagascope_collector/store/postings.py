"""Where in a file the rows of a fingerprint are: one sorted number each, of 40 bits of it and 24 bits of the place."""

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from sagascope_collector.store.fingerprints import NONE, Fingerprints, distinct

_BITS: Final = np.uint64(24)
_PLACE: Final = np.uint64(2**24 - 1)

MOST: Final = 2**24
"""Rows that a file may have."""

Places = npt.NDArray[np.int64]


def packed(fingerprints: Fingerprints, places: Places) -> Fingerprints:
    """The postings of these rows; a row may have several fingerprints, and several rows the same."""
    return distinct((fingerprints & ~_PLACE) | places.astype(np.uint64))


def found(postings: Fingerprints, fingerprints: Iterable[int]) -> Places:
    """The rows that may have one of these fingerprints, sorted; one in 2**40 has another."""
    parts = [_run(postings, each) for each in fingerprints]
    return np.unique(np.concatenate([NONE, *parts])).astype(np.int64)


def holds(postings: Fingerprints, fingerprints: Fingerprints) -> npt.NDArray[np.bool_]:
    """Which of these fingerprints rows may have."""
    wanted = fingerprints & ~_PLACE
    first = np.searchsorted(postings, wanted)
    first[first == postings.size] = 0
    return np.asarray((postings[first] & ~_PLACE) == wanted) if postings.size else np.zeros(wanted.size, np.bool_)


def short(fingerprints: Fingerprints) -> Fingerprints:
    """Fingerprints, or those of postings, as far as they are told from others here."""
    return fingerprints >> _BITS


def _run(postings: Fingerprints, fingerprint: int) -> Fingerprints:
    begin = np.uint64(fingerprint) & ~_PLACE
    first = np.searchsorted(postings, begin)
    last = np.searchsorted(postings, begin | _PLACE, side="right")
    return postings[first:last] & _PLACE
