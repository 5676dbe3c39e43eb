"""Applies scrubbing rules to requests, before anything else reads them.

A prefilter over the encoded bytes lets most requests pass without decoding. It never misses a request that a rule
would change, but sometimes selects a request that no rule changes.
"""

import re
import struct
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from sagascope import semconv
from sagascope_collector.engines import PARTIAL_EVENT
from sagascope_collector.scrubbing import cards
from sagascope_collector.scrubbing.messages import HASH, AttributeRules, MessageScrubber
from sagascope_collector.scrubbing.rules import (
    IDENTITY,
    MAX_CARD_NUMBER,
    MIN_CARD_NUMBER,
    KeyMatcher,
    Pseudonyms,
    Rules,
    TextScrubber,
    is_pseudonym,
)

MAX_RUN_DIGITS: Final = 64
"""Maximum number of consecutive digits that are searched; a longer run counts as a card number."""

MAX_ID_CHARACTERS: Final = 64


class Scrubber:
    """Applies a set of rules. Requests are scrubbed in one thread; counts can be read in any thread."""

    def __init__(self, rules: Rules, pseudonyms: Pseudonyms, identities: Collection[str] = ()) -> None:
        """Keeps the rules; `identities` are attributes that identify sagas, in addition to the contract's."""
        self._rules = rules
        self._pseudonyms = pseudonyms
        self._prefilter = _Prefilter(rules)
        self._attribute_rules = AttributeRules(
            KeyMatcher(rules.keep),
            KeyMatcher(rules.drop),
            KeyMatcher(rules.hash),
            KeyMatcher((*IDENTITY, f"{semconv.KEY_PREFIX}*", *identities)),
        )
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def may_change(self, body: bytes) -> bool:
        """Returns whether a rule may change a request in protobuf; False is certain.

        Does not apply to JSON, which can escape any character.
        """
        return self._prefilter.matches(body)

    def scrub(self, request: Any, body: bytes | None = None) -> None:
        """Applies the rules to every text of a request, in place.

        `body` is the encoded request, if it was received as protobuf.
        """
        if not self.may_change(request.SerializeToString() if body is None else body):
            return
        message_scrubber = MessageScrubber(self._attribute_rules, self._text_scrubber(), self._pseudonyms)
        message_scrubber.scrub_request(request)
        with self._lock:
            self._counts += message_scrubber.counts

    def stored_id(self, saga_id: str) -> str:
        """Returns the form in which a saga id is stored."""
        if self._attribute_rules.hash.matches(semconv.SAGA_ID) and not is_pseudonym(saga_id):
            return self._pseudonyms.of(HASH, saga_id.strip())
        texts = self._text_scrubber()
        texts.prepare([saga_id])
        return texts.scrub_identity(saga_id)[0]

    def counts(self) -> Mapping[str, int]:
        """Returns the number of removals since the start, by rule."""
        with self._lock:
            return dict(self._counts)

    def _text_scrubber(self) -> TextScrubber:
        return TextScrubber(self._rules, self._pseudonyms)


class _Prefilter:
    """Searches an encoded request for the literals of rules and for card numbers."""

    def __init__(self, rules: Rules) -> None:
        self._finds_cards = rules.cards
        literals = [_longest_literal(glob) for glob in (*rules.drop, *rules.hash)]
        self._matches_all = bool(rules.replace) or not all(literals)
        self._literals = (*literals, PARTIAL_EVENT.encode())

    def matches(self, body: bytes) -> bool:
        return (
            self._matches_all
            or any(each in body for each in self._literals)
            or (self._finds_cards and (_may_contain_card(body) or any(map(cards.is_card, _numeric_values(body)))))
        )


def _longest_literal(glob: str) -> bytes:
    """Returns the longest text that every key which matches the glob contains; it may be empty."""
    return max(re.split(r"[*?]|\[.*?\]", glob), key=len).encode()


_DIGITS_TO_ZEROS: Final = bytes.maketrans(b"123456789", b"000000000")

_SEPARATORS: Final = b" +-"
"""The bytes that separate the digits of a card number in plain ASCII."""

_OTHER_SEPARATORS: Final = (
    rb"[\t-\r]|%[0-9A-Fa-f]{2}|&[#0-9A-Za-z]{1,8};|\xc2[\xa0\xad]|\xe2[\x80\x81\x88][\x80-\xbf]|\xe3\x80\x80"
    rb"|\xef\xbb\xbf|\xef\xbc[\x8b\x8d]"
)
_SEPARATED: Final = re.compile(
    rb"0[ +-]*+(?:%b)(?:[ +-]|%b)*+(?:0|\xef\xbc)" % (_OTHER_SEPARATORS, _OTHER_SEPARATORS), re.DOTALL
)
"""Two digits with another kind of separator between them; ``0`` stands for every ASCII digit. It starts with a literal,
which `re` finds quickly."""

_FULL_WIDTH: Final = re.compile(rb"\xef\xbc[\x90-\x99]")
"""A full-width digit."""

_MARGIN_BYTES: Final = 256
"""More bytes than the rest of a card number can have on either side, with separators in URLs between all digits."""

_RUN_BYTES: Final = bytes(
    {*b"0 +-\t\n\x0b\x0c\r%&#;", *range(ord("A"), ord("Z") + 1), *range(ord("a"), ord("z") + 1), *range(128, 256)}
)
"""Every byte that may be between the first and the last digit of a card number, with any separators."""

MAX_EXAMINED_PAIRS: Final = 10_000
"""Pairs of separated digits in one request that are examined one by one; with more, all are searched as text."""

