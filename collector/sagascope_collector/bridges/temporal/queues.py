"""Whether workers poll a task queue; each is asked for now and then, however many wait on it."""

from typing import Final

from sagascope_collector.bridges.temporal.facts import SECOND
from sagascope_collector.bridges.temporal.server import Server

EVERY: Final = 10 * SECOND
"""Between two questions about one task queue."""

GONE_AFTER: Final = 75 * SECOND
"""A worker's poll lasts a minute: one that has not begun another by then is gone."""


class Queues:
    """Since when task queues are polled by nobody.

    Args:
        server: answers.
        since: what was known, by task queue; moved on.
        asked: when each was asked for last; moved on, and kept from look to look.
        now: in nanoseconds since 1970.
    """

    def __init__(self, server: Server, since: dict[str, int], asked: dict[str, int], now: int) -> None:
        self._server = server
        self.since = since
        self._asked = asked
        self._now = now

    def unpolled(self, namespace: str, queue: str, *, activities: bool) -> int:
        """Since when; 0: a worker polls it."""
        name = f"{namespace}/{'activities' if activities else 'workflows'}/{queue}"
        if self._now - self._asked.get(name, 0) >= EVERY:
            polled = self._server.polled(namespace, queue, activities=activities)
            self._learn(name, max(polled, default=0))
            self._asked[name] = self._now
        return self.since.get(name, 0)

    def _learn(self, name: str, latest: int) -> None:
        if latest + GONE_AFTER > self._now:
            self.since.pop(name, None)
        else:
            self.since.setdefault(name, latest or self._now)
