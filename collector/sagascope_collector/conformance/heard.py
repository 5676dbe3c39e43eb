"""What was received of an emitter, in the order in which it came."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sagascope import semconv
from sagascope_collector.records import Process

SECOND = 1_000_000_000

Attributes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """What the records of one scope in one request share."""

    process: Process
    resource: Attributes
    scope: str = ""
    schema_url: str = ""


@dataclass(frozen=True, slots=True)
class HeardSpan:
    """A span as it came; ``end == 0``: it was sent while it was open."""

    origin: Origin
    received_at: int
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start: int
    end: int
    attributes: Attributes
    links: tuple[Attributes, ...] = ()

    @property
    def where(self) -> str:
        """Which span it is, for a person."""
        return f"span {self.name!r} ({self.span_id}) of {self.origin.process.service or 'a service without a name'}"


@dataclass(frozen=True, slots=True)
class HeardLog:
    """A log record as it came."""

    origin: Origin
    received_at: int
    trace_id: str
    span_id: str
    at: int
    observed_at: int
    event_name: str
    body: Any
    attributes: Attributes

    @property
    def where(self) -> str:
        """Which record it is, for a person."""
        of = self.origin.process.service or "a service without a name"
        return f"log record {(self.event_name or str(self.body))[:80]!r} of {of}"


Record = HeardSpan | HeardLog


@dataclass
class Heard:
    """Everything that came, with what the points look up in it."""

    spans: list[HeardSpan] = field(default_factory=list)
    logs: list[HeardLog] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Why requests, or records of them, could not be taken at all."""
    grace: float = 1.0
    """Seconds that something may be late on its way here."""

    @property
    def records(self) -> Iterator[Record]:
        """Spans, then log records."""
        yield from self.spans
        yield from self.logs

    @property
    def marked(self) -> Iterator[Record]:
        """What names a saga."""
        return (each for each in self.records if semconv.SAGA_ID in each.attributes)

    @property
    def attempts(self) -> Iterator[HeardSpan]:
        """Spans that say they are attempts."""
        return (each for each in self.spans if each.attributes.get(semconv.SAGA_ROLE) == semconv.ROLE_STEP)

    @property
    def starts(self) -> Iterator[HeardLog]:
        """Start records."""
        return (each for each in self.logs if each.event_name == semconv.EVENT_SPAN_START)

    @property
    def beats(self) -> Iterator[HeardLog]:
        """Heartbeats."""
        return (each for each in self.logs if each.event_name == semconv.EVENT_HEARTBEAT)

    @cached_property
    def by_id(self) -> dict[tuple[str, str], HeardSpan]:
        """Spans by trace and span id; of one that came open and ended, the ended."""
        ordered = sorted(self.spans, key=lambda each: each.end != 0)
        return {(each.trace_id, each.span_id): each for each in ordered}

    @cached_property
    def ended(self) -> dict[str, HeardSpan]:
        """Spans that have ended, by span id."""
        return {each.span_id: each for each in self.spans if each.end}

    def parent(self, span: HeardSpan) -> HeardSpan | None:
        """The span above, if it came."""
        return self.by_id.get((span.trace_id, span.parent_id))

    def under(self, record: HeardLog) -> HeardSpan | None:
        """The span under which a log record was written, if it came."""
        return self.by_id.get((record.trace_id, record.span_id))
