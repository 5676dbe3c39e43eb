"""The executor's own error, where its span tells of none: from the spans and log records below it.

A server answers 409 with a span that is no error, and its caller sees "409 Conflict"; why it refused is told by the
exception of a span inside it, or by its log.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sagascope import semconv
from sagascope_collector.analysis import failures, values
from sagascope_collector.analysis.model import Failure
from sagascope_collector.analysis.spans import SpanKey
from sagascope_collector.records import Log, Span

SEVERITY_ERROR: Final = 17
"""Severity number from which OpenTelemetry calls a log record an error."""

MAX_SPANS: Final = 1_000
"""Spans below one attempt that are looked at."""


class Causes:
    """Finds errors below the spans of one saga."""

    def __init__(self, spans: Mapping[SpanKey, Span], logs: Sequence[Log]) -> None:
        self._spans, self._logs = spans, logs
        self._children: dict[SpanKey, list[Span]] | None = None
        self._reported: dict[SpanKey, Failure] = {}

    def below(self, executor: Span) -> Failure | None:
        """The error with which the latest of the spans below failed, else the latest that a log record tells of."""
        inside = list(self._inside(executor))
        failed = [(span.end, depth, error) for depth, span in inside if (error := failures.told(span))]
        if failed:
            return max(failed, key=lambda each: each[:2])[2]
        keys = [(executor.trace_id, executor.span_id), *((span.trace_id, span.span_id) for _, span in inside)]
        return next((self._reported[key] for key in reversed(keys) if key in self._reported), None)

    def _inside(self, executor: Span) -> Iterator[tuple[int, Span]]:
        """The spans of no other attempt below one, with their depth."""
        waiting = [(1, each) for each in self._below(executor)]
        for place, (depth, span) in enumerate(waiting):
            if place >= MAX_SPANS:
                return
            yield depth, span
            waiting += [(depth + 1, each) for each in self._below(span)]

    def _below(self, span: Span) -> list[Span]:
        if self._children is None:
            self._children = self._index()
        return self._children.get((span.trace_id, span.span_id), [])

    def _index(self) -> dict[SpanKey, list[Span]]:
        children: dict[SpanKey, list[Span]] = {}
        for span in sorted(self._spans.values(), key=lambda each: (each.start, each.span_id)):
            own = (semconv.ROLE_SAGA, semconv.ROLE_STEP)
            if span.parent_id and span.parent_id != span.span_id and span.mark.role not in own:
                children.setdefault((span.trace_id, span.parent_id), []).append(span)
        for log in self._logs:
            if log.span_id and (error := _error(log)):
                self._reported[log.trace_id, log.span_id] = error
        return children


def _error(log: Log) -> Failure | None:
    said = log.attributes
    kind = values.text(said.get(failures.EXCEPTION_TYPE))
    message = values.text(said.get(failures.EXCEPTION_MESSAGE))
    if kind or message:
        return Failure(kind, message, values.text(said.get(failures.EXCEPTION_STACKTRACE)))
    body = values.text(log.body)
    return Failure(None, body) if body and log.severity >= SEVERITY_ERROR else None
