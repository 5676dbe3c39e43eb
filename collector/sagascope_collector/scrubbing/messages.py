"""Scrubs the texts in all fields of an OTLP request, and marks changed records."""

import binascii
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from sagascope import semconv
from sagascope_collector.engines import PARTIAL_EVENT
from sagascope_collector.scrubbing.rules import (
    CARD,
    KeyMatcher,
    Pseudonyms,
    Scrubbed,
    TextScrubber,
    encoding_of,
    is_pseudonym,
)

KEEP: Final = "keep"
DROP: Final = "drop"
HASH: Final = "hash"

MARKED_MESSAGES: Final = frozenset({"Resource", "InstrumentationScope", "Span", "LogRecord"})
"""Messages that are marked after a removal."""

MAX_MARKED_PATHS: Final = 50
"""Maximum number of paths in one mark; further paths are counted."""

ID_KEYS: Final = frozenset({semconv.SPAN_PARENT_ID, semconv.HEARTBEAT_OPEN_SPANS, "logfire.pending_parent_id"})
"""Attributes that hold span ids and that correlation needs; some ids have only digits, like a card number."""

ID_LENGTHS: Final = frozenset({16, 32})

JSON_ID_FIELDS: Final = frozenset({"traceId", "spanId", "parentSpanId"})

MAX_JSON_DEPTH: Final = 200
"""Maximum depth of JSON in the body of a log record; deeper values are removed."""


class Removals:
    """The removals from a record, by path."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._paths: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._paths)

    def add(self, rules: Iterable[str], path: str) -> None:
        """Adds the rules, possibly none, that removed something at a path."""
        for rule in sorted(rules):
            self.counts[rule] += 1
            self._paths[f"{rule}: {path}"] = None

    def text_of(self, scrubbed: Scrubbed, path: str) -> str:
        """Adds the rules that changed a text; returns the text."""
        text, rules = scrubbed
        self.add(rules, path)
        return text

    def add_nested(self, nested: "Removals", path: str) -> None:
        """Adds the removals from a message that is nested at a path."""
        self.counts += nested.counts
        for each in nested.paths():
            rule, _, below = each.partition(": ")
            self._paths[f"{rule}: {path}.{below}"] = None

    def paths(self) -> list[str]:
        """Returns ``rule: path`` of each removal, in order."""
        return list(self._paths)

    def mark(self, attributes: Any) -> None:
        """Adds the removals to a record's attributes, after earlier ones."""
        paths = self.paths()
        texts = paths[:MAX_MARKED_PATHS]
        if len(paths) > MAX_MARKED_PATHS:
            texts.append(f"and {len(paths) - MAX_MARKED_PATHS} more")
        mark = next((each for each in attributes if each.key == semconv.SCRUBBED), None)
        mark = mark or attributes.add(key=semconv.SCRUBBED)
        for text in texts:
            mark.value.array_value.values.add(string_value=text)


@dataclass(frozen=True, slots=True)
class AttributeRules:
    """The attributes for each action; only the equality of those in `identity` matters."""

    keep: KeyMatcher
    drop: KeyMatcher
    hash: KeyMatcher
    identity: KeyMatcher

    def action(self, key: str, parent_path: str = "") -> str:
        """Returns `KEEP`, `DROP`, `HASH`, or ``""`` for an attribute whose value is scrubbed."""
        path = parent_path + key
        actions = ((KEEP, self.keep), (DROP, self.drop), (HASH, self.hash))
        return next((action for action, keys in actions if keys.matches(key) or keys.matches(path)), "")


