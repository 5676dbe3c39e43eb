"""Where a record of others belongs: asked once, when it is decoded. Pure."""

from dataclasses import dataclass, field
from typing import Final, Protocol

from sagascope_collector.foreign import partial
from sagascope_collector.foreign.engine import Seen
from sagascope_collector.foreign.engines import ENGINES
from sagascope_collector.records import Mark


class Rules(Protocol):
    """What somebody taught beside the engines."""

    @property
    def keys(self) -> frozenset[str]:
        """Attributes that are read."""

    @property
    def needles(self) -> tuple[str, ...]:
        """Words of which one stands in every request that a rule may say something of; ``""``: any request."""

    def mark(self, seen: Seen, known: Mark | None) -> Mark | None:
        """Where a record belongs, given what its engine says of it; None: no rule says it."""


class _NoRules:
    keys: frozenset[str] = frozenset()
    needles: tuple[str, ...] = ()

    def mark(self, seen: Seen, known: Mark | None) -> Mark | None:
        return known


NO_RULES: Final[Rules] = _NoRules()


@dataclass(frozen=True)
class Forms:
    """Every form that one collector understands."""

    rules: Rules = NO_RULES
    keys: frozenset[str] = field(init=False)
    """The attributes that `mark` reads."""
    needles: tuple[bytes, ...] = field(init=False)
    """A request in which none of these stands holds nothing of others."""

    def __post_init__(self) -> None:
        keys = {key for engine in ENGINES for key in engine.keys}
        object.__setattr__(self, "keys", frozenset(keys) | self.rules.keys)
        words = [*(each for engine in ENGINES for each in engine.needles), partial.EVENT, *self.rules.needles]
        object.__setattr__(self, "needles", tuple(word.encode() for word in dict.fromkeys(words)))

    def may_hold(self, body: bytes) -> bool:
        """Whether a request, in protobuf, may hold something of others."""
        return any(needle in body for needle in self.needles)

    def mark(self, seen: Seen, own: Mark) -> Mark:
        """Where a record belongs; what its ``saga.*`` attributes, `own`, say goes before everything else."""
        if own.id and own.role:
            return own
        found = self.rules.mark(seen, next(filter(None, (engine.mark(seen) for engine in ENGINES)), None))
        if found is None or (own.id and found.id != own.id):
            return own if own.id else UNMARKED
        return merged(own, found)


UNMARKED: Final = Mark()


def merged(first: Mark, then: Mark) -> Mark:
    """What `first` says, and of the rest what `then` does."""
    return Mark(
        id=first.id or then.id,
        name=first.name or then.name,
        run=first.run or then.run,
        role=first.role or then.role,
        step=first.step or then.step,
        type=first.type or then.type,
        key=first.key or then.key,
        attempt=first.attempt or then.attempt,
    )


BUILT_IN: Final = Forms()
"""What is understood without configuration."""
