"""Courses that sagas take: what sagas that ran alike have in common is judged once, and known by what their spans were.

A span is three numbers here, and a course is the numbers of its spans in order of time. Whether a course ended plainly:
one root, one name and run, every span final and told by our own attributes, steps forward only, and none with two
attempts that may both have succeeded.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sagascope_collector.store.contract import Course

Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

WORDS: Final = 3
BYTES: Final = WORDS * 8
"""Of one span."""

WIDTH: Final = 20
"""Bits of the number of a text."""

KNOWN: Final = 20_000
"""Courses that are remembered."""

TEXTS: Final = 100_000
"""Texts of one kind that are remembered; those of one look come on top."""

FAILED, ATTEMPT, ROOT, RECEIVED, PLAIN = (1 << bit for bit in range(5))
"""What may be said of a span. Plain: nothing that it says itself speaks against a plain end."""

_ATTEMPTS: Final = 2**40
"""The number of an attempt from which on a span is not taken for plain."""


class Spans(NamedTuple):
    """Columns of spans; texts as the numbers that a `Courses` gave them."""

    steps: Numbers
    step_keys: Numbers
    services: Numbers
    names: Numbers
    attempts: Numbers
    failed: Flags
    tried: Flags
    roots: Flags
    received: Flags
    plain: Flags

    def words(self) -> Numbers:
        """The numbers of each span, one row a span; one for which there is no room is not plain."""
        texts = self.steps | self.services << WIDTH | self.names << 2 * WIDTH
        fits = (self.steps | self.services | self.names) < 1 << WIDTH
        fits &= (self.attempts >= 0) & (self.attempts < _ATTEMPTS)
        flags = (self.failed, self.tried, self.roots, self.received, self.plain & fits)
        told = sum(flag.astype(np.int64) << bit for bit, flag in enumerate(flags))
        words = np.stack([texts, self.step_keys, self.attempts << len(flags) | told], axis=1)
        return np.where(fits[:, None], words, 0)


class _Span(NamedTuple):
    """One span of a course."""

    step: int
    service: int
    name: int
    step_key: int
    attempt: int
    flags: int


class Texts:
    """Numbers texts; "" is 0."""

    def __init__(self) -> None:
        self.texts = [""]
        self._numbers = {"": 0}

    def number(self, text: str) -> int:
        """The number of a text, which stays its own."""
        known = self._numbers.get(text)
        if known is None:
            known = self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return known


class Courses:
    """What is known of courses. Whoever numbers texts and asks for courses by them holds `using` meanwhile."""

    def __init__(self) -> None:
        self.using = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Begin anew: numbers that were given mean nothing any more."""
        self._texts: defaultdict[str, Texts] = defaultdict(Texts)
        self._known: dict[bytes, Course | None] = {}

    def tidy(self) -> None:
        """Forget everything where it is too much."""
        if len(self._known) > KNOWN or any(len(each.texts) > TEXTS for each in self._texts.values()):
            self.forget()

    def numbers(self, kind: str, texts: Iterable[str]) -> Numbers:
        """The number of each of these texts, which are of one kind: steps, say."""
        return np.fromiter(map(self._texts[kind].number, texts), np.int64)

    def judge(self, words: bytes) -> Course | None:
        """The course with these words of spans, in order of time; None: it did not end plainly."""
        try:
            return self._known[words]
        except KeyError:
            found = self._known[words] = self._judged([_span(each) for each in _rows(words)])
            return found

    def _judged(self, spans: Sequence[_Span]) -> Course | None:
        roots = [place for place, each in enumerate(spans) if each.flags & ROOT]
        names = {each.name for each in spans if each.name}
        if len(roots) != 1 or len(names) > 1 or not all(each.flags & PLAIN for each in spans):
            return None
        if not _is_tried_plainly(spans):
            return None
        return Course(
            name=self._texts["names"].texts[max(names, default=0)],
            steps=self._named("steps", (each.step for each in spans if each.flags & ATTEMPT)),
            services=self._named("services", (each.service for each in spans if each.service)),
            root=roots[0],
            has_failed=bool(spans[roots[0]].flags & FAILED),
        )

    def _named(self, kind: str, numbers: Iterable[int]) -> tuple[str, ...]:
        """Texts, each once."""
        texts = self._texts[kind].texts
        return tuple(texts[each] for each in dict.fromkeys(numbers))


def _rows(words: bytes) -> list[list[int]]:
    rows: list[list[int]] = np.frombuffer(words, np.int64).reshape(-1, WORDS).tolist()
    return rows


def _span(words: Sequence[int]) -> _Span:
    texts, step_key, told = words
    least = (1 << WIDTH) - 1
    flags = FAILED | ATTEMPT | ROOT | RECEIVED | PLAIN
    return _Span(
        texts & least, texts >> WIDTH & least, texts >> 2 * WIDTH, step_key, told >> flags.bit_length(), told & flags
    )


def _is_tried_plainly(spans: Sequence[_Span]) -> bool:
    """Whether no step may have succeeded twice."""
    tried = [each for each in spans if each.flags & ATTEMPT]
    views = Counter((each.step, each.step_key, each.attempt, each.service) for each in tried)
    if any(count > 1 for count in views.values()):
        return False
    attempts = {(each.step, each.step_key, each.attempt) for each in tried}
    steps = Counter((step, key) for step, key, _ in attempts)
    if all(tries == 1 for tries in steps.values()):
        return True
    is_received = any(each.flags & RECEIVED for each in spans)
    return not is_received and all(tries == 1 or _is_retried(tried, *step) for step, tries in steps.items())


def _is_retried(tried: Iterable[_Span], step: int, key: int) -> bool:
    """Whether at most one attempt of a step can have succeeded, and all have numbers."""
    of_step = [each for each in tried if (each.step, each.step_key) == (step, key)]
    lasting = {each.attempt for each in of_step if not each.flags & FAILED}
    return len(lasting) <= 1 and min(each.attempt for each in of_step) > 0
