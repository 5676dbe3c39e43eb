"""Finds payment card numbers in text. Pure.

A card number has 13 to 19 digits, begins as its issuer's do, has a length that the issuer uses, and its last digit is
right (Luhn, ISO/IEC 7812). Each of the three keeps false alarms down: times since 1970 begin with 1 until 2033 and then
with 2, at lengths that no issuer uses there.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

SHORTEST: Final = 13
LONGEST: Final = 19

SEPARATOR: Final = "[ +\u00a0-]|%20"
"""What may stand between two groups of digits; a URL writes a space as ``+`` or ``%20``."""

SHORTEST_GROUP: Final = 3
"""Digits between two separators, the last group aside: lists of small numbers are no card."""

ISSUERS: Final[tuple[tuple[str, str, frozenset[int]], ...]] = (
    ("4", "4", frozenset({13, 16, 19})),  # Visa
    ("51", "55", frozenset({16})),  # Mastercard
    ("2221", "2720", frozenset({16})),  # Mastercard
    ("34", "34", frozenset({15})),  # American Express
    ("37", "37", frozenset({15})),  # American Express
    ("300", "305", frozenset({14, 16})),  # Diners Club
    ("309", "309", frozenset({14, 16})),  # Diners Club
    ("36", "36", frozenset({14, 16, 19})),  # Diners Club
    ("38", "39", frozenset({14, 16, 19})),  # Diners Club
    ("3528", "3589", frozenset({16, 17, 18, 19})),  # JCB
    ("60", "60", frozenset({16, 17, 18, 19})),  # Discover, RuPay
    ("644", "659", frozenset({16, 17, 18, 19})),  # Discover, RuPay
    ("62", "62", frozenset({16, 17, 18, 19})),  # UnionPay
    ("81", "82", frozenset({16, 17, 18, 19})),  # UnionPay, RuPay
    ("50", "50", frozenset({13, 15, 16, 18, 19})),  # Maestro, Elo, RuPay
    ("56", "58", frozenset({13, 15, 16, 18, 19})),  # Maestro
    ("63", "63", frozenset({13, 15, 16, 18, 19})),  # Maestro, Elo
    ("67", "67", frozenset({13, 15, 16, 18, 19})),  # Maestro
    ("2200", "2205", frozenset({16})),  # Mir
)
"""First and last prefix of each range of an issuer, and how many digits its numbers have."""

_RUN: Final = re.compile(rf"[0-9]{{{SHORTEST_GROUP},}}+(?:(?:{SEPARATOR})[0-9]++)*+")
_GROUP: Final = re.compile(r"%20|([0-9]+)")
_DOUBLED: Final = str.maketrans("0123456789", "0246813579")
"""Twice a digit, as the sum of the digits of that."""

_HEX: Final = frozenset("0123456789abcdefABCDEF-")
_HEX_ID: Final = re.compile(r"(?=.*[a-fA-F])(?:[0-9a-fA-F]{16}|[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64})")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_LONGEST_ID: Final = 64


class Card(NamedTuple):
    """A card number, and where it stands in the text."""

    start: int
    end: int
    digits: str


def find(text: str) -> Iterator[Card]:
    """Every card number of a text, in order, none overlapping another; of several readings the longest."""
    for run in _RUN.finditer(text):
        if run.end() - run.start() >= SHORTEST:
            yield from _in_run(text, [each for each in _GROUP.finditer(text, *run.span()) if each[1]])


def is_card(digits: str) -> bool:
    """Whether a number, without separators, is one that an issuer may have given."""
    return any(
        len(digits) in lengths and first <= digits[: len(first)] <= last for first, last, lengths in ISSUERS
    ) and _is_right(digits)


def _is_right(digits: str) -> bool:
    """Luhn's check of the last digit."""
    total = sum(map(int, digits[-1::-2])) + sum(map(int, digits[-2::-2].translate(_DOUBLED)))
    return total % 10 == 0


def _in_run(text: str, groups: list[re.Match[str]]) -> Iterator[Card]:
    place = 0
    while place < len(groups):
        card, after = _beginning_at(groups, place)
        place += after
        if card and not _is_identifier(text, card):
            yield card


def _beginning_at(groups: list[re.Match[str]], first: int) -> tuple[Card | None, int]:
    """The longest card number that begins with this group, and how many groups it takes: 1 if there is none."""
    digits, longest, taken = "", None, 1
    for count, group in enumerate(groups[first : first + LONGEST], 1):
        digits += group[1]
        if len(digits) > LONGEST:
            break
        if is_card(digits):
            longest, taken = Card(groups[first].start(), group.end(), digits), count
        if len(group[1]) < SHORTEST_GROUP:
            break
    return longest, taken


def _is_identifier(text: str, card: Card) -> bool:
    """Whether the digits are a part of a UUID, or of a hexadecimal trace id, span id or digest."""
    start, end = card.start, card.end
    while start > 0 and card.start - start < _LONGEST_ID and text[start - 1] in _HEX:
        start -= 1
    while end < len(text) and end - card.end < _LONGEST_ID and text[end] in _HEX:
        end += 1
    token = text[start:end]
    return bool(_UUID.fullmatch(token) or _HEX_ID.fullmatch(token))
