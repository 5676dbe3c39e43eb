"""What a judgement rests on beside the saga's own facts."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

from sagascope_collector.analysis.experience import Experience
from sagascope_collector.analysis.runbook import Runbook
from sagascope_collector.records import Process, SagaKey


@dataclass(frozen=True, slots=True)
class Passed:
    """A step that was done well."""

    at: int
    """On its saga's clock."""
    key: SagaKey
    process: Process
    trace_id: str
    span_id: str


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
    telemetry_lost: Mapping[str, int] = field(default_factory=dict)
    """Environments most of whose services fell silent at once, and since when: no silence is held against one then."""
    heard: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """When each service was last heard, by (environment, service), in whatever saga."""
    stuck: Container[tuple[str, str]] = ()
    """(environment, saga id) of sagas that need attention: a parent that waits for one of them is late, too."""
    runbooks: Sequence[Runbook] = ()
    """What the team wants to be done, in the order in which it is told."""
    passed: Mapping[tuple[str, str, str], Passed] = field(default_factory=dict)
    """Which saga last did a step well, by (environment, saga name, step), as far as it was seen lately."""
