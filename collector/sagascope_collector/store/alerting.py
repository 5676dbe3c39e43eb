"""What a store keeps of alerts: whom was told what, and what is still to be told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Told(NamedTuple):
    """What one webhook was told of one incident."""

    webhook: str
    incident: str
    opened_at: int
    """Since when it is told of it, in nanoseconds; a later return of the incident has another."""
    grown: int
    """The greatest number of sagas that it was told."""
    is_over: bool
    over_since: int | None
    """When the incident was first seen to be over, while that is not told yet."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One thing to be told. The same `id` is kept once."""

    id: str
    webhook: str
    at: int
    event: str
    """``opened``, ``grown`` or ``over``."""
    document: str
    """The body, as JSON."""


class Waiting(NamedTuple):
    """A notification that was not delivered yet."""

    notification: Notification
    tries: int
    next_try_at: int


class AlertStore(Protocol):
    """Alerts beside the incidents. All methods may be called from any thread."""

    def told(self) -> Sequence[Told]:
        """What every webhook was told of incidents that are not over for it."""
        ...

    def tell(self, told: Sequence[Told], notifications: Sequence[Notification]) -> None:
        """Note both as one: after a crash nothing is told twice, and nothing is forgotten."""
        ...

    def waiting(self) -> Sequence[Waiting]:
        """What is to be delivered, oldest first."""
        ...

    def delivered(self, id_: str, at: int) -> None:
        """Note that one arrived."""
        ...

    def failed(self, id_: str, next_try_at: int | None, error: str) -> None:
        """Note that one did not arrive, and when it is tried again; None: never."""
        ...

    def outcomes(self) -> Mapping[str, int]:
        """How many notifications are ``waiting``, ``delivered`` and ``given_up``."""
        ...
