"""Scrubs one text. Pure."""

from collections.abc import Iterable, Sequence

from sagascope_collector.scrubbing import cards
from sagascope_collector.scrubbing.rules import CARD, Pattern, replaced
from sagascope_collector.scrubbing.tokens import Tokens

Scrubbed = tuple[str, frozenset[str]]
"""A text, and the rules that changed it."""

UNTOUCHED: frozenset[str] = frozenset()
SMALLEST, LARGEST = 10.0 ** (cards.SHORTEST - 1), 10.0**cards.LONGEST


class Texts:
    """Applies what is done to the texts of one request: patterns, whose work is known beforehand, and card numbers."""

    def __init__(self, cards_too: bool, tokens: Tokens, patterns: Sequence[Pattern]) -> None:
        self._cards_too = cards_too
        self._tokens = tokens
        self._patterns = patterns
        self._patterned: dict[str, Scrubbed] = {}
        self._cards = cards.Finder()

    def expect(self, texts: Iterable[str]) -> None:
        """Let the patterns work on all of these at once; a text that was not expected is not looked at by them."""
        if self._patterns:
            self._patterned |= replaced(texts, self._patterns)

    def scrubbed(self, text: str) -> Scrubbed:
        """The text without what may not be kept."""
        text, rules = self._patterned.get(text, (text, UNTOUCHED))
        if not self._cards_too:
            return text, rules
        found = list(self._cards.find(text))
        for card in reversed(found):
            text = text[: card.start] + self._tokens.token(CARD, card.digits) + text[card.end :]
        return text, rules | {CARD} if found else rules

    def identity(self, text: str) -> Scrubbed:
        """Likewise for a text of which it matters what it is equal to: what a pattern changes gets a stand-in."""
        if text not in self._patterned:
            return self.scrubbed(text)
        rules = self._patterned[text][1]
        return self._tokens.token(min(rules), text), rules

    def raw(self, content: bytes) -> tuple[bytes, frozenset[str]]:
        """Likewise for bytes, in case that they are text."""
        encoding = encoding_of(content)
        text, rules = self.scrubbed(content.decode(encoding))
        return (text.encode(encoding, "replace"), rules) if rules else (content, rules)

    def number(self, number: float) -> str | None:
        """The stand-in for a number that is a card's; None: it is none."""
        if self._cards_too and SMALLEST <= abs(number) < LARGEST and number == int(number):
            digits = str(abs(int(number)))
            return self._tokens.token(CARD, digits) if cards.is_card(digits) else None
        return None


def encoding_of(content: bytes) -> str:
    """How to read bytes as text: any bytes can be."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"
