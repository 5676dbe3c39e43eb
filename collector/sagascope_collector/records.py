"""The internal facts: spans and log records as they were received, and what a process last said of itself.

Times are integers of nanoseconds since the Unix epoch, UTC; ids are lower-case hex. Facts are never changed after
they were stored; everything else is derived from them.
"""

import math
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Value = Any
"""An attribute value: None, bool, int, float, str, bytes, a list of values, or a dict of str to value (kvlist)."""

Attributes = Mapping[str, Value]


class SagaId(NamedTuple):
    """What people quote, within one environment. Several sagas may share it: other names, other runs."""

    environment: str
    id: str


class SagaKey(NamedTuple):
    """One saga: (environment, name, id, run)."""

    environment: str
    name: str
    id: str
    run: str


@dataclass(frozen=True, slots=True)
class Mark:
    """What a record says of its place in a saga, however its emitter spelt it.

    Read from the ``saga.*`` attributes, or from another engine's; decided once, when the record is decoded.
    ``""`` and ``attempt=0`` mean: not said.
    """

    id: str = ""
    name: str = ""
    run: str = ""
    role: str = ""
    step: str = ""
    type: str = ""
    key: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Process:
    """Who sent a record.

    ``identity`` tells processes apart (`CONTRACT`: process id, else instance id, else host and pid) and is ``""``
    when the resource carries none of them; ``instance`` is what people are shown.
    """

    environment: str = ""
    service: str = ""
    version: str = ""
    identity: str = ""
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """The instrumentation scope and schema that a record came under."""

    name: str = ""
    version: str = ""
    attributes: Attributes = field(default_factory=dict)
    dropped_attributes: int = 0
    schema_url: str = ""


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity that a resource refers to, by keys of the resource's attributes."""

    type: str
    id_keys: tuple[str, ...]
    description_keys: tuple[str, ...]
    schema_url: str = ""


@dataclass(frozen=True, slots=True)
class Resource:
    """The resource that a record came under."""

    attributes: Attributes = field(default_factory=dict)
    dropped_attributes: int = 0
    schema_url: str = ""
    entities: tuple[Entity, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a span."""

    name: str
    at: int
    attributes: Attributes
    dropped_attributes: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a span. With ``saga.*`` attributes it makes the span an attempt of the saga named there too."""

    trace_id: str
    span_id: str
    attributes: Attributes
    trace_state: str = ""
    flags: int = 0
    dropped_attributes: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """One span. ``end == 0``: it was sent while it was open."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    """``unspecified``, ``internal``, ``server``, ``client``, ``producer`` or ``consumer``."""
    start: int
    end: int
    status: str
    """``unset``, ``ok`` or ``error``."""
    status_message: str
    mark: Mark
    process: Process
    attributes: Attributes
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    resource: Resource = field(default_factory=Resource)
    scope: Scope = field(default_factory=Scope)
    trace_state: str = ""
    flags: int = 0
    dropped_attributes: int = 0
    dropped_events: int = 0
    dropped_links: int = 0
    received_at: int = field(default=0, compare=False, repr=False)
    """When it came, by the collector's clock; 0 where that is not known."""
    sent_start: int | None = field(default=None, compare=False, repr=False)
    """The start as it was sent, where `start` was replaced because it is impossible."""


@dataclass(frozen=True, slots=True)
class Log:
    """One log record. Ids are ``""`` where the record had none, or none that was valid."""

    at: int
    """The record's timestamp, else the time at which it was observed, else that at which it was received."""
    observed_at: int
    severity: int
    severity_text: str
    body: Value
    event_name: str
    trace_id: str
    span_id: str
    mark: Mark
    process: Process
    attributes: Attributes
    resource: Resource = field(default_factory=Resource)
    scope: Scope = field(default_factory=Scope)
    timestamp: int = 0
    """As it was sent; 0 if absent."""
    flags: int = 0
    dropped_attributes: int = 0
    received_at: int = field(default=0, compare=False, repr=False)
    """When it came, by the collector's clock; 0 where that is not known."""


@dataclass(frozen=True, slots=True)
class Following:
    """What a bridge says of itself."""

    kind: str
    """What it follows."""
    lag: float
    """Seconds by which what it told may be behind that."""
    watching: int
    """Pieces of work that have not ended."""
    error: str = ""
    """What it cannot reach or follow."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The latest complete word of a process about itself; all parts of a split list joined."""

    at: int
    interval: float
    """Seconds until the next."""
    sequence: int
    open_spans: frozenset[str]
    complete: bool
    """False while parts of the list are missing: then absence from `open_spans` proves nothing."""
    dropped: int
    final: bool
    following: Following | None = None
    """Of a bridge."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A complete list that a process gave of its open spans."""

    at: int
    open_spans: frozenset[str]


@dataclass(frozen=True, slots=True)
class Instance:
    """What is known of one process, over all sagas."""

    process: Process
    first_seen: int
    """Earliest timestamp of anything it sent."""
    last_seen: int
    """Latest timestamp of anything it sent."""
    heartbeat: Heartbeat | None
    earlier: Listing | None = None
    """The latest complete list at least 10 s older than `heartbeat`: an announced span that it lacks is over."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything received about one saga id: of all names and runs, in no particular order."""

    id: SagaId
    spans: tuple[Span, ...]
    logs: tuple[Log, ...]
    instances: tuple[Instance, ...]
    """The instances of every service that appears in `spans` and `logs`, those of other sagas included."""
    spans_total: int = field(default=0, compare=False)
    """How many spans were received, where not all of them are in `spans`."""
    logs_total: int = field(default=0, compare=False)


def word(value: Value) -> str:
    """A string, or a whole number as people write it; anything else says nothing."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def count(value: Value) -> int:
    """A whole number from 1, or its digits; anything else is 0."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < len(str(2**63)):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


MAX_JSON_DEPTH: int = 64
"""Levels to which a nested attribute value is followed; what lies below is the text ``…``."""


def json_value(value: Value, depth: int = MAX_JSON_DEPTH) -> Any:
    """An attribute value as JSON says it: bytes as ``{"base64": ...}``, NaN and the infinities as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, bytes):
        return {"base64": b64encode(value).decode("ascii")}
    if isinstance(value, list | tuple):
        return [json_value(each, depth - 1) for each in value] if depth else "…"
    if isinstance(value, Mapping):
        return json_attributes(value, depth - 1) if depth else "…"
    return value


def json_attributes(given: Attributes, depth: int = MAX_JSON_DEPTH) -> dict[str, Any]:
    """Attributes as a JSON object."""
    return {name: json_value(value, depth) for name, value in given.items()}
