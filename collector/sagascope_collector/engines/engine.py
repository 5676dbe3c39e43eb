"""The contract of an engine: which saga a record belongs to, and what the spans of one saga mean."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sagascope_collector.records import Mark, Span, Value, as_text


@dataclass(frozen=True, slots=True)
class RecordFields:
    """The fields of a record that can identify its saga."""

    name: str = ""
    """The span's name; ``""`` for a log record."""
    scope: str = ""
    """The name of the instrumentation scope."""
    service: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict)
    """At least the attributes whose keys an engine or a rule reads."""
    kind: str = ""
    """The span's kind; ``""`` for a log record."""

    def first(self, *keys: str) -> str:
        """Returns the first of these attributes that is not empty, as text; ``""`` if none is set."""
        return next(filter(None, (as_text(self.attributes.get(key)) for key in keys)), "")


@dataclass(slots=True)
class EngineSpans:
    """The spans of one engine in one saga, rewritten as if they carried ``saga.*`` attributes."""

    spans: list[Span] = field(default_factory=list)
    """At least one span for each input span, with the same ids; several if one span reports several attempts."""
    lost: set[str] = field(default_factory=set)
    """Ids of spans whose work is over although its end was never received."""
    unknown: set[str] = field(default_factory=set)
    """Ids of spans whose outcome the engine did not accept: it started another attempt of the same work."""
    continued: set[str] = field(default_factory=set)
    """Ids of spans that ended because their run continues as a new run."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One workflow engine or library that emits spans in its own format."""

    name: str
    """Also the role in the marks of spans that only `interpret` can classify."""
    keys: tuple[str, ...]
    """The attribute keys that `mark` reads."""
    prefilter_terms: tuple[str, ...]
    """Every request with a record of this engine contains at least one of these terms."""
    mark: Callable[[RecordFields], Mark | None]
    """Returns the saga of a record; None if the record does not come from this engine."""
    interpret: Callable[[Sequence[Span]], EngineSpans]
    """Rewrites the engine's spans of one saga. Pure; the order of the spans does not change the result."""
    superseded_by: str = ""
    """If a span of the saga has this attribute, Sagascope's plugin or bridge reports the same work in more detail."""


def in_order(spans: Iterable[Span]) -> list[Span]:
    """Returns the spans in order of start, then end; ids break ties."""
    return sorted(spans, key=lambda span: (span.start, span.end or span.start, span.trace_id, span.span_id))
