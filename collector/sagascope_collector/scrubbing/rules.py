"""The rules of a scrubbing file, and their application to single texts and numbers.

A removed value may be replaced by a pseudonym: a keyed hash, so that equal values stay equal, and only the key reveals
them. The key is never stored in the database, so a copy of the database does not reveal the values.
"""

import hmac
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, Field

from sagascope import semconv
from sagascope_collector.errors import CannotStart, StorageUnavailable
from sagascope_collector.scrubbing import cards

KEY_VARIABLE: Final = "SAGASCOPE_SCRUB_KEY"

DIGEST_BYTES: Final = 10
"""Number of bytes kept of the HMAC: among a billion values, the chance of a collision is 1 in 2 million."""

MIN_KEY_BYTES: Final = 16
"""Minimum length of the key; with a shorter key, all card numbers could be tried."""

GENERATED_KEY_BYTES: Final = 32

_LETTERS: Final = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
"""Pseudonyms contain no digits, so they are never mistaken for card numbers."""

_PSEUDONYM: Final = re.compile(rf"scrubbed-[a-z0-9_-]+-[a-p]{{{2 * DIGEST_BYTES}}}")


class Pseudonyms:
    """Derives pseudonyms with HMAC-SHA-256."""

    def __init__(self, load_key: Callable[[], bytes]) -> None:
        """Keeps `load_key`, which is called once, for the first pseudonym."""
        self._load_key = load_key
        self._key = b""

    def __repr__(self) -> str:
        """Returns a text without the key."""
        return "Pseudonyms()"

    def of(self, kind: str, value: str) -> str:
        """Returns the pseudonym of a value, for example ``scrubbed-card-jmbkafpgihcndoel``.

        `kind` names the kind of value; values of different kinds have different pseudonyms.
        """
        self._key = self._key or self._load_key()
        digest = hmac.digest(self._key, f"{kind}\0{value}".encode("utf-8", "surrogatepass"), "sha256")
        return f"scrubbed-{kind}-{digest[:DIGEST_BYTES].hex().translate(_LETTERS)}"


def is_pseudonym(text: str) -> bool:
    """Returns whether a text is a pseudonym already, as in telemetry that was exported and is imported again."""
    return _PSEUDONYM.fullmatch(text) is not None


def load_key(file: Path | None, environment: Mapping[str, str], db: str) -> Callable[[], bytes]:
    """Returns a function that returns the key: of the file, else of `KEY_VARIABLE`, else a generated one.

    A generated key is kept in a file beside the database that only its owner can read; it is created on the first call.

    Raises:
        CannotStart: the file cannot be read, or the key is too short.
    """
    if file or environment.get(KEY_VARIABLE):
        key = _checked(_read(file) if file else environment[KEY_VARIABLE].encode(), str(file or KEY_VARIABLE))
        return lambda: key
    if db.startswith(":"):
        return lambda: secrets.token_bytes(GENERATED_KEY_BYTES)
    generated = Path(f"{db}.scrub-key")
    return lambda: _checked(_read(generated), str(generated)) if generated.exists() else _generate(generated)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes().strip()
    except OSError as error:
        raise CannotStart(f"The scrubbing key cannot be read from {file}: {error.strerror}.") from error


def _checked(key: bytes, source: str) -> bytes:
    if len(key) < MIN_KEY_BYTES:
        raise CannotStart(f"The scrubbing key in {source} is too short: it needs at least {MIN_KEY_BYTES} bytes.")
    return key


def _generate(file: Path) -> bytes:
    """Creates a key, and syncs it to disk before it is used.

    Raises:
        StorageUnavailable: it cannot be written now.
    """
    key = secrets.token_hex(GENERATED_KEY_BYTES).encode()
    temporary = file.with_name(f"{file.name}.part")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
            output.write(key)
            output.flush()
            os.fsync(output.fileno())
        # a crash before leaves no key, rather than a part of one
        temporary.replace(file)
    except OSError as error:
        raise StorageUnavailable(f"The scrubbing key {file} cannot be written: {error.strerror}.") from error
    return key


CARD: Final = "card"
"""The name of the rule for card numbers, which is on by default."""

IDENTITY: Final = (semconv.SAGA_ID, semconv.SAGA_RUN_ID, semconv.STEP_KEY, semconv.STEP_IDEMPOTENCY_KEY)
"""Attributes of the contract that may be hashed, because only their equality matters."""

RESERVED_PREFIXES: Final = ("saga.", "sagascope.")
"""Prefixes of the contract's attributes; without these attributes a saga cannot be shown."""

UNRESERVED_PREFIXES: Final = (semconv.KEY_PREFIX, semconv.CAPTURE_PREFIX)
"""Prefixes, among the reserved ones, of attributes that an application names itself."""

MIN_CARD_NUMBER: Final = 10.0 ** (cards.MIN_DIGITS - 1)
MAX_CARD_NUMBER: Final = 10.0**cards.MAX_DIGITS
"""The exclusive upper bound of a card number."""


def is_reserved(key: str) -> bool:
    """Returns whether an attribute belongs to the contract; no glob matches it."""
    return key.startswith(RESERVED_PREFIXES) and not key.startswith(UNRESERVED_PREFIXES)


