"""Faults of a saga and faults of its telemetry: two choices, independent of each other."""

from dataclasses import dataclass, field
from random import Random
from typing import Literal

from accuracy.shapes import Shape

Kind = Literal[
    "none",
    "refused",
    "retried",
    "hang",
    "executor_killed",
    "boss_killed",
    "forgotten",
    "not_closed",
    "retried_forever",
    "compensation_refused",
    "compensation_hangs",
    "not_compensated",
    "delivered_twice",
    "late_first_attempt",
    "answer_lost",
    "undecided",
    "mixed",
]

FAULTS: tuple[tuple[Kind, int], ...] = (
    ("none", 30),
    ("refused", 8),
    ("retried", 6),
    ("hang", 8),
    ("executor_killed", 10),
    ("boss_killed", 10),
    ("forgotten", 6),
    ("not_closed", 3),
    ("retried_forever", 4),
    ("compensation_refused", 5),
    ("compensation_hangs", 3),
    ("not_compensated", 5),
    ("delivered_twice", 4),
    ("late_first_attempt", 4),
    ("answer_lost", 5),
)
TWO_PHASE_FAULTS: tuple[tuple[Kind, int], ...] = (
    ("none", 40),
    ("hang", 8),
    ("executor_killed", 8),
    ("boss_killed", 16),
    ("undecided", 16),
    ("mixed", 12),
)
CHOREOGRAPHY_FAULTS: tuple[tuple[Kind, int], ...] = (
    ("none", 40),
    ("refused", 10),
    ("hang", 12),
    ("executor_killed", 14),
    ("forgotten", 10),
    ("not_closed", 4),
    ("delivered_twice", 6),
    ("compensation_refused", 4),
)


@dataclass(frozen=True)
class Fault:
    """What goes wrong in the saga itself."""

    kind: Kind
    place: int = 0
    """Of the step that it hits."""
    stage: float = 0.5
    """When, as a share: of the attempt for an executor, of the whole saga for the process that runs it."""
    has_effect: bool = False
    """Whether the work took effect before the fault hit it."""
    is_answered: bool = False
    """Whether the caller of a killed or hanging executor gets an error, so that it can go on."""
    reports_shutdown: bool = False
    """Whether the process that ended reported its shutdown."""
    ends: bool = True
    """Whether the process that runs the saga closes it after a failure that it could not repair."""
    is_compensation: bool = False
    """Whether it hits the way back."""


@dataclass(frozen=True)
class Damage:
    """What goes wrong with the telemetry."""

    lost: float = 0.0
    """Share of the records that never come."""
    lost_beats: float = 0.0
    silenced: str = ""
    """A service whose records do not come any more from `silenced_at` on, although it works."""
    silenced_at: float = 0.0
    late: float = 0.0
    """Share of the records that come late, by up to `late_by` seconds."""
    late_by: float = 0.0
    repeated: float = 0.0
    outage: tuple[float, float] | None = None
    """When the collector did not receive; what was sent then comes after it."""
    skew: dict[str, float] = field(default_factory=dict)
    """Seconds by which the clock of each process of a service is ahead."""

    @property
    def label(self) -> str:
        """``complete``, ``skewed`` or ``damaged``: what the telemetry allows to know."""
        if self.lost or self.lost_beats or self.silenced or self.late or self.outage:
            return "damaged"
        return "skewed" if self.skew else "complete"


COMPLETE = Damage()
REPEATED_MAX = 3.0
"""Seconds after which a record may come again."""


def fault(chance: Random, shape: Shape) -> Fault:
    """What happens to one saga of a shape; mostly something."""
    choices = {"two_phase": TWO_PHASE_FAULTS, "choreography": CHOREOGRAPHY_FAULTS}.get(shape.style, FAULTS)
    kind = chance.choices([kind for kind, _ in choices], [share for _, share in choices])[0]
    return Fault(
        kind,
        place=chance.randrange(len(shape.steps)),
        stage=chance.random(),
        has_effect=chance.random() < 0.5,
        is_answered=chance.random() < 0.5,
        reports_shutdown=chance.random() < 0.3,
        ends=chance.random() < 0.6,
        is_compensation=chance.random() < 0.25,
    )


def damage(chance: Random, shape: Shape) -> Damage:
    """What happens to its telemetry: nothing for half of the sagas, and to some of the rest several things at once."""
    if chance.random() < 0.5:
        return COMPLETE if chance.random() < 0.8 else Damage(repeated=0.3)
    if chance.random() < 0.3:
        return Damage(skew=_skew(chance, shape), repeated=chance.choice((0.0, 0.3)))
    silenced = chance.choice(shape.services) if chance.random() < 0.25 else ""
    outage = (
        (start := chance.uniform(0, 20), start + chance.choice((5.0, 30.0, 120.0))) if chance.random() < 0.2 else None
    )
    is_late = chance.random() < 0.3
    found = Damage(
        lost=chance.choice((0.02, 0.1, 0.3)) if chance.random() < 0.5 else 0.0,
        lost_beats=chance.choice((0.05, 0.3, 1.0)) if chance.random() < 0.3 else 0.0,
        silenced=silenced,
        silenced_at=chance.uniform(0, 5),
        late=0.3 if is_late else 0.0,
        late_by=chance.choice((5.0, 40.0, 300.0)) if is_late else 0.0,
        repeated=chance.choice((0.0, 0.3)),
        outage=outage,
        skew=_skew(chance, shape) if chance.random() < 0.3 else {},
    )
    return found if found.label == "damaged" else Damage(lost=0.1)


def _skew(chance: Random, shape: Shape) -> dict[str, float]:
    services = chance.sample(shape.services, chance.randint(1, max(1, len(shape.services) // 2)))
    return {service: chance.choice((-1, 1)) * chance.choice((0.2, 2.0, 30.0, 240.0)) for service in services}
