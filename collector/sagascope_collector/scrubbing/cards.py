"""Finds payment card numbers in text. Pure.

A card number has 13 to 19 digits, begins as its issuer's do, has a length that the issuer uses, and its last digit is
right (Luhn, ISO/IEC 7812). Each of the three keeps false alarms down: times since 1970 begin with 1 until 2033 and then
with 2, at lengths that no issuer uses there.
"""

import re
from collections.abc import Iterator
from functools import cache
from itertools import accumulate
from typing import Final, NamedTuple, Self

SHORTEST: Final = 13
LONGEST: Final = 19

SEPARATOR: Final = "[ +\u00a0-]|%20"
"""What may stand between two groups of digits; a URL writes a space as ``+`` or ``%20``."""

SHORTEST_GROUP: Final = 3
"""Digits between two separators, the last group aside: lists of small numbers are no card."""

MOST_GROUPS: Final = 1 + LONGEST // SHORTEST_GROUP

PREFIX: Final = 4
"""Digits of the longest prefix."""

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
_DOUBLED: Final = bytes.maketrans(b"0123456789", b"0246813579")
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


class Finder:
    """Finds the card numbers in the texts of one request.

    Work is bounded: of a request that is made of nothing but groups of digits, the groups past `patience` characters
    count as card numbers without being looked at.
    """

    def __init__(self, patience: int = 1024 * 1024) -> None:
        self._patience = patience

    def find(self, text: str) -> Iterator[Card]:
        """Every card number of a text, in order, none overlapping another; of several readings the longest."""
        for run in _RUN.finditer(text):
            if run.end() - run.start() >= SHORTEST:
                yield from (card for card in self._in_run(text, run) if not _is_within_identifier(text, card))

    def _in_run(self, text: str, run: re.Match[str]) -> Iterator[Card]:
        alone = run[0].isdigit()
        self._patience -= 0 if alone else len(run[0])
        return _in_run(_Run.of(text, run)) if alone or self._patience >= 0 else iter([Card(*run.span(), run[0])])


def is_card(digits: str) -> bool:
    """Whether a number, without separators, is one that an issuer may have given."""
    return len(digits) in lengths(digits[:PREFIX]) and _is_right(digits)


@cache
def lengths(prefix: str) -> frozenset[int]:
    """How many digits a number may have that begins with these `PREFIX` digits."""
    return frozenset().union(*(each for first, last, each in ISSUERS if first <= prefix[: len(first)] <= last))


def _is_right(digits: str) -> bool:
    """Luhn's check of the last digit."""
    single = digits.encode()
    total = sum(single[-1::-2]) + sum(single[-2::-2].translate(_DOUBLED)) - len(single) * ord("0")
    return total % 10 == 0


class _Run(NamedTuple):
    """Groups of digits with a separator between two."""

    digits: str
    """All of them, without separators."""
    groups: list[tuple[int, int]]
    """Where each group begins and ends in the text."""
    after: list[int]
    """How many digits there are before each group, and in all."""

    @classmethod
    def of(cls, text: str, run: re.Match[str]) -> Self:
        groups = [each.span() for each in _GROUP.finditer(text, *run.span()) if each[1]]
        after = [0, *accumulate(end - start for start, end in groups)]
        return cls("".join(text[start:end] for start, end in groups), groups, after)


def _in_run(run: _Run) -> Iterator[Card]:
    place = 0
    while place < len(run.groups):
        card, place = _beginning_at(run, place)
        if card:
            yield card


def _beginning_at(run: _Run, first: int) -> tuple[Card | None, int]:
    """The longest card number that begins with this group, and the group after it: the next one if there is none."""
    begun, longest, after = run.after[first], None, first + 1
    possible = lengths(run.digits[begun : begun + PREFIX])
    if not possible:
        return None, after
    for place in range(first, min(first + MOST_GROUPS, len(run.groups))):
        length = run.after[place + 1] - begun
        if length in possible and _is_right(run.digits[begun : begun + length]):
            longest = Card(run.groups[first][0], run.groups[place][1], run.digits[begun : begun + length])
            after = place + 1
        if length >= LONGEST or run.after[place + 1] - run.after[place] < SHORTEST_GROUP:
            break
    return longest, after


def is_identifier(token: str) -> bool:
    """Whether this is a UUID, or a hexadecimal trace id, span id or digest."""
    return bool(_UUID.fullmatch(token) or _HEX_ID.fullmatch(token))


def _is_within_identifier(text: str, card: Card) -> bool:
    start, end = card.start, card.end
    while start > 0 and card.start - start < _LONGEST_ID and text[start - 1] in _HEX:
        start -= 1
    while end < len(text) and end - card.end < _LONGEST_ID and text[end] in _HEX:
        end += 1
    return is_identifier(text[start:end])
