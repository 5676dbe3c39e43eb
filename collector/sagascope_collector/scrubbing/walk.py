"""Goes through every text of one request, whatever field it stands in."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

from sagascope_collector.scrubbing.marking import Findings
from sagascope_collector.scrubbing.rules import CARD, Keys
from sagascope_collector.scrubbing.texts import Scrubbed, Texts, encoding_of
from sagascope_collector.scrubbing.tokens import Tokens, is_token

KEEP: Final = "keep"
DROP: Final = "drop"
HASH: Final = "hash"

RECORDS: Final = frozenset({"Resource", "InstrumentationScope", "Span", "LogRecord"})
"""Messages that are marked when something was taken out of them."""

ID_KEYS: Final = ("trace_id", "span_id", "parent_id", "open_spans")
"""How attributes end that hold trace ids and span ids; some of those have digits alone, as a card number has."""

ID_LENGTHS: Final = frozenset({16, 32})


@dataclass(frozen=True, slots=True)
class Choice:
    """Which attributes are treated in which way."""

    keep: Keys
    drop: Keys
    hash: Keys
    identity: Keys


class Walk:
    """Scrubs one request; `counts` says afterwards how often each rule took something out."""

    def __init__(
        self,
        choice: Choice,
        texts: Texts,
        tokens: Tokens,
        before: "Callable[[Any, Walk, Findings], None] | None" = None,
    ) -> None:
        """`before` scrubs what a log record carries in a form of its own."""
        self.counts: Counter[str] = Counter()
        self._choice = choice
        self._texts = texts
        self._tokens = tokens
        self._before = before

    def expect(self, message: Any) -> None:
        """Prepare for every text of a message."""
        self._texts.expect(texts(message))

    def expect_texts(self, found: Iterable[str]) -> None:
        """Prepare for these texts."""
        self._texts.expect(found)

    def message(self, message: Any, place: str, findings: Findings) -> None:
        """Scrub a message; `place` is its path below the record to which it belongs."""
        for field, value in message.ListFields():
            below = f"{place}.{field.name}" if place else field.name
            if field.type == FieldDescriptor.TYPE_STRING:
                self._strings(message, field, value, below, findings)
            elif field.type == FieldDescriptor.TYPE_MESSAGE:
                self._messages(field, value, place, below, findings)

    def way(self, key: str, above: str = "") -> str:
        """What is done to an attribute: `KEEP`, `DROP`, `HASH`, or nothing but to look into it."""
        choice, path = self._choice, above + key
        ways = ((KEEP, choice.keep), (DROP, choice.drop), (HASH, choice.hash))
        return next((way for way, keys in ways if keys.means(key) or keys.means(path)), "")

    def plain(self, value: Any, key: str, findings: Findings) -> Any:
        """A text or a number of the attribute `key`, scrubbed."""
        if isinstance(value, str):
            return value if _is_id(key, value) else findings.told(self._text(key, value), key)
        if told := self._texts.number(value):
            findings.note((CARD,), key)
        return told or value

    def hashed(self, text: str) -> str:
        """The stand-in of a text."""
        return text if is_token(text) else self._tokens.token(HASH, text)

    def _messages(self, field: FieldDescriptor, value: Any, place: str, below: str, findings: Findings) -> None:
        kind = field.message_type.name if field.message_type else ""
        if kind == "KeyValue":
            self._attributes(value, f"{place}.attributes." if place else "", "", findings)
            return
        for each in value if field.is_repeated else (value,):
            if kind == "AnyValue":
                self._value(each, below, "", findings)
            elif kind in RECORDS:
                self._record(each)
            else:
                self.message(each, below, findings)

    def _record(self, record: Any) -> None:
        findings = Findings()
        if self._before and record.DESCRIPTOR.name == "LogRecord":
            self._before(record, self, findings)
        self.message(record, "", findings)
        if findings:
            findings.mark(record.attributes)
            self.counts += findings.counts

    def _strings(self, message: Any, field: FieldDescriptor, value: Any, place: str, findings: Findings) -> None:
        if field.is_repeated:
            for number, each in enumerate(value):
                value[number] = findings.told(self._texts.scrubbed(each), place)
        else:
            setattr(message, field.name, findings.told(self._texts.scrubbed(value), place))

    def _attributes(self, pairs: Any, where: str, above: str, findings: Findings) -> None:
        """Scrub attributes that stand below `where`; `above` is the path of keys to the kvlist that holds them."""
        dropped = []
        for number, pair in enumerate(pairs):
            path, way = above + pair.key, self.way(pair.key, above)
            if way == KEEP:
                continue
            pair.key, rules = self._texts.scrubbed(pair.key)
            place = where + pair.key
            findings.note(rules, place)
            if way == DROP:
                findings.note((DROP,), place)
                dropped.append(number)
            elif way == HASH:
                self._hash(pair.value, place, findings)
            else:
                self._value(pair.value, place, path, findings)
        for number in reversed(dropped):
            del pairs[number]

    def _value(self, value: Any, place: str, path: str, findings: Findings) -> None:
        """Scrub a value that stands at the path of keys `path`, told as `place`."""
        match value.WhichOneof("value"):
            case "string_value":
                if not _is_id(path, value.string_value):
                    value.string_value = findings.told(self._text(path, value.string_value), place)
            case "int_value" | "double_value" as kind:
                self._number(value, getattr(value, kind), place, findings)
            case "array_value":
                for each in value.array_value.values:
                    self._value(each, place, path, findings)
            case "kvlist_value":
                self._attributes(value.kvlist_value.values, f"{place}.", f"{path}." if path else "", findings)
            case "bytes_value":
                value.bytes_value, rules = self._texts.raw(value.bytes_value)
                findings.note(rules, place)

    def _text(self, path: str, text: str) -> Scrubbed:
        return self._texts.identity(text) if self._choice.identity.means(path) else self._texts.scrubbed(text)

    def _number(self, value: Any, number: float, place: str, findings: Findings) -> None:
        if told := self._texts.number(number):
            value.string_value = told
            findings.note((CARD,), place)

    def _hash(self, value: Any, place: str, findings: Findings) -> None:
        text = _written(value)
        if text and not is_token(text):
            value.string_value = self._tokens.token(HASH, text)
            findings.note((HASH,), place)


def texts(message: Any) -> Iterator[str]:
    """Every text of a message, and what is text among its bytes."""
    for field, value in message.ListFields():
        for each in value if field.is_repeated else (value,):
            if field.type == FieldDescriptor.TYPE_STRING:
                yield each
            elif field.type == FieldDescriptor.TYPE_MESSAGE:
                yield from texts(each)
            elif field.name == "bytes_value":
                yield each.decode(encoding_of(each))


def _is_id(path: str, text: str) -> bool:
    return len(text) in ID_LENGTHS and path.endswith(ID_KEYS) and text.isalnum()


def _written(value: Any) -> str:
    """A value as text, so that a number and its digits are hashed alike; empty: there is none."""
    match value.WhichOneof("value"):
        case None:
            return ""
        case "string_value" | "int_value" | "double_value" | "bool_value" as kind:
            return str(getattr(value, kind))
        case _:
            raw: bytes = value.SerializeToString(deterministic=True)
            return raw.hex()
