"""Maps records without ``saga.*`` attributes to sagas, by the built-in engines and the rules of ``--mapping``."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from sagascope import semconv
from sagascope_collector import config_file
from sagascope_collector.durations import parse_duration
from sagascope_collector.engines import open_spans, traces
from sagascope_collector.engines.engine import COMPENSATES_SEPARATOR, RecordFields
from sagascope_collector.engines.registry import BY_ROLE, ENGINE_KEYS, ENGINES
from sagascope_collector.errors import BadValue
from sagascope_collector.records import UNMARKED, Mark, Value, as_text, count

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


SourceOrKey = Annotated[Source, BeforeValidator(_expanded)]


class Condition(BaseModel):
    """The conditions on a record. All that are given must hold."""

    engine: str | None = None
    """The name of a built-in engine that recognizes the record."""
    service: Key | None = None
    scope: Key | None = None
    """The name of the instrumentation scope."""
    span: Pattern | None = None
    kind: Literal["internal", "server", "client", "producer", "consumer"] | None = None
    """The span kind."""
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
            and self.kind in (None, record.kind)
            and (self.span is None or re.search(self.span, record.name[:MAX_MATCHED_CHARACTERS]) is not None)
            and all(key in record.attributes for key in self.has)
            and all(as_text(record.attributes.get(key)) == value for key, value in self.equals.items())
        )


def _seconds(value: Any) -> Any:
    try:
        return parse_duration(value) if isinstance(value, str) else value
    except BadValue as error:
        raise ValueError(str(error).removesuffix(".")) from error


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
"""A duration such as ``30s``, or a number of seconds."""

Outcome = Literal["completed", "compensated", "failed"]


class StepRule(BaseModel):
    """The fields of a rule that describe a step."""

    step: SourceOrKey | None = None
    key: SourceOrKey | None = None
    attempt: SourceOrKey | None = None
    first_attempt: Literal[0, 1] = 1
    """The number that the emitter gives to the first attempt."""
    compensation: Condition | None = None
    """The condition for steps that are compensations."""
    compensates: SourceOrKey | dict[Key, Key] | None = None
    """The step that is compensated: a value, or a mapping from compensations to steps."""
    amount: SourceOrKey | None = None
    currency: SourceOrKey | None = None
    idempotency_key: SourceOrKey | None = None
    step_timeout: Seconds | None = None

    def step_of(self, record: RecordFields, known: Mark) -> Mark:
        """Returns a mark with the step, its type, key and attempt."""
        step = _value(self.step, record) or known.step
        return Mark(
            step=step,
            type=self._step_type(record, step) or known.type,
            key=_value(self.key, record) or known.key,
            attempt=self._attempt_number(record) or known.attempt,
        )

    def step_attributes(self, record: RecordFields) -> Iterator[tuple[str, Value]]:
        """Yields the ``saga.*`` attributes, beside those of a mark, that the rule gives to a record."""
        amount = _number(self.amount, record)
        yield semconv.AMOUNT, amount
        yield semconv.CURRENCY, _value(self.currency, record) if amount or not self.amount else ""
        yield semconv.STEP_IDEMPOTENCY_KEY, _value(self.idempotency_key, record)
        yield semconv.STEP_TIMEOUT, self.step_timeout

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

    def sources(self) -> Iterator[object]:
        """Yields everything that may read an attribute: sources and conditions."""
        yield from (self.step, self.key, self.attempt, self.compensates, self.compensation)
        yield from (self.amount, self.currency, self.idempotency_key)


class TraceStep(StepRule):
    """Which spans of a trace are attempts of a step; without `step` its name is the span's."""

    when: Condition = Condition()

    def sources(self) -> Iterator[object]:
        """Yields everything that may read an attribute: sources and conditions."""
        yield from super().sources()
        yield self.when


