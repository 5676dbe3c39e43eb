"""Finds payment card numbers in text.

A card number has 13 to 19 digits, an issuer's prefix, a length that the issuer uses, and a valid check digit (Luhn,
ISO/IEC 7812). Each condition reduces false positives: Unix timestamps start with 1 until 2033 and then with 2, at
lengths that no issuer uses with these prefixes.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import Final, NamedTuple, Self

MIN_DIGITS: Final = 13
MAX_DIGITS: Final = 19

SEPARATOR: Final = "[ +-]"
"""A regular expression for the separator of two groups of digits; URLs encode a space as ``+``."""

INVISIBLE: Final = "\u00ad\u200b-\u200f\u2060-\u2064\ufeff"
"""Characters without width, which may stand between any two digits."""

OTHER_SEPARATORS: Final = (
    "[\\t\\n\\x0b\\f\\r\u00a0\u2000-\u200a\u2010-\u2015\u2028\u2029\u202f\u205f\u2212\u3000\uff0b\uff0d]"
    "|&(?:#[0-9]{1,4}|#[xX][0-9a-fA-F]{1,4}|[a-z]{2,8});"
    "|%(?:2[0dDbB]|0[9aAdD]|C2%A0|E2%80%[89aA][0-9a-fA-F]|c2%a0|e2%80%[89a][0-9a-fA-F])"
)
"""A regular expression for further separators: other spaces and dashes, line breaks, HTML entities, and all of
these in URLs. Several together are one separator."""

_REWRITTEN: Final = re.compile(
    rf"(?P<invisible>[{INVISIBLE}]|%E2%80%8[bcdBCD]|%e2%80%8[bcd])|(?P<separator>{OTHER_SEPARATORS})|(?P<digit>[\uff10-\uff19])"
)
_IS_REWRITTEN: Final = re.compile(r"[^\x00-\x7f]|[0-9][\t-\r%&]")
_REPEATED: Final = re.compile(r"(?<=[ +-])[ +-]+")

FULL_WIDTH_OFFSET: Final = 0xFF10 - ord("0")

MIN_GROUP_DIGITS: Final = 3
"""Digits between two separators, except in the last group: a list of small numbers is not a card number."""

MAX_GROUPS: Final = 1 + MAX_DIGITS // MIN_GROUP_DIGITS

PREFIX_DIGITS: Final = 4
"""The length of the longest issuer prefix."""

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
"""The first and last prefix of each issuer range, and the lengths of its numbers in digits."""

# possessive: without backtracking, the time grows only with the length of the text
_RUN: Final = re.compile(rf"[0-9]{{{MIN_GROUP_DIGITS},}}+(?:(?:{SEPARATOR})[0-9]++)*+")
_GROUP: Final = re.compile(r"([0-9]+)")
_DOUBLED: Final = bytes.maketrans(b"0123456789", b"0246813579")
"""Maps a digit to the digit sum of its double."""

_HEX: Final = frozenset("0123456789abcdefABCDEF-")
_HEX_ID: Final = re.compile(r"(?=.*[a-fA-F])(?:[0-9a-fA-F]{16}|[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64})")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_MAX_ID_CHARACTERS: Final = 64


class Card(NamedTuple):
    """A card number and its position in the text."""

    start: int
    end: int
    digits: str


class Finder:
    """Finds the card numbers in the texts of one request.

    Bounds its work: after `max_group_characters` of grouped digits, further groups count as card numbers unexamined.
    """

    def __init__(self, max_group_characters: int = 1024 * 1024) -> None:
        self._remaining_characters = max_group_characters

    def find(self, text: str) -> Iterator[Card]:
        """Yields the card numbers of a text in order, without overlap; the longest match wins."""
        plain, positions = normalized(text)
        for run in _RUN.finditer(plain):
            if run.end() - run.start() >= MIN_DIGITS:
                for card in self._in_run(plain, run):
                    if not _is_within_identifier(plain, card):
                        yield Card(positions[card.start], positions[card.end - 1] + 1, card.digits)

    def _in_run(self, text: str, run: re.Match[str]) -> Iterator[Card]:
        is_single_group = run[0].isdigit()
        self._remaining_characters -= 0 if is_single_group else len(run[0])
        if is_single_group or self._remaining_characters >= 0:
            return _in_run(_Run.of(text, run))
        return iter([Card(*run.span(), run[0])])


def normalized(text: str) -> tuple[str, Sequence[int]]:
    """Returns a text with ASCII digits and single ASCII separators, and the original position of each character."""
    if not _IS_REWRITTEN.search(text):
        return text, range(len(text))
    rewritten, positions = _substituted(text, range(len(text)), _REWRITTEN, _plain_character)
    return _substituted(rewritten, positions, _REPEATED, lambda _: "")


def _plain_character(found: re.Match[str]) -> str:
    if found["digit"]:
        return chr(ord(found["digit"]) - FULL_WIDTH_OFFSET)
    return " " if found["separator"] else ""


def _substituted(
    text: str, positions: Sequence[int], pattern: re.Pattern[str], replacement: Callable[[re.Match[str]], str]
) -> tuple[str, list[int]]:
    """Replaces each match by at most one character, and keeps the original position of each character."""
    parts: list[str] = []
    kept: list[int] = []
    end = 0
    for found in pattern.finditer(text):
        replaced = replacement(found)
        parts += text[end : found.start()], replaced
        kept += [*positions[end : found.start()], *([positions[found.start()]] if replaced else [])]
        end = found.end()
    return "".join([*parts, text[end:]]), [*kept, *positions[end:]]


def is_card(digits: str) -> bool:
    """Returns whether a number without separators is a valid card number."""
    return len(digits) in lengths(digits[:PREFIX_DIGITS]) and _has_valid_check_digit(digits)


@cache
def lengths(prefix: str) -> frozenset[int]:
    """Returns the possible lengths of a card number that starts with these `PREFIX_DIGITS` digits."""
    return frozenset().union(*(each for first, last, each in ISSUERS if first <= prefix[: len(first)] <= last))


def _has_valid_check_digit(digits: str) -> bool:
    """Computes the Luhn checksum."""
    single = digits.encode()
    total = sum(single[-1::-2]) + sum(single[-2::-2].translate(_DOUBLED)) - len(single) * ord("0")
    return total % 10 == 0


class _Run(NamedTuple):
    """Groups of digits with separators between them."""

    digits: str
    """All digits, without separators."""
    groups: list[tuple[int, int]]
    """The start and end of each group in the text."""
    offsets: list[int]
    """The number of digits before each group; the last entry is the total."""

    @classmethod
    def of(cls, text: str, run: re.Match[str]) -> Self:
        groups = [each.span() for each in _GROUP.finditer(text, *run.span()) if each[1]]
        offsets = [0, *accumulate(end - start for start, end in groups)]
        return cls("".join(text[start:end] for start, end in groups), groups, offsets)


def _in_run(run: _Run) -> Iterator[Card]:
    group = 0
    while group < len(run.groups):
        card, group = _starting_at(run, group)
        if card:
            yield card


def _starting_at(run: _Run, first: int) -> tuple[Card | None, int]:
    """Returns the longest card number that starts with this group, and the next group to search from."""
    start, longest, following = run.offsets[first], None, first + 1
    possible = lengths(run.digits[start : start + PREFIX_DIGITS])
    if not possible:
        return None, following
    for group in range(first, min(first + MAX_GROUPS, len(run.groups))):
        length = run.offsets[group + 1] - start
        if length in possible and _has_valid_check_digit(run.digits[start : start + length]):
            longest = Card(run.groups[first][0], run.groups[group][1], run.digits[start : start + length])
            following = group + 1
        if length >= MAX_DIGITS or run.offsets[group + 1] - run.offsets[group] < MIN_GROUP_DIGITS:
            break
    return longest, following


def is_identifier(token: str) -> bool:
    """Returns whether a text is a UUID, or a hexadecimal trace id, span id or digest."""
    return bool(_UUID.fullmatch(token) or _HEX_ID.fullmatch(token))


def _is_within_identifier(text: str, card: Card) -> bool:
    start, end = card.start, card.end
    while start > 0 and card.start - start < _MAX_ID_CHARACTERS and text[start - 1] in _HEX:
        start -= 1
    while end < len(text) and end - card.end < _MAX_ID_CHARACTERS and text[end] in _HEX:
        end += 1
    return is_identifier(text[start:end])
