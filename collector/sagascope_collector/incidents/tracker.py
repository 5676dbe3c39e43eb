"""The background thread that keeps incidents up to date with their sagas."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sagascope_collector.errors import NotFound
from sagascope_collector.incident_records import IncidentChange, IncidentGroup, Progress
from sagascope_collector.incidents.failure_monitor import FailureRates
from sagascope_collector.incidents.lifecycle import Incident, Scope, State, advance, changed_by_person, dump, load
from sagascope_collector.periodic import PeriodicTask
from sagascope_collector.storage import IncidentRecords

INTERVAL_SECONDS: Final = 0.25
"""Time between two looks while nothing changes."""

LISTED_RESOLVED: Final = 500
"""Resolved incidents that are listed; the histories of all are kept."""

CACHED_RESOLVED: Final = 5_000
"""Resolved incidents that are held in memory, the latest; an earlier one that returns is a new one."""

PassedAt = Callable[[str, str, str], int | None]


class Incidents:
    """All incidents of one database. Safe from any thread."""

    def __init__(
        self,
        records: IncidentRecords,
        *,
        passed_at: PassedAt = lambda *_: None,
        failure_rates: FailureRates | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Reads the incidents that are stored.

        Args:
            records: the sagas that need attention, and the stored incidents.
            passed_at: when a saga last succeeded in a step (environment, saga name, step); None: not known.
            failure_rates: the saga types of which more fail than usual; None: these make no incidents.
            clock: the time in nanoseconds since 1970.
        """
        self._failure_rates = failure_rates
        self._records = records
        self._passed_at = passed_at
        self._clock = clock
        self._changing = threading.Lock()
        self._redactions = records.redactions
        self._known = self._stored()
        self._seen: int | None = None
        self._groups: Mapping[str, IncidentGroup] = {}
        self._task = PeriodicTask("incidents", self.look, interval_seconds=INTERVAL_SECONDS)
        self._listeners: list[Callable[[], None]] = []
        records.listen(self._task.trigger)

    def start(self) -> None:
        """Starts the thread."""
        self._task.start()

    def stop(self) -> None:
        """Stops the thread, within a second."""
        self._task.stop()

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls `listener` after every look that found something new, in the thread; it must not block."""
        self._listeners.append(listener)

    def look(self) -> Sequence[IncidentChange]:
        """Brings every incident up to date; returns the changes.

        Raises:
            StorageUnavailable: nothing has changed.
        """
        with self._changing:
            is_news = self._seen != self._records.version
            if self._redactions != self._records.redactions:
                self._redactions, self._known = self._records.redactions, self._stored()
            now = self._clock()
            changed = self._advanced(self._current(now), now)
            changes = [change for _, change in changed.values() if change]
            if changes:
                documents = {change.incident: dump(changed[change.incident][0]) for change in changes}
                self._records.store(documents, changes)
            self._known |= {key: incident for key, (incident, _) in changed.items()}
            self._evict()
        if is_news or changes:
            for listener in self._listeners:
                listener()
        return changes

    def all(self, state: State | None = None) -> Sequence[Incident]:
        """Returns incidents, the worst first: open ones, then acknowledged ones, then the latest resolved ones."""
        found = sorted((each for each in self._known.copy().values() if state in (None, each.state)), key=_urgency)
        active = [each for each in found if each.state is not State.RESOLVED]
        resolved = [each for each in found if each.state is State.RESOLVED]
        return [*active, *resolved[:LISTED_RESOLVED]]

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Returns how many incidents are not resolved, by (reason, state)."""
        known = self._known.copy().values()
        return Counter((each.reason, each.state.value) for each in known if each.state is not State.RESOLVED)

    def one(self, key: str) -> Incident:
        """Returns one incident.

        Raises:
            NotFound: there is none with this key.
        """
        try:
            return self._known[key]
        except KeyError:
            raise NotFound(f"There is no incident {key!r}.") from None

    def history(self, key: str) -> Sequence[IncidentChange]:
        """Returns all changes of an incident, the earliest first."""
        return self._records.history(key)

    def moved(self, key: str) -> Progress | None:
        """Returns what became of its sagas since it was acknowledged; None: it was not."""
        return self._records.moved(key)

    def change(
        self, key: str, *, state: State | None = None, note: str | None = None, by: str | None = None
    ) -> Incident:
        """Makes a person's change of an incident.

        Raises:
            NotFound: there is none with this key.
            StorageUnavailable: nothing has changed.
        """
        with self._changing:
            incident, change = changed_by_person(self.one(key), self._clock(), state=state, note=note, by=by)
            self._records.store({key: dump(incident)}, [change])
            self._known[key] = incident
            return incident

    def _stored(self) -> dict[str, Incident]:
        return {key: load(text) for key, text in self._records.documents().items()}

    def _current(self, now: int) -> Mapping[str, IncidentGroup]:
        """Returns the sagas that are stuck, or failed, now, by their incident."""
        version = self._records.version
        if version != self._seen:
            self._groups = {group.key: group for group in self._records.groups()}
        failing = self._failure_rates.groups(self._known, now) if self._failure_rates is not None else {}
        self._seen = version
        return {**self._groups, **failing}

    def _advanced(
        self, groups: Mapping[str, IncidentGroup], now: int
    ) -> dict[str, tuple[Incident, IncidentChange | None]]:
        """Returns every incident that is not resolved, or has sagas again, as of now, with its change."""
        active = {key for key, each in self._known.items() if each.state is not State.RESOLVED or each.count}
        changed = {}
        for key in active | groups.keys():
            group = groups.get(key)
            passed_at = self._passed_at(group.environment, group.name, group.step) if group else None
            incident, change = advance(self._known.get(key), group, now, passed_at)
            if incident is not None:
                changed[key] = (incident, change)
        return changed

    def _evict(self) -> None:
        """Holds no more resolved incidents than `CACHED_RESOLVED`; the database keeps the histories of all."""
        resolved = [each for each in self._known.values() if each.state is State.RESOLVED and not each.count]
        if len(resolved) > CACHED_RESOLVED:
            for each in sorted(resolved, key=lambda each: each.changed_at)[:-CACHED_RESOLVED]:
                del self._known[each.key]


_STATES: Final = (State.OPEN, State.ACKNOWLEDGED, State.RESOLVED)


def _urgency(incident: Incident) -> tuple[int, bool, int, int]:
    """Returns a sort key, worst first: open before acknowledged, systemic before isolated, then by sagas and age."""
    if incident.state is State.RESOLVED:
        return _STATES.index(incident.state), False, 0, -incident.changed_at
    isolated = incident.scope is Scope.ISOLATED
    return _STATES.index(incident.state), isolated, -incident.count, incident.since
