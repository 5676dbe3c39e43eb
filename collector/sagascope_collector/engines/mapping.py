"""What a user teaches of further telemetry: the file behind ``--mapping``, rule by rule."""

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from sagascope import semconv
from sagascope_collector import config_file
from sagascope_collector.engines.engine import Seen
from sagascope_collector.engines.engines import BY_ROLE
from sagascope_collector.engines.forms import Forms
from sagascope_collector.engines.telling import UNDOES
from sagascope_collector.records import Mark
from sagascope_collector.values import count, word

LONGEST: Final = 1_000
"""Characters of a span's name that patterns are held against."""


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no pattern: {error}") from error
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]
"""A regular expression, searched for in a span's name."""

Key = Annotated[str, Field(min_length=1)]
"""An attribute's key."""


class Source(BaseModel):
    """Where a word comes from: exactly one of these. A text alone is an attribute's key."""

    attribute: Key | None = None
    span: Pattern | None = None
    """Its first group, else what it matched, of a span's name."""
    constant: Key | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(each is not None for each in (self.attribute, self.span, self.constant)) != 1:
            raise ValueError("says exactly one of attribute, span, constant")
        return self

    def said(self, seen: Seen) -> str:
        """The word; ``""`` where the record does not say it."""
        if self.attribute is not None:
            return word(seen.attributes.get(self.attribute))
        if self.span is not None:
            found = re.search(self.span, seen.name[:LONGEST])
            return (found[1] if found.re.groups else found[0]) or "" if found else ""
        return self.constant or ""


def _source(value: Any) -> Any:
    return {"attribute": value} if isinstance(value, str) else value


From = Annotated[Source, BeforeValidator(_source)]


class Condition(BaseModel):
    """What a record must be; all that is said holds."""

    engine: str | None = None
    """One of those that are understood without rules."""
    service: Key | None = None
    scope: Key | None = None
    """The name of the instrumentation scope."""
    span: Pattern | None = None
    has: list[Key] = []
    """Attributes that it carries."""
    equals: dict[Key, str] = {}
    """Attributes that it carries, with their values."""

    @model_validator(mode="after")
    def _engine(self) -> Self:
        if self.engine is not None and self.engine not in BY_ROLE:
            raise ValueError(f"engine {self.engine!r} is none of {', '.join(sorted(BY_ROLE))}")
        return self

    def holds(self, seen: Seen, engine: str) -> bool:
        """Whether a record is so."""
        return (
            self.engine in (None, engine)
            and self.service in (None, seen.service)
            and self.scope in (None, seen.scope)
            and (self.span is None or re.search(self.span, seen.name[:LONGEST]) is not None)
            and all(key in seen.attributes for key in self.has)
            and all(word(seen.attributes.get(key)) == value for key, value in self.equals.items())
        )


class Rule(BaseModel):
    """How records of one form say where they belong. What a rule leaves out is read as without it."""

    when: Condition = Condition()
    id: From | None = None
    name: From | None = None
    run: From | None = None
    role: Literal["saga", "step"] | None = None
    """Absent: ``step`` where a step is named."""
    step: From | None = None
    key: From | None = None
    attempt: From | None = None
    first_attempt: Literal[0, 1] = 1
    """The number of the first try, as the emitter counts."""
    compensation: Condition | None = None
    """When a step is a compensation."""
    undoes: From | dict[Key, Key] | None = None
    """What it undoes: a word, or by the step's name."""

    @model_validator(mode="after")
    def _has_an_id(self) -> Self:
        if self.id is None and self.when.engine is None:
            raise ValueError("id is missing: only a rule for an engine can leave it out")
        return self

    def mark(self, seen: Seen, known: Mark | None) -> Mark | None:
        """Where a record belongs; None: it does not say enough."""
        known = known or Mark()
        step = _said(self.step, seen) or known.step
        found = Mark(
            id=_said(self.id, seen) or known.id,
            name=_said(self.name, seen) or known.name,
            run=_said(self.run, seen) or known.run,
            role=self.role or known.role or (semconv.ROLE_STEP if step and seen.name else ""),
            step=step,
            type=self._type(seen, step) or known.type,
            key=_said(self.key, seen) or known.key,
            attempt=self._attempt(seen) or known.attempt,
        )
        return found if found.id else None

    def _type(self, seen: Seen, step: str) -> str:
        undone = self._undone(seen, step)
        is_undo = self.compensation is not None and self.compensation.holds(seen, "")
        if undone and (is_undo or self.compensation is None):
            return f"{semconv.TYPE_COMPENSATION}{UNDOES}{undone}"
        return semconv.TYPE_COMPENSATION if is_undo else ""

    def _undone(self, seen: Seen, step: str) -> str:
        if isinstance(self.undoes, dict):
            return self.undoes.get(step, "")
        return _said(self.undoes, seen)

    def _attempt(self, seen: Seen) -> int:
        said = _said(self.attempt, seen)
        if self.first_attempt == 0 and said:
            return 1 if said == "0" else count(said) and count(said) + 1
        return count(said)

    def reads(self) -> set[str]:
        """The attributes that it reads."""
        conditions = [self.when, *([self.compensation] if self.compensation else [])]
        read = {key for each in conditions for key in (*each.has, *each.equals)}
        sources = (self.id, self.name, self.run, self.step, self.key, self.attempt, self.undoes)
        return read | {each.attribute for each in sources if isinstance(each, Source) and each.attribute}


def _said(source: Source | None, seen: Seen) -> str:
    return source.said(seen) if source else ""


class Taught(BaseModel):
    """The whole file."""

    rules: list[Rule] = []
    """The first whose conditions hold, and which finds an id, is followed."""

    @property
    def keys(self) -> frozenset[str]:
        """The attributes that are read."""
        return frozenset(key for rule in self.rules for key in rule.reads())

    @property
    def needles(self) -> tuple[str, ...]:
        """Words of which one stands in every request that a rule may say something of."""
        return tuple(_needle(rule.id) for rule in self.rules if rule.id)

    def mark(self, seen: Seen, known: Mark | None, engine: str) -> Mark | None:
        """Where a record belongs, given what an engine's own form says of it."""
        for rule in self.rules:
            if rule.when.holds(seen, engine):
                found = rule.mark(seen, known)
                if found is not None:
                    return found
        return known


def _needle(id_: Source) -> str:
    """A rule that takes the id from elsewhere than an attribute may hold for any request."""
    return id_.attribute or ""


def read_mapping(path: Path) -> Forms:
    """The forms that are understood with what a file teaches.

    Raises:
        BadRules: the file cannot be read, or says what cannot be meant.
    """
    return Forms(config_file.read(path, Taught))
