"""What a store keeps of sagas that need someone, and of the incidents that they make together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple, Protocol

from sagascope_collector.records import SagaId


class Stake(NamedTuple):
    """An amount at stake in one currency."""

    currency: str
    certain: Decimal
    possible: Decimal


@dataclass(frozen=True, slots=True)
class Standing:
    """Why one saga stands still, and what it shares with others; texts that are not known are ``""``."""

    incident: str
    """The key of the incident that it is part of."""
    step: str
    service: str
    phase: str
    reason: str
    fingerprint: str
    error: str
    """Its own error, with all that the fingerprint leaves out."""
    remedy: str
    """``resume``, ``undo`` or ``verify_first``."""
    since: int
    stakes: tuple[Stake, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """The sagas that stand still for one cause at this moment."""

    key: str
    environment: str
    name: str
    step: str
    service: str
    """The one that most of them stand at."""
    phase: str
    reason: str
    fingerprint: str
    error: str
    """The latest of theirs."""
    count: int
    since: int
    """When the first of them stopped."""
    middle: int
    """When half of them had stopped."""
    latest_at: int
    """When the latest of them stopped."""
    joined_at: int
    """When the latest of them was first seen to be part of this."""
    examples: tuple[str, ...]
    """The ids of those that stand still for longest."""
    split: Mapping[str, int]
    """How many there are of each remedy."""
    stakes: tuple[Stake, ...]


class Change(NamedTuple):
    """Something that happened to an incident."""

    incident: str
    at: int
    what: str
    """``opened``, ``reopened``, ``acknowledged``, ``noted`` or ``resolved``."""
    by: str | None
    """None: the collector itself."""
    note: str
    sagas: int
    """How many were part of it then."""


class Moved(NamedTuple):
    """What became of the sagas that were part of an incident when it was acknowledged."""

    still: int
    stuck_again: int
    moved_on: int
    finished: int


class IncidentStore(Protocol):
    """Incidents beside the sagas that make them. All methods may be called from any thread."""

    @property
    def version(self) -> int:
        """Another number after anything that `groups` answers may have changed."""
        ...

    @property
    def redactions(self) -> int:
        """Another number after what was kept has been changed by the store itself, since sagas were forgotten."""
        ...

    def listen(self, told: Callable[[], None]) -> None:
        """Call this each time that `version` has become another, in the thread that wrote; it must not block."""
        ...

    def groups(self) -> Sequence[Group]:
        """The sagas that need someone, by their incident."""
        ...

    def kept(self) -> Mapping[str, str]:
        """What `keep` was given last, by key."""
        ...

    def keep(self, documents: Mapping[str, str], changes: Sequence[Change]) -> None:
        """Keep incidents as texts, by key, and add to their histories; an acknowledgement notes who is part of it."""
        ...

    def history(self, key: str) -> Sequence[Change]:
        """Everything that happened to an incident, earliest first."""
        ...

    def moved(self, key: str) -> Moved | None:
        """What became of its sagas since it was acknowledged last; None: it never was."""
        ...

    def sagas_of(self, key: str) -> Sequence[SagaId]:
        """The sagas that are part of it now."""
        ...
