"""Tells quickly, without decoding it, that a request in protobuf holds nothing for any rule. Pure."""

import re
import struct
from collections.abc import Iterator
from typing import Final

from sagascope_collector.scrub import cards
from sagascope_collector.scrub.rules import Rules, needle
from sagascope_collector.scrub.texts import LARGEST, SMALLEST

_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")
"""Makes all digits one."""

_BETWEEN: Final = " +-%\u00a0".encode()
"""Every byte that occurs between digits of a card number, the digits of ``%20`` aside."""

_LONG: Final = b"0" * cards.SHORTEST

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
            or (self._cards and (_LONG in body.translate(_DIGITS, _BETWEEN) or any(map(cards.is_card, _numbers(body)))))
        )


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
