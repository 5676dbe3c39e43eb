"""What every engine has: how its spans say where they belong, and what they mean together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sagascope_collector.records import Mark, Span, Value
from sagascope_collector.values import word


@dataclass(frozen=True, slots=True)
class Seen:
    """What of a record may say where it belongs."""

    name: str = ""
    """A span's name; ``""`` of a log record."""
    scope: str = ""
    service: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict)
    """At least those with a key that some engine reads."""

    def said(self, *keys: str) -> str:
        """The first of these attributes that says anything."""
        return next(filter(None, (word(self.attributes.get(key)) for key in keys)), "")


@dataclass(slots=True)
class Told:
    """What spans of an engine mean, as if they had been made with ``saga.*`` attributes."""

    spans: list[Span] = field(default_factory=list)
    """For each span that was given, at least one with its ids; several: it told of several attempts."""
    lost: set[str] = field(default_factory=set)
    """Ids of spans that stand for work which is over, although nothing tells how it ended."""
    unknown: set[str] = field(default_factory=set)
    """Ids of spans whose outcome the engine did not accept: it started another attempt of the same work."""
    continued: set[str] = field(default_factory=set)
    """Ids of spans that ended so that their run continues as a new one."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine, or library, that makes spans of its own."""

    name: str
    """It is the role of the marks that `mark` makes, wherever `tell` decides what the spans are."""
    keys: tuple[str, ...]
    """The attributes that `mark` reads."""
    needles: tuple[str, ...]
    """Words of which one stands in every request that holds something of this engine."""
    mark: Callable[[Seen], Mark | None]
    """Where a record belongs; None: it is none of this engine's."""
    tell: Callable[[Sequence[Span]], Told]
    """What the spans of one saga mean. Pure, and free of the order in which they are given."""
    ours: str = ""
    """An attribute with which something of Sagascope's own tells of the same work, and of more of it."""


def in_order(spans: Iterable[Span]) -> list[Span]:
    """By time, as far as clocks tell."""
    return sorted(spans, key=lambda span: (span.start, span.end or span.start, span.trace_id, span.span_id))
