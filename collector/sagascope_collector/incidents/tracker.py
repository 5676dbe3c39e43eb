"""Background thread that updates incidents from their sagas, and shares the changes with other collectors."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

from sagascope_collector.errors import NotFound
from sagascope_collector.incident_records import IncidentChange, IncidentGroup, Progress
from sagascope_collector.incidents.failure_monitor import FailureRates
from sagascope_collector.incidents.lifecycle import Incident, Scope, State, advance, changed_by_person, dump, load
from sagascope_collector.periodic import PeriodicTask
from sagascope_collector.storage import IncidentRecords


class SharedIncidents(Protocol):
    """The stored incidents, and their changes by any collector."""

    @property
    def leads(self) -> bool:
        """Whether this collector opens and resolves incidents; people change them on any."""

    def exclusive(self) -> AbstractContextManager[object]:
        """Returns a block in which no other collector changes incidents.

        Raises:
            StorageUnavailable: what was appended in the block may or may not be stored.
        """

    def read(self) -> Mapping[str, str]:
        """Copies changes that are new to the tables of this collector; returns their incidents as JSON texts, by key.

        Raises:
            StorageUnavailable: nothing was copied.
        """

    def append(self, documents: Mapping[str, str], changes: Sequence[IncidentChange]) -> None:
        """Stores incidents and their changes; to be called within `exclusive`, after `read`.

        Raises:
            StorageUnavailable: they are not stored.
        """


class UnsharedIncidents:
    """The `SharedIncidents` of a collector that shares them with none."""

    leads = True

    def __init__(self, records: IncidentRecords) -> None:
        self.append = records.store

    def exclusive(self) -> AbstractContextManager[object]:
        """Returns a block without effect."""
        return nullcontext()

    def read(self) -> Mapping[str, str]:
        """Returns nothing: no other collector changes the tables."""
        return {}


INTERVAL_SECONDS: Final = 0.25
"""Seconds between two evaluations while nothing changes."""

MAX_EVALUATION_LAG_SECONDS: Final = 2.0
"""Seconds by which the evaluation of a saga on two collectors may differ."""

LISTED_RESOLVED: Final = 500
"""Maximum number of listed resolved incidents; the histories of all are kept."""

CACHED_RESOLVED: Final = 5_000
"""Maximum number of resolved incidents in memory, the latest; an earlier one that recurs is a new incident."""

LastSuccessAt = Callable[[str, str, str], int | None]

Changed = dict[str, tuple[Incident, IncidentChange | None]]


class Incidents:
    """All incidents of one database. Thread-safe."""

    def __init__(
        self,
        records: IncidentRecords,
        *,
        shared: SharedIncidents | None = None,
        last_success_at: LastSuccessAt = lambda *_: None,
        failure_rates: FailureRates | None = None,
        is_current: Callable[[], bool] = lambda: True,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Reads the stored incidents.

        Args:
            records: The sagas that need attention, and the stored incidents.
            shared: Where several collectors share the incidents; None: this one is alone.
            last_success_at: Returns the last success in a step (environment, saga name, step); None if unknown.
            failure_rates: The monitor of failure rates; None if they open no incidents.
            is_current: Returns whether all stored sagas are evaluated. Before, an incident may seem to have none, and
                stays as it is stored.
            clock: Returns the time in nanoseconds since 1970.
        """
        self._failure_rates = failure_rates
        self._records = records
        self._is_current = is_current
        self._shared = shared or UnsharedIncidents(records)
        self._last_success_at = last_success_at
        self._clock = clock
        self._changing = threading.Lock()
        # before the incidents are read: a redaction in between is then noticed by the next evaluation
        self._redactions = records.redactions
        self._known = self._stored()
        self._seen: int | None = None
        self._groups: Mapping[str, IncidentGroup] = {}
        self._task = PeriodicTask("incidents", self.evaluate, interval_seconds=INTERVAL_SECONDS)
        self._listeners: list[Callable[[], None]] = []
        records.listen(self._task.trigger)

    def start(self) -> None:
        """Starts the thread."""
        self._task.start()

    def stop(self) -> None:
        """Stops the thread within a second."""
        self._task.stop()

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls `listener` in the thread after every evaluation with a change; it must not block."""
        self._listeners.append(listener)

    def evaluate(self) -> Sequence[IncidentChange]:
        """Updates every incident; returns the changes.

        Raises:
            StorageUnavailable: nothing has changed.
        """
        with self._changing:
            # `_receive` comes first: it is needed whatever the version
            is_news = self._receive() or self._seen != self._records.version
            if self._redactions != self._records.redactions:
                self._redactions, self._known = self._records.redactions, self._stored()
            if not self._is_current():
                return []
            now = self._clock()
            groups = self._current(now)
            changed = self._advanced(groups, now)
            if any(change for _, change in changed.values()):
                changed = self._stored_changes(changed, groups, now)
            changes = [change for _, change in changed.values() if change]
            self._known |= {key: incident for key, (incident, _) in changed.items()}
            self._evict()
        if is_news or changes:
            for listener in self._listeners:
                listener()
        return changes

    def all(self, state: State | None = None) -> Sequence[Incident]:
        """Returns incidents in order of urgency: open, then acknowledged, then the latest resolved ones."""
        # a copy, because the thread changes the incidents meanwhile
        found = sorted((each for each in self._known.copy().values() if state in (None, each.state)), key=_urgency)
        active = [each for each in found if each.state is not State.RESOLVED]
        resolved = [each for each in found if each.state is State.RESOLVED]
        return [*active, *resolved[:LISTED_RESOLVED]]

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Returns the number of unresolved incidents, by (reason, state)."""
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

    def progress(self, key: str) -> Progress | None:
        """Returns how its sagas have changed since it was acknowledged; None if it was not acknowledged."""
        return self._records.progress(key)

    def change(
        self, key: str, *, state: State | None = None, note: str | None = None, by: str | None = None
    ) -> Incident:
        """Applies a person's change to an incident.

        Raises:
            NotFound: There is no incident with this key.
            StorageUnavailable: Nothing has changed.
        """
        if state is State.ACKNOWLEDGED and not self._shared.leads:
            self._wait_for_sagas(key)
        with self._changing:
            with self._shared.exclusive():
                self._receive()
                incident, change = changed_by_person(self.one(key), self._clock(), state=state, note=note, by=by)
                self._shared.append({key: dump(incident)}, [change])
            self._known[key] = incident
            self._receive()
            return incident

    def _wait_for_sagas(self, key: str) -> None:
        """Waits until the sagas of an incident that the leader has just opened are evaluated here, too.

        An acknowledgement is of these sagas.
        """
        ends = time.monotonic() + MAX_EVALUATION_LAG_SECONDS
        while self._is_without_sagas(key) and time.monotonic() < ends:
            time.sleep(INTERVAL_SECONDS)

    def _is_without_sagas(self, key: str) -> bool:
        incident = self.one(key)
        return incident.state is State.OPEN and incident.failure_rate is None and key not in self._groups

    def _receive(self) -> bool:
        """Takes over what other collectors have changed; returns whether anything was new."""
        found = {key: load(text) for key, text in self._shared.read().items()}
        self._known |= found
        return bool(found)

    def _stored_changes(self, changed: Changed, groups: Mapping[str, IncidentGroup], now: int) -> Changed:
        """Stores the changes of incidents if this collector leads; returns all current incidents, with their changes.

        On other collectors, incidents keep their state until the leader's change arrives.
        """
        if not self._shared.leads:
            return {key: found for key, found in changed.items() if found[1] is None}
        with self._shared.exclusive():
            if self._receive():  # a person has changed an incident meanwhile
                changed = self._advanced(groups, now)
            changes = [change for _, change in changed.values() if change]
            self._shared.append({each.incident: dump(changed[each.incident][0]) for each in changes}, changes)
        return changed

    def _stored(self) -> dict[str, Incident]:
        return {key: load(text) for key, text in self._records.documents().items()}

    def _current(self, now: int) -> Mapping[str, IncidentGroup]:
        """Returns the currently stuck or failed sagas, by incident."""
        # before the groups are read: a change in between is then noticed by the next evaluation
        version = self._records.version
        if version != self._seen:
            self._groups = {group.key: group for group in self._records.groups()}
        failing = self._failure_rates.groups(self._known, now) if self._failure_rates is not None else {}
        self._seen = version
        return {**self._groups, **failing}

    def _advanced(self, groups: Mapping[str, IncidentGroup], now: int) -> Changed:
        """Returns every current incident that is unresolved or has sagas again, with its change."""
        active = {key for key, each in self._known.items() if each.state is not State.RESOLVED or each.count}
        changed = {}
        for key in active | groups.keys():
            group = groups.get(key)
            last_success_at = self._last_success_at(group.environment, group.name, group.step) if group else None
            incident, change = advance(self._known.get(key), group, now, last_success_at)
            if incident is not None:
                changed[key] = (incident, change)
        return changed

    def _evict(self) -> None:
        """Evicts resolved incidents beyond `CACHED_RESOLVED`; the database keeps the histories of all."""
        resolved = [each for each in self._known.values() if each.state is State.RESOLVED and not each.count]
        if len(resolved) > CACHED_RESOLVED:
            for each in sorted(resolved, key=lambda each: each.changed_at)[:-CACHED_RESOLVED]:
                del self._known[each.key]


_STATES: Final = (State.OPEN, State.ACKNOWLEDGED, State.RESOLVED)


def _urgency(incident: Incident) -> tuple[int, bool, int, int]:
    """Returns a sort key by urgency: open before acknowledged, systemic before isolated, then by sagas and age."""
    if incident.state is State.RESOLVED:
        return _STATES.index(incident.state), False, 0, -incident.changed_at
    isolated = incident.scope is Scope.ISOLATED
    return _STATES.index(incident.state), isolated, -incident.count, incident.since