class Rule(StepRule):
    """Maps the records that meet a condition to a saga. Fields that are left out keep the engine's values."""

    when: Condition = Condition()
    scope: Literal["record", "trace"] = "record"
    """What belongs to the saga: the record alone, or its whole trace."""
    id: SourceOrKey | None = None
    name: SourceOrKey | None = None
    run: SourceOrKey | None = None
    role: Literal["saga", "step"] | None = None
    """The role of the span; by default ``step`` for a span that has a step."""
    keys: dict[Key, SourceOrKey] = {}
    """Business keys by name."""
    timeout: Seconds | None = None
    """The time that the whole saga may take."""
    outcome: dict[Outcome, Condition] = {}
    """The conditions for spans that end the saga."""
    steps: list[TraceStep] = []
    """Of a rule for a trace: the first that applies to a span describes it. Without any, `traces` finds the steps."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.id is None and (self.when.engine is None or self.scope == "trace"):
            raise ValueError("id is missing: only a rule for an engine can leave it out")
        if self.scope == "trace" and self.when.engine is not None:
            raise ValueError("scope: trace is for spans of no engine")
        if self.scope == "record" and self.steps:
            raise ValueError("steps needs scope: trace")
        if self.scope == "trace" and (self.role or self.step):
            raise ValueError("with scope: trace, list the steps in steps instead of role and step")
        return self

    def mark(self, record: RecordFields, known: Mark | None) -> Mark | None:
        """Returns the saga of a record; None if the record has no saga id."""
        known = known or Mark()
        step = self.step_of(record, known)
        found = Mark(
            id=_value(self.id, record) or known.id,
            name=_value(self.name, record) or known.name,
            run=_value(self.run, record) or known.run,
            role=self.role or known.role or (semconv.ROLE_STEP if step.step and record.name else ""),
            step=step.step,
            type=step.type,
            key=step.key,
            attempt=step.attempt,
        )
        return found if found.id else None

    def attributes(self, record: RecordFields) -> dict[str, Value]:
        """Returns the ``saga.*`` attributes, beside those of a mark, that the rule gives to a record."""
        given = [*self.step_attributes(record), *self.saga_attributes(record)]
        if self.role == semconv.ROLE_SAGA:
            given.append((semconv.SAGA_TIMEOUT, self.timeout))
        return missing_attributes(given, record)

    def saga_attributes(self, record: RecordFields) -> Iterator[tuple[str, Value]]:
        """Yields the ``saga.*`` attributes that describe the saga as a whole, except its timeout."""
        if record.name:
            yield (
                semconv.SAGA_OUTCOME,
                next((each for each, when in self.outcome.items() if when.holds(record, "")), ""),
            )
        for name, source in self.keys.items():
            yield f"{semconv.KEY_PREFIX}{name}", _value(source, record)

    @property
    def id_key(self) -> str:
        """The attribute that holds the saga's id; ``""`` if the id comes from elsewhere."""
        return (self.id.attribute if self.id else "") or ""

    def identify(self, record: RecordFields) -> Mark | None:
        """Returns the saga's id, name and run; None if the rule does not apply to the record."""
        if not self.when.holds(record, "") or not (id_ := _value(self.id, record)):
            return None
        return Mark(id=id_, name=_value(self.name, record), run=_value(self.run, record))

    def assigned(self, record: RecordFields, saga: Mark, *, is_first: bool) -> tuple[Mark, Mapping[str, Value]]:
        """Returns the mark and the attributes of a record in a trace of a saga.

        Args:
            record: a span or a log record.
            saga: the id, name and run of the saga.
            is_first: whether the record is a span without a parent.
        """
        given = list(self.saga_attributes(record))
        role, step = "", Mark()
        if record.name:
            rule = next((each for each in self.steps if each.when.holds(record, "")), None)
            described = rule or self
            if is_first and rule is None:
                role = "" if self.outcome else traces.ROOT
                given += [*self.step_attributes(record), (semconv.SAGA_TIMEOUT, self.timeout)]
            elif rule or not self.steps:
                role = traces.ROLE
                step = described.step_of(record, Mark(step=record.name))
                step = step if rule else replace(step, step="")
                given += described.step_attributes(record)
            else:
                given += [(semconv.AMOUNT, _number(self.amount, record))]
        mark = Mark(saga.id, saga.name, saga.run, role, step.step, step.type, step.key, step.attempt)
        return mark, missing_attributes(given, record)

    def attribute_keys(self) -> set[str]:
        """Returns the attribute keys that the rule reads."""
        return set(_keys_of(self.sources()))

    def sources(self) -> Iterator[object]:
        """Yields everything that may read an attribute: sources and conditions."""
        yield from super().sources()
        yield from (self.when, self.id, self.name, self.run, *self.keys.values(), *self.outcome.values())
        for each in self.steps:
            yield from each.sources()


