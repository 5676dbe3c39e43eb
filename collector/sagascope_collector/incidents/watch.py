"""The background thread that keeps incidents in step with the sagas that make them."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sagascope_collector.errors import NotFound
from sagascope_collector.incidents import documents
from sagascope_collector.incidents.failure_monitor import FailureRates
from sagascope_collector.incidents.life import Incident, Scope, State, advance, told
from sagascope_collector.periodic import PeriodicTask
from sagascope_collector.storage import IncidentChange, IncidentGroup, IncidentRecords, Progress

PAUSE: Final = 0.25
"""Seconds between two looks while nothing changes."""

ALL_RESOLVED: Final = 500
"""Incidents that are over which are told of; the histories of all are kept."""

REMEMBERED: Final = 5_000
"""Incidents that are over which are held in memory, the latest; one before them that returns is told as new."""

Passed = Callable[[str, str, str], int | None]


class Incidents:
    """Every incident of one store. All methods may be called from any thread."""

    def __init__(
        self,
        records: IncidentRecords,
        *,
        passed: Passed = lambda *_: None,
        failure_rates: FailureRates | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Know what the store kept.

        Args:
            records: where sagas that need someone are, and where incidents are kept.
            passed: when a step (environment, saga's name, step) was passed last by any saga; None: not known.
            failure_rates: the saga types of which more fail than usual; None: they are not watched.
            clock: now, in nanoseconds since 1970.
        """
        self._failure_rates = failure_rates
        self._records = records
        self._passed = passed
        self._clock = clock
        self._changing = threading.Lock()
        self._redactions = records.redactions
        self._known = self._kept()
        self._seen: int | None = None
        self._groups: Mapping[str, IncidentGroup] = {}
        self._rounds = PeriodicTask("incidents", self.look, every=PAUSE)
        self._listeners: list[Callable[[], None]] = []
        records.listen(self._rounds.call)

    def start(self) -> None:
        """Begin to look, in a thread of its own."""
        self._rounds.start()

    def stop(self) -> None:
        """End within a second."""
        self._rounds.stop()

    def listen(self, told: Callable[[], None]) -> None:
        """Call this after every look for which something was new, in the thread that looks; it must not block."""
        self._listeners.append(told)

    def look(self) -> Sequence[IncidentChange]:
        """Bring every incident up to now; what happened.

        Raises:
            StorageUnavailable: nothing was kept, and nothing happened.
        """
        with self._changing:
            is_news = self._seen != self._records.version
            if self._redactions != self._records.redactions:
                self._redactions, self._known = self._records.redactions, self._kept()
            now = self._clock()
            changed = self._advanced(self._current(now), now)
            changes = [change for _, change in changed.values() if change]
            if changes:
                kept = {change.incident: documents.write(changed[change.incident][0]) for change in changes}
                self._records.keep(kept, changes)
            self._known |= {key: incident for key, (incident, _) in changed.items()}
            self._forget()
        if is_news or changes:
            for tell in self._listeners:
                tell()
        return changes

    def all(self, state: State | None = None) -> Sequence[Incident]:
        """Incidents, the worst first: open ones, then acknowledged ones, then the latest of those that are over."""
        found = sorted((each for each in self._known.copy().values() if state in (None, each.state)), key=_urgency)
        alive = [each for each in found if each.state is not State.RESOLVED]
        over = [each for each in found if each.state is State.RESOLVED]
        return [*alive, *over[:ALL_RESOLVED]]

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Returns how many incidents are not resolved, by (reason, state)."""
        known = self._known.copy().values()
        return Counter((each.reason, each.state.value) for each in known if each.state is not State.RESOLVED)

    def one(self, key: str) -> Incident:
        """One incident.

        Raises:
            NotFound: there never was one of this key.
        """
        try:
            return self._known[key]
        except KeyError:
            raise NotFound(f"There is no incident {key!r}.") from None

    def history(self, key: str) -> Sequence[IncidentChange]:
        """Everything that happened to an incident, earliest first."""
        return self._records.history(key)

    def moved(self, key: str) -> Progress | None:
        """What became of its sagas since it was acknowledged; None: it never was."""
        return self._records.moved(key)

    def tell(self, key: str, *, state: State | None = None, note: str | None = None, by: str | None = None) -> Incident:
        """Note what somebody says of an incident.

        Raises:
            NotFound: there never was one of this key.
            StorageUnavailable: it was not noted.
        """
        with self._changing:
            incident, change = told(self.one(key), self._clock(), state=state, note=note, by=by)
            self._records.keep({key: documents.write(incident)}, [change])
            self._known[key] = incident
            return incident

    def _kept(self) -> dict[str, Incident]:
        return {key: documents.read(text) for key, text in self._records.kept().items()}

    def _current(self, now: int) -> Mapping[str, IncidentGroup]:
        """Returns the sagas that are stuck, or failed, now, by their incident."""
        version = self._records.version
        if version != self._seen:
            self._groups = {group.key: group for group in self._records.groups()}
            self._seen = version
        if self._failure_rates is None:
            return self._groups
        return {**self._groups, **self._failure_rates.groups(self._known, now)}

    def _advanced(
        self, groups: Mapping[str, IncidentGroup], now: int
    ) -> dict[str, tuple[Incident, IncidentChange | None]]:
        """Every incident that is not over, or that is not any more, as of now."""
        alive = {key for key, each in self._known.items() if each.state is not State.RESOLVED or each.count}
        changed = {}
        for key in alive | groups.keys():
            group = groups.get(key)
            passed_at = self._passed(group.environment, group.name, group.step) if group else None
            incident, change = advance(self._known.get(key), group, now, passed_at)
            if incident is not None:
                changed[key] = (incident, change)
        return changed

    def _forget(self) -> None:
        """Hold no more of those that are over than `REMEMBERED`; the store keeps the histories of all."""
        over = [each for each in self._known.values() if each.state is State.RESOLVED and not each.count]
        if len(over) > REMEMBERED:
            for each in sorted(over, key=lambda each: each.changed_at)[:-REMEMBERED]:
                del self._known[each.key]


_STATES: Final = (State.OPEN, State.ACKNOWLEDGED, State.RESOLVED)


def _urgency(incident: Incident) -> tuple[int, bool, int, int]:
    """Worst first: what is not looked after, what stops everybody, and what holds most sagas for longest."""
    if incident.state is State.RESOLVED:
        return _STATES.index(incident.state), False, 0, -incident.changed_at
    isolated = incident.scope is Scope.ISOLATED
    return _STATES.index(incident.state), isolated, -incident.count, incident.since
