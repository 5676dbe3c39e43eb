"""Tells quickly, without decoding it, that a request in protobuf holds nothing for any rule. Pure."""

import re
import struct
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from sagascope_collector.scrubbing import cards
from sagascope_collector.scrubbing.rules import Rules, needle
from sagascope_collector.scrubbing.texts import LARGEST, SMALLEST

_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")
"""Makes all digits one."""

_BETWEEN: Final = " +-%\u00a0".encode()
"""Every byte that occurs between digits of a card number, the digits of ``%20`` aside."""

_LONG: Final = b"0" * cards.SHORTEST

_ZEROS: Final = re.compile(b"0+")

_MOST: Final = 64
"""Digits in a row that are looked at; a longer row may hold anything."""

_HEX: Final = frozenset(b"0123456789abcdefABCDEF-")

_LONGEST_ID: Final = 64

_KEPT: Final = np.array([byte not in _BETWEEN for byte in range(256)])

_INT: Final = re.compile(rb"\x18(?=([\x80-\xff]{5,9}[\x00-\x7f]))", re.DOTALL)
"""An int value from 2^35 on; inside a lookahead, since random bytes may look like the beginning of one."""

_DOUBLE: Final = re.compile(rb"\x21(?=(.{7}[\x42\x43\xc2\xc3]))", re.DOTALL)
"""A double value of the size of a card number."""


class Needles:
    """What rules look for, as bytes."""

    def __init__(self, rules: Rules, *always: bytes) -> None:
        """`always`: words of requests that are to be looked at in any case."""
        self._cards = rules.cards
        keys = [needle(each) for each in (*rules.drop, *rules.hash)]
        self._always = bool(rules.replace) or not all(keys)
        self._keys = (*keys, *always)

    def may_be_in(self, body: bytes) -> bool:
        """False: no rule would change anything."""
        return (
            self._always
            or any(each in body for each in self._keys)
            or (self._cards and (_may_hold_card(body) or any(map(cards.is_card, _numbers(body)))))
        )


def _may_hold_card(body: bytes) -> bool:
    """Whether a card number can be read from digits in a row.

    Many requests have enough digits in a row, in UUIDs for example; few of those can be read as a card number, and
    fewer outside of ids. Every reading counts, since the bytes beside a text may look like digits of it.
    """
    if b"%20" in body and _readable(_rows(body.replace(b"%20", b""))):
        return True
    readable = _readable(_rows(body))
    places = np.flatnonzero(_KEPT[np.frombuffer(body, np.uint8)]) if readable else _KEPT
    return not all(_is_of_id(body, int(places[each.start]), int(places[each.stop - 1]) + 1) for each in readable)


def _readable(rows: Iterable[tuple[slice, bytes]]) -> list[slice]:
    """The places of those that can be read as a card number; the same row often comes again."""
    found = list(rows)
    cards_in = {row for row in {row for _, row in found} if _is_read_as_card(row)}
    return [place for place, row in found if row in cards_in]


def _rows(body: bytes) -> Iterator[tuple[slice, bytes]]:
    """Digits in a row, separators aside, that are enough for a card number, and their place without separators."""
    marked, end = body.translate(_DIGITS, _BETWEEN), 0
    if _LONG not in marked:
        return
    plain = body.translate(None, _BETWEEN)
    while (begin := marked.find(_LONG, end)) >= 0:
        zeros = _ZEROS.match(marked, begin)
        assert zeros  # noqa: S101  # there are some
        end = zeros.end()
        yield slice(begin, end), plain[begin:end]


def _is_read_as_card(row: bytes) -> bool:
    digits = row.decode()
    return len(digits) > _MOST or any(
        cards.is_card(digits[start:end])
        for start in range(len(digits) - cards.SHORTEST + 1)
        for end in range(start + cards.SHORTEST, min(start + cards.LONGEST, len(digits)) + 1)
    )


def _is_of_id(body: bytes, begin: int, end: int) -> bool:
    """Whether these bytes are within a text that is nothing but an id: its length stands before it."""
    first, last = begin, end
    while first > 0 and last - first <= _LONGEST_ID and body[first - 1] in _HEX:
        first -= 1
    while last < len(body) and last - first <= _LONGEST_ID and body[last] in _HEX:
        last += 1
    return first > 0 and body[first - 1] == last - first and cards.is_identifier(body[first:last].decode("latin-1"))


def _numbers(body: bytes) -> Iterator[str]:
    """The digits of every number of an attribute that is as large as a card's."""
    for found in _INT.finditer(body):
        number = _varint(found[1])
        yield str(min(number, 2**64 - number))
    for found in _DOUBLE.finditer(body):
        value = abs(struct.unpack("<d", found[1])[0])
        if SMALLEST <= value < LARGEST and value == int(value):
            yield str(int(value))


def _varint(raw: bytes) -> int:
    return sum((each & 0x7F) << (7 * place) for place, each in enumerate(raw)) & (2**64 - 1)
