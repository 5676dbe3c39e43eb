"""What the timeline draws: bars in lanes, with marks on them.

Times are milliseconds since the Unix epoch. A bar without an end is in flight: the browser draws it to the present.
"""

from dataclasses import dataclass, field

UNNAMED = "unknown service"
"""The lane of what no service was named for."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment on a bar: a log line or an event of its span."""

    at: float
    level: str
    """``error``, ``warning`` or ``note``."""
    text: str


@dataclass(slots=True)
class Bar:
    """One piece of work, or of waiting, in a service's lane."""

    id: str
    """Its span id; for a wait, that of the attempt before it."""
    lane: str
    kind: str
    """``action``, ``compensation``, ``saga``, ``span``, ``wait`` or ``missing``."""
    state: str
    """``ok``, ``error``, ``unknown`` or ``in_flight``."""
    label: str
    start: float
    end: float | None
    word: str
    """The state in a word, for readers who do not see the colour."""
    number: int = 0
    tries: int = 0
    heard: float | None = None
    """In flight: when its process was last heard; None where it is heard still, or was never known."""
    undoes: str = ""
    """The bar that a compensation undoes."""
    trace: int = 0
    """Which of the saga's traces, from 1."""
    row: int = 0
    facts: tuple[tuple[str, str], ...] = ()
    stack: str = ""
    marks: list[Mark] = field(default_factory=list)
