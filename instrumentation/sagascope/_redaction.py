"""What may leave the process: the user's `redact`, applied to everything that is about to be sent."""

from collections.abc import Callable
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from sagascope import semconv
from sagascope._guard import report

FAILED = "[could not be redacted]"
"""Sent in place of a value on which `redact` raised."""

Redact = Callable[[str, Any], Any]

_KEPT = frozenset(
    {
        *semconv.BAGGAGE_MEMBERS,
        *(value for name, value in vars(semconv).items() if name.startswith(("HEARTBEAT_", "SPAN_"))),
    }
)
"""Never passed to `redact` here: what says which saga it is was redacted when the saga began, before it went into
headers; the rest is ours."""


def spans(redact: Redact, request: Any) -> None:
    """Apply it to an ExportTraceServiceRequest."""
    for part in request.resource_spans:
        for scope in part.scope_spans:
            for span in scope.spans:
                _attributes(redact, span.attributes)
                for told in (*span.events, *span.links):
                    _attributes(redact, told.attributes)
                if span.status.message:
                    span.status.message = str(apply(redact, "status.message", span.status.message) or "")


def logs(redact: Redact, request: Any) -> None:
    """Apply it to an ExportLogsServiceRequest."""
    for part in request.resource_logs:
        for scope in part.scope_logs:
            for record in scope.log_records:
                _attributes(redact, record.attributes)
                record.body.CopyFrom(_value(apply(redact, "body", _plain(record.body))))


def apply(redact: Redact, key: str, value: Any) -> Any:
    """One value as it may leave; of a list or mapping, each item. A failing `redact` lets nothing out."""
    if isinstance(value, list):
        return [kept for item in value if (kept := apply(redact, key, item)) is not None]
    if isinstance(value, dict):
        return {name: kept for name, item in value.items() if (kept := apply(redact, key, item)) is not None}
    try:
        return redact(key, value)
    except Exception as error:  # noqa: BLE001 - the user's function, in our thread
        report("calling redact", error)
        return FAILED


def _attributes(redact: Redact, attributes: Any) -> None:
    kept = []
    for pair in attributes:
        if pair.key in _KEPT:
            kept.append(pair)
            continue
        value = apply(redact, pair.key, _plain(pair.value))
        if value is not None:
            kept.append(KeyValue(key=pair.key, value=_value(value)))
    del attributes[:]
    attributes.extend(kept)


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values}
    return getattr(value, kind) if kind else None


def _value(value: Any) -> AnyValue:
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case list() | tuple():
            return AnyValue(array_value=ArrayValue(values=[_value(item) for item in value]))
        case dict():
            pairs = [KeyValue(key=str(key), value=_value(item)) for key, item in value.items()]
            return AnyValue(kvlist_value=KeyValueList(values=pairs))
        case _:
            return AnyValue(string_value=str(value))
