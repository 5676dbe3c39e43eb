"""The engines that are supported without configuration, and the mapping of records to sagas."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from sagascope_collector.engines import (
    celery,
    dapr,
    dbos,
    masstransit,
    nservicebus,
    otel_partial,
    restate,
    sagaz,
    temporal,
)
from sagascope_collector.engines.engine import Engine, RecordFields
from sagascope_collector.records import Mark

ENGINES: Final[tuple[Engine, ...]] = (
    temporal.ENGINE,
    dbos.ENGINE,
    restate.ENGINE,
    dapr.ENGINE,
    masstransit.ENGINE,
    nservicebus.ENGINE,
    sagaz.ENGINE,
    celery.ENGINE,
)
"""In order of precedence: the first engine that recognizes a record decides."""

BY_ROLE: Final[Mapping[str, Engine]] = {engine.name: engine for engine in ENGINES}
"""Engines by the role that their marks carry."""

UNMARKED: Final = Mark()

MIN_ONE_PASS_BYTES: Final = 128 * 1024
"""Size of requests below which one search a term takes less time than to compile the pattern of all."""


class Rules(Protocol):
    """Mapping rules in addition to the built-in engines."""

    @property
    def keys(self) -> frozenset[str]:
        """The attribute keys that the rules read."""

    @property
    def prefilter_terms(self) -> tuple[str, ...]:
        """Every request to which a rule can apply contains one of these terms; ``""`` matches every request."""

    def mark(self, record: RecordFields, known: Mark | None, engine: str) -> Mark | None:
        """Returns the saga of a record, given what its engine says (``""``: no engine); None if unknown."""


class _NoRules:
    keys: frozenset[str] = frozenset()
    prefilter_terms: tuple[str, ...] = ()

    def mark(self, record: RecordFields, known: Mark | None, engine: str) -> Mark | None:
        return known


NO_RULES: Final[Rules] = _NoRules()


@dataclass(frozen=True)
class AttributeMapping:
    """Maps records without ``saga.*`` attributes to sagas, by the built-in engines and the user's rules."""

    rules: Rules = NO_RULES
    keys: frozenset[str] = field(init=False)
    """The attribute keys that `mark` reads."""
    _terms: tuple[bytes, ...] = field(init=False, repr=False)
    _pattern: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        keys = {key for engine in ENGINES for key in engine.keys}
        object.__setattr__(self, "keys", frozenset(keys) | self.rules.keys)
        terms = [term for engine in ENGINES for term in engine.prefilter_terms]
        terms += [otel_partial.EVENT, *self.rules.prefilter_terms]
        object.__setattr__(self, "_terms", tuple(term.encode() for term in dict.fromkeys(terms)))
        object.__setattr__(self, "_pattern", "|".join(map(re.escape, dict.fromkeys(terms))))

    def prefilter(self, bodies: Sequence[bytes]) -> Sequence[bool]:
        """Returns for each request in protobuf whether it can hold a record of an engine.

        In large requests one pass searches for all terms: it takes half the time of one search a term.
        """
        if sum(map(len, bodies)) < MIN_ONE_PASS_BYTES:
            return [any(term in body for term in self._terms) for body in bodies]
        found = pc.match_substring_regex(pa.array(bodies, pa.large_binary()), self._pattern)
        matches: list[bool] = found.to_pylist()
        return matches

    def mark(self, record: RecordFields, own: Mark) -> Mark:
        """Returns the saga of a record. The record's ``saga.*`` attributes, `own`, take precedence."""
        if own.id and own.role:
            return own
        found = self.rules.mark(record, *_mark_by_engine(record))
        if found is None or (own.id and found.id != own.id):
            return own if own.id else UNMARKED
        return _merged(own, found)


def _mark_by_engine(record: RecordFields) -> tuple[Mark | None, str]:
    """Returns the mark by the first engine that recognizes the record, and the engine's name."""
    for engine in ENGINES:
        found = engine.mark(record)
        if found is not None:
            return found, engine.name
    return None, ""


def _merged(first: Mark, second: Mark) -> Mark:
    """Returns `first`, with its empty fields filled from `second`."""
    return Mark(
        id=first.id or second.id,
        name=first.name or second.name,
        run=first.run or second.run,
        role=first.role or second.role,
        step=first.step or second.step,
        type=first.type or second.type,
        key=first.key or second.key,
        attempt=first.attempt or second.attempt,
    )


BUILT_IN: Final = AttributeMapping()
"""The mapping without user rules."""
