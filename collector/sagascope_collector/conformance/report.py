"""What a judgement says. Pydantic, since it is printed as JSON for other programs."""

from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict


class Verdict(StrEnum):
    """What became of one point."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_SEEN = "not_seen"
    """Nothing came to which it applies."""


class Level(StrEnum):
    """How much an emitter tells of work that has not ended; each includes those before it."""

    NOTHING = "nothing"
    ENDS = "ends"
    STARTS = "starts"
    HEARTBEATS = "heartbeats"


class Finding(NamedTuple):
    """One record to which a point applies, and what is wrong with it; ``""``: nothing is."""

    where: str
    wrong: str = ""


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True)


class Point(_Said):
    """One point, judged."""

    section: str
    point: str
    requirement: str
    verdict: Verdict
    seen: int
    """Records to which it applies."""
    wrong: int
    """Of those, the ones that do not keep it."""
    example: str | None
    """The first that does not keep it, else the first that does."""
    reason: str | None
    """What is wrong with the example."""
    fix: str | None
    """What to do, where it failed."""


class Claim(_Said):
    """What can be said of this emitter's sagas."""

    attention: str
    """A reason for attention, as in `docs/diagnosis.md`."""
    confidence: str
    """The most that it can be said with: ``certain``, ``likely``, ``possible`` or ``never``."""
    why: str


class Report(_Said):
    """Everything that was found."""

    conformant: bool
    """Something of a saga came, and no point failed."""
    level: Level
    spans: int
    logs: int
    sagas: int
    points: list[Point]
    claims: list[Claim]