def _valid_regex(pattern: str) -> str:
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        raise ValueError(f"is not a regular expression of RE2: {error}") from error
    if pc.match_substring_regex(pa.array([""]), pattern)[0].as_py():
        raise ValueError("matches the empty text, and therefore every text")
    return pattern


def _droppable(key: str) -> str:
    if is_reserved(key):
        raise ValueError(f"is required to show sagas; these attributes can be hashed instead: {', '.join(IDENTITY)}")
    return key


def _hashable(key: str) -> str:
    if is_reserved(key) and key not in IDENTITY:
        raise ValueError(f"is required as it is to show sagas; these attributes can be hashed: {', '.join(IDENTITY)}")
    return key


Key = Annotated[str, Field(min_length=1, max_length=500)]


class Pattern(BaseModel):
    """A regular expression and its replacement."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")
    pattern: Annotated[str, Field(min_length=1, max_length=2_000), AfterValidator(_valid_regex)]
    replacement: str | None = Field(default=None, alias="with", max_length=200)

    @property
    def literal_replacement(self) -> str:
        """The replacement, in which a backslash has no special meaning."""
        return f"[scrubbed: {self.name}]" if self.replacement is None else self.replacement


class Rules(BaseModel):
    """A scrubbing file. Keys are attribute names, in which ``*`` matches any characters."""

    cards: bool = True
    keep: list[Key] = []
    """Attributes that no other rule changes."""
    drop: list[Annotated[Key, AfterValidator(_droppable)]] = []
    hash: list[Annotated[Key, AfterValidator(_hashable)]] = []
    replace: list[Pattern] = []


class KeyMatcher:
    """Matches attribute names against names and globs."""

    def __init__(self, globs: Sequence[str]) -> None:
        self._globs = frozenset(globs)
        self._pattern = re.compile("|".join(map(translate, globs)) if globs else r"(?!)")
        # a cache of its own: one of the class would keep every matcher alive
        self.matches = lru_cache(maxsize=4096)(self._matches)

    def _matches(self, key: str) -> bool:
        return key in self._globs or (not is_reserved(key) and bool(self._pattern.fullmatch(key)))


Scrubbed = tuple[str, frozenset[str]]
"""A text after scrubbing, and the names of the rules that changed it."""

UNCHANGED: Final[frozenset[str]] = frozenset()


class TextScrubber:
    """Applies patterns and the card rule to the texts of one request."""

    def __init__(self, rules: Rules, pseudonyms: Pseudonyms) -> None:
        self._scrubs_cards = rules.cards
        self._patterns = rules.replace
        self._pseudonyms = pseudonyms
        self._prepared: dict[str, Scrubbed] = {}
        self._finder = cards.Finder()

    def prepare(self, texts: Iterable[str]) -> None:
        """Applies the patterns to all of these texts at once; `scrub` applies patterns to prepared texts only."""
        if self._patterns:
            self._prepared |= _apply_patterns(texts, self._patterns)

    def scrub(self, text: str) -> Scrubbed:
        """Returns the text without data that must not be stored."""
        text, rules = self._prepared.get(text, (text, UNCHANGED))
        if not self._scrubs_cards:
            return text, rules
        found = list(self._finder.find(text))
        for card in reversed(found):
            text = text[: card.start] + self._pseudonyms.of(CARD, card.digits) + text[card.end :]
        return text, rules | {CARD} if found else rules

    def scrub_identity(self, text: str) -> Scrubbed:
        """Scrubs a text that is only compared for equality: a pattern replaces all of it with a pseudonym."""
        if text not in self._prepared:
            return self.scrub(text)
        rules = self._prepared[text][1]
        return self._pseudonyms.of(min(rules), text), rules

    def scrub_bytes(self, content: bytes) -> tuple[bytes, frozenset[str]]:
        """Scrubs bytes that may be text."""
        encoding = encoding_of(content)
        text, rules = self.scrub(content.decode(encoding))
        return (text.encode(encoding, "replace"), rules) if rules else (content, rules)

    def card_pseudonym(self, number: float) -> str | None:
        """Returns the pseudonym of a number that is a card number, else None."""
        if self._scrubs_cards and MIN_CARD_NUMBER <= abs(number) < MAX_CARD_NUMBER and number == int(number):
            digits = str(abs(int(number)))
            return self._pseudonyms.of(CARD, digits) if cards.is_card(digits) else None
        return None


def encoding_of(content: bytes) -> str:
    """Returns an encoding that decodes the bytes: UTF-8 if it can, else Latin-1."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _apply_patterns(texts: Iterable[str], patterns: Sequence[Pattern]) -> Mapping[str, Scrubbed]:
    """Returns the texts that a pattern changes.

    RE2 evaluates the patterns: its time grows only with the length of the text, whatever the expression.
    """
    originals = list(dict.fromkeys(texts))
    scrubbed: dict[str, Scrubbed] = {}
    current = pa.array(originals, pa.large_string())
    for each in patterns:
        changed = pc.replace_substring_regex(current, each.pattern, each.literal_replacement.replace("\\", r"\\"))
        for index in pc.indices_nonzero(pc.not_equal(changed, current)).to_pylist():
            names = scrubbed.get(originals[index], ("", UNCHANGED))[1]
            scrubbed[originals[index]] = changed[index].as_py(), names | {each.name}
        current = changed
    return scrubbed
