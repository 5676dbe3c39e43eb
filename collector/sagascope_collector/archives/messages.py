"""The contents of a file of telemetry: requests that can be sent, and parts that cannot."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class RecordKind(StrEnum):
    """The records that a request contains."""

    SPANS = "spans"
    LOG_RECORDS = "log records"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Message:
    """One request of a file."""

    number: int
    """Counts from 1; in a file of JSON it is the line on which the request starts."""
    json: bool
    body: bytes
    counts: dict[RecordKind, int]
    """The number of records by kind."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A part of a file that cannot be sent."""

    number: int
    reason: str
    truncated: bool = False
    """Whether the file ends before the request does, for example because it is still being written."""
    records: int | None = None
    """The number of records that it is; None: a whole request."""


JSON_FIELDS: Final = (
    (RecordKind.SPANS, "resourceSpans", "scopeSpans", "spans"),
    (RecordKind.LOG_RECORDS, "resourceLogs", "scopeLogs", "logRecords"),
    (RecordKind.METRICS, "resourceMetrics", "scopeMetrics", "metrics"),
)
"""The lists in which OTLP's JSON form nests the records of each kind."""


def counts_of_json(request: dict[str, Any]) -> dict[RecordKind, int]:
    """Returns the number of records by kind; ignores malformed parts, which the collector rejects."""
    return {kind: _count(request[outer], inner, leaf) for kind, outer, inner, leaf in JSON_FIELDS if outer in request}


def _count(resources: Any, inner: str, leaf: str) -> int:
    scopes = (scope for resource in objects(resources) for scope in objects(resource.get(inner)))
    return sum(len(records) for scope in scopes if isinstance(records := scope.get(leaf), list))


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Returns the objects of a list; none if it is not a list."""
    return (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())
