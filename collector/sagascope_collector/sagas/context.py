"""What a judgement rests on beside the saga's own facts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sagascope_collector.sagas.experience import Experience


@dataclass(frozen=True, slots=True)
class Context:
    """The moment of a judgement, and what the collector knows at it."""

    now: int
    """Nanoseconds since the Unix epoch."""
    deaf: tuple[tuple[int, int], ...] = ()
    """When this collector is known not to have heard; deadlines do not run then."""
    step_timeouts: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Seconds, by (saga name, step)."""
    default_timeout: float = 30.0
    services: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    """Which service runs a step, by (environment, saga name, step), as seen in any saga; for steps not begun here."""
    experience: Mapping[tuple[str, str], Experience] = field(default_factory=dict)
    """What finished sagas taught, by (environment, saga name)."""
    telemetry_lost: bool = False
    """Most services fell silent at once: then no silence is held against one."""