class MessageScrubber:
    """Scrubs one request in place; `counts` holds the number of removals by rule."""

    def __init__(self, rules: AttributeRules, texts: TextScrubber, pseudonyms: Pseudonyms) -> None:
        self.counts: Counter[str] = Counter()
        self._rules = rules
        self._texts = texts
        self._pseudonyms = pseudonyms

    def scrub_request(self, request: Any) -> None:
        """Scrubs a request."""
        self._texts.prepare(_texts(request))
        outside_records = Removals()
        self._message(request, "", outside_records)
        self.counts += outside_records.counts

    def _message(self, message: Any, path: str, removals: Removals) -> None:
        """Scrubs a message; `path` is its path below the record to which it belongs."""
        for field, value in message.ListFields():
            below = f"{path}.{field.name}" if path else field.name
            if field.type == FieldDescriptor.TYPE_STRING:
                self._strings(message, field, value, below, removals)
            elif field.type == FieldDescriptor.TYPE_MESSAGE:
                self._messages(field, value, path, below, removals)

    def _messages(self, field: FieldDescriptor, value: Any, path: str, below: str, removals: Removals) -> None:
        kind = field.message_type.name if field.message_type else ""
        if kind == "KeyValue":
            self._attributes(value, f"{path}.attributes." if path else "", "", removals)
            return
        for each in value if field.is_repeated else (value,):
            if kind == "AnyValue":
                self._value(each, below, "", removals)
            elif kind in MARKED_MESSAGES:
                self._record(each)
            else:
                self._message(each, below, removals)

    def _record(self, record: Any) -> None:
        removals = Removals()
        if record.DESCRIPTOR.name == "LogRecord":
            # first: scrubbed as plain text, an encoded span might become unreadable
            self._partial_span(record, removals)
        self._message(record, "", removals)
        if removals:
            removals.mark(record.attributes)
            self.counts += removals.counts

    def _strings(self, message: Any, field: FieldDescriptor, value: Any, path: str, removals: Removals) -> None:
        if field.is_repeated:
            for index, each in enumerate(value):
                value[index] = removals.text_of(self._texts.scrub(each), path)
        else:
            setattr(message, field.name, removals.text_of(self._texts.scrub(value), path))

    def _attributes(self, pairs: Any, prefix: str, parent_path: str, removals: Removals) -> None:
        """Scrubs attributes; `prefix` starts their paths in marks, `parent_path` is the path of keys of a kvlist."""
        dropped = []
        for index, pair in enumerate(pairs):
            key_path, action = parent_path + pair.key, self._rules.action(pair.key, parent_path)
            if action == KEEP:
                continue
            pair.key, rules = self._texts.scrub(pair.key)
            path = prefix + pair.key
            removals.add(rules, path)
            if action == DROP:
                removals.add((DROP,), path)
                dropped.append(index)
            elif action == HASH:
                self._hash(pair.value, path, removals)
            else:
                self._value(pair.value, path, key_path, removals)
        for index in reversed(dropped):
            del pairs[index]

    def _value(self, value: Any, path: str, key_path: str, removals: Removals) -> None:
        match value.WhichOneof("value"):
            case "string_value":
                if not _is_otel_id(key_path, value.string_value):
                    value.string_value = removals.text_of(self._text(key_path, value.string_value), path)
            case "int_value" | "double_value" as kind:
                if pseudonym := self._texts.card_pseudonym(getattr(value, kind)):
                    value.string_value = pseudonym
                    removals.add((CARD,), path)
            case "array_value":
                for each in value.array_value.values:
                    self._value(each, path, key_path, removals)
            case "kvlist_value":
                parent_path = f"{key_path}." if key_path else ""
                self._attributes(value.kvlist_value.values, f"{path}.", parent_path, removals)
            case "bytes_value":
                value.bytes_value, rules = self._texts.scrub_bytes(value.bytes_value)
                removals.add(rules, path)

    def _text(self, key_path: str, text: str) -> Scrubbed:
        is_identity = self._rules.identity.matches(key_path)
        return self._texts.scrub_identity(text) if is_identity else self._texts.scrub(text)

    def _hash(self, value: Any, path: str, removals: Removals) -> None:
        text = _as_text(value)
        if text and not is_pseudonym(text):
            value.string_value = self._pseudonyms.of(HASH, text)
            removals.add((HASH,), path)

    def _partial_span(self, record: Any, removals: Removals) -> None:
        """Scrubs the span in the body of a log record of otel-partial, which keeps its encoding."""
        body = record.body.string_value
        if not body or not any(each.key == PARTIAL_EVENT for each in record.attributes):
            return
        nested = Removals()
        is_json = body.lstrip().startswith("{")
        scrubbed = self._json_body(body, nested) if is_json else self._protobuf_body(body, nested)
        if nested:
            record.body.string_value = scrubbed
            removals.add_nested(nested, "body")

    def _protobuf_body(self, body: str, removals: Removals) -> str:
        try:
            data = TracesData.FromString(b64decode(body, validate=True))
        except (binascii.Error, ValueError, DecodeError):
            return body
        self._texts.prepare(_texts(data))
        for resource_spans in data.resource_spans:
            self._message(resource_spans.resource, "", removals)
            for scope_spans in resource_spans.scope_spans:
                self._message(scope_spans.scope, "", removals)
                for span in scope_spans.spans:
                    self._message(span, "", removals)
        return b64encode(data.SerializeToString()).decode()

    def _json_body(self, body: str, removals: Removals) -> str:
        try:
            document = orjson.loads(body)
            self._texts.prepare(_json_texts(document))
            return orjson.dumps(self._json(document, removals, "", MAX_JSON_DEPTH)).decode()
        except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
            return body

    def _json(self, value: Any, removals: Removals, key: str, depth: int) -> Any:
        """Returns a scrubbed JSON value; `key` is the name of the attribute to which it belongs."""
        if not depth:
            return None
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return self._json_scalar(value, removals, key)
        if isinstance(value, list):
            scrubbed = (self._json(each, removals, key, depth - 1) for each in value)
            return [each for each in scrubbed if each is not _DROPPED]
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("key"), str) and set(value) <= {"key", "value"}:
            return self._json_attribute(value, removals, depth)
        return {
            name: each if name in JSON_ID_FIELDS else self._json(each, removals, key, depth - 1)
            for name, each in value.items()
        }

    def _json_scalar(self, value: str | float, removals: Removals, key: str) -> str | float:
        if isinstance(value, str):
            return value if _is_otel_id(key, value) else removals.text_of(self._text(key, value), key)
        if pseudonym := self._texts.card_pseudonym(value):
            removals.add((CARD,), key)
        return pseudonym or value

    def _json_attribute(self, pair: dict[str, Any], removals: Removals, depth: int) -> Any:
        key, value = pair["key"], pair.get("value")
        match self._rules.action(key):
            case "keep":
                return pair
            case "drop":
                removals.add((DROP,), key)
                return _DROPPED
            case "hash":
                removals.add((HASH,), key)
                text = str(next(iter(value.values()), "")) if isinstance(value, dict) else ""
                hashed = text if is_pseudonym(text) else self._pseudonyms.of(HASH, text)
                return {"key": key, "value": {"stringValue": hashed}}
        scrubbed = self._json(value, removals, key, depth - 1)
        if isinstance(scrubbed, dict):
            # OTLP's JSON writes integers as text; one that became a pseudonym is no integer any more
            integer = scrubbed.get("intValue", 0)
            if isinstance(integer, str) and not integer.lstrip("-").isdigit():
                scrubbed = {"stringValue": integer}
        return {"key": self._json_scalar(key, removals, ""), "value": scrubbed}


_DROPPED: Final = object()


def _texts(message: Any) -> Iterator[str]:
    """Yields every text of a message, and every bytes value as text."""
    for field, value in message.ListFields():
        for each in value if field.is_repeated else (value,):
            if field.type == FieldDescriptor.TYPE_STRING:
                yield each
            elif field.type == FieldDescriptor.TYPE_MESSAGE:
                yield from _texts(each)
            elif field.name == "bytes_value":
                yield each.decode(encoding_of(each))


def _json_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _json_texts(each)


def _is_otel_id(key_path: str, text: str) -> bool:
    return key_path in ID_KEYS and len(text) in ID_LENGTHS and text.isalnum()


def _as_text(value: Any) -> str:
    """Returns a value as text, so that a number and its digits have the same hash; empty if there is no value."""
    match value.WhichOneof("value"):
        case None:
            return ""
        case "string_value" | "int_value" | "double_value" | "bool_value" as kind:
            return str(getattr(value, kind))
        case _:
            raw: bytes = value.SerializeToString(deterministic=True)
            return raw.hex()
