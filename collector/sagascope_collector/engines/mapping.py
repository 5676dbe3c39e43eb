"""User rules that map further telemetry to sagas: the file of ``--mapping``."""

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from sagascope import semconv
from sagascope_collector import config_file
from sagascope_collector.engines.engine import RecordFields
from sagascope_collector.engines.registry import BY_ROLE, AttributeMapping
from sagascope_collector.engines.saga_spans import COMPENSATES_SEPARATOR
from sagascope_collector.records import Mark, as_text, count

MAX_MATCHED_CHARACTERS: Final = 1_000
"""Patterns are matched against this many characters of a span's name."""


def _compilable(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    return text


Pattern = Annotated[str, AfterValidator(_compilable)]
"""A regular expression that is searched for in a span's name."""

Key = Annotated[str, Field(min_length=1)]
"""An attribute's key."""


class Source(BaseModel):
    """The source of a value: exactly one of these fields. In the file, plain text stands for an attribute's key."""

    attribute: Key | None = None
    span: Pattern | None = None
    """Gives the first group of the match in a span's name, or the whole match if the pattern has no group."""
    constant: Key | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if sum(source is not None for source in (self.attribute, self.span, self.constant)) != 1:
            raise ValueError("needs exactly one of attribute, span, constant")
        return self

    def value(self, record: RecordFields) -> str:
        """Returns the value; ``""`` where the record does not have it."""
        if self.attribute is not None:
            return as_text(record.attributes.get(self.attribute))
        if self.span is not None:
            found = re.search(self.span, record.name[:MAX_MATCHED_CHARACTERS])
            return (found[1] if found.re.groups else found[0]) or "" if found else ""
        return self.constant or ""


def _expanded(value: Any) -> Any:
    return {"attribute": value} if isinstance(value, str) else value


From = Annotated[Source, BeforeValidator(_expanded)]


class Condition(BaseModel):
    """The conditions on a record. All that are given must hold."""

    engine: str | None = None
    """The name of a built-in engine that recognizes the record."""
    service: Key | None = None
    scope: Key | None = None
    """The name of the instrumentation scope."""
    span: Pattern | None = None
    has: list[Key] = []
    """Attributes that must be present."""
    equals: dict[Key, str] = {}
    """Attributes that must have these values."""

    @model_validator(mode="after")
    def _names_a_known_engine(self) -> Self:
        if self.engine is not None and self.engine not in BY_ROLE:
            raise ValueError(f"engine {self.engine!r} is not one of {', '.join(sorted(BY_ROLE))}")
        return self

    def holds(self, record: RecordFields, engine: str) -> bool:
        """Returns whether all conditions hold for a record of an engine (``""``: of none)."""
        return (
            self.engine in (None, engine)
            and self.service in (None, record.service)
            and self.scope in (None, record.scope)
            and (self.span is None or re.search(self.span, record.name[:MAX_MATCHED_CHARACTERS]) is not None)
            and all(key in record.attributes for key in self.has)
            and all(as_text(record.attributes.get(key)) == value for key, value in self.equals.items())
        )


class Rule(BaseModel):
    """Maps the records that meet a condition to a saga. Fields that are left out keep the engine's values."""

    when: Condition = Condition()
    id: From | None = None
    name: From | None = None
    run: From | None = None
    role: Literal["saga", "step"] | None = None
    """The role of the span; by default ``step`` for a span that has a step."""
    step: From | None = None
    key: From | None = None
    attempt: From | None = None
    first_attempt: Literal[0, 1] = 1
    """The number that the emitter gives to the first attempt."""
    compensation: Condition | None = None
    """The condition for steps that are compensations."""
    compensates: From | dict[Key, Key] | None = None
    """The step that is compensated: a value, or a mapping from compensations to steps."""

    @model_validator(mode="after")
    def _has_an_id(self) -> Self:
        if self.id is None and self.when.engine is None:
            raise ValueError("id is missing: only a rule for an engine can leave it out")
        return self

    def mark(self, record: RecordFields, known: Mark | None) -> Mark | None:
        """Returns the saga of a record; None if the record has no saga id."""
        known = known or Mark()
        step = _value(self.step, record) or known.step
        found = Mark(
            id=_value(self.id, record) or known.id,
            name=_value(self.name, record) or known.name,
            run=_value(self.run, record) or known.run,
            role=self.role or known.role or (semconv.ROLE_STEP if step and record.name else ""),
            step=step,
            type=self._step_type(record, step) or known.type,
            key=_value(self.key, record) or known.key,
            attempt=self._attempt_number(record) or known.attempt,
        )
        return found if found.id else None

    def _step_type(self, record: RecordFields, step: str) -> str:
        compensated = (
            self.compensates.get(step, "") if isinstance(self.compensates, dict) else _value(self.compensates, record)
        )
        is_compensation = self.compensation is not None and self.compensation.holds(record, "")
        if compensated and (is_compensation or self.compensation is None):
            return f"{semconv.TYPE_COMPENSATION}{COMPENSATES_SEPARATOR}{compensated}"
        return semconv.TYPE_COMPENSATION if is_compensation else ""

    def _attempt_number(self, record: RecordFields) -> int:
        number = _value(self.attempt, record)
        if self.first_attempt == 0 and number:
            return 1 if number == "0" else count(number) and count(number) + 1
        return count(number)

    def attribute_keys(self) -> set[str]:
        """Returns the attribute keys that the rule reads."""
        conditions = [self.when, *([self.compensation] if self.compensation else [])]
        keys = {key for condition in conditions for key in (*condition.has, *condition.equals)}
        sources = (self.id, self.name, self.run, self.step, self.key, self.attempt, self.compensates)
        return keys | {source.attribute for source in sources if isinstance(source, Source) and source.attribute}


def _value(source: Source | None, record: RecordFields) -> str:
    return source.value(record) if source else ""


class MappingFile(BaseModel):
    """The content of a mapping file."""

    rules: list[Rule] = []
    """The first rule that applies and finds a saga id decides."""

    @property
    def keys(self) -> frozenset[str]:
        """The attribute keys that the rules read."""
        return frozenset(key for rule in self.rules for key in rule.attribute_keys())

    @property
    def prefilter_terms(self) -> tuple[str, ...]:
        """The keys of the id attributes; ``""``, which every request contains, for an id from another source."""
        return tuple(rule.id.attribute or "" for rule in self.rules if rule.id)

    def mark(self, record: RecordFields, known: Mark | None, engine: str) -> Mark | None:
        """Returns the saga of a record, given what its engine says."""
        for rule in self.rules:
            if rule.when.holds(record, engine):
                found = rule.mark(record, known)
                if found is not None:
                    return found
        return known


def read_mapping(path: Path) -> AttributeMapping:
    """Reads the rules of a mapping file.

    Raises:
        BadRules: the file cannot be read or is invalid.
    """
    return AttributeMapping(config_file.read(path, MappingFile))
