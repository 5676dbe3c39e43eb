"""Counts the attempts of each step within this process."""

from collections import OrderedDict

from sagascope._identity import Identity

MOST = 4096
"""Sagas whose counts are kept; beyond it the one that was begun or first seen longest ago is forgotten."""

_counts: "OrderedDict[Identity, dict[tuple[str, str, str], int]]" = OrderedDict()


def number(identity: Identity, kind: str, step: str, key: str, given: int | None) -> int:
    """The number of an attempt that starts now: as given, else one more than the last."""
    counts = _counts.get(identity)
    if counts is None:
        counts = _counts[identity] = {}
        if len(_counts) > MOST:
            _counts.popitem(last=False)
    which = (kind, step, key)
    attempt = counts.get(which, 0) + 1 if given is None else max(1, int(given))
    counts[which] = attempt
    return attempt


def restart(identity: Identity) -> None:
    """Count a saga's attempts from 1 again: it is begun anew."""
    _counts.pop(identity, None)


def forget() -> None:
    """Forget every count."""
    _counts.clear()
