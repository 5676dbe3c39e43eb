"""Received records: spans, log records, the last reported state of each process, and what their attributes name.

Times are integers of nanoseconds since the Unix epoch, UTC; ids are lower-case hex. Stored records never change, except
that they are deleted; everything else is derived from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from sagascope import semconv

TEST_ENVIRONMENT: Final = "sagascope.doctor"
"""The environment of the test telemetry of `sagascope doctor`, which lists show only if they are filtered by it."""

Value = Any
"""An attribute value: None, bool, int, float, str, bytes, a list of values, or a dict of str to value (kvlist)."""

Attributes = Mapping[str, Value]


class SagaId(NamedTuple):
    """A saga id within one environment. Several sagas may share it, with other names or other runs."""

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
    """The saga attributes of a record, in whichever format its emitter uses.

    They are read once, when the record is decoded, from the ``saga.*`` attributes or those of another engine. ``""``
    and ``attempt=0`` mean: not given.
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
    """The process that sent a record.

    ``identity`` distinguishes processes (`CONTRACT`: process id, else instance id, else host and pid) and is ``""`` if
    the resource has none of them; ``instance`` is shown to users.
    """

    environment: str = ""
    service: str = ""
    version: str = ""
    identity: str = ""
    instance: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """The instrumentation scope and schema URL of a record."""

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
    """The resource of a record."""

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
    """A link of a span. With ``saga.*`` attributes, it makes the span an attempt of that saga as well."""

    trace_id: str
    span_id: str
    attributes: Attributes
    trace_state: str = ""
    flags: int = 0
    dropped_attributes: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """One span. ``end == 0``: it was open when it was sent."""

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
    """The time of receipt by the collector's clock; 0: not known."""
    sent_start: int | None = field(default=None, compare=False, repr=False)
    """The start as it was sent, if `start` replaces an impossible value; else None."""

    @property
    def has_succeeded(self) -> bool:
        """Whether it ended without an error."""
        return self.end > 0 and self.status != "error"


@dataclass(frozen=True, slots=True)
class Log:
    """One log record. Ids are ``""`` if the record had none or an invalid one."""

    at: int
    """The record's timestamp, else the time of observation, else the time of receipt."""
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
    """The timestamp as it was sent; 0: absent."""
    flags: int = 0
    dropped_attributes: int = 0
    received_at: int = field(default=0, compare=False, repr=False)
    """The time of receipt by the collector's clock; 0: not known."""


@dataclass(frozen=True, slots=True)
class BridgeState:
    """The state that a bridge reports about itself."""

    kind: str
    """The kind of the source system."""
    lag: float
    """Seconds by which the bridge may lag behind the source system."""
    watching: int
    """The number of unfinished work items that it follows."""
    error: str = ""
    """The reason for which it cannot reach or follow something; ``""``: none."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last heartbeat of a process; the parts of a split list of open spans are joined."""

    at: int
    interval: float
    """Seconds until the next heartbeat."""
    sequence: int
    open_spans: frozenset[str]
    complete: bool
    """False while parts of the list are missing: a span absent from `open_spans` may then still be open."""
    dropped: int
    final: bool
    bridge: BridgeState | None = None
    """The state of a bridge; None: the process is not a bridge."""
    ahead: int = 0
    """Nanoseconds by which it was dated after its receipt, because the clock is ahead; ``at`` is the receipt then."""


@dataclass(frozen=True, slots=True)
class OpenSpanList:
    """A complete list of the open spans of a process."""

    at: int
    open_spans: frozenset[str]
    ahead: int = 0
    """As in `Heartbeat`."""


@dataclass(frozen=True, slots=True)
class Instance:
    """The known state of one process, over all sagas."""

    process: Process
    first_seen: int
    """The earliest timestamp of its records."""
    last_seen: int
    """The latest timestamp of its records."""
    heartbeat: Heartbeat | None
    earlier: OpenSpanList | None = None
    """The latest complete list at least 10 s older than `heartbeat`: an announced span that it lacks has ended."""
    lag: int | None = None
    """Nanoseconds between its heartbeats' timestamps and their receipt, if they arrive as regularly as they are sent.

    A clock that is behind, or a pipeline that delays all records, causes a lag. If the clock is ahead, it is negative.
    None: not known.
    """
    version_since: int = 0
    """The earliest timestamp of its records with its version."""

    @property
    def reported_at(self) -> int:
        """The time of its latest report, by the collector's clock."""
        return max(self.last_seen, self.heartbeat.at if self.heartbeat else 0) + self.behind

    @property
    def behind(self) -> int:
        """Nanoseconds to add to the times of its reports, none of which counts as sent after its receipt."""
        return max(self.lag or 0, 0)


@dataclass(frozen=True, slots=True)
class Facts:
    """All records of one saga id, of all names and runs, in no particular order."""

    id: SagaId
    spans: tuple[Span, ...]
    logs: tuple[Log, ...]
    instances: tuple[Instance, ...]
    """The instances of every service that appears in `spans` and `logs`, also those seen only in other sagas."""
    spans_total: int = field(default=0, compare=False)
    """The number of received spans if `spans` does not hold all of them; else 0."""
    logs_total: int = field(default=0, compare=False)


def as_text(value: Value) -> str:
    """Returns a string, or the digits of a whole number; ``""`` for any other value."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def count(value: Value) -> int:
    """Returns a whole number of at least 1, given as a number or its digits; 0 for any other value."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < len(str(2**63)):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


ENVIRONMENT: Final = "deployment.environment.name"

UNMARKED: Final = Mark()


def mark_of(attributes: Attributes) -> Mark:
    """Reads the ``saga.*`` attributes, also of a record whose id is in another attribute."""
    return Mark(
        id=as_text(attributes.get(semconv.SAGA_ID)),
        name=as_text(attributes.get(semconv.SAGA_NAME)),
        run=as_text(attributes.get(semconv.SAGA_RUN_ID)),
        role=as_text(attributes.get(semconv.SAGA_ROLE)),
        step=as_text(attributes.get(semconv.STEP_NAME)),
        type=as_text(attributes.get(semconv.STEP_TYPE)),
        key=as_text(attributes.get(semconv.STEP_KEY)),
        attempt=count(attributes.get(semconv.STEP_ATTEMPT)),
    )


def mark_of_link(link: Attributes, own: Mark) -> Mark:
    """Reads a link that makes its span an attempt of another saga; missing values are those of the span itself."""
    other = mark_of(link)
    if not other.id:
        return UNMARKED
    step = other.step or own.step
    return replace(
        other,
        role=other.role or (semconv.ROLE_STEP if step else ""),
        step=step,
        type=other.type or own.type,
        attempt=other.attempt or own.attempt,
    )


def process_of(resource: Attributes) -> Process:
    """Returns the process that a resource describes."""
    instance = as_text(resource.get("service.instance.id"))
    host, pid = as_text(resource.get("host.name")), as_text(resource.get("process.pid"))
    host_and_pid = f"{host}:{pid}" if host and pid else ""
    identity = as_text(resource.get(semconv.PROCESS_ID)) or instance or host_and_pid
    return Process(
        environment=as_text(resource.get(ENVIRONMENT)),
        service=as_text(resource.get("service.name")),
        version=as_text(resource.get("service.version")),
        identity=identity,
        instance=instance or host_and_pid or identity,
    )
