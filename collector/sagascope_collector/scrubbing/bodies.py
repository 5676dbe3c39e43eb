"""Spans that are carried in the body of a log record, as otel-partial sends them: what is in there is scrubbed too."""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from sagascope_collector.engines import PARTIAL_EVENT
from sagascope_collector.scrubbing import walk as walk_of
from sagascope_collector.scrubbing.marking import Findings
from sagascope_collector.scrubbing.walk import Walk

NEEDLE = PARTIAL_EVENT.encode()
"""Stands in every request that has such a record."""

IDS = frozenset({"traceId", "spanId", "parentSpanId"})

DEEPEST = 200
"""Levels of JSON; what is deeper is taken out."""


def scrub(record: Any, walk: Walk, findings: Findings) -> None:
    """Scrub the span in a log record's body, if there is one; it stays in the form in which it came."""
    body = record.body.string_value
    if not body or not any(each.key == PARTIAL_EVENT for each in record.attributes):
        return
    inner = Findings()
    scrubbed = _in_json(body, walk, inner) if body.lstrip().startswith("{") else _in_protobuf(body, walk, inner)
    if inner:
        record.body.string_value = scrubbed
        findings.take(inner, "body")


def _in_protobuf(body: str, walk: Walk, findings: Findings) -> str:
    try:
        data = TracesData.FromString(b64decode(body, validate=True))
    except (binascii.Error, ValueError, DecodeError):
        return body
    walk.expect(data)
    for of in data.resource_spans:
        walk.message(of.resource, "", findings)
        for scope in of.scope_spans:
            walk.message(scope.scope, "", findings)
            for span in scope.spans:
                walk.message(span, "", findings)
    return b64encode(data.SerializeToString()).decode()


def _in_json(body: str, walk: Walk, findings: Findings) -> str:
    try:
        found = orjson.loads(body)
        walk.expect_texts(_texts(found))
        return orjson.dumps(_value(found, walk, findings, "", DEEPEST)).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
        return body


def _texts(found: Any) -> Iterator[str]:
    if isinstance(found, str):
        yield found
    for each in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        yield from _texts(each)


def _value(found: Any, walk: Walk, findings: Findings, key: str, deeper: int) -> Any:
    """A value of JSON, scrubbed; `key` is the name of the attribute that it is the value of."""
    if not deeper:
        return None
    if isinstance(found, str) or (isinstance(found, int | float) and not isinstance(found, bool)):
        return walk.plain(found, key, findings)
    if isinstance(found, list):
        scrubbed = (_value(each, walk, findings, key, deeper - 1) for each in found)
        return [each for each in scrubbed if each is not _DROPPED]
    if not isinstance(found, dict):
        return found
    if isinstance(found.get("key"), str) and set(found) <= {"key", "value"}:
        return _attribute(found, walk, findings, deeper)
    return {
        name: each if name in IDS else _value(each, walk, findings, key, deeper - 1) for name, each in found.items()
    }


_DROPPED = object()


def _attribute(found: dict[str, Any], walk: Walk, findings: Findings, deeper: int) -> Any:
    key = found["key"]
    match walk.way(key):
        case walk_of.KEEP:
            return found
        case walk_of.DROP:
            findings.note((walk_of.DROP,), key)
            return _DROPPED
        case walk_of.HASH:
            findings.note((walk_of.HASH,), key)
            text = next(iter(found.get("value", {}).values()), "") if isinstance(found.get("value"), dict) else ""
            return {"key": key, "value": {"stringValue": walk.hashed(str(text))}}
    value = _value(found.get("value"), walk, findings, key, deeper - 1)
    if (
        isinstance(value, dict)
        and isinstance(value.get("intValue", 0), str)
        and not value["intValue"].lstrip("-").isdigit()
    ):
        value = {"stringValue": value["intValue"]}
    return {"key": walk.plain(key, "", findings), "value": value}
