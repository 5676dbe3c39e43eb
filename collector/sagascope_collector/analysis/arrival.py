"""Clocks that are ahead, found out by the moments at which their records came: nothing is sent before it happened.

What came late, from a queue or a file, proves nothing: evidence counts by its own times, and those stand in the past.
"""

from collections.abc import Iterable, Mapping

from sagascope_collector.analysis.spans import ProcessKey, process_key
from sagascope_collector.records import Log, Span

MARGIN = 1_000_000_000
"""Nanoseconds by which a clock may be ahead of the collector's without being set."""


def ahead(spans: Iterable[Span], logs: Iterable[Log]) -> dict[ProcessKey, int]:
    """By how many nanoseconds the clock of each process is ahead at least, where that is more than `MARGIN`."""
    found: dict[ProcessKey, int] = {}
    for span in spans:
        early = (span.end or span.start) - span.received_at
        if early > MARGIN and span.received_at:
            _note(found, span, early)
    for log in logs:
        early = (log.observed_at or log.at) - log.received_at
        if early > MARGIN and log.received_at:
            _note(found, log, early)
    return found


def _note(found: dict[ProcessKey, int], record: Span | Log, early: int) -> None:
    key = process_key(record.process)
    found[key] = max(found.get(key, 0), early)


def held_to(
    offsets: Mapping[ProcessKey, int], early: Mapping[ProcessKey, int], root: ProcessKey | None
) -> Mapping[ProcessKey, int]:
    """The offsets by which clocks agree, set further back where what they give had not happened when it came.

    A clock that was set by the root's goes back with it, as far as the root's was not set back itself.
    """
    if not early:
        return offsets
    back = max(early.get(root, 0) + offsets.get(root, 0), 0) if root else 0
    set_back = {process: offset - back for process, offset in offsets.items()}
    held = set_back | {process: min(set_back.get(process, 0), -least) for process, least in early.items()}
    return {process: offset for process, offset in held.items() if offset}
