"""What a scrubbing file may say. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Annotated, Final

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, Field

from sagascope import semconv

CARD: Final = "card"
"""The rule that is always on, unless a file turns it off."""

IDENTITY: Final = (semconv.SAGA_ID, semconv.SAGA_RUN_ID, semconv.STEP_KEY, semconv.STEP_IDEMPOTENCY_KEY)
"""Attributes of the contract that may be hashed, since it matters only which of them are equal."""

RESERVED: Final = ("saga.", "sagascope.")
"""How the names of the contract's attributes begin: without them there is no saga to show."""

FREE: Final = (semconv.KEY_PREFIX, semconv.CAPTURE_PREFIX)
"""Among those, how the ones begin that hold what a service likes."""


def is_reserved(key: str) -> bool:
    """Whether an attribute is the contract's own: no glob means it."""
    return key.startswith(RESERVED) and not key.startswith(FREE)


def _is_regex(pattern: str) -> str:
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        raise ValueError(f"is no regular expression of RE2: {error}") from error
    if pc.match_substring_regex(pa.array([""]), pattern)[0].as_py():
        raise ValueError("matches the empty text, and so would everything")
    return pattern


def _is_droppable(key: str) -> str:
    if is_reserved(key):
        raise ValueError(f"sagas cannot be told without it; these may be hashed: {', '.join(IDENTITY)}")
    return key


def _is_hashable(key: str) -> str:
    if is_reserved(key) and key not in IDENTITY:
        raise ValueError(f"sagas cannot be told without it as it is; these may be hashed: {', '.join(IDENTITY)}")
    return key


Key = Annotated[str, Field(min_length=1, max_length=500)]


class Pattern(BaseModel):
    """A regular expression, and what stands in its place."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,40}$")
    pattern: Annotated[str, Field(min_length=1, max_length=2_000), AfterValidator(_is_regex)]
    replacement: str | None = Field(default=None, alias="with", max_length=200)

    @property
    def instead(self) -> str:
        """What stands in its place: as it was written, a backslash too."""
        return f"[scrubbed: {self.name}]" if self.replacement is None else self.replacement


class Rules(BaseModel):
    """A whole file. Keys are names of attributes; ``*`` stands for any characters."""

    cards: bool = True
    keep: list[Key] = []
    """Attributes that nothing else here touches."""
    drop: list[Annotated[Key, AfterValidator(_is_droppable)]] = []
    hash: list[Annotated[Key, AfterValidator(_is_hashable)]] = []
    replace: list[Pattern] = []


class Keys:
    """Which attributes a list of names and globs means."""

    def __init__(self, globs: Sequence[str]) -> None:
        self.globs = tuple(globs)
        self._pattern = re.compile("|".join(map(translate, globs)) if globs else r"(?!)")
        self.means = lru_cache(maxsize=4096)(self._means)

    def _means(self, key: str) -> bool:
        return key in self.globs or (not is_reserved(key) and bool(self._pattern.fullmatch(key)))


def needle(glob: str) -> bytes:
    """The longest text that every key which a glob means holds; empty: there is none."""
    return max(re.split(r"[*?]|\[.*?\]", glob), key=len).encode()


def replaced(texts: Iterable[str], patterns: Sequence[Pattern]) -> Mapping[str, tuple[str, frozenset[str]]]:
    """Of each text that a pattern changes: what it becomes, and the names of those patterns.

    RE2 does it, in a time that grows with the length of the text alone, whatever the expression.
    """
    originals = list(dict.fromkeys(texts))
    told: dict[str, tuple[str, frozenset[str]]] = {}
    current = pa.array(originals, pa.large_string())
    for each in patterns:
        changed = pc.replace_substring_regex(current, each.pattern, each.instead.replace("\\", r"\\"))
        for place in pc.indices_nonzero(pc.not_equal(changed, current)).to_pylist():
            names = told.get(originals[place], ("", frozenset()))[1]
            told[originals[place]] = changed[place].as_py(), names | {each.name}
        current = changed
    return told
