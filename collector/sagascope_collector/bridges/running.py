"""Asks a source, tells the collector, keeps the place; and again."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from pydantic import BaseModel

from sagascope_collector.archives import Sender
from sagascope_collector.bridges.cursor import Cursor
from sagascope_collector.bridges.telling import Facts
from sagascope_collector.errors import SourceUnavailable, StoppedShort

SLOWEST: Final = 60.0
"""Seconds between two tries of a source that does not answer, at most."""

_log: Final = logging.getLogger(__name__)

Place = TypeVar("Place", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Harvest(Generic[Place]):
    """What a source had to tell since a place."""

    facts: Facts
    place: Place
    watching: int
    """Pieces of work that have not ended."""
    trouble: str = ""
    """What did not answer; the rest is told."""
    is_behind: bool = False
    """Whether the source knows more than was read so far."""
    at_once: bool = False
    """Whether the next look is not to wait."""


class Source(Protocol[Place]):
    """What a bridge follows."""

    def poll(self, place: Place, now: int) -> Harvest[Place]:
        """What is to be told since `place`; `now` is in nanoseconds since 1970.

        Asked again with the same place, it tells the same, with the same ids.

        Raises:
            SourceUnavailable: it does not answer.
        """
        ...


@dataclass(slots=True)
class Health:
    """What a bridge knows of itself."""

    polls: int = 0
    failed_polls: int = 0
    told: int = 0
    refused: int = 0
    watching: int = 0
    trouble: str = ""
    """What did not answer at the last look."""
    news: threading.Event = field(default_factory=threading.Event)
    """Set when something was learned that is not to wait for the next heartbeat."""
    current_at: float = field(default_factory=time.monotonic)
    """When all that the source knew had been told, on the monotonic clock."""

    was_current: bool = False
    """Whether all was told once."""

    def lag_seconds(self) -> float:
        """Seconds by which the collector may be behind the source."""
        return max(0.0, time.monotonic() - self.current_at)


class Bridge(Generic[Place]):
    """Follows a source until it is told to stop.

    Args:
        source: what is followed.
        sender: speaks with the collector.
        cursor: where the place is kept; it is taken while the bridge runs.
        every: seconds between two looks.
        clock: now, in nanoseconds since 1970.
    """

    def __init__(
        self,
        source: Source[Place],
        sender: Sender,
        cursor: Cursor[Place],
        *,
        every: float,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.health = Health()
        self._source = source
        self._sender = sender
        self._cursor = cursor
        self._every = every
        self._clock = clock
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after what is under way."""
        self._stopping.set()
        self._sender.stop()

    def run(self, beside: AbstractContextManager[object]) -> None:
        """Follow until `stop`; `beside` is entered while the cursor is this bridge's own.

        Raises:
            CursorTaken: another process has it.
            BadValue: it cannot be written, or holds something else.
        """
        with self._cursor, beside:
            place, wait = self._cursor.load(), 0.0
            while not self._stopping.wait(wait):
                harvest = self.step(place)
                if harvest is None:
                    wait = min(max(self._every, wait * 2), SLOWEST)
                else:
                    place, wait = harvest.place, 0.0 if harvest.at_once else self._every

    def step(self, place: Place) -> Harvest[Place] | None:
        """One look, and what came of it. None: it failed, and is to be repeated from the same place."""
        begun = time.monotonic()
        self.health.polls += 1
        try:
            harvest = self._source.poll(place, self._clock())
            self._tell(harvest.facts)
        except (SourceUnavailable, StoppedShort) as error:
            self._failed(str(error))
            return None
        if harvest.place != place:
            self._cursor.save(harvest.place)
        self.health.watching = harvest.watching
        if harvest.trouble:
            self._failed(harvest.trouble)
        elif not harvest.is_behind:
            self._succeeded(begun)
        return harvest

    def _succeeded(self, begun: float) -> None:
        if self.health.trouble:
            _log.info("Following again")
        elif not self.health.was_current:
            _log.info("Up to date; work that has not ended: %d.", self.health.watching)
        is_news = self.health.trouble or not self.health.was_current
        self.health.trouble, self.health.current_at, self.health.was_current = "", begun, True
        if is_news:
            self.health.news.set()

    def _tell(self, facts: Facts) -> None:
        for message, kind in facts.messages():
            answer = self._sender.send(message, kind)
            self.health.told += message.counts[kind]
            if answer:
                self.health.refused += answer.refused or message.counts[kind]
                _log.warning("The collector refused a part: %s", answer.reason)

    def _failed(self, trouble: str) -> None:
        """Say it when it begins, not at each try."""
        self.health.failed_polls += 1
        if not self.health.trouble and not self._stopping.is_set():
            _log.warning("%s It is tried again.", trouble)
        is_news, self.health.trouble = trouble != self.health.trouble, trouble
        if is_news:
            self.health.news.set()