_SHORTEST_RUN: Final = b"0" * cards.MIN_DIGITS

_ZEROS: Final = re.compile(b"0+")

_HEX: Final = frozenset(b"0123456789abcdefABCDEF-")

_IS_NOT_SEPARATOR: Final = np.array([byte not in _SEPARATORS for byte in range(256)])

_INT_VALUE: Final = re.compile(rb"\x18(?=([\x80-\xff]{5,9}[\x00-\x7f]))", re.DOTALL)
"""An int value from 2^35; in a lookahead because arbitrary bytes may look like the start of one."""

_DOUBLE_VALUE: Final = re.compile(rb"\x21(?=(.{7}[\x42\x43\xc2\xc3]))", re.DOTALL)
"""A double value in the range of card numbers."""


def _may_contain_card(body: bytes) -> bool:
    """Returns whether a run of digits can be read as a card number.

    Many requests contain runs that are long enough, for example in UUIDs. Few of these can be read as a card number,
    and fewer are outside of ids. Other forms are searched first, in the parts of the body that have any, as text. Every
    part of a run is tried, because the bytes around a text may look like digits.
    """
    for part in _parts_with_other_notations(body):
        text, _ = cards.normalized(body[part].decode(errors="replace"))
        if _card_runs(_digit_runs(text.encode())):
            return True
    runs = _card_runs(_digit_runs(body))
    if not runs:
        return False
    offsets = np.flatnonzero(_IS_NOT_SEPARATOR[np.frombuffer(body, np.uint8)])
    return not all(_is_in_id(body, int(offsets[each.start]), int(offsets[each.stop - 1]) + 1) for each in runs)


def _parts_with_other_notations(body: bytes) -> Iterator[slice]:
    zeros = body.translate(_DIGITS_TO_ZEROS)
    found = [each.span() for each in _SEPARATED.finditer(zeros)]
    if len(found) <= MAX_EXAMINED_PAIRS:
        found = [each for each in found if _has_digits_of_card(zeros, *each)]
    found += [each.span() for each in _FULL_WIDTH.finditer(body)] if b"\xef\xbc" in body else []
    start = end = 0
    for first, last in sorted(found):
        if first - _MARGIN_BYTES > end:
            if end:
                yield slice(start, end)
            start = max(first - _MARGIN_BYTES, 0)
        end = max(end, last + _MARGIN_BYTES)
    if end:
        yield slice(start, end)


def _has_digits_of_card(zeros: bytes, start: int, end: int) -> bool:
    """Returns whether enough digits are around two separated ones: the lengths of texts may look like two."""
    before, after = zeros[max(start - _MARGIN_BYTES, 0) : start], zeros[end : end + _MARGIN_BYTES]
    around = (
        before[len(before.rstrip(_RUN_BYTES)) :]
        + zeros[start:end]
        + after[: len(after) - len(after.lstrip(_RUN_BYTES))]
    )
    return around.count(b"0") + around.count(b"\xef\xbc") >= cards.MIN_DIGITS


def _card_runs(runs: Iterable[tuple[slice, bytes]]) -> list[slice]:
    """Returns the positions of runs that can be read as a card number; equal runs are tried once."""
    found = list(runs)
    with_card = {digits for digits in {digits for _, digits in found} if _can_be_card(digits)}
    return [position for position, digits in found if digits in with_card]


def _digit_runs(body: bytes) -> Iterator[tuple[slice, bytes]]:
    """Yields runs of enough digits for a card number, and their positions in the body without separators."""
    zeros, end = body.translate(_DIGITS_TO_ZEROS, _SEPARATORS), 0
    if _SHORTEST_RUN not in zeros:
        return
    digits = body.translate(None, _SEPARATORS)
    while (start := zeros.find(_SHORTEST_RUN, end)) >= 0:
        run = _ZEROS.match(zeros, start)
        assert run  # noqa: S101  # it starts with the shortest run
        end = run.end()
        yield slice(start, end), digits[start:end]


def _can_be_card(run: bytes) -> bool:
    digits = run.decode()
    return len(digits) > MAX_RUN_DIGITS or any(
        cards.is_card(digits[start:end])
        for start in range(len(digits) - cards.MIN_DIGITS + 1)
        for end in range(start + cards.MIN_DIGITS, min(start + cards.MAX_DIGITS, len(digits)) + 1)
    )


def _is_in_id(body: bytes, start: int, end: int) -> bool:
    """Returns whether these bytes are in a text that is only an id; the text's length precedes it."""
    first, last = start, end
    while first > 0 and last - first <= MAX_ID_CHARACTERS and body[first - 1] in _HEX:
        first -= 1
    while last < len(body) and last - first <= MAX_ID_CHARACTERS and body[last] in _HEX:
        last += 1
    return first > 0 and body[first - 1] == last - first and cards.is_identifier(body[first:last].decode("latin-1"))


def _numeric_values(body: bytes) -> Iterator[str]:
    """Yields the digits of every numeric value that is as large as a card number."""
    for match in _INT_VALUE.finditer(body):
        number = _varint(match[1])
        yield str(min(number, 2**64 - number))
    for match in _DOUBLE_VALUE.finditer(body):
        value = abs(struct.unpack("<d", match[1])[0])
        if MIN_CARD_NUMBER <= value < MAX_CARD_NUMBER and value == int(value):
            yield str(int(value))


def _varint(raw: bytes) -> int:
    return sum((each & 0x7F) << (7 * index) for index, each in enumerate(raw)) & (2**64 - 1)