def missing_attributes(given: Iterable[tuple[str, Value]], record: RecordFields) -> dict[str, Value]:
    """Returns those of the attributes that have a value and that the record does not have."""
    return {key: value for key, value in given if value not in ("", None) and key not in record.attributes}


def _keys_of(sources: Iterator[object]) -> Iterator[str]:
    for each in sources:
        if isinstance(each, Source) and each.attribute:
            yield each.attribute
        elif isinstance(each, Condition):
            yield from (*each.has, *each.equals)


def _value(source: Source | None, record: RecordFields) -> str:
    return source.value(record) if source else ""


def _number(source: Source | None, record: RecordFields) -> Value:
    """Returns a value that may be a number, as it was sent."""
    value = record.attributes.get(source.attribute) if source and source.attribute else None
    return value if isinstance(value, float) else _value(source, record)


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
        return tuple(rule.id.attribute or "" for rule in self._of_records() if rule.id)

    @property
    def of_traces(self) -> tuple[Rule, ...]:
        """The rules that give a saga to a whole trace."""
        return tuple(rule for rule in self.rules if rule.scope == "trace")

    @property
    def digest(self) -> str:
        """A text that differs between rules with another effect; ``""`` without rules."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest() if self.rules else ""

    def mark(self, record: RecordFields, known: Mark | None, engine: str) -> Mark | None:
        """Returns the saga of a record, given what its engine says."""
        rule = self._rule_for(record, known, engine)
        return rule.mark(record, known) if rule else known

    def attributes(self, record: RecordFields, known: Mark | None, engine: str) -> Mapping[str, Value]:
        """Returns the ``saga.*`` attributes that the rule of a record gives to it."""
        rule = self._rule_for(record, known, engine)
        return rule.attributes(record) if rule else {}

    def _rule_for(self, record: RecordFields, known: Mark | None, engine: str) -> Rule | None:
        if not self.rules:
            return None
        applying = (rule for rule in self._of_records() if rule.when.holds(record, engine))
        return next((rule for rule in applying if rule.mark(record, known) is not None), None)

    def _of_records(self) -> Iterator[Rule]:
        return (rule for rule in self.rules if rule.scope == "record")


MIN_ONE_PASS_BYTES: Final = 128 * 1024
"""Size of requests below which one search a term takes less time than to compile the pattern of all."""


class AttributeMapping:
    """Maps records without ``saga.*`` attributes to sagas, by the built-in engines and the user's rules."""

    def __init__(self, rules: MappingFile) -> None:
        self.rules = rules
        self.keys = ENGINE_KEYS | rules.keys
        """The attribute keys that the engines and the rules read."""
        self.digest = rules.digest
        """A text that differs between rules with another effect; ``""`` without rules."""
        terms = [term for engine in ENGINES for term in engine.prefilter_terms]
        terms = list(dict.fromkeys([*terms, open_spans.PARTIAL_EVENT, *rules.prefilter_terms]))
        self._terms = [term.encode() for term in terms]
        self._pattern = "|".join(map(re.escape, terms))

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

    def attributes(self, record: RecordFields) -> Mapping[str, Value]:
        """Returns the ``saga.*`` attributes that the rules give to a record with a saga."""
        return self.rules.attributes(record, *_mark_by_engine(record)) if self.digest else {}


def _mark_by_engine(record: RecordFields) -> tuple[Mark | None, str]:
    """Returns the mark by the first engine that recognizes the record, and the engine's name."""
    if ENGINE_KEYS.isdisjoint(record.attributes):  # an engine reads the id from one of these
        return None, ""
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


BUILT_IN: Final = AttributeMapping(MappingFile())
"""The mapping without user rules."""


def read_mapping(path: Path) -> AttributeMapping:
    """Reads the rules of a mapping file.

    Raises:
        BadRules: the file cannot be read or is invalid.
    """
    return AttributeMapping(config_file.read(path, MappingFile))
